"""The messages of the bulk plane, one for each in proto/psyche/v1/bulk.proto."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from psyche_p2p.ids import BlobHash, EpochIndex, Height, RoundIndex, RunId, Tier


class Topic(IntEnum):
    """What a set of statements is about."""

    COMMITMENTS = 1
    ATTESTATIONS = 2
    VERDICTS = 3
    VOTES = 4


@dataclass(frozen=True, slots=True)
class BlobRequest:
    """One blob."""

    blob_hash: BlobHash


@dataclass(frozen=True, slots=True)
class HaveRequest:
    """What do you have of these blobs?"""

    blob_hashes: tuple[BlobHash, ...]


@dataclass(frozen=True, slots=True)
class Holding:
    """What a peer has of one blob: a bit for each chunk, lowest bit first."""

    chunk_count: int
    chunks: bytes


@dataclass(frozen=True, slots=True)
class HaveReply:
    """A holding for each blob asked about, in that order."""

    holdings: tuple[Holding, ...]


@dataclass(frozen=True, slots=True, order=True)
class ChunkRange:
    """The chunks `first` to `first + count - 1`."""

    first: int
    count: int


@dataclass(frozen=True, slots=True)
class ChunkRequest:
    """Some chunks of a blob, to be sent in this order."""

    blob_hash: BlobHash
    ranges: tuple[ChunkRange, ...]


@dataclass(frozen=True, slots=True)
class LogRequest:
    """Decided blocks from a height on."""

    first_height: Height
    count: int


@dataclass(frozen=True, slots=True)
class StatementSet:
    """The ids of the statements a peer holds about one round, or (votes) one height."""

    topic: Topic
    epoch: EpochIndex
    index: int
    ids: tuple[BlobHash, ...]


@dataclass(frozen=True, slots=True)
class PullRequest:
    """What the sender has: the other hands over what is not in these sets."""

    sets: tuple[StatementSet, ...]


@dataclass(frozen=True, slots=True)
class PushReply:
    """How many pushed statements were new and good, and how many were known or of no use."""

    accepted: int
    ignored: int


@dataclass(frozen=True, slots=True)
class DescribeRequest:
    """What is the run of this id? With a tier, parameters of it are needed."""

    run_id: RunId
    tier: Tier | None


@dataclass(frozen=True, slots=True)
class ParameterOffer:
    """A blob that holds the model at a tier as it was after so many rounds (`param_round`)."""

    tier: Tier
    param_round: RoundIndex
    blob_hash: BlobHash
    size_bytes: int


@dataclass(frozen=True, slots=True)
class RunDescription:
    """What a peer says of its run: `config` is canonical, `genesis` and `founding` are encoded."""

    config: bytes
    genesis: bytes | None
    founding: bytes | None
    height: Height
    offers: tuple[ParameterOffer, ...]
