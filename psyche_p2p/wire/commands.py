"""What a block's commands say, and what a run begins with (proto/psyche/v1/coordinator.proto).

Signatures here are those of the envelopes that carried the statements: the codec can write each
statement down again to the byte, so the log proves who said what without repeating it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from psyche_p2p.ids import (
    BatchInterval,
    BlobHash,
    EpochIndex,
    ParamRoot,
    PeerId,
    RoundIndex,
    RunId,
    SchemaHash,
    Signature,
)
from psyche_p2p.wire.messages import Commitment, Join, OwnerOrder, Vote, Withdraw


class CommandKind(IntEnum):
    """Which command a Command's body is."""

    ADMIT = 1
    RELEASE = 2
    OBEY = 3
    OPEN_EPOCH = 4
    BEGIN_TRAINING = 5
    CLOSE_ROUND = 6
    CLOSE_EPOCH = 7
    EJECT_FOR_VOTES = 8
    EJECT_FOR_COMMITMENTS = 9
    EJECT_FOR_VERDICTS = 10


@dataclass(frozen=True, slots=True)
class Command:
    """One of a block's commands."""

    kind: CommandKind
    body: bytes


@dataclass(frozen=True, slots=True)
class Admit:
    """Admit a peer to the next epoch."""

    peer: PeerId
    join: Join
    signature: Signature


@dataclass(frozen=True, slots=True)
class Genesis:
    """What a run begins with."""

    run_id: RunId
    time_ms: int
    schema_hash: SchemaHash
    param_roots: tuple[ParamRoot, ...]
    data_manifest: BlobHash
    founders: tuple[Admit, ...]


@dataclass(frozen=True, slots=True)
class Release:
    """Let a member or applicant go, as it asked."""

    peer: PeerId
    withdraw: Withdraw
    signature: Signature


@dataclass(frozen=True, slots=True)
class Obey:
    """Pause or resume, as the owner ordered."""

    order: OwnerOrder
    signature: Signature


@dataclass(frozen=True, slots=True)
class OpenEpoch:
    """Freeze the set of peers that will be the epoch's members."""

    epoch: EpochIndex


@dataclass(frozen=True, slots=True)
class PeerSignature:
    """A peer's signature over a statement that the command around it spells out."""

    peer: PeerId
    signature: Signature


@dataclass(frozen=True, slots=True)
class BeginTraining:
    """Make the warm peers the members, and open the first rounds."""

    epoch: EpochIndex
    warm: tuple[PeerSignature, ...]
    learning_rate_bits: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Contribution:
    """A commitment without what the round's slot already says."""

    slot: int
    blob_hash: BlobHash
    size_bytes: int
    payload_hash: BlobHash
    tokens_per_s: int
    signature: Signature


@dataclass(frozen=True, slots=True)
class Witnessing:
    """An attestation without what the contributions beside it already say."""

    witness: int
    held: bytes
    param_round: RoundIndex
    param_roots: tuple[ParamRoot, ...]
    signature: Signature


@dataclass(frozen=True, slots=True)
class WitnessSignature:
    """The signature of a committee's member over a Refusal."""

    witness: int
    signature: Signature


@dataclass(frozen=True, slots=True)
class RefusedTargets:
    """Targets that a slot's teacher committed to, and a quorum of the committee refuses."""

    targets: Contribution
    witnesses: tuple[WitnessSignature, ...]


@dataclass(frozen=True, slots=True)
class CloseRound:
    """Settle the oldest open round."""

    epoch: EpochIndex
    round: RoundIndex
    contributions: tuple[Contribution, ...]
    witnessings: tuple[Witnessing, ...]
    learning_rate_bits: int | None
    refused: tuple[RefusedTargets, ...] = ()


@dataclass(frozen=True, slots=True)
class CloseEpoch:
    """End the cooldown with the parameters that at each tier a quorum reached."""

    epoch: EpochIndex
    param_roots: tuple[ParamRoot, ...]
    signatures: tuple[PeerSignature, ...]


@dataclass(frozen=True, slots=True)
class EjectForVotes:
    """Eject a voter for two votes in one step."""

    peer: PeerId
    first: Vote
    first_signature: Signature
    second: Vote
    second_signature: Signature


@dataclass(frozen=True, slots=True)
class EjectForCommitments:
    """Eject a trainer for two commitments to one batch."""

    peer: PeerId
    first: Commitment
    first_signature: Signature
    second: Commitment
    second_signature: Signature


@dataclass(frozen=True, slots=True)
class JurorSignature:
    """A juror's signature over a Verdict that does not accept."""

    juror: PeerId
    agreement_ppm: int
    signature: Signature


@dataclass(frozen=True, slots=True)
class EjectForVerdicts:
    """Eject a trainer whose work a quorum of the jury could not reproduce."""

    peer: PeerId
    epoch: EpochIndex
    round: RoundIndex
    batch: BatchInterval
    blob_hash: BlobHash
    verdicts: tuple[JurorSignature, ...]
