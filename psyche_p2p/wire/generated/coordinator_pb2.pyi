from psyche_p2p.wire.generated import common_pb2 as _common_pb2
from psyche_p2p.wire.generated import consensus_pb2 as _consensus_pb2
from psyche_p2p.wire.generated import membership_pb2 as _membership_pb2
from psyche_p2p.wire.generated import round_pb2 as _round_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CommandKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMMAND_KIND_UNSPECIFIED: _ClassVar[CommandKind]
    COMMAND_KIND_ADMIT: _ClassVar[CommandKind]
    COMMAND_KIND_RELEASE: _ClassVar[CommandKind]
    COMMAND_KIND_OBEY: _ClassVar[CommandKind]
    COMMAND_KIND_OPEN_EPOCH: _ClassVar[CommandKind]
    COMMAND_KIND_BEGIN_TRAINING: _ClassVar[CommandKind]
    COMMAND_KIND_CLOSE_ROUND: _ClassVar[CommandKind]
    COMMAND_KIND_CLOSE_EPOCH: _ClassVar[CommandKind]
    COMMAND_KIND_EJECT_FOR_VOTES: _ClassVar[CommandKind]
    COMMAND_KIND_EJECT_FOR_COMMITMENTS: _ClassVar[CommandKind]
    COMMAND_KIND_EJECT_FOR_VERDICTS: _ClassVar[CommandKind]

class MemberStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MEMBER_STATUS_UNSPECIFIED: _ClassVar[MemberStatus]
    MEMBER_STATUS_ACTIVE: _ClassVar[MemberStatus]
    MEMBER_STATUS_WITHDRAWN: _ClassVar[MemberStatus]
    MEMBER_STATUS_DROPPED: _ClassVar[MemberStatus]
    MEMBER_STATUS_EJECTED: _ClassVar[MemberStatus]
COMMAND_KIND_UNSPECIFIED: CommandKind
COMMAND_KIND_ADMIT: CommandKind
COMMAND_KIND_RELEASE: CommandKind
COMMAND_KIND_OBEY: CommandKind
COMMAND_KIND_OPEN_EPOCH: CommandKind
COMMAND_KIND_BEGIN_TRAINING: CommandKind
COMMAND_KIND_CLOSE_ROUND: CommandKind
COMMAND_KIND_CLOSE_EPOCH: CommandKind
COMMAND_KIND_EJECT_FOR_VOTES: CommandKind
COMMAND_KIND_EJECT_FOR_COMMITMENTS: CommandKind
COMMAND_KIND_EJECT_FOR_VERDICTS: CommandKind
MEMBER_STATUS_UNSPECIFIED: MemberStatus
MEMBER_STATUS_ACTIVE: MemberStatus
MEMBER_STATUS_WITHDRAWN: MemberStatus
MEMBER_STATUS_DROPPED: MemberStatus
MEMBER_STATUS_EJECTED: MemberStatus

