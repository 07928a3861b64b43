from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class VoteStep(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VOTE_STEP_UNSPECIFIED: _ClassVar[VoteStep]
    VOTE_STEP_PREVOTE: _ClassVar[VoteStep]
    VOTE_STEP_PRECOMMIT: _ClassVar[VoteStep]
VOTE_STEP_UNSPECIFIED: VoteStep
VOTE_STEP_PREVOTE: VoteStep
VOTE_STEP_PRECOMMIT: VoteStep

class Block(_message.Message):
    __slots__ = ("height", "prev_hash", "view", "proposer", "time_ms", "seed", "seed_signature", "commands", "state_root")
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    PREV_HASH_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    PROPOSER_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    SEED_SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    COMMANDS_FIELD_NUMBER: _ClassVar[int]
    STATE_ROOT_FIELD_NUMBER: _ClassVar[int]
    height: int
    prev_hash: bytes
    view: int
    proposer: bytes
    time_ms: int
    seed: bytes
    seed_signature: bytes
    commands: _containers.RepeatedScalarFieldContainer[bytes]
    state_root: bytes
    def __init__(self, height: _Optional[int] = ..., prev_hash: _Optional[bytes] = ..., view: _Optional[int] = ..., proposer: _Optional[bytes] = ..., time_ms: _Optional[int] = ..., seed: _Optional[bytes] = ..., seed_signature: _Optional[bytes] = ..., commands: _Optional[_Iterable[bytes]] = ..., state_root: _Optional[bytes] = ...) -> None: ...

class Proposal(_message.Message):
    __slots__ = ("height", "view", "valid_view", "block")
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    VALID_VIEW_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    height: int
    view: int
    valid_view: int
    block: Block
    def __init__(self, height: _Optional[int] = ..., view: _Optional[int] = ..., valid_view: _Optional[int] = ..., block: _Optional[_Union[Block, _Mapping]] = ...) -> None: ...

class Vote(_message.Message):
    __slots__ = ("height", "view", "step", "block_hash")
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    BLOCK_HASH_FIELD_NUMBER: _ClassVar[int]
    height: int
    view: int
    step: VoteStep
    block_hash: bytes
    def __init__(self, height: _Optional[int] = ..., view: _Optional[int] = ..., step: _Optional[_Union[VoteStep, str]] = ..., block_hash: _Optional[bytes] = ...) -> None: ...

class VoteSignature(_message.Message):
    __slots__ = ("voter", "signature")
    VOTER_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    voter: bytes
    signature: bytes
    def __init__(self, voter: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Certificate(_message.Message):
    __slots__ = ("height", "view", "block_hash", "signatures")
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    BLOCK_HASH_FIELD_NUMBER: _ClassVar[int]
    SIGNATURES_FIELD_NUMBER: _ClassVar[int]
    height: int
    view: int
    block_hash: bytes
    signatures: _containers.RepeatedCompositeFieldContainer[VoteSignature]
    def __init__(self, height: _Optional[int] = ..., view: _Optional[int] = ..., block_hash: _Optional[bytes] = ..., signatures: _Optional[_Iterable[_Union[VoteSignature, _Mapping]]] = ...) -> None: ...

class DecidedBlock(_message.Message):
    __slots__ = ("block", "certificate")
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    block: Block
    certificate: Certificate
    def __init__(self, block: _Optional[_Union[Block, _Mapping]] = ..., certificate: _Optional[_Union[Certificate, _Mapping]] = ...) -> None: ...

class StoredStatement(_message.Message):
    __slots__ = ("height", "own", "reasons")
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    OWN_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    height: int
    own: bytes
    reasons: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, height: _Optional[int] = ..., own: _Optional[bytes] = ..., reasons: _Optional[_Iterable[bytes]] = ...) -> None: ...
