"""The mixes' training losses as one small SVG, a line a mix and a band from seed to seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean
from xml.sax.saxutils import escape

from experiment_parts.record import Record

_WIDTH, _HEIGHT = 640.0, 360.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 16.0, 16.0, 40.0
_COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#8e5ea2")
_MOST_POINTS = 60
_TICKS = 5


def plot_lines(records: Sequence[Record], mixes: Sequence[str]) -> Iterator[str]:
    """The lines of an SVG file; an empty picture without a single loss."""
    curves = {mix: found for mix in mixes if (found := _curves(records, mix))}
    frame = _Frame(curves)
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" '
    yield 'font-family="sans-serif" font-size="11">'
    yield f'<rect width="{_WIDTH:g}" height="{_HEIGHT:g}" fill="white"/>'
    yield from frame.axes()
    for number, (mix, found) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        top, middle, bottom = (_fold(found, fold) for fold in (max, fmean, min))
        band = frame.points(top) + frame.points(bottom)[::-1]
        yield f'<polygon points="{" ".join(band)}" fill="{colour}" fill-opacity="0.15"/>'
        line = " ".join(frame.points(middle))
        yield f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        x, y = _WIDTH - 130, _TOP + 16 * (number + 1)
        yield f'<path d="M{x:g} {y - 4:g}h20" stroke="{colour}" stroke-width="3"/>'
        yield f'<text x="{x + 26:g}" y="{y:g}">tiers {escape(mix)}</text>'
    yield "</svg>"


class _Frame:
    """Where a round and a loss are in the picture."""

    def __init__(self, curves: dict[str, list[dict[int, float]]]) -> None:
        losses = [loss for found in curves.values() for one in found for loss in one.values()]
        rounds = [number for found in curves.values() for one in found for number in one]
        self._low, self._high = min(losses, default=0.0), max(losses, default=1.0)
        self._span = (self._high - self._low) or 1.0
        self._rounds = max(rounds, default=1) or 1

    def points(self, curve: dict[int, float]) -> list[str]:
        return [f"{self._x(number):.1f},{self._y(loss):.1f}" for number, loss in curve.items()]

    def axes(self) -> Iterator[str]:
        """Both axes, with a few numbers, and what they are."""
        bottom = _HEIGHT - _BOTTOM
        for tick in range(_TICKS + 1):
            loss = self._low + self._span * tick / _TICKS
            y = self._y(loss)
            yield f'<path d="M{_LEFT:g} {y:.1f}H{_WIDTH - _RIGHT:g}" stroke="#ddd"/>'
            yield f'<text x="{_LEFT - 6:g}" y="{y + 4:.1f}" text-anchor="end">{loss:.2f}</text>'
            number = round(self._rounds * tick / _TICKS)
            x = self._x(number)
            yield f'<text x="{x:.1f}" y="{bottom + 16:g}" text-anchor="middle">{number}</text>'
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        yield f'<text x="{middle:g}" y="{_HEIGHT - 6:g}" text-anchor="middle">round</text>'
        y = (_TOP + bottom) / 2
        place = f'x="14" y="{y:g}" text-anchor="middle" transform="rotate(-90 14 {y:g})"'
        yield f"<text {place}>training loss, mean over peers</text>"

    def _x(self, number: int) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * number / self._rounds

    def _y(self, loss: float) -> float:
        share = (loss - self._low) / self._span
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share


def _curves(records: Sequence[Record], mix: str) -> list[dict[int, float]]:
    """Of every run of a mix: the loss at some rounds, the mean over those since the one before."""
    found = []
    for record in records:
        if record.cell.mix == mix and record.losses:
            width = max(1, math.ceil(len(record.losses) / _MOST_POINTS))
            curve = {}
            for first in range(0, len(record.losses), width):
                known = [one for one in record.losses[first : first + width] if one is not None]
                if known:
                    curve[first] = fmean(known)
            found.append(curve)
    return found


def _fold(
    curves: Sequence[dict[int, float]], fold: Callable[[list[float]], float]
) -> dict[int, float]:
    """Over seeds, at every round that one of them has."""
    rounds = sorted(set[int]().union(*curves))
    return {
        number: fold([curve[number] for curve in curves if number in curve]) for number in rounds
    }
