"""Where the time of a round goes, from the events of all peers of one machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from benchmarks.rounds.network import Ran
from benchmarks.rounds.samples import Sample
from psyche_p2p.observe.events import Applied, Attested, Event, Recorded, RoundClosed, Trained

_SKIPPED_ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Parts:
    """Medians over rounds, in seconds; a round's clock starts when its last batch is trained."""

    share: float
    """Of wall time spent in training steps, mean over peers, after the first two rounds."""
    worst_share: float
    round_s: float
    fetch_s: float
    check_s: float
    to_attested_s: float
    attested_to_closed_s: float
    closed_to_applied_s: float


@dataclass(frozen=True, slots=True)
class Costs:
    """Processor seconds a peer and round, and what the nodes hold at the end."""

    node_s: float
    daemon_s: float
    trainer_s: float
    rss_bytes: int
    files: int


def compute_parts(ran: Ran) -> Parts:
    shares = [_share(events) for events in ran.events]
    trained = _times(ran, Trained, lambda event: event.round)
    attested = _times(ran, Attested, lambda event: event.round)
    closed = _times(ran, RoundClosed, lambda event: event.round)
    applied = _times(ran, Applied, lambda event: event.param_round - 1)
    rounds = [one for one in sorted(trained) if one >= _SKIPPED_ROUNDS and one in applied]
    statements = [
        one.event
        for events in ran.events
        for one in events
        if isinstance(one.event, Attested) and one.event.round >= _SKIPPED_ROUNDS
    ]
    ends = [max(trained[index]) for index in rounds]
    return Parts(
        share=fmean(shares),
        worst_share=min(shares),
        round_s=(ends[-1] - ends[0]) / 1000 / (len(ends) - 1),
        fetch_s=fmean(one.fetch_s for one in statements),
        check_s=fmean(one.check_s for one in statements),
        to_attested_s=_median_gap(rounds, trained, attested, max),
        attested_to_closed_s=_median_gap(rounds, attested, closed, fmean),
        closed_to_applied_s=_median_gap(rounds, closed, applied, fmean),
    )


def compute_costs(ran: Ran) -> Costs:
    """From the samples between the second round's training and the last's."""
    costs = [
        _costs(events, samples) for events, samples in zip(ran.events, ran.samples, strict=True)
    ]
    return Costs(
        node_s=fmean(one.node_s for one in costs),
        daemon_s=fmean(one.daemon_s for one in costs),
        trainer_s=fmean(one.trainer_s for one in costs),
        rss_bytes=max(one.rss_bytes for one in costs),
        files=max(one.files for one in costs),
    )


def _share(events: Sequence[Recorded]) -> float:
    """Training seconds through the wall time from the end of one step to the end of the last."""
    steps = [(one.time_ms, one.event) for one in events if isinstance(one.event, Trained)]
    seconds = sum(step.seconds for _, step in steps if step.round >= _SKIPPED_ROUNDS)
    began_ms = max(time_ms for time_ms, step in steps if step.round < _SKIPPED_ROUNDS)
    return seconds * 1000 / (steps[-1][0] - began_ms)


def _times(ran: Ran, kind: type[Event], index_of: Callable[..., int]) -> dict[int, list[int]]:
    """Every peer's last moment of a kind, by round."""
    by_round: dict[int, list[int]] = {}
    for events in ran.events:
        own = {index_of(one.event): one.time_ms for one in events if isinstance(one.event, kind)}
        for index, time_ms in own.items():
            by_round.setdefault(index, []).append(time_ms)
    return by_round


def _median_gap(
    rounds: Sequence[int],
    before: dict[int, list[int]],
    after: dict[int, list[int]],
    gather: Callable[[list[int]], float],
) -> float:
    """From the last of one thing to the last (or the mean moment) of the next."""
    gaps = [
        gather(after[index]) - max(before[index])
        for index in rounds
        if index in before and index in after
    ]
    return median(gaps) / 1000


def _costs(events: Sequence[Recorded], samples: Sequence[Sample]) -> Costs:
    steps = [one.time_ms for one in events if isinstance(one.event, Trained)]
    begin = min(samples, key=lambda one: abs(one.time_ms - steps[_SKIPPED_ROUNDS - 1]))
    end = min(samples, key=lambda one: abs(one.time_ms - steps[-1]))
    round_ms = (steps[-1] - steps[_SKIPPED_ROUNDS - 1]) / (len(steps) - _SKIPPED_ROUNDS)
    rounds = (end.time_ms - begin.time_ms) / round_ms
    return Costs(
        node_s=(end.node_s - begin.node_s) / rounds,
        daemon_s=(end.daemon_s - begin.daemon_s) / rounds,
        trainer_s=(end.trainer_s - begin.trainer_s) / rounds,
        rss_bytes=end.rss_bytes,
        files=end.files,
    )
