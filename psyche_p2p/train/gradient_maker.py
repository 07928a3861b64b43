"""Gradients of some samples on one device, in portions that its memory suffices for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from psyche_p2p.distill.student import StudentLoss
from psyche_p2p.errors import ResourceError
from psyche_p2p.ids import Tier
from psyche_p2p.model.gradients import Precision, accumulate_gradients
from psyche_p2p.model.transformer import Transformer
from psyche_p2p.train.messages import Warned

Emit = Callable[[object], None]


class GradientMaker:
    """Leaves gradients in a model's parameters; `emit` takes warnings."""

    def __init__(
        self,
        model: Transformer,
        tier: Tier,
        device: torch.device,
        precision: Precision,
        micro_batch: int,
        emit: Emit,
    ) -> None:
        self.micro_batch = micro_batch
        self._model = model
        self._tier = tier
        self._device = device
        self._precision = precision
        self._emit = emit

    def compute(
        self, tokens_bt: Tensor, predicted: int, make_loss: Callable[[], StudentLoss | None]
    ) -> tuple[float, StudentLoss | None]:
        """These samples' part of a mean over so many predictions, and the loss that was used.

        It is computed again, in smaller portions and with a new loss, if memory does not suffice.
        """
        while True:
            self._model.zero_grad(set_to_none=True)
            loss = make_loss()
            try:
                value = accumulate_gradients(
                    self._model,
                    tokens_bt,
                    micro_batch=self.micro_batch,
                    precision=self._precision,
                    batch_loss=loss,
                    predicted=predicted,
                )
                return value, loss
            except (torch.OutOfMemoryError, RuntimeError) as error:
                self._shrink(error)

    def _shrink(self, error: RuntimeError) -> None:
        """Halve the micro-batch after an out-of-memory error; any other error goes on upwards."""
        if not is_out_of_memory(error):
            raise error
        if self.micro_batch == 1:
            raise ResourceError(
                f"not even one sample fits into the memory of {self._device}",
                f"use --tier {self._tier + 1}" if self._tier < self._model.config.max_tier else "",
            ) from error
        self.micro_batch = (self.micro_batch + 1) // 2
        self._emit(Warned(f"out of memory: now {self.micro_batch} samples at once"))


def compile_blocks(model: Transformer) -> None:
    """Have torch.compile make each decoder block's code when it first runs."""
    for block in model.model.layers:
        block.compile()


def is_out_of_memory(error: RuntimeError) -> bool:
    """CUDA has an exception of its own for this; the CPU's allocator only a sentence."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
