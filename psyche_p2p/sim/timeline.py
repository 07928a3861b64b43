"""One simulated run as a picture: a lane for every peer, one HTML file that needs nothing else."""

from __future__ import annotations

import html
from collections.abc import Iterable

from psyche_p2p.sim.trace import Mark, Moment, Span, Trace

_LANE_PX = 34
_LEFT_PX = 150
_TOP_PX = 40
_PX_PER_S = 160
_MAX_WIDTH_PX = 30_000
_COLOURS = {
    Mark.PROPOSAL: "#7048e8",
    Mark.PREVOTE: "#1c7ed6",
    Mark.PRECOMMIT: "#0ca678",
    Mark.NIL_VOTE: "#adb5bd",
    Mark.DECISION: "#212529",
    Mark.ROUND_CLOSED: "#f08c00",
    Mark.COMMITMENT: "#e599f7",
    Mark.ATTESTATION: "#74c0fc",
    Mark.STATEMENT: "#c0eb75",
    Mark.EVIDENCE: "#d6336c",
    Mark.VIOLATION: "#e03131",
}
_STYLE = """
body { font: 13px/1.4 system-ui, sans-serif; margin: 1.5rem; color: #212529; background: #fff; }
h1 { font-size: 1.2rem; margin: 0 0 .25rem; }
p { margin: 0 0 .75rem; color: #495057; }
.legend span { margin-right: 1rem; white-space: nowrap; }
.legend i { display: inline-block; width: .7em; height: .7em; border-radius: 50%; }
.picture { overflow-x: auto; border: 1px solid #dee2e6; }
text { font: 11px system-ui, sans-serif; fill: #495057; }
"""


def draw_timeline(trace: Trace, lanes: Iterable[str], title: str, summary: str) -> str:
    """The whole page: title, legend, picture."""
    names = list(lanes)
    ends = [moment.time_ms for moment in trace.moments] + [span.end_ms for span in trace.spans]
    width = min(_x(max(ends, default=0)) + 40, _MAX_WIDTH_PX)
    height = _TOP_PX + _LANE_PX * len(names) + 10
    body = [
        *_draw_grid(width, height),
        *_draw_lanes(names, width),
        *(_draw_span(span, width) for span in trace.spans),
        *(_draw_moment(moment) for moment in trace.moments if _x(moment.time_ms) <= width),
    ]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>"
        f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1><p>{html.escape(summary)}</p>"
        f"<p class=legend>{_draw_legend()}</p><div class=picture>"
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">'
        + "".join(body)
        + "</svg></div></html>\n"
    )


def _x(time_ms: int) -> int:
    return _LEFT_PX + time_ms * _PX_PER_S // 1000


def _y(peer: int) -> int:
    return _TOP_PX + peer * _LANE_PX + _LANE_PX // 2


def _draw_legend() -> str:
    return "".join(
        f'<span><i style="background:{colour}"></i> {mark.value}</span>'
        for mark, colour in _COLOURS.items()
    )


def _draw_grid(width: int, height: int) -> Iterable[str]:
    for second in range((width - _LEFT_PX) // _PX_PER_S + 1):
        x = _x(second * 1000)
        yield f'<line x1="{x}" y1="{_TOP_PX - 8}" x2="{x}" y2="{height}" stroke="#f1f3f5"/>'
        yield f'<text x="{x + 2}" y="{_TOP_PX - 14}">{second} s</text>'


def _draw_lanes(names: list[str], width: int) -> Iterable[str]:
    for peer, name in enumerate(names):
        y = _y(peer)
        yield f'<line x1="{_LEFT_PX}" y1="{y}" x2="{width}" y2="{y}" stroke="#dee2e6"/>'
        yield f'<text x="6" y="{y + 4}">{html.escape(name)}</text>'


def _draw_span(span: Span, width: int) -> str:
    """A fault, over the lanes of everyone it touches."""
    start = _x(span.start_ms)
    length = max(2, min(_x(span.end_ms), width) - start)
    title = f"<title>{html.escape(span.text)}, {span.start_ms} to {span.end_ms} ms</title>"
    return "".join(
        f'<rect x="{start}" y="{_y(peer) - _LANE_PX // 2 + 2}" width="{length}" '
        f'height="{_LANE_PX - 4}" fill="#ffc9c9" fill-opacity=".55">{title}</rect>'
        for peer in span.peers
    )


def _draw_moment(moment: Moment) -> str:
    x, y, colour = _x(moment.time_ms), _y(moment.peer), _COLOURS[moment.mark]
    text = f"{moment.time_ms} ms: {moment.mark.value} {moment.text}"
    title = f"<title>{html.escape(text)}</title>"
    if moment.mark in (Mark.DECISION, Mark.ROUND_CLOSED, Mark.VIOLATION):
        return (
            f'<rect x="{x - 2}" y="{y - 12}" width="4" height="24" fill="{colour}">{title}</rect>'
        )
    offset = {Mark.PREVOTE: -4, Mark.PRECOMMIT: 4}.get(moment.mark, 0)
    return f'<circle cx="{x}" cy="{y + offset}" r="3.5" fill="{colour}">{title}</circle>'
