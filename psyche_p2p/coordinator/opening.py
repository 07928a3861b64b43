"""Opening rounds: how many, at which learning rate, with whom, on which samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from psyche_p2p.coordinator.assignment import assign_slots, select_jury
from psyche_p2p.coordinator.committee import select_committee
from psyche_p2p.coordinator.schedule import (
    compute_batch_size,
    compute_learning_rate_bits,
    is_acceptable_learning_rate,
)
from psyche_p2p.coordinator.state import State
from psyche_p2p.errors import Rejected
from psyche_p2p.hashing import hash_parts
from psyche_p2p.ids import BlobHash, RoundIndex
from psyche_p2p.wire.records import OpenRound


def first_round_count(state: State) -> int:
    """How many rounds open when training begins: one more than the pipeline is deep."""
    return min(1 + state.rules.pipeline_depth, rounds_left(state))


def rounds_left(state: State) -> int:
    """How many rounds the run has not opened yet."""
    return state.rules.total_rounds - state.next_round


def learning_rates(state: State, count: int) -> tuple[int, ...]:
    """The bits for the next so many rounds."""
    return tuple(
        compute_learning_rate_bits(state.rules, state.next_round + index, state.cold_since_round)
        for index in range(count)
    )


def require_learning_rates(state: State, bits: Sequence[int]) -> None:
    """Rejected unless these are the learning rates of the first rounds of an epoch."""
    _require_near(bits, learning_rates(state, first_round_count(state)))


def require_next_learning_rate(state: State, bits: int | None) -> None:
    """Rejected unless this is the learning rate of the run's next round, if it has one."""
    given = () if bits is None else (bits,)
    _require_near(given, learning_rates(state, min(1, rounds_left(state))))


def open_rounds(state: State, bits: Sequence[int]) -> State:
    """Open a round for each learning rate."""
    for one in bits:
        state = _open_round(state, one)
    return state


def _open_round(state: State, learning_rate_bits: int) -> State:
    members, round_index = state.active_members, state.next_round
    seed = BlobHash(hash_parts("round", state.seed, round_index.to_bytes(8, "little")))
    end = state.data_index + compute_batch_size(state.rules, state.data_index)
    opened = OpenRound(
        round=round_index,
        seed=seed,
        learning_rate_bits=learning_rate_bits,
        slots=assign_slots(state.rules, members, seed, range(state.data_index, end)),
        committee=select_committee(state.rules, members, seed),
        jury=select_jury(members, seed),
    )
    return replace(
        state,
        open_rounds=(*state.open_rounds, opened),
        next_round=RoundIndex(round_index + 1),
        data_index=end,
    )


def _require_near(given: Sequence[int], expected: Sequence[int]) -> None:
    if len(given) != len(expected):
        raise Rejected(f"{len(given)} learning rates, {len(expected)} are needed")
    for bits, ours in zip(given, expected, strict=True):
        if not is_acceptable_learning_rate(bits, ours):
            raise Rejected(f"learning rate bits {bits:#010x}, expected {ours:#010x} within 2")
