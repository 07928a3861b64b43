"""What the runs of a matrix show, mix by mix, next to the homogeneous baseline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from experiment_parts.record import Record

BAR_PERCENT = 15.0
"""How far a mix's held-out loss may be above the baseline's."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over seeds."""

    mean: float
    deviation: float
    """The sample's; 0 for one run."""
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True)
class Row:
    """One mix."""

    mix: str
    runs: int
    failed: int
    heldout: dict[str, Spread]
    """By tier."""
    difference_percent: dict[str, float]
    """By tier: to the baseline's mean at the same tier; positive is worse."""
    nan_losses: int
    errors: int
    is_complete: bool
    """Every peer's contribution to every round of every run was accepted."""
    seconds: float

    @property
    def is_within_bar(self) -> bool:
        """Whether the full model, and every smaller one in it, is close to the baseline's."""
        return bool(self.difference_percent) and all(
            value <= BAR_PERCENT for value in self.difference_percent.values()
        )


def make_rows(records: Sequence[Record], mixes: Sequence[str]) -> list[Row]:
    """A row for every mix that has a run; the first mix is the baseline."""
    baseline = _spreads([one for one in records if one.cell.mix == mixes[0]])
    return [
        _row(mix, found, baseline)
        for mix in mixes
        if (found := [one for one in records if one.cell.mix == mix])
    ]


def table_lines(rows: Sequence[Row]) -> Iterator[str]:
    """The rows as a Markdown table."""
    tiers = sorted({tier for row in rows for tier in row.heldout})
    names = ["mix", "runs", *(f"held-out loss, tier {tier}" for tier in tiers)]
    names += [
        *(f"vs baseline, tier {tier}" for tier in tiers),
        "NaN",
        "errors",
        "all rounds by all",
    ]
    yield f"| {' | '.join(names)} | s a run |"
    yield "|" + "---|" * (len(names) + 1)
    for row in rows:
        cells = [row.mix, f"{row.runs}" + (f" ({row.failed} failed)" if row.failed else "")]
        cells += [_loss(row.heldout.get(tier)) for tier in tiers]
        cells += [_percent(row.difference_percent.get(tier)) for tier in tiers]
        cells += [str(row.nan_losses), str(row.errors), "yes" if row.is_complete else "no"]
        yield f"| {' | '.join(cells)} | {row.seconds:.0f} |"


def _row(mix: str, records: Sequence[Record], baseline: dict[str, Spread]) -> Row:
    heldout = _spreads(records)
    return Row(
        mix=mix,
        runs=len(records),
        failed=sum(not record.ok for record in records),
        heldout=heldout,
        difference_percent={
            tier: round(100 * (spread.mean / baseline[tier].mean - 1), 2)
            for tier, spread in heldout.items()
            if tier in baseline
        },
        nan_losses=sum(record.nan_losses for record in records),
        errors=sum(record.errors for record in records),
        is_complete=all(record.is_complete for record in records),
        seconds=fmean(record.seconds for record in records),
    )


def _spreads(records: Sequence[Record]) -> dict[str, Spread]:
    """Of the runs that came to their end."""
    tiers = sorted({tier for record in records for tier in record.heldout})
    found = {}
    for tier in tiers:
        losses = [one.heldout[tier] for one in records if one.ok and tier in one.heldout]
        if losses:
            deviation = stdev(losses) if len(losses) > 1 else 0.0
            found[tier] = Spread(
                round(fmean(losses), 4), round(deviation, 4), min(losses), max(losses)
            )
    return found


def _loss(spread: Spread | None) -> str:
    return "-" if spread is None else f"{spread.mean:.4f} ± {spread.deviation:.4f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}%"
