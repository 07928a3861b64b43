"""What goes wrong in one simulated run, and when: data, so that it can be printed and shrunk."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum

from psyche_p2p.coordinator.quorum import compute_quorum, tolerated_liars
from psyche_p2p.sim.network import LinkModel


class Lie(Enum):
    """A way to cheat; a liar has one or several."""

    SILENT = "silent"
    EQUIVOCATING_PROPOSER = "equivocating-proposer"
    DOUBLE_VOTER = "double-voter"
    VOTE_WITHHOLDER = "vote-withholder"
    FORGER = "forger"
    GRINDER = "grinder"
    LYING_WITNESS = "lying-witness"
    COPYING_TRAINER = "copying-trainer"
    EQUIVOCATING_TRAINER = "equivocating-trainer"
    STALE_CLOSER = "stale-closer"
    SEED_BORROWER = "seed-borrower"
    FALSE_PARAMETERS = "false-parameters"
    BAD_TEACHER = "bad-teacher"
    """Its targets are no good."""
    FRAMING_WITNESS = "framing-witness"
    """Refuses good targets, and bad ones never."""


TEACHING_LIES = (Lie.BAD_TEACHER, Lie.FRAMING_WITNESS)


class FaultKind(Enum):
    """Something that happens to a network of honest peers."""

    CRASH = "crash"
    """A peer stops between two effects and restarts with its disk."""
    LOSE_DISK = "lose-disk"
    """The same, but its disk is lost."""
    PARTITION = "partition"
    """The peers fall into two sides for a while."""
    STORM = "storm"
    """Most messages are lost for a while."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: from when, for how long, to whom."""

    kind: FaultKind
    at_ms: int
    duration_ms: int
    peers: tuple[int, ...]
    after_effects: int = 0
    """A crash strikes when this many more effects have been carried out."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """One run of the simulator, to the bit."""

    seed: int
    peers: int
    rounds: int
    links: LinkModel = field(default_factory=LinkModel)
    liars: tuple[tuple[int, tuple[Lie, ...]], ...] = ()
    faults: tuple[Fault, ...] = ()
    clock_skews_ms: tuple[int, ...] = ()
    tiers: tuple[int | None, ...] = ()
    """What each peer trains; None for one that only witnesses, 0 for those not named."""
    is_distilling: bool = False
    """Whether students wait for the targets of teachers."""
    has_real_signatures: bool = False

    @property
    def liar_indices(self) -> frozenset[int]:
        return frozenset(index for index, _ in self.liars)

    def skew_ms(self, peer: int) -> int:
        return self.clock_skews_ms[peer] if peer < len(self.clock_skews_ms) else 0

    def tier_of(self, peer: int) -> int | None:
        return self.tiers[peer] if peer < len(self.tiers) else 0

    @property
    def faults_end_ms(self) -> int:
        return max((fault.at_ms + fault.duration_ms for fault in self.faults), default=0)


FAULTY_SPAN_MS = 20_000
_UNIFORM_SHARE = 0.3
_FALSE_SHARE = 0.5
_DISTILLING_SHARE = 0.5
_TIERS: tuple[int | None, ...] = (0, 0, 1, 1, 2, None)


def random_schedule(
    seed: int, peers: int | None = None, liars: int | None = None, rounds: int = 4
) -> Schedule:
    """A schedule drawn from a seed: any size up to 13, as many liars as its size tolerates."""
    rng = random.Random(f"schedule {seed}")
    apart = random.Random(f"tiers {seed}")  # so that a seed keeps its faults and its other lies
    count = peers if peers is not None else rng.randint(1, 13)
    most = tolerated_liars(count)
    liar_count = min(liars, count) if liars is not None else rng.randint(0, most)
    chosen = rng.sample(range(count), liar_count)
    others = [index for index in range(count) if index not in chosen]
    drawn = Schedule(
        seed=seed,
        peers=count,
        rounds=rounds,
        links=_random_links(rng),
        liars=tuple((index, _random_lies(rng, apart)) for index in sorted(chosen)),
        faults=_random_faults(rng, count, frozenset(chosen)),
        clock_skews_ms=tuple(rng.randint(-150, 150) for _ in range(count)),
        has_real_signatures=count <= 4 and rng.random() < 0.1,
        tiers=_random_tiers(apart, count, others),
    )
    return _with_teaching(drawn, random.Random(f"teaching {seed}"))


def _with_teaching(schedule: Schedule, rng: random.Random) -> Schedule:
    """Half of the mixtures distil, and half of their liars lie about that as well."""
    if not schedule.tiers or rng.random() >= _DISTILLING_SHARE:
        return schedule
    liars = tuple(
        (index, (*lies, rng.choice(TEACHING_LIES)) if rng.random() < _FALSE_SHARE else lies)
        for index, lies in schedule.liars
    )
    return replace(schedule, liars=liars, is_distilling=True)


def _random_links(rng: random.Random) -> LinkModel:
    return LinkModel(
        latency_ms=rng.choice((5, 20, 50, 120)),
        jitter_ms=rng.choice((0, 10, 50)),
        loss=rng.choice((0.0, 0.0, 0.02, 0.1, 0.25)),
        duplication=rng.choice((0.0, 0.05)),
        reordering=rng.choice((0.0, 0.1)),
    )


def _random_lies(rng: random.Random, apart: random.Random) -> tuple[Lie, ...]:
    younger = (Lie.FALSE_PARAMETERS, *TEACHING_LIES)
    older = [lie for lie in list(Lie) if lie not in younger]
    lies: list[Lie] = rng.sample(older, rng.randint(1, 3))
    if apart.random() < _FALSE_SHARE:
        lies.append(Lie.FALSE_PARAMETERS)
    return tuple(sorted(lies, key=lambda lie: lie.value))


def _random_tiers(rng: random.Random, count: int, honest: list[int]) -> tuple[int | None, ...]:
    """All the full model, or any mixture with an honest peer that holds the full model."""
    if rng.random() < _UNIFORM_SHARE:
        return ()
    tiers = [rng.choice(_TIERS) for _ in range(count)]
    if honest:
        tiers[rng.choice(honest)] = 0
    return tuple(tiers)


def _random_faults(rng: random.Random, count: int, liars: frozenset[int]) -> tuple[Fault, ...]:
    """Faults of honest peers; those that lose their disk stay within what a quorum can spare."""
    honest = [index for index in range(count) if index not in liars]
    spare = count - compute_quorum(count) - len(liars)
    draw: dict[FaultKind, Callable[[], tuple[int, ...]]] = {
        FaultKind.CRASH: lambda: (rng.choice(honest),),
        FaultKind.LOSE_DISK: lambda: (honest[0],),
        FaultKind.PARTITION: lambda: tuple(
            sorted(rng.sample(range(count), rng.randint(1, max(1, count // 2))))
        ),
        FaultKind.STORM: lambda: (),
    }
    kinds = [kind for kind in FaultKind if kind is not FaultKind.LOSE_DISK]
    faults = [_random_fault(rng, rng.choice(kinds), draw) for _ in range(rng.randint(0, 5))]
    if spare > 0 and rng.random() < 0.3:
        faults.append(_random_fault(rng, FaultKind.LOSE_DISK, draw))
    return tuple(sorted(faults, key=lambda fault: fault.at_ms))


def _random_fault(
    rng: random.Random, kind: FaultKind, draw: dict[FaultKind, Callable[[], tuple[int, ...]]]
) -> Fault:
    return Fault(
        kind=kind,
        at_ms=rng.randint(0, FAULTY_SPAN_MS // 2),
        duration_ms=rng.randint(1, FAULTY_SPAN_MS // 2),
        peers=draw[kind](),
        after_effects=rng.randint(0, 6),
    )
