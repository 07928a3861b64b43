"""A failing schedule made as small as it can be while it still fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from psyche_p2p.sim.network import LinkModel
from psyche_p2p.sim.schedule import Schedule


def shrink(schedule: Schedule, fails: Callable[[Schedule], bool]) -> Schedule:
    """Take things away one at a time, again and again, keeping whatever still fails."""
    smaller = next((one for one in _simpler(schedule) if fails(one)), None)
    return schedule if smaller is None else shrink(smaller, fails)


def describe(schedule: Schedule) -> str:
    """What is left of a schedule, for people."""
    lines = [f"{schedule.peers} peers, {schedule.rounds} rounds, seed {schedule.seed}"]
    lines.append(str(schedule.links))
    if schedule.tiers:
        tiers = ("none" if tier is None else str(tier) for tier in schedule.tiers)
        lines.append(f"tiers: {', '.join(tiers)}{', distilling' * schedule.is_distilling}")
    lines += [
        f"peer {index} lies: {', '.join(lie.value for lie in lies)}"
        for index, lies in schedule.liars
    ]
    lines += [str(fault) for fault in schedule.faults]
    return "\n".join(lines)


def replay_command(schedule: Schedule, original: Schedule) -> str:
    """The command that runs a random schedule again, without what shrinking took away."""
    command = f"python -m psyche_p2p.sim --random --seed {original.seed}"
    command += f" --peers {original.peers} --liars {len(original.liars)} --rounds {schedule.rounds}"
    gone = [i for i, fault in enumerate(original.faults) if fault not in schedule.faults]
    truthful = sorted(original.liar_indices - schedule.liar_indices)
    if gone:
        command += f" --without {','.join(map(str, gone))}"
    if truthful:
        command += f" --truthful {','.join(map(str, truthful))}"
    if schedule.links != original.links:
        command += " --clean-links"
    return command


def reduce_schedule(
    schedule: Schedule, without: tuple[int, ...], truthful: tuple[int, ...], clean_links: bool
) -> Schedule:
    """What `replay_command` asks for."""
    faults = tuple(f for i, f in enumerate(schedule.faults) if i not in without)
    liars = tuple(liar for liar in schedule.liars if liar[0] not in truthful)
    links = LinkModel() if clean_links else schedule.links
    return replace(schedule, faults=faults, liars=liars, links=links)


def _simpler(schedule: Schedule) -> Iterator[Schedule]:
    for index in range(len(schedule.faults)):
        kept = schedule.faults[:index] + schedule.faults[index + 1 :]
        yield replace(schedule, faults=kept)
    for index in range(len(schedule.liars)):
        kept_liars = schedule.liars[:index] + schedule.liars[index + 1 :]
        yield replace(schedule, liars=kept_liars)
    if schedule.links != LinkModel():
        yield replace(schedule, links=LinkModel())
    if schedule.rounds > 1:
        yield replace(schedule, rounds=schedule.rounds - 1)
