"""The start-up summary: what was loaded, at which tier, and what is odd about it."""

from __future__ import annotations

from dataclasses import dataclass

from psyche_p2p.model.helper import helper_refusal
from psyche_p2p.model.load import LoadPlan

_TITLE = "MATFORMER CONFIGURATION"
_LABEL_WIDTH = 19
_MIN_INSIDE = 66
_NOT_EQUAL = "\N{NOT EQUAL TO}"


@dataclass(frozen=True, slots=True)
class Summary:
    """Groups of labelled lines, and warnings below them."""

    groups: tuple[tuple[tuple[str, str], ...], ...]
    warnings: tuple[str, ...]


def summarize(plan: LoadPlan) -> Summary:
    """The summary of how a checkpoint is loaded."""
    checkpoint = plan.checkpoint
    requested = "(not given)" if plan.requested_tier is None else str(plan.requested_tier)
    differs = plan.requested_tier is not None and plan.requested_tier != plan.effective_tier
    share = round(100 * plan.width / plan.stored_width)
    groups = (
        (
            ("Checkpoint", str(checkpoint.folder)),
            ("Load strategy", plan.strategy.value.capitalize()),
            ("Sliced checkpoint", "Yes" if checkpoint.is_sliced else "No"),
        ),
        (
            ("CLI tier", requested),
            ("Effective tier", f"{plan.effective_tier}{f' {_NOT_EQUAL}' if differs else ''}"),
            ("Helper mode", _helper_text(plan)),
        ),
        (("FFN width", f"{plan.width} / {plan.stored_width} ({share}%)"),),
    )
    return Summary(groups, tuple(_warnings(plan, differs)))


def render_box(summary: Summary) -> str:
    """The summary in a box, for a terminal."""
    lines = [[_row(label, value) for label, value in group] for group in summary.groups]
    inside = max(_MIN_INSIDE, *(len(line) + 4 for group in lines for line in group))
    rule = "\N{BOX DRAWINGS DOUBLE HORIZONTAL}" * inside
    side = "\N{BOX DRAWINGS DOUBLE VERTICAL}"
    out = [f"╔{rule}╗", f"{side}{_TITLE:^{inside}}{side}"]
    for group in lines:
        out.append(f"╠{rule}╣")
        out += [f"{side}  {line:{inside - 2}}{side}" for line in group]
    out.append(f"╚{rule}╝")
    return "\n".join([*out, *_warning_lines(summary)])


def render_plain(summary: Summary) -> str:
    """The summary in ASCII without a box, for files and pipes."""
    rows = [_row(label, value) for group in summary.groups for label, value in group]
    text = "\n".join([_TITLE.capitalize(), *rows, *_warning_lines(summary)])
    return text.replace(_NOT_EQUAL, "!=")


def _row(label: str, value: str) -> str:
    return f"{label + ':':{_LABEL_WIDTH}}{value}"


def _warning_lines(summary: Summary) -> list[str]:
    return [f"warning: {warning}" for warning in summary.warnings]


def _helper_text(plan: LoadPlan) -> str:
    refusal = helper_refusal(plan.tier, plan.checkpoint.held_tier)
    if plan.requested_helper_fraction and refusal:
        return f"Auto-disabled ({refusal})"
    return f"{plan.helper_fraction:.0%} of the suffix" if plan.helper_fraction else "Off"


def _warnings(plan: LoadPlan, differs: bool) -> list[str]:
    warnings = []
    if differs and plan.checkpoint.is_sliced:
        warnings.append(
            f"the checkpoint is already sliced to tier {plan.checkpoint.held_tier}; "
            + (
                "it is used as it is"
                if plan.effective_tier == 0
                else f"it is cut {plan.effective_tier} tier(s) further"
            )
        )
    if plan.requested_helper_fraction and plan.helper_fraction == 0:
        warnings.append("helper mode needs tier 0 of a universal checkpoint; use fraction 0")
    if plan.checkpoint.manifest is None:
        warnings.append("the checkpoint has no psyche.json: its contents were not verified")
    return warnings
