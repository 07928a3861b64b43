"""Runs one network of stand-ins to its end, sampling its processes, and keeps what peers told."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from localnet_parts.outcome import Outcome
from localnet_parts.peer import Peer
from localnet_parts.plan import Plan, make_run_config, write_run_file
from localnet_parts.supervisor import Supervisor
from wan_emulation.profile import PathProfile
from wan_emulation.wan import Wan

from benchmarks.rounds.samples import Sample, sample
from psyche_p2p.config import RunConfig, load_run_config
from psyche_p2p.observe.event_log import read_events
from psyche_p2p.observe.events import Recorded

TOOLS = Path(__file__).resolve().parents[2]
COMMAND_VARIABLE = "PSYCHE_TRAINER_COMMAND"
_SAMPLE_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What network to run."""

    config: Path
    peers: int
    rounds: int
    step_s: float
    profile: PathProfile | None
    changes: tuple[str, ...] = ()
    program: tuple[str, ...] = ()
    give_up_after_s: float = 120.0
    exit_after_s: float | None = None

    @property
    def tiers(self) -> tuple[int, ...]:
        return tuple(number % 3 for number in range(self.peers))


@dataclass(frozen=True, slots=True)
class Ran:
    """What is known of a network that has ended."""

    outcome: Outcome
    events: tuple[list[Recorded], ...]
    samples: tuple[list[Sample], ...]


class Sampler:
    """A display that shows nothing, and looks at every peer's processes now and then."""

    def __init__(self) -> None:
        self.samples: dict[int, list[Sample]] = {}
        self._next_s = 0.0

    def show(self, peers: Sequence[Peer], seconds: float) -> None:
        if seconds < self._next_s:
            return
        self._next_s = seconds + _SAMPLE_EVERY_S
        for peer in peers:
            found = sample(peer.pid) if peer.is_up else None
            if found is not None:
                self.samples.setdefault(peer.number, []).append(found)

    def say(self, line: str) -> None:
        print(line, file=sys.stderr)

    def close(self) -> None:
        """Nothing is held."""


def run_network(wanted: Wanted, folder: Path, recording: Path) -> Ran:
    """Start the peers, wait until the run is finished, and read what they wrote."""
    plan = _plan(wanted)
    config = _config(wanted, plan)
    sampler = Sampler()
    with _stand_ins(recording, wanted.step_s), _wan(wanted) as wan:
        supervisor = Supervisor(plan, config, folder, sampler, wan)
        outcome = supervisor.run(wanted.rounds)
    events = tuple(read_events(peer.events_path) for peer in supervisor.peers)
    samples = tuple(sampler.samples.get(number, []) for number in range(wanted.peers))
    return Ran(outcome, events, samples)


def record(wanted: Wanted, folder: Path) -> None:
    """Have the real trainer make one update a tier, in a process of its own."""
    run_file = folder / "run.toml"
    write_run_file(_config(wanted, _plan(wanted)), run_file)
    tiers = sorted({str(tier) for tier in wanted.tiers})
    command = [sys.executable, "-m", "benchmarks.rounds.record", str(run_file), str(folder), *tiers]
    subprocess.run(command, check=True, env=_environment({}))


def _plan(wanted: Wanted) -> Plan:
    psyche_peer = str(Path(sys.executable).with_name("psyche-peer"))
    return Plan(
        tiers=wanted.tiers,
        witnesses=0,
        seed=0,
        exit_after_s=wanted.exit_after_s,
        kill_every_s=None,
        give_up_after_s=wanted.give_up_after_s,
        data_dir=None,
        program=wanted.program or (psyche_peer,),
    )


def _config(wanted: Wanted, plan: Plan) -> RunConfig:
    changes = (
        "rounds.equal_batches=true",  # stand-ins take as long for any batch
        f"rounds.global_batch_size_start={2 * wanted.peers}",
        f"rounds.global_batch_size_end={2 * wanted.peers}",
        "rounds.epoch_s=36000",
        "rounds.cooldown_s=1",
        "members.waiting_for_members_extra_s=2",
        *wanted.changes,
    )
    return make_run_config(load_run_config(wanted.config), plan, wanted.rounds, False, changes)


@contextmanager
def _stand_ins(recording: Path, step_s: float) -> Iterator[None]:
    """While entered, peers that are started train with stand-ins."""
    words = [sys.executable, "-m", "benchmarks.rounds.stand_in", str(recording), str(step_s)]
    before = dict(os.environ)
    os.environ.update(_environment({COMMAND_VARIABLE: shlex.join(words)}))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _environment(added: Mapping[str, str]) -> dict[str, str]:
    path = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        **added,
        "PYTHONPATH": f"{TOOLS}{os.pathsep}{path}" if path else str(TOOLS),
    }


def _wan(wanted: Wanted) -> AbstractContextManager[Wan | None]:
    if wanted.profile is None:
        return nullcontext()
    return Wan([wanted.profile] * wanted.peers)
