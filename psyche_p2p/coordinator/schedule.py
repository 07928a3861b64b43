"""The learning rate and the batch size of a round, computed alike on every machine.

Nothing here depends on a math library: sums and products are exact fractions and the cosine is a
series in integers, rounded once at the end. Another implementation may use its own cosine, so a
block's learning rate is accepted within two units in the last place of ours (docs/protocol.md,
"Learning rate").
"""

from __future__ import annotations

import struct
from fractions import Fraction
from functools import lru_cache

from psyche_p2p.config import ScheduleConfig
from psyche_p2p.coordinator.rules import Rules

MAX_ULP_DISTANCE = 2
_INFINITY_BITS = 0x7F80_0000
_SERIES_BITS = 128
_ONE = 1 << _SERIES_BITS


def compute_learning_rate_bits(rules: Rules, round_index: int, cold_since_round: int) -> int:
    """The float32 learning rate of a round, as its 32 bits."""
    rate = _learning_rate(rules.schedule, round_index, rules.total_rounds)
    cold_rounds = rules.schedule.cold_start_warmup_rounds
    if cold_since_round and round_index - cold_since_round < cold_rounds:
        rate *= Fraction(round_index - cold_since_round + 1, cold_rounds)
    return int.from_bytes(struct.pack(">f", float(rate)), "big")


def is_acceptable_learning_rate(bits: int, expected_bits: int) -> bool:
    """Whether a block may carry these bits where we would have written the others."""
    return bits < _INFINITY_BITS and abs(bits - expected_bits) <= MAX_ULP_DISTANCE


def learning_rate_from_bits(bits: int) -> float:
    """The number that a round's bits stand for."""
    (rate,) = struct.unpack(">f", bits.to_bytes(4, "big"))
    return float(rate)


def compute_batch_size(rules: Rules, data_index: int) -> int:
    """Samples in the next round: from start to end over the warm-up's tokens, to the nearest."""
    start, end = rules.batch_size_start, rules.batch_size_end
    tokens, warmup = data_index * rules.sequence_length, rules.batch_size_warmup_tokens
    if tokens >= warmup:
        return end
    return start + (2 * (end - start) * tokens + warmup) // (2 * warmup)


def _learning_rate(schedule: ScheduleConfig, round_index: int, total_rounds: int) -> Fraction:
    peak, warmup = Fraction(schedule.learning_rate), schedule.warmup_rounds
    if round_index < warmup:
        return peak * Fraction(round_index + 1, warmup)
    final = Fraction(schedule.final_ratio)
    match schedule.kind:
        case "linear":
            share = 1 - _progress(round_index, warmup, total_rounds)
        case "cosine":
            share = (1 + _cosine_of_pi(_progress(round_index, warmup, total_rounds))) / 2
        case "warmup_stable_decay":
            decay_start = total_rounds - schedule.decay_rounds
            share = 1 - _progress(round_index, decay_start, total_rounds)
        case _:
            share = Fraction(1)
    return peak * (final + (1 - final) * share)


def _progress(round_index: int, start: int, end: int) -> Fraction:
    """How far a round is between two others, from 0 to 1 and never beyond."""
    if round_index < start:
        return Fraction(0)
    return Fraction(1) if round_index >= end else Fraction(round_index - start, end - start)


def _cosine_of_pi(share: Fraction) -> Fraction:
    """cos(pi * share) for 0 <= share <= 1, to more than a hundred bits."""
    if share * 2 > 1:
        return -_cosine_of_pi(1 - share)
    angle = _pi() * share.numerator // share.denominator
    square = angle * angle >> _SERIES_BITS
    total, term, index = 0, _ONE, 0
    while term:
        total += term
        index += 2
        term = -(term * square >> _SERIES_BITS) // (index * (index - 1))
    return Fraction(total, _ONE)


@lru_cache(maxsize=1)
def _pi() -> int:
    """Pi times 2**128, by J. Machin's formula."""
    guard = 32
    scale = _ONE << guard
    return (
        4 * (4 * _arc_tangent_of_inverse(5, scale) - _arc_tangent_of_inverse(239, scale)) >> guard
    )


def _arc_tangent_of_inverse(number: int, scale: int) -> int:
    total, term, index = 0, scale // number, 1
    while term:
        total += term // index if index % 4 == 1 else -(term // index)
        term //= number * number
        index += 2
    return total
