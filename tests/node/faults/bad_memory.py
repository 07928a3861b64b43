"""A trainer whose memory fails once: `python -m tests.node.faults.bad_memory ORDER IN OUT`.

When the file ORDER stands there, one bit of one agreed parameter changes after the next round has
been applied, and nothing else: the round after that is the first whose root differs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from psyche_p2p.train import __main__ as train
from psyche_p2p.train.messages import Applied, Apply
from psyche_p2p.train.trainer import Trainer


class FailingTrainer(Trainer):
    """Flips a bit when it is told to."""

    order: Path

    def apply(self, command: Apply) -> Applied:
        applied = super().apply(command)
        if self.order.exists():
            self.order.unlink()
            name = min(self._shop.optimizer.masters)
            self._shop.optimizer.masters[name].view(torch.int32).view(-1)[0] ^= 1 << 20
        return applied


if __name__ == "__main__":
    FailingTrainer.order = Path(sys.argv.pop(1))
    setattr(train, "Trainer", FailingTrainer)  # noqa: B010 - it is not exported
    sys.exit(train.main())
