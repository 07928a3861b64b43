"""The parts of the replicated state as they are hashed, stored and handed to newcomers."""

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
    Tier,
)
from psyche_p2p.wire.messages import AttestedBlob, Join, Phase


class MemberStatus(IntEnum):
    """Whether a member still takes part, and if not, why."""

    ACTIVE = 1
    WITHDRAWN = 2
    DROPPED = 3
    EJECTED = 4


@dataclass(frozen=True, slots=True)
class Applicant:
    """A peer that asked to take part in an epoch."""

    peer: PeerId
    join: Join


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the epoch, or of the last one until the next begins."""

    peer: PeerId
    join: Join
    status: MemberStatus
    missed_rounds: int
    silent_rounds: int
    is_late: bool
    tokens_per_s: int


@dataclass(frozen=True, slots=True)
class Account:
    """What the ledger says of a peer, for the whole run."""

    peer: PeerId
    nonce: int
    points: int
    epoch_points: int
    is_banned: bool


@dataclass(frozen=True, slots=True)
class Slot:
    """One trainer's work in one round."""

    batch: BatchInterval
    trainer: PeerId
    tier: Tier
    teacher: PeerId | None
    verifiers: tuple[PeerId, ...]


@dataclass(frozen=True, slots=True)
class OpenRound:
    """A round whose contributions are not settled yet."""

    round: RoundIndex
    seed: BlobHash
    learning_rate_bits: int
    slots: tuple[Slot, ...]
    committee: tuple[PeerId, ...]
    jury: tuple[PeerId, ...]


@dataclass(frozen=True, slots=True)
class ClosedRound:
    """What is still needed of a settled round. Its update is the sum of what was accepted."""

    round: RoundIndex
    learning_rate_bits: int
    accepted: tuple[AttestedBlob, ...]
    jury: tuple[PeerId, ...]


@dataclass(frozen=True, slots=True)
class StateRecord:
    """The whole state; its root is the hash of this with `block_hash` all zero."""

    run_id: RunId
    schema_hash: SchemaHash
    height: Height
    block_hash: BlockHash
    time_ms: int
    seed: BlobHash
    phase: Phase
    phase_since_ms: int
    enough_since_ms: int | None
    epoch: EpochIndex
    epoch_since_ms: int
    is_ending: bool
    is_pause_pending: bool
    owner_nonce: int
    cold_since_round: RoundIndex
    members: tuple[Member, ...]
    applicants: tuple[Applicant, ...]
    entrants: tuple[Applicant, ...]
    accounts: tuple[Account, ...]
    next_round: RoundIndex
    data_index: int
    open_rounds: tuple[OpenRound, ...]
    closed_rounds: tuple[ClosedRound, ...]
    head_since_ms: int
    usual_round_ms: int
    param_round: RoundIndex
    param_roots: tuple[ParamRoot, ...]
    closing_committee: tuple[PeerId, ...]
    points_issued: int
    points_forfeited: int