class Admit(_message.Message):
    __slots__ = ("peer", "join", "signature")
    PEER_FIELD_NUMBER: _ClassVar[int]
    JOIN_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    peer: bytes
    join: _membership_pb2.Join
    signature: bytes
    def __init__(self, peer: _Optional[bytes] = ..., join: _Optional[_Union[_membership_pb2.Join, _Mapping]] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Genesis(_message.Message):
    __slots__ = ("run_id", "time_ms", "schema_hash", "param_roots", "data_manifest", "founders")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_HASH_FIELD_NUMBER: _ClassVar[int]
    PARAM_ROOTS_FIELD_NUMBER: _ClassVar[int]
    DATA_MANIFEST_FIELD_NUMBER: _ClassVar[int]
    FOUNDERS_FIELD_NUMBER: _ClassVar[int]
    run_id: bytes
    time_ms: int
    schema_hash: bytes
    param_roots: _containers.RepeatedScalarFieldContainer[bytes]
    data_manifest: bytes
    founders: _containers.RepeatedCompositeFieldContainer[Admit]
    def __init__(self, run_id: _Optional[bytes] = ..., time_ms: _Optional[int] = ..., schema_hash: _Optional[bytes] = ..., param_roots: _Optional[_Iterable[bytes]] = ..., data_manifest: _Optional[bytes] = ..., founders: _Optional[_Iterable[_Union[Admit, _Mapping]]] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("kind", "body")
    KIND_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    kind: CommandKind
    body: bytes
    def __init__(self, kind: _Optional[_Union[CommandKind, str]] = ..., body: _Optional[bytes] = ...) -> None: ...

class Release(_message.Message):
    __slots__ = ("peer", "withdraw", "signature")
    PEER_FIELD_NUMBER: _ClassVar[int]
    WITHDRAW_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    peer: bytes
    withdraw: _membership_pb2.Withdraw
    signature: bytes
    def __init__(self, peer: _Optional[bytes] = ..., withdraw: _Optional[_Union[_membership_pb2.Withdraw, _Mapping]] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Obey(_message.Message):
    __slots__ = ("order", "signature")
    ORDER_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    order: _membership_pb2.OwnerOrder
    signature: bytes
    def __init__(self, order: _Optional[_Union[_membership_pb2.OwnerOrder, _Mapping]] = ..., signature: _Optional[bytes] = ...) -> None: ...

class OpenEpoch(_message.Message):
    __slots__ = ("epoch",)
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    def __init__(self, epoch: _Optional[int] = ...) -> None: ...

class PeerSignature(_message.Message):
    __slots__ = ("peer", "signature")
    PEER_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    peer: bytes
    signature: bytes
    def __init__(self, peer: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class BeginTraining(_message.Message):
    __slots__ = ("epoch", "warm", "learning_rate_bits")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    WARM_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_BITS_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    warm: _containers.RepeatedCompositeFieldContainer[PeerSignature]
    learning_rate_bits: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, epoch: _Optional[int] = ..., warm: _Optional[_Iterable[_Union[PeerSignature, _Mapping]]] = ..., learning_rate_bits: _Optional[_Iterable[int]] = ...) -> None: ...

class Contribution(_message.Message):
    __slots__ = ("slot", "blob_hash", "size_bytes", "payload_hash", "tokens_per_s", "signature")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    BLOB_HASH_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_HASH_FIELD_NUMBER: _ClassVar[int]
    TOKENS_PER_S_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    slot: int
    blob_hash: bytes
    size_bytes: int
    payload_hash: bytes
    tokens_per_s: int
    signature: bytes
    def __init__(self, slot: _Optional[int] = ..., blob_hash: _Optional[bytes] = ..., size_bytes: _Optional[int] = ..., payload_hash: _Optional[bytes] = ..., tokens_per_s: _Optional[int] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Witnessing(_message.Message):
    __slots__ = ("witness", "held", "param_round", "param_roots", "signature")
    WITNESS_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    PARAM_ROUND_FIELD_NUMBER: _ClassVar[int]
    PARAM_ROOTS_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    witness: int
    held: bytes
    param_round: int
    param_roots: _containers.RepeatedScalarFieldContainer[bytes]
    signature: bytes
    def __init__(self, witness: _Optional[int] = ..., held: _Optional[bytes] = ..., param_round: _Optional[int] = ..., param_roots: _Optional[_Iterable[bytes]] = ..., signature: _Optional[bytes] = ...) -> None: ...

class WitnessSignature(_message.Message):
    __slots__ = ("witness", "signature")
    WITNESS_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    witness: int
    signature: bytes
    def __init__(self, witness: _Optional[int] = ..., signature: _Optional[bytes] = ...) -> None: ...

class RefusedTargets(_message.Message):
    __slots__ = ("targets", "witnesses")
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    WITNESSES_FIELD_NUMBER: _ClassVar[int]
    targets: Contribution
    witnesses: _containers.RepeatedCompositeFieldContainer[WitnessSignature]
    def __init__(self, targets: _Optional[_Union[Contribution, _Mapping]] = ..., witnesses: _Optional[_Iterable[_Union[WitnessSignature, _Mapping]]] = ...) -> None: ...

class CloseRound(_message.Message):
    __slots__ = ("epoch", "round", "contributions", "witnessings", "learning_rate_bits", "refused")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTIONS_FIELD_NUMBER: _ClassVar[int]
    WITNESSINGS_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_BITS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    round: int
    contributions: _containers.RepeatedCompositeFieldContainer[Contribution]
    witnessings: _containers.RepeatedCompositeFieldContainer[Witnessing]
    learning_rate_bits: int
    refused: _containers.RepeatedCompositeFieldContainer[RefusedTargets]
    def __init__(self, epoch: _Optional[int] = ..., round: _Optional[int] = ..., contributions: _Optional[_Iterable[_Union[Contribution, _Mapping]]] = ..., witnessings: _Optional[_Iterable[_Union[Witnessing, _Mapping]]] = ..., learning_rate_bits: _Optional[int] = ..., refused: _Optional[_Iterable[_Union[RefusedTargets, _Mapping]]] = ...) -> None: ...

class CloseEpoch(_message.Message):
    __slots__ = ("epoch", "param_roots", "signatures")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PARAM_ROOTS_FIELD_NUMBER: _ClassVar[int]
    SIGNATURES_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    param_roots: _containers.RepeatedScalarFieldContainer[bytes]
    signatures: _containers.RepeatedCompositeFieldContainer[PeerSignature]
    def __init__(self, epoch: _Optional[int] = ..., param_roots: _Optional[_Iterable[bytes]] = ..., signatures: _Optional[_Iterable[_Union[PeerSignature, _Mapping]]] = ...) -> None: ...

class EjectForVotes(_message.Message):
    __slots__ = ("peer", "first", "first_signature", "second", "second_signature")
    PEER_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    FIRST_SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    SECOND_FIELD_NUMBER: _ClassVar[int]
    SECOND_SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    peer: bytes
    first: _consensus_pb2.Vote
    first_signature: bytes
    second: _consensus_pb2.Vote
    second_signature: bytes
    def __init__(self, peer: _Optional[bytes] = ..., first: _Optional[_Union[_consensus_pb2.Vote, _Mapping]] = ..., first_signature: _Optional[bytes] = ..., second: _Optional[_Union[_consensus_pb2.Vote, _Mapping]] = ..., second_signature: _Optional[bytes] = ...) -> None: ...

class EjectForCommitments(_message.Message):
    __slots__ = ("peer", "first", "first_signature", "second", "second_signature")
    PEER_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    FIRST_SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    SECOND_FIELD_NUMBER: _ClassVar[int]
    SECOND_SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    peer: bytes
    first: _round_pb2.Commitment
    first_signature: bytes
    second: _round_pb2.Commitment
    second_signature: bytes
    def __init__(self, peer: _Optional[bytes] = ..., first: _Optional[_Union[_round_pb2.Commitment, _Mapping]] = ..., first_signature: _Optional[bytes] = ..., second: _Optional[_Union[_round_pb2.Commitment, _Mapping]] = ..., second_signature: _Optional[bytes] = ...) -> None: ...

class JurorSignature(_message.Message):
    __slots__ = ("juror", "agreement_ppm", "signature")
    JUROR_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_PPM_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    juror: bytes
    agreement_ppm: int
    signature: bytes
    def __init__(self, juror: _Optional[bytes] = ..., agreement_ppm: _Optional[int] = ..., signature: _Optional[bytes] = ...) -> None: ...

class EjectForVerdicts(_message.Message):
    __slots__ = ("peer", "epoch", "round", "batch", "blob_hash", "verdicts")
    PEER_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    BLOB_HASH_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    peer: bytes
    epoch: int
    round: int
    batch: _common_pb2.BatchInterval
    blob_hash: bytes
    verdicts: _containers.RepeatedCompositeFieldContainer[JurorSignature]
    def __init__(self, peer: _Optional[bytes] = ..., epoch: _Optional[int] = ..., round: _Optional[int] = ..., batch: _Optional[_Union[_common_pb2.BatchInterval, _Mapping]] = ..., blob_hash: _Optional[bytes] = ..., verdicts: _Optional[_Iterable[_Union[JurorSignature, _Mapping]]] = ...) -> None: ...

class Applicant(_message.Message):
    __slots__ = ("peer", "join")
    PEER_FIELD_NUMBER: _ClassVar[int]
    JOIN_FIELD_NUMBER: _ClassVar[int]
    peer: bytes
    join: _membership_pb2.Join
    def __init__(self, peer: _Optional[bytes] = ..., join: _Optional[_Union[_membership_pb2.Join, _Mapping]] = ...) -> None: ...

class Member(_message.Message):
    __slots__ = ("peer", "join", "status", "missed_rounds", "silent_rounds", "is_late", "tokens_per_s")
    PEER_FIELD_NUMBER: _ClassVar[int]
    JOIN_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    MISSED_ROUNDS_FIELD_NUMBER: _ClassVar[int]
    SILENT_ROUNDS_FIELD_NUMBER: _ClassVar[int]
    IS_LATE_FIELD_NUMBER: _ClassVar[int]
    TOKENS_PER_S_FIELD_NUMBER: _ClassVar[int]
    peer: bytes
    join: _membership_pb2.Join
    status: MemberStatus
    missed_rounds: int
    silent_rounds: int
    is_late: bool
    tokens_per_s: int
    def __init__(self, peer: _Optional[bytes] = ..., join: _Optional[_Union[_membership_pb2.Join, _Mapping]] = ..., status: _Optional[_Union[MemberStatus, str]] = ..., missed_rounds: _Optional[int] = ..., silent_rounds: _Optional[int] = ..., is_late: _Optional[bool] = ..., tokens_per_s: _Optional[int] = ...) -> None: ...

class Account(_message.Message):
    __slots__ = ("peer", "nonce", "points", "epoch_points", "is_banned")
    PEER_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_POINTS_FIELD_NUMBER: _ClassVar[int]
    IS_BANNED_FIELD_NUMBER: _ClassVar[int]
    peer: bytes
    nonce: int
    points: int
    epoch_points: int
    is_banned: bool
    def __init__(self, peer: _Optional[bytes] = ..., nonce: _Optional[int] = ..., points: _Optional[int] = ..., epoch_points: _Optional[int] = ..., is_banned: _Optional[bool] = ...) -> None: ...

class Slot(_message.Message):
    __slots__ = ("batch", "trainer", "tier", "teacher", "verifiers")
    BATCH_FIELD_NUMBER: _ClassVar[int]
    TRAINER_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    TEACHER_FIELD_NUMBER: _ClassVar[int]
    VERIFIERS_FIELD_NUMBER: _ClassVar[int]
    batch: _common_pb2.BatchInterval
    trainer: bytes
    tier: int
    teacher: bytes
    verifiers: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, batch: _Optional[_Union[_common_pb2.BatchInterval, _Mapping]] = ..., trainer: _Optional[bytes] = ..., tier: _Optional[int] = ..., teacher: _Optional[bytes] = ..., verifiers: _Optional[_Iterable[bytes]] = ...) -> None: ...

class OpenRound(_message.Message):
    __slots__ = ("round", "seed", "learning_rate_bits", "slots", "committee", "jury")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_BITS_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    COMMITTEE_FIELD_NUMBER: _ClassVar[int]
    JURY_FIELD_NUMBER: _ClassVar[int]
    round: int
    seed: bytes
    learning_rate_bits: int
    slots: _containers.RepeatedCompositeFieldContainer[Slot]
    committee: _containers.RepeatedScalarFieldContainer[bytes]
    jury: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, round: _Optional[int] = ..., seed: _Optional[bytes] = ..., learning_rate_bits: _Optional[int] = ..., slots: _Optional[_Iterable[_Union[Slot, _Mapping]]] = ..., committee: _Optional[_Iterable[bytes]] = ..., jury: _Optional[_Iterable[bytes]] = ...) -> None: ...

class ClosedRound(_message.Message):
    __slots__ = ("round", "learning_rate_bits", "accepted", "jury")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_BITS_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    JURY_FIELD_NUMBER: _ClassVar[int]
    round: int
    learning_rate_bits: int
    accepted: _containers.RepeatedCompositeFieldContainer[_round_pb2.AttestedBlob]
    jury: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, round: _Optional[int] = ..., learning_rate_bits: _Optional[int] = ..., accepted: _Optional[_Iterable[_Union[_round_pb2.AttestedBlob, _Mapping]]] = ..., jury: _Optional[_Iterable[bytes]] = ...) -> None: ...

class StateRecord(_message.Message):
    __slots__ = ("run_id", "schema_hash", "height", "block_hash", "time_ms", "seed", "phase", "phase_since_ms", "enough_since_ms", "epoch", "epoch_since_ms", "is_ending", "is_pause_pending", "owner_nonce", "cold_since_round", "members", "applicants", "entrants", "accounts", "next_round", "data_index", "open_rounds", "closed_rounds", "head_since_ms", "usual_round_ms", "param_round", "param_roots", "closing_committee", "points_issued", "points_forfeited")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_HASH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    BLOCK_HASH_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    PHASE_SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    ENOUGH_SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    EPOCH_SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    IS_ENDING_FIELD_NUMBER: _ClassVar[int]
    IS_PAUSE_PENDING_FIELD_NUMBER: _ClassVar[int]
    OWNER_NONCE_FIELD_NUMBER: _ClassVar[int]
    COLD_SINCE_ROUND_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    APPLICANTS_FIELD_NUMBER: _ClassVar[int]
    ENTRANTS_FIELD_NUMBER: _ClassVar[int]
    ACCOUNTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_ROUND_FIELD_NUMBER: _ClassVar[int]
    DATA_INDEX_FIELD_NUMBER: _ClassVar[int]
    OPEN_ROUNDS_FIELD_NUMBER: _ClassVar[int]
    CLOSED_ROUNDS_FIELD_NUMBER: _ClassVar[int]
    HEAD_SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    USUAL_ROUND_MS_FIELD_NUMBER: _ClassVar[int]
    PARAM_ROUND_FIELD_NUMBER: _ClassVar[int]
    PARAM_ROOTS_FIELD_NUMBER: _ClassVar[int]
    CLOSING_COMMITTEE_FIELD_NUMBER: _ClassVar[int]
    POINTS_ISSUED_FIELD_NUMBER: _ClassVar[int]
    POINTS_FORFEITED_FIELD_NUMBER: _ClassVar[int]
    run_id: bytes
    schema_hash: bytes
    height: int
    block_hash: bytes
    time_ms: int
    seed: bytes
    phase: _membership_pb2.Phase
    phase_since_ms: int
    enough_since_ms: int
    epoch: int
    epoch_since_ms: int
    is_ending: bool
    is_pause_pending: bool
    owner_nonce: int
    cold_since_round: int
    members: _containers.RepeatedCompositeFieldContainer[Member]
    applicants: _containers.RepeatedCompositeFieldContainer[Applicant]
    entrants: _containers.RepeatedCompositeFieldContainer[Applicant]
    accounts: _containers.RepeatedCompositeFieldContainer[Account]
    next_round: int
    data_index: int
    open_rounds: _containers.RepeatedCompositeFieldContainer[OpenRound]
    closed_rounds: _containers.RepeatedCompositeFieldContainer[ClosedRound]
    head_since_ms: int
    usual_round_ms: int
    param_round: int
    param_roots: _containers.RepeatedScalarFieldContainer[bytes]
    closing_committee: _containers.RepeatedScalarFieldContainer[bytes]
    points_issued: int
    points_forfeited: int
    def __init__(self, run_id: _Optional[bytes] = ..., schema_hash: _Optional[bytes] = ..., height: _Optional[int] = ..., block_hash: _Optional[bytes] = ..., time_ms: _Optional[int] = ..., seed: _Optional[bytes] = ..., phase: _Optional[_Union[_membership_pb2.Phase, str]] = ..., phase_since_ms: _Optional[int] = ..., enough_since_ms: _Optional[int] = ..., epoch: _Optional[int] = ..., epoch_since_ms: _Optional[int] = ..., is_ending: _Optional[bool] = ..., is_pause_pending: _Optional[bool] = ..., owner_nonce: _Optional[int] = ..., cold_since_round: _Optional[int] = ..., members: _Optional[_Iterable[_Union[Member, _Mapping]]] = ..., applicants: _Optional[_Iterable[_Union[Applicant, _Mapping]]] = ..., entrants: _Optional[_Iterable[_Union[Applicant, _Mapping]]] = ..., accounts: _Optional[_Iterable[_Union[Account, _Mapping]]] = ..., next_round: _Optional[int] = ..., data_index: _Optional[int] = ..., open_rounds: _Optional[_Iterable[_Union[OpenRound, _Mapping]]] = ..., closed_rounds: _Optional[_Iterable[_Union[ClosedRound, _Mapping]]] = ..., head_since_ms: _Optional[int] = ..., usual_round_ms: _Optional[int] = ..., param_round: _Optional[int] = ..., param_roots: _Optional[_Iterable[bytes]] = ..., closing_committee: _Optional[_Iterable[bytes]] = ..., points_issued: _Optional[int] = ..., points_forfeited: _Optional[int] = ...) -> None: ...
