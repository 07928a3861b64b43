"""What `psyche-peer run status` says of a run, as values and as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psyche_p2p.cli.tables import Sheet
from psyche_p2p.config import RunConfig, run_id
from psyche_p2p.coordinator import State
from psyche_p2p.ids import Height, PeerId, short_id
from psyche_p2p.wire.messages import Join

_NOT_BEGUN = "NOT_BEGUN"


def report_run(
    config: RunConfig, state: State | None, heights: Mapping[PeerId, Height]
) -> dict[str, Any]:
    """Where a run stands; `state` is None before it has begun."""
    report: dict[str, Any] = {
        "run_id": run_id(config).hex(),
        "name": config.run.name,
        "owner": config.run.owner,
        "total_rounds": config.run.total_rounds,
        "phase": _NOT_BEGUN,
        "answered": dict(sorted(heights.items())),
        "members": [],
    }
    if state is not None:
        report |= _standing(state)
    return report


def _standing(state: State) -> dict[str, Any]:
    return {
        "phase": state.phase.name,
        "is_pause_pending": state.is_pause_pending,
        "height": state.height,
        "block_hash": state.block_hash.hex(),
        "epoch": state.epoch,
        "round": state.closed_count,
        "param_round": state.param_round,
        "param_root": state.param_root.hex(),
        "points_issued": state.points_issued,
        "members": _members(state),
    }


def _members(state: State) -> list[dict[str, Any]]:
    """Everyone who has a part in the run, wants one, or had one; the most points first."""
    joins: dict[PeerId, tuple[Join, str]] = {}
    for member in state.members:
        joins[member.peer] = (member.join, member.status.name.lower())
    for what, waiting in (("waiting", state.applicants), ("entering", state.entrants)):
        for one in waiting:
            joins[one.peer] = (one.join, what)
    accounts = {one.peer: one for one in state.accounts}
    rows = []
    for peer in joins.keys() | accounts.keys():
        join, status = joins.get(peer, (None, "gone"))
        account = accounts.get(peer)
        is_banned = account is not None and account.is_banned
        rows.append(
            {
                "peer": peer,
                "status": "ejected" if is_banned else status,
                "tier": None if join is None else join.tier,
                "roles": [] if join is None else [role.name.lower() for role in join.roles],
                "points": 0 if account is None else account.points,
                "epoch_points": 0 if account is None else account.epoch_points,
            }
        )
    return sorted(rows, key=lambda row: (-row["points"] - row["epoch_points"], row["peer"]))


def run_sheets(report: Mapping[str, Any]) -> list[Sheet]:
    """The same for a person."""
    title = f"run {report['name']} ({report['run_id'][:16]})"
    return [Sheet(title, ("", ""), tuple(_facts(report))), _member_sheet(report)]


def _facts(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    phase = report["phase"]
    if report.get("is_pause_pending"):
        phase += ", to be paused"
    facts = [("phase", phase)]
    if report["phase"] != _NOT_BEGUN:
        facts += [
            ("epoch", str(report["epoch"])),
            ("rounds settled", f"{report['round']} of {report['total_rounds']}"),
            ("height", f"{report['height']}, every certificate checked"),
            ("param root", f"{report['param_root']} after {report['param_round']} rounds"),
        ]
    answered = ", ".join(f"{short_id(PeerId(p))} ({h})" for p, h in report["answered"].items())
    facts.append(("answered (height)", answered or "nobody"))
    facts.append(("owner", report["owner"] or "none"))
    return facts


def _member_sheet(report: Mapping[str, Any]) -> Sheet:
    rows = [
        (
            row["peer"],
            row["status"],
            "" if row["tier"] is None else str(row["tier"]),
            "+".join(row["roles"]),
            str(row["points"]),
            str(row["epoch_points"]),
        )
        for row in report["members"]
    ]
    columns = ("peer", "status", ">tier", "roles", ">points", ">this epoch")
    return Sheet("members", columns, tuple(rows))
