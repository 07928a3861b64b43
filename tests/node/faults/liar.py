"""A real peer with one part replaced: `python -m tests.node.faults.liar LIE,LIE,... start ...`.

The lies of `CONTRIBUTION_LIES` are told in turn, one for each batch that the peer is given, and the
last again and again. Those of `ON_ORDER` wait for a file of their name in the peer's home.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from psyche_p2p.blobs import (
    BlobStore,
    Origin,
    SealedBlob,
    read_layout,
    read_teacher_targets,
    read_update,
    seal_run_targets,
    seal_update,
)
from psyche_p2p.blobs.manifest import compute_manifest
from psyche_p2p.cli.main import main
from psyche_p2p.codec import Coefficients
from psyche_p2p.config import ModelConfig
from psyche_p2p.consensus import Broadcast, Effect
from psyche_p2p.coordinator import State
from psyche_p2p.ids import BlobHash, EpochIndex, RoundIndex, Tier
from psyche_p2p.model.schema import Schema, model_schema
from psyche_p2p.net.shelf import OpenBlob
from psyche_p2p.node import bulk_plane, participation
from psyche_p2p.node import peer as node_peer
from psyche_p2p.node import rounds as node_rounds
from psyche_p2p.node.bulk_plane import Told
from psyche_p2p.node.promises import Promises
from psyche_p2p.node.rounds import RoundWork
from psyche_p2p.node.teaching import Lesson, Teaching
from psyche_p2p.node.voting import Voting
from psyche_p2p.train.messages import TargetsMade, Trained
from psyche_p2p.wire import BlobHeader, Commitment, Proposal
from psyche_p2p.wire.bulk import RunDescription
from psyche_p2p.wire.records import Slot

_WAIT_MS = 20
TWO_BLOBS = "two-blobs"
DIE_PROPOSING = "die-proposing"
CORRUPT = "corrupt"
OTHER_CONFIG = "other-config"
BAD_TARGETS = "bad-targets"
OTHER_SCHEMA = "other-schema"


class LyingRounds(RoundWork):
    """Trains as it should, and commits to something else."""

    home: Path
    lies: list[Callable[[LyingRounds, Trained], Trained | None]]

    def _commit(self, slot: Slot, state: State, trained: Trained) -> None:
        told = self.lies[0](self, trained) if self.lies else trained
        if told is None:  # not yet
            self._timers.after(_WAIT_MS, self._commit, slot, state, trained)
            return
        if len(self.lies) > 1:
            self.lies.pop(0)
        super()._commit(slot, state, told)
        if (self.home / TWO_BLOBS).exists():
            super()._commit(slot, state, self.with_zeros(trained))

    @property
    def store(self) -> BlobStore:
        return self._blobs._store

    def as_it_is(self, trained: Trained) -> Trained:
        """No lie."""
        return trained

    def with_flipped_bits(self, trained: Trained) -> Trained:
        """The blob, but for a few bits near its end."""
        data = bytearray(self.store.read(_hash(trained)))
        data[-1] ^= 0x55
        header = read_layout(data).header
        return self._with_blob(trained, SealedBlob(header, compute_manifest([data]), (data,)))

    def with_zeros(self, trained: Trained) -> Trained:
        """A blob without a single coefficient."""
        update = read_update(read_layout(self.store.read(_hash(trained))))
        header, sent = update.header, update.coefficients
        assert header.codec is not None
        groups = tuple(
            replace(
                group,
                counts=group.counts * 0,
                positions=group.positions[:0],
                negative=group.negative[:0],
            )
            for group in sent.groups
        )
        sealed = seal_update(
            _origin_of(header),
            update.grid,
            Coefficients(sent.payload, sent.top_k, groups),
            update.transform,
            chunk_size=header.codec.chunk_size,
            tokens=header.tokens,
            loss=header.loss,
        )
        return replace(self._with_blob(trained, sealed), payload=sealed.header.payload_hash.hex())

    def with_anothers_blob(self, trained: Trained) -> Trained | None:
        """What another trainer committed to in this round, as soon as one has."""
        for signed in self._heard.commitments_of(RoundIndex(trained.round)):
            if signed.sender != self._me:
                theirs = signed.message
                return replace(
                    trained,
                    blob=theirs.blob_hash.hex(),
                    payload=theirs.payload_hash.hex(),
                    size_bytes=theirs.size_bytes,
                )
        return None

    def while_serving_flipped_bits(self, trained: Trained) -> Trained:
        """The true blob; but what anybody gets to read here is damaged on the way."""
        setattr(OpenBlob, "read", _read_and_flip)  # noqa: B010 - mypy knows no better way
        return trained

    def _with_blob(self, trained: Trained, sealed: SealedBlob) -> Trained:
        blob = self.store.add(sealed)
        return replace(trained, blob=blob.hex(), size_bytes=sealed.manifest.size_bytes)


CONTRIBUTION_LIES = {
    "truth": LyingRounds.as_it_is,
    "flip-bits": LyingRounds.with_flipped_bits,
    "zeros": LyingRounds.with_zeros,
    "anothers-blob": LyingRounds.with_anothers_blob,
    "flip-served-bits": LyingRounds.while_serving_flipped_bits,
}


class LyingTeaching(Teaching):
    """Claims more than all of the probability for what it tells its students."""

    def _commit(self, epoch: EpochIndex, lesson: Lesson, made: TargetsMade) -> None:
        store = self._blobs._store
        honest = read_layout(store.read(BlobHash(bytes.fromhex(made.blob))))
        top = read_teacher_targets(honest)
        sealed = seal_run_targets(
            self._blobs._config,
            _origin_of(honest.header),
            replace(top, logsumexp=top.logsumexp - np.float32(4)),
        )
        lie = replace(
            made,
            blob=store.add(sealed).hex(),
            payload=sealed.header.payload_hash.hex(),
            size_bytes=sealed.manifest.size_bytes,
        )
        super()._commit(epoch, lesson, lie)


class ForgingTold(Told):
    """Serves a configuration that is not the run's."""

    def describe(self, wanted: Tier | None) -> RunDescription:
        told = super().describe(wanted)
        return replace(told, config=told.config.replace(b"128", b"256"))


