from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[Role]
    ROLE_TRAINER: _ClassVar[Role]
    ROLE_WITNESS: _ClassVar[Role]

class OwnerAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OWNER_ACTION_UNSPECIFIED: _ClassVar[OwnerAction]
    OWNER_ACTION_PAUSE: _ClassVar[OwnerAction]
    OWNER_ACTION_RESUME: _ClassVar[OwnerAction]

class Phase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PHASE_UNSPECIFIED: _ClassVar[Phase]
    PHASE_WAITING_FOR_MEMBERS: _ClassVar[Phase]
    PHASE_WARMUP: _ClassVar[Phase]
    PHASE_TRAIN: _ClassVar[Phase]
    PHASE_COOLDOWN: _ClassVar[Phase]
    PHASE_PAUSED: _ClassVar[Phase]
    PHASE_FINISHED: _ClassVar[Phase]
ROLE_UNSPECIFIED: Role
ROLE_TRAINER: Role
ROLE_WITNESS: Role
OWNER_ACTION_UNSPECIFIED: OwnerAction
OWNER_ACTION_PAUSE: OwnerAction
OWNER_ACTION_RESUME: OwnerAction
PHASE_UNSPECIFIED: Phase
PHASE_WAITING_FOR_MEMBERS: Phase
PHASE_WARMUP: Phase
PHASE_TRAIN: Phase
PHASE_COOLDOWN: Phase
PHASE_PAUSED: Phase
PHASE_FINISHED: Phase

class Capabilities(_message.Message):
    __slots__ = ("tokens_per_s", "memory_bytes", "device")
    TOKENS_PER_S_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    tokens_per_s: int
    memory_bytes: int
    device: str
    def __init__(self, tokens_per_s: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., device: _Optional[str] = ...) -> None: ...

class Join(_message.Message):
    __slots__ = ("roles", "tier", "capabilities", "addresses", "tls_fingerprint", "schema_hash", "nonce")
    ROLES_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    TLS_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_HASH_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    roles: _containers.RepeatedScalarFieldContainer[Role]
    tier: int
    capabilities: Capabilities
    addresses: _containers.RepeatedScalarFieldContainer[str]
    tls_fingerprint: bytes
    schema_hash: bytes
    nonce: int
    def __init__(self, roles: _Optional[_Iterable[_Union[Role, str]]] = ..., tier: _Optional[int] = ..., capabilities: _Optional[_Union[Capabilities, _Mapping]] = ..., addresses: _Optional[_Iterable[str]] = ..., tls_fingerprint: _Optional[bytes] = ..., schema_hash: _Optional[bytes] = ..., nonce: _Optional[int] = ...) -> None: ...

class Withdraw(_message.Message):
    __slots__ = ("epoch", "reason", "nonce")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    reason: str
    nonce: int
    def __init__(self, epoch: _Optional[int] = ..., reason: _Optional[str] = ..., nonce: _Optional[int] = ...) -> None: ...

class Warm(_message.Message):
    __slots__ = ("epoch", "param_round", "param_root")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PARAM_ROUND_FIELD_NUMBER: _ClassVar[int]
    PARAM_ROOT_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    param_round: int
    param_root: bytes
    def __init__(self, epoch: _Optional[int] = ..., param_round: _Optional[int] = ..., param_root: _Optional[bytes] = ...) -> None: ...

class OwnerOrder(_message.Message):
    __slots__ = ("action", "nonce")
    ACTION_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    action: OwnerAction
    nonce: int
    def __init__(self, action: _Optional[_Union[OwnerAction, str]] = ..., nonce: _Optional[int] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ("height", "state_root", "phase", "epoch", "round", "param_round", "param_root", "warm", "software")
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    STATE_ROOT_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    PARAM_ROUND_FIELD_NUMBER: _ClassVar[int]
    PARAM_ROOT_FIELD_NUMBER: _ClassVar[int]
    WARM_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    height: int
    state_root: bytes
    phase: Phase
    epoch: int
    round: int
    param_round: int
    param_root: bytes
    warm: bool
    software: str
    def __init__(self, height: _Optional[int] = ..., state_root: _Optional[bytes] = ..., phase: _Optional[_Union[Phase, str]] = ..., epoch: _Optional[int] = ..., round: _Optional[int] = ..., param_round: _Optional[int] = ..., param_root: _Optional[bytes] = ..., warm: _Optional[bool] = ..., software: _Optional[str] = ...) -> None: ...
