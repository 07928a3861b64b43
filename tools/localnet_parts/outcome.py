"""What came of a run: the figures that `--json` writes, and everything that is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from statistics import fmean
from typing import Any

from localnet_parts.peer import Peer
from localnet_parts.roots import find_differences, last_root
from localnet_parts.tally import Tally
from psyche_p2p.ids import short_id
from psyche_p2p.observe.events import (
    Accused,
    Diverged,
    Evaluated,
    Event,
    MemberChanged,
    Restarted,
    Resynced,
)

_MOST_SHOWN = 3
_LOSS_WINDOW = 8


@dataclass(frozen=True, slots=True)
class Outcome:
    """The fields of `--json`, in its order."""

    ok: bool
    interrupted: bool
    problems: tuple[str, ...]
    rounds: int
    roots_equal: bool
    param_root: str
    loss_first: float | None
    loss_last: float | None
    heldout: dict[str, float]
    bytes_per_peer_round: float | None
    training_share: float | None
    seconds: float
    peers: tuple[dict[str, Any], ...]
    events: dict[str, list[dict[str, Any]]]


def judge(
    peers: Sequence[Peer],
    problems: Sequence[str],
    rounds_wanted: int,
    seconds: float,
    is_interrupted: bool,
) -> Outcome:
    """Add what only the end shows to the problems found on the way."""
    tallies = [peer.tally for peer in peers]
    differences = find_differences(tallies)
    root = last_root(tallies)
    found = [*problems, *differences[:_MOST_SHOWN], *_shortcomings(peers)]
    rounds = len(_closed_rounds(tallies))
    if not found and rounds < rounds_wanted:
        found.append(f"{rounds} rounds were closed, {rounds_wanted} were wanted")
    first, last = _losses(tallies)
    sent_bytes = fmean(tally.sent_bytes for tally in tallies)
    shares = [share for tally in tallies if (share := tally.training_share) is not None]
    return Outcome(
        ok=not found and not is_interrupted,
        interrupted=is_interrupted,
        problems=tuple(found),
        rounds=rounds,
        roots_equal=bool(root) and not differences,
        param_root=root,
        loss_first=first,
        loss_last=last,
        heldout=_heldout(tallies),
        bytes_per_peer_round=_rounded(sent_bytes / rounds if rounds else None, 1),
        training_share=_rounded(fmean(shares) if shares else None, 4),
        seconds=round(seconds, 2),
        peers=tuple(_peer(peer) for peer in peers),
        events=_events(peers),
    )


def _shortcomings(peers: Sequence[Peer]) -> Iterator[str]:
    rounds = _closed_rounds([peer.tally for peer in peers])
    ends = {peer.tally.finished_at for peer in peers} - {None}
    if len(ends) > 1:
        yield f"peers finished after different rounds: {sorted(map(str, ends))}"
    for peer in peers:
        if rounds and peer.tally.role == "trainer" and not peer.tally.roots:
            yield f"peer {peer.number} applied no round"
        diverged = sum(isinstance(event, Diverged) for event in peer.tally.noted)
        if diverged:
            yield f"peer {peer.number} found {diverged} times that its parameters differ"
        lines = peer.error_lines()
        if lines:
            yield f"peer {peer.number} logged {len(lines)} errors, first: {lines[0]}"


def _closed_rounds(tallies: Sequence[Tally]) -> set[int]:
    return set[int]().union(*(tally.accepted for tally in tallies))


def _losses(tallies: Sequence[Tally]) -> tuple[float | None, float | None]:
    """The mean training loss of the first and of the last rounds: a quarter each, at most eight."""
    rounds = sorted(set[int]().union(*(tally.losses for tally in tallies)))
    window = max(1, min(_LOSS_WINDOW, len(rounds) // 4))
    ends = [
        [tally.losses[number] for number in part for tally in tallies if number in tally.losses]
        for part in (rounds[:window], rounds[-window:])
    ]
    first, last = (_rounded(fmean(losses) if losses else None, 4) for losses in ends)
    return first, last


def _heldout(tallies: Sequence[Tally]) -> dict[str, float]:
    """By tier, after the last round at which it was measured."""
    newest: dict[int, tuple[int, float]] = {}
    for tally in tallies:
        for event in tally.noted:
            if isinstance(event, Evaluated):
                candidate = (event.param_round, event.loss)
                newest[event.tier] = max(newest.get(event.tier, candidate), candidate)
    return {str(tier): round(newest[tier][1], 4) for tier in sorted(newest)}


def _peer(peer: Peer) -> dict[str, Any]:
    tally = peer.tally
    return {
        "id": tally.peer,
        "tier": tally.tier,
        "role": tally.role,
        "rounds_trained": len(tally.losses),
        "exit_code": peer.exit_code,
        "sent_bytes": tally.sent_bytes,
        "received_bytes": tally.received_bytes,
        "training_share": _rounded(tally.training_share, 4),
    }


def _events(peers: Sequence[Peer]) -> dict[str, list[dict[str, Any]]]:
    tallies = [peer.tally for peer in peers]
    changes = _member_changes(tallies)
    return {
        "drops": [asdict(event) for event in changes if event.what == "dropped"],
        "ejections": [asdict(event) for event in changes if event.what == "ejected"],
        "withdrawals": [asdict(event) for event in changes if event.what == "withdrew"],
        "restarts": _told_by(tallies, Restarted),
        "accusations": _told_by(tallies, Accused),
        "resyncs": _told_by(tallies, Resynced),
        "divergences": _told_by(tallies, Diverged),
        "kills": [{"by": peer.tally.peer, "count": peer.kills} for peer in peers if peer.kills],
    }


def _member_changes(tallies: Sequence[Tally]) -> list[MemberChanged]:
    """Everyone reports what is in the log: an event counts as often as its best reporter has it."""
    changes: Counter[MemberChanged] = Counter()
    for tally in tallies:
        changes |= Counter(event for event in tally.noted if isinstance(event, MemberChanged))
    return list(changes.elements())


def _told_by(tallies: Sequence[Tally], kind: type[Event]) -> list[dict[str, Any]]:
    return [
        {"by": tally.peer, **asdict(event)}
        for tally in tallies
        for event in tally.noted
        if isinstance(event, kind)
    ]


def _rounded(value: float | None, digits: int) -> float | None:
    """None for what JSON has no number for."""
    return None if value is None or not isfinite(value) else round(value, digits)


def summary_lines(outcome: Outcome) -> Iterator[str]:
    """The outcome for people."""
    yield f"rounds          {outcome.rounds} in {outcome.seconds:.1f} s"
    if outcome.loss_first is not None and outcome.loss_last is not None:
        yield f"training loss   {outcome.loss_first:.4f} -> {outcome.loss_last:.4f}"
    for tier, loss in outcome.heldout.items():
        yield f"held-out loss   {loss:.4f} at tier {tier}"
    if outcome.param_root:
        equal = "the same on every peer" if outcome.roots_equal else "NOT the same on every peer"
        yield f"parameters      {equal}, root {outcome.param_root[:16]}"
    if outcome.bytes_per_peer_round is not None:
        yield f"sent            {outcome.bytes_per_peer_round / 1e3:.1f} kB a peer and round"
    if outcome.training_share is not None:
        yield f"training share  {outcome.training_share:.1%} of the time in TRAIN"
    for peer in outcome.peers:
        where = f"tier {peer['tier']}" if peer["role"] == "trainer" else "witness"
        did = f"{peer['rounds_trained']} batches trained, exit code {peer['exit_code']}"
        yield f"peer {short_id(peer['id'])}   {where}, {did}"
    for name, events in outcome.events.items():
        if events:
            yield f"{name:15} {sum(event.get('count', 1) for event in events)}"
    for problem in outcome.problems:
        yield f"FAILED          {problem}"
