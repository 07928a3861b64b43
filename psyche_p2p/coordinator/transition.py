"""`apply`: the one way the run's state changes. `validate`: why it would not.

Both are pure and give the same answer on every machine. A block that is refused changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from psyche_p2p.coordinator.chain import SEED_CONTEXT, block_hash, next_seed, seed_message
from psyche_p2p.coordinator.commands import AnyCommand, decode_command
from psyche_p2p.coordinator.committee import proposer_at, proposer_order
from psyche_p2p.coordinator.epochs import (
    apply_begin_training,
    apply_close_epoch,
    apply_obey,
    apply_open_epoch,
)
from psyche_p2p.coordinator.evidence import (
    apply_eject_for_commitments,
    apply_eject_for_verdicts,
    apply_eject_for_votes,
)
from psyche_p2p.coordinator.membership import apply_admit, apply_release, with_members
from psyche_p2p.coordinator.rounds import apply_close_round
from psyche_p2p.coordinator.signed import Verify
from psyche_p2p.coordinator.state import State, note_enough, state_root
from psyche_p2p.errors import Rejected
from psyche_p2p.identity import verify as verify_signature
from psyche_p2p.ids import PeerId, StateRoot, short_id
from psyche_p2p.wire import commands as wire
from psyche_p2p.wire.messages import Block

MAX_COMMANDS = 256

_HANDLERS: dict[type[Any], Callable[[State, Any, Verify], State]] = {
    wire.Admit: apply_admit,
    wire.Release: apply_release,
    wire.Obey: apply_obey,
    wire.OpenEpoch: apply_open_epoch,
    wire.BeginTraining: apply_begin_training,
    wire.CloseRound: apply_close_round,
    wire.CloseEpoch: apply_close_epoch,
    wire.EjectForVotes: apply_eject_for_votes,
    wire.EjectForCommitments: apply_eject_for_commitments,
    wire.EjectForVerdicts: apply_eject_for_verdicts,
}


def apply(state: State, block: Block, verify: Verify = verify_signature) -> State:
    """The state after a block; Rejected, with the first reason, if it does not follow."""
    for reason in _header_faults(state, block, verify):
        raise Rejected(reason)
    return _follow(state, block, verify)


def validate(state: State, block: Block, verify: Verify = verify_signature) -> tuple[str, ...]:
    """Why this block may not follow this state: every fault of its header, or the first beyond."""
    faults = tuple(_header_faults(state, block, verify))
    if faults:
        return faults
    try:
        _follow(state, block, verify)
    except Rejected as rejected:
        return (str(rejected),)
    return ()


def apply_command(state: State, command: AnyCommand, verify: Verify) -> State:
    """The state after one command, at the time and with the seed that the state already has."""
    return note_enough(_HANDLERS[type(command)](state, command, verify))


def run_block(state: State, block: Block, commands: Iterable[AnyCommand], verify: Verify) -> State:
    """The state after these commands at the block's height, time and seed."""
    working = replace(state, height=block.height, time_ms=block.time_ms, seed=block.seed)
    for command in commands:
        working = apply_command(working, command, verify)
    return _note_passed_over(working, proposer_order(state), block)


def require_root(state: State) -> StateRoot:
    """The state's root; Rejected if a number in it outgrew its field."""
    try:
        return state_root(state)
    except ValueError as error:
        raise Rejected(f"the state would hold what it cannot: {error}") from error


def _follow(state: State, block: Block, verify: Verify) -> State:
    """The state after a block whose header is good."""
    commands = (decode_command(data) for data in block.commands)
    working = run_block(state, block, commands, verify)
    root = require_root(working)
    if root != block.state_root:
        ours, theirs = short_id(root), short_id(block.state_root)
        raise Rejected(f"the block ends in state {theirs}, its commands in {ours}")
    return replace(working, block_hash=block_hash(block))


def _note_passed_over(state: State, order: tuple[PeerId, ...], block: Block) -> State:
    """Whose views went by without a block is late; whoever proposed this one is not.

    After the commands: an attestation from before it fell silent must not clear its name.
    """
    passed_over = set(order[: min(block.view, len(order))]) - {block.proposer}
    updated = {
        member.peer: replace(member, is_late=member.peer in passed_over)
        for member in state.active_members
        if member.peer in passed_over or member.peer == block.proposer
    }
    return with_members(state, updated)


def _header_faults(state: State, block: Block, verify: Verify) -> Iterator[str]:
    if block.height != state.height + 1:
        yield f"height {block.height} does not follow {state.height}"
        return
    if block.prev_hash != state.block_hash:
        ours, theirs = short_id(state.block_hash), short_id(block.prev_hash)
        yield f"it follows block {theirs}, not {ours}"
        return
    if block.time_ms < state.time_ms:
        yield f"its time is {state.time_ms - block.time_ms} ms before the last block's"
    if not 0 < len(block.commands) <= MAX_COMMANDS:
        yield f"{len(block.commands)} commands, 1 to {MAX_COMMANDS} are allowed"
    expected = proposer_at(state, block.view)
    if block.proposer != expected:
        ours, theirs = short_id(expected), short_id(block.proposer)
        yield f"{theirs} proposed it, view {block.view} is {ours}'s"
    if block.seed != next_seed(state.seed, block.seed_signature):
        yield "its seed is not the hash of its seed signature"
    message = seed_message(state.run_id, block.height, state.seed)
    if not verify(block.proposer, SEED_CONTEXT, message, block.seed_signature):
        yield "its proposer did not sign the previous seed"
