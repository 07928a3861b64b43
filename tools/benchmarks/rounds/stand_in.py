"""A trainer that sleeps and publishes a recorded update: python -m ... FOLDER SECONDS IN OUT

It speaks the trainer's pipe and loads no torch. Every update has its own header and, because equal
payloads are copies, some signs of its own. The parameter roots are a hash chain over the blobs that
were applied, so that peers which applied the same blobs in the same order agree, and no others.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.rounds.recording import read_recording
from psyche_p2p.blobs import BlobStore, Origin, seal_dense, seal_update
from psyche_p2p.codec import Coefficients
from psyche_p2p.config import decode_run_config, run_id
from psyche_p2p.errors import LocalError
from psyche_p2p.hashing import hash_parts
from psyche_p2p.ids import BatchInterval, EpochIndex, PeerId, RoundIndex, SchemaHash, Tier
from psyche_p2p.train import messages
from psyche_p2p.train.pipe import MessagePipe
from psyche_p2p.wire import BlobKind

_CHANGED_SIGNS = 16


class StandIn:
    """Answers every command of the pipe."""

    def __init__(self, setup: messages.Setup, folder: Path, step_s: float) -> None:
        self._setup = setup
        self._step_s = step_s
        self._config = decode_run_config(setup.config.encode(), "the run's configuration")
        self._run_id = run_id(self._config)
        self._recorded, self._update = read_recording(folder, Tier(setup.tier))
        self._schema = SchemaHash(bytes.fromhex(self._recorded.schema_hash))
        self._store = BlobStore.open(Path(setup.store), setup.store_bytes)
        self._roots = [bytes.fromhex(root) for root in self._recorded.roots]

    def ready(self) -> messages.Ready:
        found = self._recorded
        return messages.Ready(
            device="none",
            precision="float32",
            parameters=found.parameters,
            schema_hash=found.schema_hash,
            data_manifest=found.data_manifest,
            roots=found.roots,
            memory_bytes=found.memory_bytes,
            seconds=0.0,
        )

    def answer(self, command: messages.Command) -> messages.Event:
        match command:
            case messages.Train():
                return self._train(command)
            case messages.Apply():
                return self._apply(command)
            case messages.Evaluate():
                tiers = tuple(range(self._setup.tier, self._config.model.max_tier + 1))
                return messages.Evaluated(tiers, (self._recorded.loss,) * len(tiers))
            case messages.Save(folder=folder):
                return messages.Saved(folder, self._roots[-1].hex())
            case messages.Snapshot():
                return self._snapshot(command)
            case _:
                raise LocalError(f"a stand-in knows nothing of {type(command).__name__}")

    def _train(self, command: messages.Train) -> messages.Trained:
        """The sleep alone counts as training: sealing is a part of what is to be measured."""
        time.sleep(self._step_s)
        batch = BatchInterval(command.batch_start, command.batch_end)
        codec = self._update.header.codec
        assert codec is not None, "an update's"
        tokens = batch.size * self._config.data.sequence_length
        sealed = seal_update(
            replace(self._origin(command.epoch, command.round), batch=batch),
            self._update.grid,
            self._with_own_signs(command.round),
            self._update.transform,
            chunk_size=codec.chunk_size,
            tokens=tokens,
            loss=self._recorded.loss,
        )
        blob = self._store.add(sealed)
        return messages.Trained(
            round=command.round,
            blob=blob.hex(),
            payload=sealed.header.payload_hash.hex(),
            size_bytes=sealed.manifest.size_bytes,
            loss=self._recorded.loss,
            tokens=tokens,
            seconds=self._step_s,
        )

    def _apply(self, command: messages.Apply) -> messages.Applied:
        blobs = [bytes.fromhex(blob) for blob in command.blobs]
        self._roots = [hash_parts("stand-in root", root, *blobs) for root in self._roots]
        return messages.Applied(command.round, tuple(root.hex() for root in self._roots), 0.0)

    def _snapshot(self, command: messages.Snapshot) -> messages.Snapshotted:
        held = {"roots": np.frombuffer(b"".join(self._roots), np.uint8)}
        origin = replace(self._origin(0, command.param_round), producer=None)
        sealed = seal_dense(BlobKind.PARAMETERS, origin, held)
        blob, size = self._store.add(sealed), sealed.manifest.size_bytes
        return messages.Snapshotted(command.param_round, command.tier, blob.hex(), size, 0.0)

    def _with_own_signs(self, round_index: int) -> Coefficients:
        first, *others = self._update.coefficients.groups
        seed = hash_parts("stand-in signs", self._setup.peer.encode(), str(round_index).encode())
        entries = np.random.default_rng(list(seed)).integers(
            len(first.negative), size=_CHANGED_SIGNS
        )
        negative = first.negative.copy()
        negative[entries] = ~negative[entries]
        return replace(
            self._update.coefficients, groups=(replace(first, negative=negative), *others)
        )

    def _origin(self, epoch: int, round_index: int) -> Origin:
        return Origin(
            run_id=self._run_id,
            epoch=EpochIndex(epoch),
            round=RoundIndex(round_index),
            tier=Tier(self._setup.tier),
            schema_hash=self._schema,
            producer=PeerId(self._setup.peer),
        )


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    folder, step_s, incoming, outgoing = sys.argv[1:]
    with os.fdopen(int(incoming), "rb") as commands, os.fdopen(int(outgoing), "wb") as events:
        pipe = MessagePipe(commands, events)
        setup = pipe.receive()
        if setup is None:
            return
        stand_in = StandIn(setup, Path(folder), float(step_s))
        pipe.send(stand_in.ready())
        while (command := pipe.receive()) is not None:
            pipe.send(stand_in.answer(command))


if __name__ == "__main__":
    main()
