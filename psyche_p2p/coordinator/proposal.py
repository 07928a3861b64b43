"""Making the next block: which commands are due, when to look again, and the block itself.

What is due follows from the state, what a peer has heard, and its clock; different peers may see
different things due, and agreement chooses. Every command returned here applies to the state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from psyche_p2p.coordinator.acceptance import count_votes, judge
from psyche_p2p.coordinator.chain import SEED_CONTEXT, next_seed, seed_message
from psyche_p2p.coordinator.closing import make_close_epoch
from psyche_p2p.coordinator.commands import AnyCommand, encode_command
from psyche_p2p.coordinator.epochs import warm_statement
from psyche_p2p.coordinator.findings import find_double_commitments, find_failed_work
from psyche_p2p.coordinator.opening import first_round_count, learning_rates
from psyche_p2p.coordinator.pool import Pool, make_close_round
from psyche_p2p.coordinator.rounds import due_times_ms as round_due_times_ms
from psyche_p2p.coordinator.rounds import linger_ms
from psyche_p2p.coordinator.signed import Sign, Signed, latest_by_sender, trust
from psyche_p2p.coordinator.state import State, state_root
from psyche_p2p.coordinator.transition import apply_command, run_block
from psyche_p2p.errors import Rejected
from psyche_p2p.hashing import DIGEST_BYTES
from psyche_p2p.ids import Height, PeerId, StateRoot, View
from psyche_p2p.wire import commands as wire
from psyche_p2p.wire.messages import Block, Phase
from psyche_p2p.wire.records import OpenRound

_MAX_SIDE_COMMANDS = 64
_MAX_SIDE_BYTES = 4 * 1024  # twice: for what is urgent, and for joins
_QUIET_PHASES = (Phase.WARMUP, Phase.TRAIN, Phase.COOLDOWN)


def due_commands(state: State, pool: Pool, now_ms: int) -> tuple[AnyCommand, ...]:
    """The commands of the block that is due now; none if none is due.

    Joins alone make a block due only while the run waits for members: at other times they ride
    along with what comes anyway.
    """
    at_now = replace(state, time_ms=max(now_ms, state.time_ms))
    working, urgent = _take(at_now, _urgent(at_now, pool))
    main = [command for command in _phase_commands(working, pool) if _applies(working, command)]
    _, joins = _take(working, _joins(pool))
    if not urgent and not main and (not joins or state.phase in _QUIET_PHASES):
        return ()
    return (*urgent, *joins[: _MAX_SIDE_COMMANDS - len(urgent)], *main[:1])


def due_times_ms(state: State) -> tuple[int, ...]:
    """When something may become due by the passing of time alone, in rising order."""
    match state.phase:
        case Phase.WAITING_FOR_MEMBERS if state.enough_since_ms is not None:
            return (state.enough_since_ms + state.rules.waiting_extra_ms,)
        case Phase.WARMUP:
            return (state.phase_since_ms + state.rules.warmup_ms,)
        case Phase.TRAIN:
            return round_due_times_ms(state)
        case Phase.COOLDOWN:
            return (state.phase_since_ms + state.rules.cooldown_ms,)
        case _:
            return ()


def build_block(
    state: State,
    view: View,
    proposer: PeerId,
    sign: Sign,
    commands: Sequence[AnyCommand],
    time_ms: int,
) -> Block:
    """The block with these commands; Rejected if one of them does not apply.

    Signatures inside the commands are not checked again: they come from opened envelopes.
    """
    height = Height(state.height + 1)
    signature = sign(SEED_CONTEXT, seed_message(state.run_id, height, state.seed))
    draft = Block(
        height=height,
        prev_hash=state.block_hash,
        view=view,
        proposer=proposer,
        time_ms=max(time_ms, state.time_ms),
        seed=next_seed(state.seed, signature),
        seed_signature=signature,
        commands=tuple(encode_command(command) for command in commands),
        state_root=StateRoot(bytes(DIGEST_BYTES)),
    )
    after = run_block(state, draft, commands, trust)
    return replace(draft, state_root=state_root(after))


def _phase_commands(state: State, pool: Pool) -> Iterator[AnyCommand]:
    match state.phase:
        case Phase.WAITING_FOR_MEMBERS:
            yield wire.OpenEpoch(state.epoch)
        case Phase.WARMUP:
            yield _begin_training(state, pool)
        case Phase.TRAIN if state.head_round is not None:
            command = make_close_round(state, state.head_round, pool)
            if not _is_worth_waiting(state, state.head_round, command):
                yield command
        case Phase.COOLDOWN:
            final = make_close_epoch(state, pool.attestations)
            if final is not None:
                yield final


def _begin_training(state: State, pool: Pool) -> wire.BeginTraining:
    entrants, statement = {one.peer for one in state.entrants}, warm_statement(state)
    warm = _signatures(pool.warm, entrants, statement)
    return wire.BeginTraining(state.epoch, warm, learning_rates(state, first_round_count(state)))


def _is_worth_waiting(state: State, opened: OpenRound, command: wire.CloseRound) -> bool:
    """Whether the last witnesses should get a moment more to be heard of.

    Closing at the very quorum would forever leave out the slowest witness, who would seem silent.
    """
    if state.time_ms - state.head_since_ms >= linger_ms(state):
        return False
    prompt = {member.peer for member in state.active_members if member.silent_rounds == 0}
    expected = prompt.intersection(opened.committee)
    heard = {opened.committee[one.witness] for one in command.witnessings}
    if not expected <= heard:
        return True
    accepted = judge(state, opened, command, trust).accepted
    votes = count_votes(command)
    return any(
        accepted.get(one.slot) is one and votes[index] < len(expected)
        for index, one in enumerate(command.contributions)
    )


def _signatures(
    statements: Sequence[Signed], peers: set[PeerId], expected: object
) -> tuple[wire.PeerSignature, ...]:
    """Who of these peers signed exactly this, by rising public key."""
    said = latest_by_sender(
        one for one in statements if one.sender in peers and one.message == expected
    )
    return tuple(wire.PeerSignature(peer, said[peer].signature) for peer in sorted(said))


def _urgent(state: State, pool: Pool) -> Iterator[AnyCommand]:
    """What does not wait: proof of misconduct, the owner's word, a member's leave."""
    yield from pool.evidence
    yield from find_double_commitments(pool.commitments)
    yield from find_failed_work(state, pool.verdicts)
    orders = [one for one in pool.orders if one.sender == state.rules.owner]
    for signed in sorted(orders, key=lambda one: one.message.nonce):
        yield wire.Obey(signed.message, signed.signature)
    for signed in pool.withdrawals:
        yield wire.Release(signed.sender, signed.message, signed.signature)


def _joins(pool: Pool) -> Iterator[AnyCommand]:
    for signed in sorted(pool.joins, key=lambda one: (one.message.nonce, one.sender)):
        yield wire.Admit(signed.sender, signed.message, signed.signature)


def _take(state: State, commands: Iterator[AnyCommand]) -> tuple[State, list[AnyCommand]]:
    """Those of the commands that apply one after another, as many as a block has room for."""
    taken: list[AnyCommand] = []
    room_bytes = _MAX_SIDE_BYTES
    for command in commands:
        size_bytes = len(encode_command(command))
        if size_bytes > room_bytes or len(taken) == _MAX_SIDE_COMMANDS:
            continue
        try:
            state = apply_command(state, command, trust)
        except Rejected:
            continue
        taken.append(command)
        room_bytes -= size_bytes
    return state, taken


def _applies(state: State, command: AnyCommand) -> bool:
    try:
        apply_command(state, command, trust)
    except Rejected:
        return False
    return True
