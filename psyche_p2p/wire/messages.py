"""The messages of the protocol as frozen dataclasses, one for each in proto/psyche/v1.

Field names are those of the .proto files; field types say what the bytes must be (a BlobHash has
32 of them, a PeerId travels as its public key). The codec turns one into the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from psyche_p2p.ids import (
    BatchInterval,
    BlobHash,
    BlockHash,
    EpochIndex,
    Height,
    ParamRoot,
    PeerId,
    RoundIndex,
    RunId,
    SchemaHash,
    Signature,
    StateRoot,
    Tier,
    View,
)


class Role(IntEnum):
    """What a member does."""

    TRAINER = 1
    WITNESS = 2


class Phase(IntEnum):
    """Where a run is in its life."""

    WAITING_FOR_MEMBERS = 1
    WARMUP = 2
    TRAIN = 3
    COOLDOWN = 4
    PAUSED = 5
    FINISHED = 6


class OwnerAction(IntEnum):
    """What an owner can order."""

    PAUSE = 1
    RESUME = 2


class VoteStep(IntEnum):
    """Which of the two votes of a view this is."""

    PREVOTE = 1
    PRECOMMIT = 2


class BlobKind(IntEnum):
    """What a blob's sections hold."""

    UPDATE = 1
    TEACHER_TARGETS = 2
    PARAMETERS = 3
    CHECKPOINT_SHARD = 4


@dataclass(frozen=True, slots=True)
class Commitment:
    """A trainer's promise: this blob, and no other, is my contribution for this batch."""

    epoch: EpochIndex
    round: RoundIndex
    batch: BatchInterval
    blob_hash: BlobHash
    size_bytes: int
    payload_hash: BlobHash
    tokens_per_s: int


@dataclass(frozen=True, slots=True)
class AttestedBlob:
    """One blob a witness holds and found valid."""

    batch: BatchInterval
    trainer: PeerId
    blob_hash: BlobHash


