"""Every process of every peer is killed at once, in any phase: the run resumes where it was."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner
from localnet_parts.peer import Peer

from psyche_p2p.cli.log import log
from psyche_p2p.coordinator import decode_command
from psyche_p2p.ids import Height
from psyche_p2p.node.log_store import LogStore
from psyche_p2p.observe.event_log import read_events
from psyche_p2p.observe.events import Applied, Diverged, Resynced, Started
from psyche_p2p.wire import Block, DecidedBlock
from psyche_p2p.wire.commands import CloseRound
from tests.node.faults.network import Network

SEED = 9
STARTING = "starting"
PHASES = ("TRAIN", "COOLDOWN", "TRAIN", "WARMUP", "TRAIN", "WAITING_FOR_MEMBERS", STARTING)
EPOCHS = (
    "rounds.epoch_s=8",
    "rounds.warmup_s=7",
    "rounds.max_round_train_s=7",
    "rounds.cooldown_s=0.5",
    "members.waiting_for_members_extra_s=1.0",
)
_AT_MOST_LATER_S = 0.8
_ALL = 1 << 20


@pytest.mark.parametrize(
    "moments",
    [pytest.param(2, marks=pytest.mark.slow), pytest.param(30, marks=pytest.mark.long)],
)
def test_all_are_killed_again_and_again(moments: int, tmp_path: Path) -> None:
    source = random.Random(SEED)
    with Network(tmp_path, (0, 0, 1), EPOCHS) as network:
        for number in range(moments):
            phase, later_s = PHASES[number % len(PHASES)], source.uniform(0, _AT_MOST_LATER_S)
            if phase == STARTING:
                network.kill_all()
                network.start_all()
            else:
                network.until(f"{phase} comes", partial(is_anyone_in, network, phase))
            network.let_pass(later_s)
            network.kill_all()
            network.start_all()
            network.until_back(*network.peers)
        network.require_equal_roots()
        assert not [peer.tally.contradicted for peer in network.peers if peer.tally.contradicted]
        network.kill_all()
        require_one_history(network.peers)
    for peer in network.peers:
        require_each_round_applied_once(peer)


def is_anyone_in(network: Network, phase: str) -> bool:
    return any(peer.tally.phase == phase for peer in network.peers)


def require_one_history(peers: Sequence[Peer]) -> None:
    """The logs of all peers are valid, hold the same blocks, and settle every round once."""
    histories = []
    for peer in peers:
        (path,) = peer.home.glob("runs/*/log")
        blocks = [decided.block for decided in read_log(path)]
        told = CliRunner().invoke(log, ["verify", str(path), "--json"]).output
        values = json.loads(told)
        assert (values["valid"], values["height"]) == (True, len(blocks)), told
        histories.append(blocks)
    longest = max(histories, key=len)
    for blocks in histories:
        assert blocks == longest[: len(blocks)]
    settled = settled_rounds(longest)
    assert settled == list(range(len(settled)))


def read_log(path: Path) -> list[DecidedBlock]:
    store = LogStore.open(path)  # cuts off what the kill left unfinished
    try:
        return list(store.blocks(Height(1), _ALL))
    finally:
        store.close()


def settled_rounds(blocks: Sequence[Block]) -> list[int]:
    commands = [decode_command(data) for block in blocks for data in block.commands]
    return [command.round for command in commands if isinstance(command, CloseRound)]


def require_each_round_applied_once(peer: Peer) -> None:
    """Within one process a round follows the one before it, unless it took others' parameters."""
    last: int | None = None
    for recorded in read_events(peer.events_path):
        match recorded.event:
            case Started() | Resynced() | Diverged():
                last = None
            case Applied(param_round=number):
                assert last is None or number == last + 1, f"peer {peer.number}: {last}, {number}"
                last = number
