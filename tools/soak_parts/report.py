"""What came of it: the figures that `--json` writes, and everything that is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from localnet_parts.outcome import judge
from localnet_parts.peer import Peer
from localnet_parts.roots import find_differences

from soak_parts.gauges import Growth
from soak_parts.mischief import Mischief
from soak_parts.trouble import sum_up

_MOST_RSS_MIB = 256.0
_MOST_FILES = 64.0


@dataclass(frozen=True, slots=True)
class Report:
    """The fields of `--json`, in its order."""

    ok: bool
    interrupted: bool
    problems: tuple[str, ...]
    seconds: float
    rounds: int
    compared: int
    """How many roots of rounds and tiers were compared with another peer's or the log's."""
    disagreements: tuple[str, ...]
    longest_gap_s: float
    """Between two closed rounds."""
    troubles: dict[str, dict[str, Any]]
    postponed: int
    drops: int
    ejections: int
    catch_ups: tuple[dict[str, Any], ...]
    """Of those who took their parameters from others."""
    growth: dict[str, float] | None
    """Of the one node that lived throughout."""


def make_report(
    peers: Sequence[Peer],
    mischief: Mischief,
    growth: Growth | None,
    problems: Sequence[str],
    longest_gap_s: float,
    seconds: float,
    *,
    is_interrupted: bool,
) -> Report:
    """Judge the honest peers, as tools/localnet judges them, and add what only a soak shows."""
    outcome = judge(peers, problems, 0 if is_interrupted else 1, seconds, is_interrupted)
    disagreements = (*find_differences([peer.tally for peer in peers]), *_contradictions(peers))
    found = [*outcome.problems, *_contradictions(peers), *_leaks(growth)]
    return Report(
        ok=not found and not is_interrupted,
        interrupted=is_interrupted,
        problems=tuple(found),
        seconds=round(seconds, 1),
        rounds=outcome.rounds,
        compared=_count_compared(peers),
        disagreements=disagreements,
        longest_gap_s=round(longest_gap_s, 1),
        troubles=_describe(mischief),
        postponed=mischief.postponed,
        drops=len(outcome.events["drops"]),
        ejections=len(outcome.events["ejections"]),
        catch_ups=tuple(_catch_up(event) for event in outcome.events["resyncs"]),
        growth=asdict(growth) if growth else None,
    )


def _contradictions(peers: Sequence[Peer]) -> list[str]:
    return [
        f"peer {peer.number} had other parameters after round {number} than it said before"
        for peer in peers
        for number in sorted(peer.tally.contradicted)
    ]


def _leaks(growth: Growth | None) -> Iterator[str]:
    if growth is None:
        return
    more_mib = growth.rss_last_mib - growth.rss_first_mib
    if more_mib > _MOST_RSS_MIB:
        yield f"a node grew by {more_mib:.0f} MiB in {growth.seconds:.0f} s"
    more_files = growth.files_last - growth.files_first
    if more_files > _MOST_FILES:
        yield f"a node has {more_files:.0f} more files open after {growth.seconds:.0f} s"


def _count_compared(peers: Sequence[Peer]) -> int:
    """Beyond the first who names a root, everyone who names it can disagree."""
    places: dict[tuple[int, int], int] = {}
    for peer in peers:
        for by_round in (peer.tally.roots, peer.tally.agreed_roots):
            for number, roots in by_round.items():
                for level in range(len(roots)):
                    places[number, level] = places.get((number, level), 0) + 1
    return sum(count - 1 for count in places.values())


def _describe(mischief: Mischief) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "count": recovery.count,
            "back_median_s": round(median(recovery.seconds), 1) if recovery.seconds else None,
            "back_worst_s": round(max(recovery.seconds), 1) if recovery.seconds else None,
        }
        for name, recovery in sum_up(mischief.troubles).items()
    }


def _catch_up(event: dict[str, Any]) -> dict[str, Any]:
    megabytes = event["bytes"] / 1e6
    return {
        "by": event["by"],
        "megabytes": round(megabytes, 2),
        "seconds": round(event["seconds"], 3),
        "mb_per_s": round(megabytes / event["seconds"], 1) if event["seconds"] else None,
        "sources": len(event["sources"]),
    }


def report_lines(report: Report) -> Iterator[str]:
    """The report for people."""
    yield f"rounds          {report.rounds} in {report.seconds:.0f} s"
    yield f"longest wait    {report.longest_gap_s:.1f} s between two rounds"
    for name, found in report.troubles.items():
        back = ""
        if found["back_median_s"] is not None:
            back = f", back after {found['back_median_s']} s, at worst {found['back_worst_s']} s"
        yield f"{name:15} {found['count']}{back}"
    yield f"postponed       {report.postponed}"
    yield f"dropped         {report.drops}, ejected {report.ejections}"
    if report.catch_ups:
        rates = [one["mb_per_s"] or 0.0 for one in report.catch_ups]
        seconds = [one["seconds"] for one in report.catch_ups]
        yield (
            f"catch-ups       {len(rates)}, {median(rates):.1f} MB/s and {median(seconds):.2f} s "
            f"in the middle, at worst {min(rates):.1f} MB/s and {max(seconds):.2f} s"
        )
    if report.growth:
        grown = report.growth
        yield (
            f"memory          {grown['rss_first_mib']} MiB at first, {grown['rss_last_mib']} at "
            f"last; files {grown['files_first']} and {grown['files_last']}; "
            f"one node over {grown['seconds']:.0f} s"
        )
    yield f"disagreements   {len(report.disagreements)} among {report.compared} comparisons"
    for problem in report.problems:
        yield f"FAILED          {problem}"
