"""One batch of a student: how much its teacher counts, the loss, and what to report of it.

KD has one way to be off while the schedule asks for it: a teacher that is not confident enough.
Everything else that keeps targets away or makes them unusable is an error (`errors.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from psyche_p2p.config import DistillationConfig
from psyche_p2p.distill.losses import DistilledLoss, LossWeights
from psyche_p2p.distill.stats import DistillationStats, mean_statistics
from psyche_p2p.distill.targets import TeacherTargets
from psyche_p2p.model.feed_forward import FfnView
from psyche_p2p.model.loss import linear_loss
from psyche_p2p.model.targets import split_tokens
from psyche_p2p.model.transformer import Transformer


@dataclass(frozen=True, slots=True)
class DistillationPlan:
    """What the teacher's confidence makes of the schedule's beta, for one whole batch."""

    weights: LossWeights
    beta_requested: float
    beta: float
    kd_scale: float
    q_topk_mass: float


def plan_distillation(
    config: DistillationConfig, beta_requested: float, targets: TeacherTargets
) -> DistillationPlan:
    """The weights of a batch's loss; from the teacher alone, so that portions do not matter."""
    return plan_for_mass(config, beta_requested, targets.mean_top_mass())


def plan_for_mass(
    config: DistillationConfig, beta_requested: float, mass: float
) -> DistillationPlan:
    """The same, from the probability that the teacher's kept logits claim over the batch."""
    beta = beta_requested if mass >= config.min_teacher_topk_mass else 0.0
    scale = 1 / min(max(mass, config.kd_q_topk_mass_floor), 1.0)
    plain = 1 - beta if config.combine == "mix" else 1.0
    weights = LossWeights(plain, beta * scale, config.temperature)
    return DistillationPlan(weights, beta_requested, beta, scale, mass)


class StudentLoss:
    """A `BatchLoss` for `accumulate_gradients`, for the samples that these targets are for."""

    def __init__(self, plan: DistillationPlan, targets: TeacherTargets) -> None:
        self._plan = plan
        self._targets = targets
        self._seen: list[tuple[DistillationStats, int]] = []

    def __call__(
        self, model: Transformer, tokens_bt: Tensor, view: FfnView | None, samples: slice
    ) -> Tensor:
        inputs_bt, words_bt = split_tokens(tokens_bt)
        loss = DistilledLoss(words_bt, self._targets.samples(samples), self._plan.weights)
        hidden_btd = model.hidden(inputs_bt, view)
        value = linear_loss(hidden_btd.flatten(0, 1), model.output_weight, loss)
        self._seen.append((self._stats_of(loss), len(tokens_bt)))
        return value

    def statistics(self) -> DistillationStats:
        """The means over all samples seen."""
        return mean_statistics(self._seen)

    def _stats_of(self, loss: DistilledLoss) -> DistillationStats:
        plan, divergence = self._plan, float(loss.sums.divergence)
        return DistillationStats(
            ce=float(loss.sums.cross_entropy),
            kd_raw=divergence,
            kd_scale=plan.kd_scale,
            kd=divergence * plan.kd_scale,
            beta_requested=plan.beta_requested,
            beta=plan.beta,
            q_topk_mass=plan.q_topk_mass,
            p_topk_mass=float(loss.sums.student_top_mass),
        )
