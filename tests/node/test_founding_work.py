"""Founding a run out of what comes in whatever order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from psyche_p2p.clock import SystemClock
from psyche_p2p.config import RunConfig, load_run_config, run_id
from psyche_p2p.config.load import check_run_config
from psyche_p2p.consensus import IdentitySigner
from psyche_p2p.coordinator.logfile import LogHead
from psyche_p2p.identity import Identity
from psyche_p2p.ids import BlobHash, ParamRoot, PeerId, SchemaHash, Tier, short_id
from psyche_p2p.node import founding_work
from psyche_p2p.node.beginning import Beginnings
from psyche_p2p.node.founding_work import FoundingWork
from psyche_p2p.node.promises import Promises
from psyche_p2p.node.timers import Timers
from psyche_p2p.node.voice import Voice
from psyche_p2p.node.wal import open_wal
from psyche_p2p.wire import Capabilities, Envelope, Join, Vote
from psyche_p2p.wire.messages import Role

_PATIENCE_S = 60.0


def two_founders() -> RunConfig:
    base = load_run_config(Path(__file__).parents[2] / "configs" / "nano.toml").model_dump()
    base["members"] |= {"init_min_members": 2, "waiting_for_members_extra_s": 0.001}
    return check_run_config(base, "two founders")


CONFIG = two_founders()
SCHEMA = SchemaHash(bytes(32))
OTHER_SCHEMA = SchemaHash(b"o" * 32)


class Founder:
    """One peer's work, whose words go where a test says."""

    def __init__(self, number: int, folder: Path, schema: SchemaHash = SCHEMA) -> None:
        self.tell: Callable[[Envelope], None] = lambda _: None
        signer = IdentitySigner(Identity.from_seed(bytes([number]) * 32), run_id(CONFIG))
        self.peer = signer.peer
        promises = Promises.open(folder / f"promises{number}")
        wal, _ = open_wal(folder / f"wal{number}", run_id(CONFIG))
        self.work = FoundingWork(
            CONFIG,
            signer,
            lambda: make_join(number, schema),
            lambda: find_beginnings(schema),
            Voice(signer, promises, self.hear, lambda envelope: self.tell(envelope)),
            wal,
            Timers(SystemClock()),
            nobody,
            self.explain,
        )

    async def explain(self, peer: PeerId, schema: SchemaHash) -> str:
        """What a comparison with that peer would come to."""
        return f"{peer} begins with {schema.hex()[:8]}"

    def hear(self, envelope: Envelope) -> None:
        self.work.on_envelope(envelope)


async def nobody() -> None:
    return None


async def find_beginnings(schema: SchemaHash) -> Beginnings:
    roots = tuple(ParamRoot(bytes([tier]) * 32) for tier in range(CONFIG.model.max_tier + 1))
    return Beginnings(run_id(CONFIG), schema, roots, BlobHash(bytes(32)))


def make_join(number: int, schema: SchemaHash) -> Join:
    return Join(
        roles=(Role.TRAINER, Role.WITNESS),
        tier=Tier(0),
        capabilities=Capabilities(tokens_per_s=0, memory_bytes=0, device="cpu"),
        addresses=(),
        tls_fingerprint=BlobHash(bytes([number]) * 32),
        schema_hash=schema,
        nonce=number,
    )


async def found_with_a_vote_that_comes_first(folder: Path) -> list[LogHead]:
    early, late = Founder(1, folder), Founder(2, folder)
    held: list[Envelope] = []

    def to_late(envelope: Envelope) -> None:
        """The first one's vote overtakes its join."""
        if isinstance(envelope.message, Vote):
            late.hear(envelope)
            for waiting in held:
                late.hear(waiting)
        else:
            held.append(envelope)

    early.tell, late.tell = to_late, early.hear
    runs: list[Any] = [early.work.run(), late.work.run()]
    return await asyncio.wait_for(asyncio.gather(*runs), _PATIENCE_S)


def test_a_vote_of_one_who_was_not_seen_ready_yet_counts_once_it_is(tmp_path: Path) -> None:
    heads = asyncio.run(found_with_a_vote_that_comes_first(tmp_path))
    assert heads[0].genesis == heads[1].genesis
    assert [head.founding.view for head in heads if head.founding] == [0, 0], "not a second attempt"


class Warned(logging.Handler):
    """Waits until so many different warnings have been given."""

    def __init__(self, count: int) -> None:
        super().__init__(logging.WARNING)
        self._count = count
        self.warnings: dict[str, str] = {}
        self.enough = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        fields = getattr(record, "fields", {})
        self.warnings[fields["peer"]] = f"{record.getMessage()}: {fields['cause']}"
        if len(self.warnings) == self._count:
            self.enough.set()


async def warnings_of_two_who_differ(folder: Path) -> tuple[dict[str, str], list[Founder]]:
    one, other = Founder(1, folder), Founder(2, folder, OTHER_SCHEMA)
    one.tell, other.tell = other.hear, one.hear
    warned = Warned(2)
    logger = logging.getLogger(founding_work.__name__)
    logger.addHandler(warned)
    works = [asyncio.create_task(founder.work.run()) for founder in (one, other)]
    try:
        await asyncio.wait_for(warned.enough.wait(), _PATIENCE_S)
    finally:
        logger.removeHandler(warned)
        for work in works:
            work.cancel()
        ended = await asyncio.gather(*works, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ended), "nothing is founded"
    return warned.warnings, [one, other]


def test_founders_who_differ_found_nothing_and_each_is_told_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(founding_work, "_REPORT_S", 0.1)
    warnings, founders = asyncio.run(warnings_of_two_who_differ(tmp_path))
    one, other = (founder.peer for founder in founders)
    said = "another has signed another beginning of this run than we"
    assert warnings == {
        short_id(one): f"{said}: {one} begins with 00000000",
        short_id(other): f"{said}: {other} begins with 6f6f6f6f",
    }
