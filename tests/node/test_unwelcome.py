"""Peers that the run will never have are told so in a line, instead of waiting for ever.

They only witness here, which needs no trainer; the check is the same.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from psyche_p2p.config import RunConfig, run_id
from psyche_p2p.coordinator import block_hash, genesis_hash
from psyche_p2p.coordinator.logfile import LogHead
from psyche_p2p.errors import ExitCode, Rejected
from psyche_p2p.identity import Identity
from psyche_p2p.ids import BlockHash, Height, View
from psyche_p2p.node.home import Home
from psyche_p2p.node.log_store import LogStore
from psyche_p2p.wire import Certificate, DecidedBlock, Vote, VoteStep
from psyche_p2p.wire.commands import EjectForVotes
from tests.coordinator.world import World, identity, make_config, make_genesis, make_join
from tests.node.living import living, write_run_file

ME, ANOTHER = identity(1), identity(2)
LIMIT_S = 120.0


def refusal(home: Path, config: RunConfig, who: Identity) -> Rejected:
    """What a peer that is given a run says when it ends."""

    async def start() -> Rejected:
        run_file = write_run_file(config, home.with_name("run.toml"))
        async with living(home, who, run_file=run_file, tier=None) as peer:
            assert peer.task is not None
            with pytest.raises(Rejected) as refused:
                await peer.task
        return refused.value

    return asyncio.run(asyncio.wait_for(start(), LIMIT_S))


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"block": [ME.peer_id]}, r"is blocked \(members.block\); only a run with another"),
        ({"allow": [ANOTHER.peer_id]}, r"is not invited \(members.allow\); only a run with"),
    ],
)
def test_who_is_kept_out_by_the_configuration(
    tmp_path: Path, members: dict[str, list[str]], reason: str
) -> None:
    refused = refusal(tmp_path / "home", make_config(members=members), ME)
    assert re.search(reason, str(refused))
    assert refused.exit_code == ExitCode.REJECTED


def test_who_was_ejected_and_starts_again(tmp_path: Path) -> None:
    config = make_config()
    write_log_that_ejects(tmp_path / "home", config, ME)
    refused = refusal(tmp_path / "home", config, ME)
    assert "has been ejected from this run for misconduct proven in its log" in str(refused)
    assert refused.exit_code == ExitCode.REJECTED


def write_log_that_ejects(home: Path, config: RunConfig, culprit: Identity) -> None:
    """What the culprit's own disk holds: it was a founder, and voted twice."""
    joins = {index: make_join() for index in range(1, 5)}
    world, genesis = World.start(config, joins), make_genesis(config, joins)
    said, again = (
        world.say(culprit.peer_id, Vote(Height(1), View(0), VoteStep.PRECOMMIT, BlockHash(of)))
        for of in (b"a" * 32, b"b" * 32)
    )
    world.decide(
        EjectForVotes(culprit.peer_id, said.message, said.signature, again.message, again.signature)
    )
    (block,) = world.blocks
    unchecked = Certificate(Height(1), View(0), block_hash(block), ())
    founding = Certificate(Height(0), View(0), genesis_hash(genesis), ())
    folder = Home(home).run_folder(run_id(config))
    log = LogStore.create(folder.log, LogHead(config, genesis, founding))
    log.append(DecidedBlock(block, unchecked))
    log.close()