@dataclass(frozen=True, slots=True)
class Attestation:
    """A witness's word for what it holds, and for the parameters it reached.

    `blobs` stand by rising batch, then by hash: only that order can be counted in a block.
    `param_roots` go from the smallest tier's to that of the witness's own tier, the order in which
    each contains the one before; a witness without a model names none.
    """

    epoch: EpochIndex
    round: RoundIndex
    blobs: tuple[AttestedBlob, ...]
    param_round: RoundIndex
    param_roots: tuple[ParamRoot, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verifier's finding after it ran a batch again."""

    epoch: EpochIndex
    round: RoundIndex
    batch: BatchInterval
    trainer: PeerId
    blob_hash: BlobHash
    agreement_ppm: int
    accepted: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """A witness's word that a teacher's targets are not what the log says they must be."""

    epoch: EpochIndex
    round: RoundIndex
    batch: BatchInterval
    teacher: PeerId
    blob_hash: BlobHash


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a machine can do, in its own words."""

    tokens_per_s: int
    memory_bytes: int
    device: str


@dataclass(frozen=True, slots=True)
class Join:
    """A peer asks to be admitted to the next epoch."""

    roles: tuple[Role, ...]
    tier: Tier
    capabilities: Capabilities
    addresses: tuple[str, ...]
    tls_fingerprint: BlobHash
    schema_hash: SchemaHash
    nonce: int


@dataclass(frozen=True, slots=True)
class Withdraw:
    """A member leaves of its own will."""

    epoch: EpochIndex
    reason: str
    nonce: int


@dataclass(frozen=True, slots=True)
class Warm:
    """A peer has loaded the model that the next epoch begins with."""

    epoch: EpochIndex
    param_round: RoundIndex
    param_root: ParamRoot


@dataclass(frozen=True, slots=True)
class OwnerOrder:
    """The run's owner pauses or resumes it."""

    action: OwnerAction
    nonce: int


@dataclass(frozen=True, slots=True)
class PeerRecord:
    """What a peer publishes about itself in the DHT."""

    instance: int
    roles: tuple[Role, ...]
    tier: Tier
    addresses: tuple[str, ...]
    bulk_addresses: tuple[str, ...]
    certificate: bytes
    certificate_signature: Signature
    joiner_addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunListing:
    """Which run a peer is in, for those who look for one by name."""

    run_id: RunId
    name: str


@dataclass(frozen=True, slots=True)
class RelayListing:
    """Where a relay listens that serves the runs of this network."""

    address: str


@dataclass(frozen=True, slots=True)
class Status:
    """Where a peer stands."""

    height: Height
    state_root: StateRoot
    phase: Phase
    epoch: EpochIndex
    round: RoundIndex
    param_round: RoundIndex
    param_root: ParamRoot
    warm: bool
    software: str


@dataclass(frozen=True, slots=True)
class Block:
    """One entry of the run's log. Agreement does not look inside the commands."""

    height: Height
    prev_hash: BlockHash
    view: View
    proposer: PeerId
    time_ms: int
    seed: BlobHash
    seed_signature: Signature
    commands: tuple[bytes, ...]
    state_root: StateRoot


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposer's block for a view; `valid_view` is set when the block had a quorum before."""

    height: Height
    view: View
    valid_view: View | None
    block: Block


@dataclass(frozen=True, slots=True)
class Vote:
    """A prevote or precommit, for a block or (None) for no block."""

    height: Height
    view: View
    step: VoteStep
    block_hash: BlockHash | None


@dataclass(frozen=True, slots=True)
class VoteSignature:
    """A member's signature over the envelope of a precommit for the certificate's block."""

    voter: PeerId
    signature: Signature


@dataclass(frozen=True, slots=True)
class Certificate:
    """Proof that a quorum decided a block."""

    height: Height
    view: View
    block_hash: BlockHash
    signatures: tuple[VoteSignature, ...]


@dataclass(frozen=True, slots=True)
class DecidedBlock:
    """How a decided block travels."""

    block: Block
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class StoredStatement:
    """A statement about to be sent, as the write-ahead log keeps it; never sent itself."""

    height: Height
    own: bytes
    reasons: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """A tensor at the blob's tier, and in an update the grid of chunks it was cut into."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    chunk_rows: int
    chunk_columns: int


@dataclass(frozen=True, slots=True)
class Section:
    """A stretch of the bytes that follow a blob's header."""

    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class CodecParameters:
    """How an update's coefficients were chosen and written."""

    name: str
    payload: str
    chunk_size: int
    top_k: int


@dataclass(frozen=True, slots=True)
class BlobHeader:
    """Everything a reader must trust about a blob; the blob's hash covers it."""

    version: int
    kind: BlobKind
    run_id: RunId
    epoch: EpochIndex
    round: RoundIndex
    batch: BatchInterval | None
    producer: PeerId | None
    tier: Tier
    schema_hash: SchemaHash
    codec: CodecParameters | None
    tensors: tuple[TensorEntry, ...]
    sections: tuple[Section, ...]
    tokens: int
    loss: float
    payload_hash: BlobHash


@dataclass(frozen=True, slots=True)
class ChunkManifest:
    """The hashes of a blob's chunks; the blob's hash is the hash of this message."""

    size_bytes: int
    chunks: tuple[BlobHash, ...]


@dataclass(frozen=True, slots=True)
class RoundDigest:
    """Hashes of the sorted ids of what a peer holds for one open round."""

    epoch: EpochIndex
    round: RoundIndex
    commitments: BlobHash
    attestations: BlobHash
    verdicts: BlobHash


@dataclass(frozen=True, slots=True)
class AntiEntropyDigest:
    """What two peers compare, so that each can ask for what it lacks."""

    height: Height
    block_hash: BlockHash
    view: View
    votes: BlobHash
    rounds: tuple[RoundDigest, ...]
