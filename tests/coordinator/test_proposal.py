"""What is due, and that it always fits into a block."""

from __future__ import annotations

from dataclasses import replace

import pytest

from psyche_p2p.coordinator import Pool, due_commands, due_times_ms, encode_command
from psyche_p2p.coordinator.acceptance import encode_held
from psyche_p2p.coordinator.admission import (
    MAX_ADDRESS_CHARACTERS,
    MAX_ADDRESSES,
    MAX_DEVICE_CHARACTERS,
)
from psyche_p2p.coordinator.committee import MAX_COMMITTEE
from psyche_p2p.coordinator.pool import MAX_CONTRIBUTIONS, REFUSED_AS_CONTRIBUTIONS
from psyche_p2p.coordinator.quorum import compute_quorum
from psyche_p2p.coordinator.refusals import MAX_REFUSED
from psyche_p2p.ids import MAX_TIER, BlobHash, EpochIndex, ParamRoot, RoundIndex, Signature
from psyche_p2p.wire import Block, Capabilities, Phase, Withdraw, max_encoded_bytes
from psyche_p2p.wire.commands import (
    Admit,
    CloseRound,
    Contribution,
    Obey,
    OpenEpoch,
    RefusedTargets,
    Release,
    Witnessing,
    WitnessSignature,
)
from psyche_p2p.wire.messages import OwnerAction, OwnerOrder
from tests.coordinator.world import World, identity, make_config, make_join

HUGE = 2**63 - 1
MOST_SIDE_BYTES = 2 * 4096
HEADER_BYTES = 400


@pytest.mark.parametrize("refused", range(MAX_REFUSED + 1))
def test_the_largest_close_fits_into_a_block_beside_everything_else(refused: int) -> None:
    roots = (ParamRoot(bytes(32)),) * (MAX_TIER + 1)
    digest, signature = BlobHash(bytes(32)), Signature(bytes(64))
    count = MAX_CONTRIBUTIONS - refused * REFUSED_AS_CONTRIBUTIONS
    contributions = tuple(
        Contribution(index, digest, HUGE, digest, HUGE, signature)
        for index in range(MAX_CONTRIBUTIONS)
    )
    held = encode_held(range(count), count)
    witnessings = tuple(
        Witnessing(index, held, RoundIndex(HUGE), roots, signature)
        for index in range(MAX_COMMITTEE)
    )
    quorum = range(MAX_COMMITTEE - compute_quorum(MAX_COMMITTEE), MAX_COMMITTEE)
    signatures = tuple(WitnessSignature(index, signature) for index in quorum)
    command = CloseRound(
        EpochIndex(HUGE),
        RoundIndex(HUGE),
        contributions[:count],
        witnessings,
        2**32 - 1,
        tuple(RefusedTargets(one, signatures) for one in contributions[-refused:][:refused]),
    )
    size_bytes = len(encode_command(command))
    assert size_bytes + MOST_SIDE_BYTES + HEADER_BYTES <= max_encoded_bytes(Block)


def test_the_largest_admissible_join_finds_room() -> None:
    world = World.start(make_config(), 2)
    big = replace(
        make_join(nonce=2**63 - 1),
        addresses=("x" * MAX_ADDRESS_CHARACTERS,) * MAX_ADDRESSES,
        capabilities=Capabilities(HUGE, HUGE, "\U0001f40c" * MAX_DEVICE_CHARACTERS),
    )
    pool = Pool(joins=(world.say(identity(9).peer_id, big),))
    assert len(due_commands(world.state, pool, world.clock_ms)) == 1


def test_joins_make_a_block_due_only_while_the_run_waits() -> None:
    world = World.start(make_config(), 4)
    join = Pool(joins=(world.say(identity(9).peer_id, make_join()),))
    assert [type(one) for one in due_commands(world.state, join, world.clock_ms)] == [Admit]
    world.wait(2)
    due = due_commands(world.state, join, world.clock_ms)
    assert [type(one) for one in due] == [Admit, OpenEpoch]
    world.run_until(Phase.TRAIN)
    assert due_commands(world.state, join, world.clock_ms) == ()
    heard = replace(world.heard(), joins=join.joins)
    due = due_commands(world.state, heard, world.clock_ms)
    assert [type(one) for one in due] == [Admit, CloseRound]
    world.decide(*due)


def test_a_withdrawal_is_due_at_once() -> None:
    world = World.start(make_config(), 4)
    world.run_until(Phase.TRAIN)
    leaver = world.state.members[0].peer
    pool = Pool(withdrawals=(world.say(leaver, Withdraw(world.state.epoch, "", 2)),))
    due = due_commands(world.state, pool, world.clock_ms)
    assert [type(one) for one in due] == [Release]


def test_what_does_not_apply_is_left_out_and_holds_nothing_up() -> None:
    """A join too large for its share of a block, a stale one and a stranger's leave."""
    world = World.start(make_config(), 2)
    big = replace(make_join(nonce=0), addresses=("x" * 256,) * 16)
    pool = Pool(
        joins=(
            world.say(identity(8).peer_id, big),
            world.say(identity(1).peer_id, make_join(nonce=1)),
            world.say(identity(9).peer_id, make_join(nonce=3)),
        ),
        withdrawals=(world.say(identity(20).peer_id, Withdraw(EpochIndex(0), "", 2)),),
    )
    (command,) = due_commands(world.state, pool, world.clock_ms)
    assert isinstance(command, Admit)
    assert command.peer == identity(9).peer_id


def test_more_joins_than_fit_come_in_later_blocks() -> None:
    world = World.start(make_config(), 2)
    joins = tuple(world.say(identity(index).peer_id, make_join()) for index in range(3, 60))
    pool, blocks = Pool(joins=joins), 0
    while commands := due_commands(world.state, pool, world.clock_ms):
        world.decide(*commands)
        blocks += 1
    assert len(world.state.applicants) == 59
    assert 1 < blocks < 10


@pytest.mark.parametrize("phase", [Phase.WAITING_FOR_MEMBERS, Phase.WARMUP, Phase.COOLDOWN])
def test_time_alone_makes_a_block_due_when_it_was_said_to(phase: Phase) -> None:
    world = World.start(make_config(run={"total_rounds": 1}), 3)
    world.run_until(phase)
    if phase is Phase.WARMUP:
        world.dead.add(world.state.members[0].peer)
    (due_ms,) = due_times_ms(world.state)
    assert due_commands(world.state, world.heard(), due_ms - 1) == ()
    assert len(due_commands(world.state, world.heard(), due_ms)) == 1


def test_nobody_proposes_the_order_of_a_stranger() -> None:
    owner, stranger = identity(60), identity(61)
    world = World.start(make_config(run={"owner": owner.peer_id}), 3)
    orders = tuple(
        world.say(who.peer_id, OwnerOrder(OwnerAction.PAUSE, nonce))
        for who, nonce in ((stranger, 1), (owner, 2), (stranger, 3))
    )
    due = due_commands(world.state, Pool(orders=orders), world.clock_ms)
    assert [command.order.nonce for command in due if isinstance(command, Obey)] == [2]
    world.decide(*due)
    assert world.state.phase is Phase.PAUSED