def _other_schema(config: ModelConfig) -> Schema:
    """Of a version of this software whose model has one thing more."""
    return dict(sorted({**model_schema(config), "config.qk_norm": "True"}.items()))


class BrokenPromises(Promises):
    """Remembers nothing that it committed to."""

    def bind(self, commitment: Commitment) -> Commitment:
        return commitment


class DyingVoting(Voting):
    """Is killed at the moment at which it should propose."""

    home: Path

    def _carry_out_one(self, effect: Effect) -> None:
        is_proposal = isinstance(effect, Broadcast) and isinstance(
            effect.envelope.message, Proposal
        )
        if is_proposal and (self.home / DIE_PROPOSING).exists():
            (self.home / DIE_PROPOSING).unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        super()._carry_out_one(effect)


def _origin_of(header: BlobHeader) -> Origin:
    return Origin(
        header.run_id,
        header.epoch,
        header.round,
        header.tier,
        header.schema_hash,
        header.batch,
        header.producer,
    )


def _hash(trained: Trained) -> BlobHash:
    return BlobHash(bytes.fromhex(trained.blob))


_read_truly = OpenBlob.read


def _read_and_flip(blob: OpenBlob, index: int) -> bytes:
    data = bytearray(_read_truly(blob, index))
    data[len(data) // 2] ^= 1
    return bytes(data)


def _begin(lies: list[str], arguments: list[str]) -> None:
    home = Path(arguments[arguments.index("--home") + 1])
    LyingRounds.home = DyingVoting.home = home
    LyingRounds.lies = [CONTRIBUTION_LIES[lie] for lie in lies if lie in CONTRIBUTION_LIES]
    if CORRUPT in lies:
        trainer = [sys.executable, "-m", "tests.node.faults.bad_memory", str(home / CORRUPT)]
        arguments = [*arguments, "--trainer-command", shlex.join(trainer)]
    replacements: list[tuple[object, str, object]] = [
        (participation, "RoundWork", LyingRounds),
        (participation, "Voting", DyingVoting),
        (node_peer, "Promises", BrokenPromises),
    ]
    if BAD_TARGETS in lies:
        replacements.append((node_rounds, "Teaching", LyingTeaching))
    if OTHER_CONFIG in lies:
        replacements.append((node_peer, "Told", ForgingTold))
    if OTHER_SCHEMA in lies:
        replacements.append((bulk_plane, "model_schema", _other_schema))
    for module, name, part in replacements:
        setattr(module, name, part)
    main(arguments)


if __name__ == "__main__":
    _begin(sys.argv[1].split(","), sys.argv[2:])
