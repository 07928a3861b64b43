"""Targets between two trainers: a teacher's into a blob, a student's out of one."""

from __future__ import annotations

from torch import Tensor

from psyche_p2p.blobs import (
    Origin,
    SealedBlob,
    expect_run_targets,
    read_layout,
    read_teacher_targets,
    seal_run_targets,
    validate_blob,
)
from psyche_p2p.codec import TopLogits
from psyche_p2p.distill.errors import InvalidTargets, MissingTargets
from psyche_p2p.distill.schedule import compute_beta, needs_targets
from psyche_p2p.distill.stats import DistillationStats, mean_statistics
from psyche_p2p.distill.student import DistillationPlan, StudentLoss, plan_distillation
from psyche_p2p.distill.targets import TeacherTargets
from psyche_p2p.errors import StorageError
from psyche_p2p.ids import BatchInterval, BlobHash, EpochIndex, PeerId, RoundIndex, Tier
from psyche_p2p.model.targets import count_predicted
from psyche_p2p.model.tiers import UNIVERSAL
from psyche_p2p.train.messages import MakeTargets, Train
from psyche_p2p.train.worker_messages import Step
from psyche_p2p.train.workshop import Workshop


def seal_targets(shop: Workshop, command: MakeTargets, targets: TeacherTargets) -> SealedBlob:
    """The blob of this trainer's targets for a student's batch."""
    top = TopLogits(*targets.to_arrays())
    return seal_run_targets(shop.config, _origin(shop, command, shop.peer), top)


def take_targets(shop: Workshop, command: Train) -> TeacherTargets | None:
    """The targets a student trains with; None if it is no student, or the schedule asks for none.

    MissingTargets or InvalidTargets if it needs some and cannot have them: never plain training.
    """
    if shop.tier == UNIVERSAL or not needs_targets(shop.config.distillation, command.round):
        return None
    batch, teacher = _batch(command), PeerId(command.teacher)
    if not command.teacher:
        raise MissingTargets(batch, None, "nobody of tier 0 trains in this round")
    if not command.targets:
        raise MissingTargets(batch, teacher, "they did not come in time")
    try:
        data = shop.store.read(BlobHash(bytes.fromhex(command.targets)))
    except StorageError as error:
        raise MissingTargets(batch, teacher, error.cause) from error
    expected = expect_run_targets(shop.config, _origin(shop, command, teacher))
    reasons = validate_blob(data, expected)
    if reasons:
        raise InvalidTargets(batch, teacher, str(reasons[0]))
    top = read_teacher_targets(read_layout(data))
    return TeacherTargets.from_arrays(top.indices, top.logits, top.logsumexp, shop.device)


def make_step(round_index: int, tokens_bt: Tensor, lesson: Lesson, samples: slice) -> Step:
    """What a worker is told of some of a batch's samples, whose tokens these are."""
    targets = lesson.targets_of(samples)
    _, positions, kept = (0, 0, 0) if targets is None else targets.shape
    return Step(
        round=round_index,
        samples=len(tokens_bt),
        length=tokens_bt.shape[1],
        predicted=count_predicted(tokens_bt),
        positions=positions,
        kept=kept,
        top_mass=lesson.top_mass,
    )


class Lesson:
    """One batch of a trainer, with a teacher's targets if it is a student that needs them."""

    def __init__(self, shop: Workshop, command: Train) -> None:
        """MissingTargets or InvalidTargets before anything was computed."""
        self._targets = take_targets(shop, command)
        self._plan: DistillationPlan | None = None
        self._seen: list[tuple[DistillationStats, int]] = []
        if self._targets is not None:
            config = shop.config.distillation
            beta = compute_beta(config, command.round)
            self._plan = plan_distillation(config, beta, self._targets)

    def loss_of(self, samples: slice) -> StudentLoss | None:
        """The loss of some of the batch's samples; None for plain cross-entropy."""
        if self._targets is None or self._plan is None:
            return None
        return StudentLoss(self._plan, self._targets.samples(samples))

    def targets_of(self, samples: slice) -> TeacherTargets | None:
        """The teacher's targets for some of the batch's samples; None for plain cross-entropy."""
        return None if self._targets is None else self._targets.samples(samples)

    @property
    def top_mass(self) -> float:
        """The probability that the teacher's targets claim, over the whole batch."""
        return 0.0 if self._plan is None else self._plan.q_topk_mass

    def note(self, stats: DistillationStats | None, samples: int) -> None:
        """Remember what a loss saw, once its gradients are good."""
        if stats is not None:
            self._seen.append((stats, samples))

    def statistics(self) -> DistillationStats | None:
        """What was seen of the batch; None if nothing was taught."""
        return mean_statistics(self._seen) if self._seen else None


def _origin(shop: Workshop, command: Train | MakeTargets, teacher: PeerId) -> Origin:
    return Origin(
        run_id=shop.run_id,
        epoch=EpochIndex(command.epoch),
        round=RoundIndex(command.round),
        tier=Tier(UNIVERSAL),
        schema_hash=shop.schema_hash,
        batch=_batch(command),
        producer=teacher,
    )


def _batch(command: Train | MakeTargets) -> BatchInterval:
    return BatchInterval(command.batch_start, command.batch_end)
