"""The owner's word on a living network: two peers with real daemons, ports and trainers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from psyche_p2p.cli.run_report import report_run
from psyche_p2p.clock import SystemClock
from psyche_p2p.errors import ExitCode, Rejected
from psyche_p2p.identity import Identity
from psyche_p2p.ids import Tier
from psyche_p2p.model.checkpoint import open_checkpoint
from psyche_p2p.net.multiaddr import Multiaddr
from psyche_p2p.node.orders import give_order
from psyche_p2p.node.visiting import Visitor, visit
from psyche_p2p.observe.events import (
    CheckpointWritten,
    MemberChanged,
    PhaseEntered,
    RootAgreed,
    RoundClosed,
)
from psyche_p2p.wire.messages import OwnerAction
from tests.node.living import LivingPeer, living, make_config, write_run_file

OWNER, STRANGER, BLOCKED = (Identity.from_seed(bytes([n]) * 32) for n in (1, 2, 3))
CLOCK = SystemClock()
LIMIT_S = 300.0


def test_the_owner_pauses_a_run_and_has_it_go_on(tmp_path: Path) -> None:
    asyncio.run(asyncio.wait_for(_pause_and_resume(tmp_path), LIMIT_S))


async def _pause_and_resume(folder: Path) -> None:
    config = make_config(
        run={"owner": OWNER.peer_id, "total_rounds": 100_000},
        members={"init_min_members": 2, "block": [BLOCKED.peer_id]},
    )
    run_file = write_run_file(config, folder / "run.toml")
    async with living(folder / "a", run_file=run_file, tier=Tier(0)) as first:
        address = await first.address()
        async with living(folder / "b", bootstrap=(address,)) as second:
            await second.until(RoundClosed, lambda event: event.round == 2)
            await _refuse_the_blocked(folder / "blocked", address)
            async with visit((address,), config.run.name, CLOCK) as visitor:
                paused = await _pause(visitor, first, second)
                await _resume(visitor, first, second, paused)
            second.stop.set()
            gone = await first.until(MemberChanged, lambda event: event.what == "withdrew")
            assert gone.peer != visitor.daemon.peer_id
            await second.task  # type: ignore[misc]


async def _refuse_the_blocked(home: Path, address: Multiaddr) -> None:
    async with living(home, BLOCKED, bootstrap=(address,)) as peer:
        with pytest.raises(Rejected, match=r"blocked \(members.block\)") as refused:
            await peer.task  # type: ignore[misc]
    assert refused.value.exit_code == ExitCode.REJECTED


async def _pause(visitor: Visitor, first: LivingPeer, second: LivingPeer) -> int:
    """The round before which it paused."""
    with pytest.raises(Rejected, match=f"obeys {OWNER.peer_id} alone"):
        await give_order(visitor, STRANGER, OwnerAction.PAUSE, CLOCK, 1.0)
    with pytest.raises(Rejected, match="the run is in TRAIN"):
        await give_order(visitor, OWNER, OwnerAction.RESUME, CLOCK, 1.0)
    obeyed = await give_order(visitor, OWNER, OwnerAction.PAUSE, CLOCK, 60.0)
    assert 0 < obeyed.height <= obeyed.state.height
    for peer in (first, second):
        await peer.until(PhaseEntered, lambda event: event.phase == "COOLDOWN")
        phase = await peer.until(PhaseEntered, lambda event: event.phase == "PAUSED")
        written = await peer.until(CheckpointWritten)
        taken = open_checkpoint(Path(written.folder)).manifest
        assert taken is not None
        assert taken.origin is not None
        assert taken.origin.height <= phase.height
        assert taken.param_root in taken.origin.param_roots
    state = await visitor.look()
    report = report_run(visitor.config, state, visitor.heights)
    assert (report["phase"], report["param_round"]) == ("PAUSED", report["round"])
    assert report["round"] == written.param_round
    assert len(report["answered"]) == 2
    assert sorted(row["tier"] for row in report["members"]) == [0, 2]
    assert all(row["points"] > 0 for row in report["members"])
    with pytest.raises(Rejected, match="finished, paused, or about to be"):
        await give_order(visitor, OWNER, OwnerAction.PAUSE, CLOCK, 1.0)
    return written.param_round


async def _resume(visitor: Visitor, first: LivingPeer, second: LivingPeer, paused: int) -> None:
    await give_order(visitor, OWNER, OwnerAction.RESUME, CLOCK, 60.0)
    for peer in (first, second):
        await peer.until(PhaseEntered, lambda event: (event.phase, event.epoch) == ("TRAIN", 1))
        closed = await peer.until(RoundClosed, lambda event: event.round >= paused)
        assert closed.round == paused
    agreed = [
        await peer.until(RootAgreed, lambda event: event.param_round > paused + 1)
        for peer in (first, second)
    ]
    assert agreed[0] == agreed[1]
