"""The student's loss: cross-entropy, and the divergence from what its teacher says.

The divergence KL(q || p) is taken over the teacher's k largest tokens and one bucket for all
others, both at the run's temperature, and multiplied by the temperature squared, which keeps its
gradient's size (G. Hinton et al., arXiv 1503.02531). Its gradient in the student's logits is
T * (p - q'), where q' is q on the teacher's tokens and spreads the bucket over all others as the
student does. So one softmax serves cross-entropy and distillation alike at temperature 1, and the
bucket's mass is summed over its own tokens, never taken as a difference from 1.

Shape suffixes: b sample, t position, n both, k teacher's token, v vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from psyche_p2p.distill.targets import TeacherTargets
from psyche_p2p.model.loss import IGNORED, mean_shares, sum_type

_NO_PROBABILITY = 1e-30  # keeps a logarithm finite where a float32 holds nothing


@dataclass(frozen=True, slots=True)
class LossWeights:
    """What cross-entropy and distillation count for in a student's loss."""

    cross_entropy: float
    distillation: float
    temperature: float


@dataclass(slots=True)
class LossSums:
    """What a loss saw on its way, each a mean over its positions."""

    cross_entropy: Tensor
    divergence: Tensor
    student_top_mass: Tensor


class DistilledLoss:
    """A `LogitsLoss` for `linear_loss`, to be used once. Its sums are there afterwards."""

    def __init__(self, words_bt: Tensor, targets: TeacherTargets, weights: LossWeights) -> None:
        """`words_bt` are the tokens to predict; the teacher's positions are the last of these."""
        padding = words_bt.shape[1] - targets.shape[1]
        taught_bt = words_bt.clone()
        taught_bt[:, :padding] = IGNORED
        self.shares_n = mean_shares(words_bt.flatten())
        self.taught_shares_n = mean_shares(taught_bt.flatten())
        self.sums = LossSums(*torch.zeros(3, device=words_bt.device))
        self._weights = weights
        self._words_n1 = words_bt.flatten().clamp(min=0).unsqueeze(1)
        self._indices_nk = F.pad(targets.indices_btk, (0, 0, padding, 0)).flatten(0, 1)
        self._logits_nk = F.pad(targets.logits_btk, (0, 0, padding, 0)).flatten(0, 1)
        self._logsumexp_n = F.pad(targets.logsumexp_bt, (padding, 0)).flatten()

    def run(
        self, logits_nv: Tensor, part: slice, wants_gradient: bool
    ) -> tuple[Tensor, Tensor | None]:
        words_n1, indices_nk = self._words_n1[part], self._indices_nk[part]
        ce_weight, temperature = self._weights.cross_entropy, self._weights.temperature
        logs_nv = logits_nv.log_softmax(dim=1, dtype=sum_type(logits_nv))
        ce_n = -logs_nv.gather(1, words_n1).squeeze(1)

        is_plain = temperature == 1
        soft_nv = logs_nv if is_plain else (logs_nv / temperature).log_softmax(dim=1)
        log_p_nk = soft_nv.gather(1, indices_nk)
        rest_nv = soft_nv.exp_().scatter_(1, indices_nk, 0.0)
        p_rest_n, p_nk = rest_nv.sum(dim=1), log_p_nk.exp()
        q_nk, q_rest_n = self._teacher(part, vocab_size=logits_nv.shape[1])
        divergence_n = temperature**2 * _divergence(q_nk, q_rest_n, log_p_nk, p_rest_n)

        share_n = self._note(part, ce_n, divergence_n, p_nk)
        losses_n = ce_weight * ce_n + share_n * divergence_n
        if not wants_gradient:
            return losses_n, None
        pull_n1 = (temperature * share_n).unsqueeze(1)
        excess_n1 = 1 - (q_rest_n / p_rest_n.clamp(min=_NO_PROBABILITY)).unsqueeze(1)
        rest_n1, top_nk = pull_n1 * excess_n1, pull_n1 * (p_nk - q_nk)
        if is_plain:
            rest_n1, top_nk = rest_n1 + ce_weight, top_nk + ce_weight * p_nk
        grad_nv = rest_nv.mul_(rest_n1).scatter_(1, indices_nk, top_nk)
        if not is_plain:
            grad_nv.add_(logs_nv.exp_(), alpha=ce_weight)
        one_hot_n1 = grad_nv.new_full(words_n1.shape, -ce_weight)
        return losses_n, grad_nv.scatter_add_(1, words_n1, one_hot_n1)

    def _note(self, part: slice, ce_n: Tensor, divergence_n: Tensor, p_nk: Tensor) -> Tensor:
        """Add to the sums; what the divergence of each position counts for beside its share."""
        share_n, taught_n = self.shares_n[part].to(ce_n), self.taught_shares_n[part].to(ce_n)
        self.sums.cross_entropy += ce_n @ share_n
        self.sums.divergence += divergence_n @ taught_n
        self.sums.student_top_mass += p_nk.sum(dim=1) @ taught_n
        return self._weights.distillation * taught_n / share_n.clamp(min=_NO_PROBABILITY)

    def _teacher(self, part: slice, vocab_size: int) -> tuple[Tensor, Tensor]:
        """The teacher's probabilities of its tokens, and of all others; together 1."""
        q_nk = (self._logits_nk[part] - self._logsumexp_n[part].unsqueeze(1)).exp()
        mass_n = q_nk.sum(dim=1)
        rest_n = (1 - mass_n).clamp(min=0)
        if q_nk.shape[1] == vocab_size:
            rest_n = torch.zeros_like(rest_n)  # there are no others; what is left is rounding
        whole_n = mass_n + rest_n
        return q_nk / whole_n.unsqueeze(1), rest_n / whole_n


def _divergence(q_nk: Tensor, q_rest_n: Tensor, log_p_nk: Tensor, p_rest_n: Tensor) -> Tensor:
    """KL(q || p) of every position; xlogy makes nothing of a probability of zero."""
    log_p_rest_n = p_rest_n.clamp(min=_NO_PROBABILITY).log()
    top_n = (torch.xlogy(q_nk, q_nk) - q_nk * log_p_nk).sum(dim=1)
    rest_n = torch.xlogy(q_rest_n, q_rest_n) - q_rest_n * log_p_rest_n
    return (top_n + rest_n).clamp(min=0)  # which it is, but for rounding
