"""Prepares a folder and says so after every step: `python -m tests.data.prepare_worker T IN OUT`.

It notes what is done after every batch, and batches are small, so that there are many moments at
which it can be killed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from psyche_p2p.clock import ManualClock
from psyche_p2p.data import prepare as module
from psyche_p2p.data.documents import find_sources
from psyche_p2p.data.encoder import load_encoder
from psyche_p2p.data.prepare import Plan, prepare

SHARD_BYTES = 100_000
BATCH_BYTES = 150_000


class ImpatientClock(ManualClock):
    """Every look at it is ten seconds later."""

    def monotonic_s(self) -> float:
        self.advance_ms(10_000)
        return super().monotonic_s()


def main() -> None:
    tokenizer, source, out = map(Path, sys.argv[1:])
    module._BATCH_BYTES = BATCH_BYTES
    plan = Plan(find_sources([source]), "text", load_encoder(tokenizer, None), SHARD_BYTES)

    def say(done: int) -> None:
        sys.stdout.write(f"{done}\n")
        sys.stdout.flush()

    manifest = prepare(plan, out, on_done=say, clock=ImpatientClock())
    sys.stdout.write(f"{manifest.digest.hex()}\n")


if __name__ == "__main__":
    main()
