"""Who does what in a round: batches, teachers, verifiers, jury (docs/protocol.md, "Assignment").

Every choice follows from the round's seed and the members at the moment the round opens. Batches
are neighbouring intervals in rendezvous order, so together they cover the round's samples once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psyche_p2p.coordinator.rendezvous import rank, score
from psyche_p2p.coordinator.rules import Rules
from psyche_p2p.ids import BatchInterval, PeerId
from psyche_p2p.wire.messages import Role
from psyche_p2p.wire.records import Member, Slot

VERIFIERS_PER_BATCH = 3
MAX_JURY = 32
_CLIP = 4  # a trainer gets at least a quarter of the median's share and at most four times it


@dataclass(frozen=True, slots=True)
class _Work:
    trainer: Member
    batch: BatchInterval


def assign_slots(
    rules: Rules, members: Sequence[Member], seed: bytes, samples: range
) -> tuple[Slot, ...]:
    """The round's slots, in the order of their batches."""
    works = _assign_batches(rules, members, seed, samples)
    checked = _select_checked(rules, works, seed)
    return tuple(
        Slot(
            batch=work.batch,
            trainer=work.trainer.peer,
            tier=work.trainer.join.tier,
            teacher=_select_teacher(rules, members, work, seed),
            verifiers=_select_verifiers(works, work, seed) if work in checked else (),
        )
        for work in works
    )


def select_jury(members: Sequence[Member], seed: bytes) -> tuple[PeerId, ...]:
    """Trainers who decide when a verifier says that a batch cannot be reproduced.

    The lowest tiers first, for they can run any batch again.
    """
    ranked = sorted(
        trainers_of(members),
        key=lambda member: (member.join.tier, score(seed, "jury", member.peer)),
    )
    return tuple(member.peer for member in ranked[:MAX_JURY])


def trainers_of(members: Sequence[Member]) -> tuple[Member, ...]:
    return tuple(member for member in members if Role.TRAINER in member.join.roles)


def compute_batch_sizes(total: int, speeds: Sequence[int], *, is_equal: bool) -> list[int]:
    """How many of `total` samples each trainer gets: at least one, the rest by speed."""
    weights = [1] * len(speeds) if is_equal else clip_speeds(speeds)
    if is_equal:
        share, extra = divmod(total, len(weights))
        return [share + (index < extra) for index in range(len(weights))]
    return [1 + share for share in apportion(total - len(weights), weights)]


def clip_speeds(speeds: Sequence[int]) -> list[int]:
    """Speeds times four, within a quarter and four times the median; unknown ones are the median.

    Times four, so that a quarter of the median is a whole number.
    """
    known = sorted(speed for speed in speeds if speed > 0)
    if not known:
        return [1] * len(speeds)
    median = known[(len(known) - 1) // 2]
    return [min(max(_CLIP * (speed or median), median), _CLIP * _CLIP * median) for speed in speeds]


def apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Whole shares of `total` in proportion to the weights, by the largest remainders."""
    weight_sum = sum(weights)
    shares = [total * weight // weight_sum for weight in weights]
    by_remainder = sorted(
        range(len(weights)), key=lambda index: (-(total * weights[index] % weight_sum), index)
    )
    for index in by_remainder[: total - sum(shares)]:
        shares[index] += 1
    return shares


def _assign_batches(
    rules: Rules, members: Sequence[Member], seed: bytes, samples: range
) -> list[_Work]:
    by_peer = {member.peer: member for member in trainers_of(members)}
    trainers = [by_peer[peer] for peer in rank(by_peer, seed, "batch")][: len(samples)]
    if not trainers:
        return []
    speeds = [trainer.tokens_per_s for trainer in trainers]
    sizes = compute_batch_sizes(len(samples), speeds, is_equal=rules.has_equal_batches)
    works, start = [], samples.start
    for trainer, size in zip(trainers, sizes, strict=True):
        works.append(_Work(trainer, BatchInterval(start, start + size)))
        start += size
    return works


def _select_checked(rules: Rules, works: Sequence[_Work], seed: bytes) -> list[_Work]:
    """The share of the batches that is run again, rounded up."""
    count = -(-len(works) * rules.verification_percent // 100)
    ranked = sorted(works, key=lambda work: score(seed, "check", work.trainer.peer))
    return ranked[:count]


def _select_verifiers(works: Sequence[_Work], work: _Work, seed: bytes) -> tuple[PeerId, ...]:
    """Other trainers who hold enough of the model to run this batch at its tier."""
    able = [
        other.trainer.peer
        for other in works
        if other is not work and other.trainer.join.tier <= work.trainer.join.tier
    ]
    subject = bytes(work.trainer.peer, "ascii")
    return tuple(rank(able, seed, "verifier", subject)[:VERIFIERS_PER_BATCH])


def _select_teacher(
    rules: Rules, members: Sequence[Member], work: _Work, seed: bytes
) -> PeerId | None:
    """The tier-0 trainer that computes a student's targets, if the run distils."""
    if not rules.has_teachers or work.trainer.join.tier == 0:
        return None
    full = [member.peer for member in trainers_of(members) if member.join.tier == 0]
    subject = bytes(work.trainer.peer, "ascii")
    return next(iter(rank(full, seed, "teacher", subject)), None)
