from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RoundDigest(_message.Message):
    __slots__ = ("epoch", "round", "commitments", "attestations", "verdicts")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    COMMITMENTS_FIELD_NUMBER: _ClassVar[int]
    ATTESTATIONS_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    round: int
    commitments: bytes
    attestations: bytes
    verdicts: bytes
    def __init__(self, epoch: _Optional[int] = ..., round: _Optional[int] = ..., commitments: _Optional[bytes] = ..., attestations: _Optional[bytes] = ..., verdicts: _Optional[bytes] = ...) -> None: ...

class AntiEntropyDigest(_message.Message):
    __slots__ = ("height", "block_hash", "view", "votes", "rounds")
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    BLOCK_HASH_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    VOTES_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    height: int
    block_hash: bytes
    view: int
    votes: bytes
    rounds: _containers.RepeatedCompositeFieldContainer[RoundDigest]
    def __init__(self, height: _Optional[int] = ..., block_hash: _Optional[bytes] = ..., view: _Optional[int] = ..., votes: _Optional[bytes] = ..., rounds: _Optional[_Iterable[_Union[RoundDigest, _Mapping]]] = ...) -> None: ...
