"""What a peer and its trainer process say to each other. Torch-free: the peer imports this.

Large things never travel here: updates and parameters are blobs in the store, which both processes
open, and messages carry their hashes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from psyche_p2p.distill.stats import DistillationStats


@dataclass(frozen=True, slots=True)
class Setup:
    """The first command: what to train, where, and with what."""

    config: str
    """The run's canonical configuration (text)."""
    store: str
    """The folder of the blob store."""
    store_bytes: int
    peer: str
    tier: int
    device: str
    threads: int
    micro_batch: int
    """Samples at once; 0 for as many as fit."""
    checkpoint: str
    """A checkpoint folder; empty for the run's initial parameters."""
    data_dir: str
    """Where this machine keeps the run's token files; empty for built-in text."""
    compile: bool


@dataclass(frozen=True, slots=True)
class Train:
    """Compute this peer's contribution for a batch and put it into the store."""

    epoch: int
    round: int
    batch_start: int
    batch_end: int
    learning_rate_bits: int
    teacher: str = ""
    """Whose targets a student trains with; empty if the round has no teacher."""
    targets: str = ""
    """The blob of these, in the store; empty if they have not come."""


@dataclass(frozen=True, slots=True)
class MakeTargets:
    """Compute the targets for a student's batch of a round and put them into the store."""

    epoch: int
    round: int
    batch_start: int
    batch_end: int


@dataclass(frozen=True, slots=True)
class Apply:
    """Apply a closed round's accepted contributions, all of which are in the store."""

    round: int
    blobs: tuple[str, ...]
    learning_rate_bits: int


@dataclass(frozen=True, slots=True)
class Evaluate:
    """The held-out loss at every tier this trainer holds."""

    samples: int


@dataclass(frozen=True, slots=True)
class Save:
    """Write the parameters as a checkpoint."""

    folder: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Put the parameters, cut to a tier, into the store: what a newcomer or a restart begins with.

    The same parameters are the same blob on every peer.
    """

    param_round: int
    tier: int


@dataclass(frozen=True, slots=True)
class Load:
    """Take the parameters of a blob in the store, which is of this trainer's tier."""

    blob: str


@dataclass(frozen=True, slots=True)
class Ready:
    """The trainer has its model and data."""

    device: str
    precision: str
    parameters: int
    schema_hash: str
    data_manifest: str
    roots: tuple[str, ...]
    memory_bytes: int
    seconds: float
    data_files: str = ""
    """The manifest itself, encoded, for peers whose data differs."""
    first_roots: tuple[str, ...] = ()
    """Of all tiers, of the checkpoint this trainer began with; none if it was given none."""


@dataclass(frozen=True, slots=True)
class Progress:
    """So many of a round's samples are done."""

    round: int
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Trained:
    """The contribution is in the store."""

    round: int
    blob: str
    payload: str
    size_bytes: int
    loss: float
    tokens: int
    seconds: float
    distillation: DistillationStats | None = None
    """Of a student that was taught; `loss` is then the cross-entropy alone."""


@dataclass(frozen=True, slots=True)
class TargetsMade:
    """The targets for a student's batch are in the store."""

    round: int
    batch_start: int
    batch_end: int
    blob: str
    payload: str
    size_bytes: int
    top_mass: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Applied:
    """A round is in the parameters; `roots` from the smallest tier's outwards."""

    round: int
    roots: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Loss in nats per token, by tier."""

    tiers: tuple[int, ...]
    losses: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Saved:
    """The checkpoint is on disk, whole."""

    folder: str
    root: str


@dataclass(frozen=True, slots=True)
class Snapshotted:
    """The parameters are in the store."""

    param_round: int
    tier: int
    blob: str
    size_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """The parameters were taken from a blob; `roots` as in Applied."""

    param_round: int
    roots: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Warned:
    """Something the operator should know; training goes on."""

    text: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A command could not be carried out; the trainer waits for the next."""

    command: str
    cause: str
    cure: str
    exit_code: int


Command: TypeAlias = Setup | Train | MakeTargets | Apply | Evaluate | Save | Snapshot | Load
Event: TypeAlias = (
    Ready
    | Progress
    | Trained
    | TargetsMade
    | Applied
    | Evaluated
    | Saved
    | Snapshotted
    | Loaded
    | Warned
    | Failed
)
