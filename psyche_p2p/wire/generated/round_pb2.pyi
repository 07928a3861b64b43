from psyche_p2p.wire.generated import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Commitment(_message.Message):
    __slots__ = ("epoch", "round", "batch", "blob_hash", "size_bytes", "payload_hash", "tokens_per_s")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    BLOB_HASH_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_HASH_FIELD_NUMBER: _ClassVar[int]
    TOKENS_PER_S_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    round: int
    batch: _common_pb2.BatchInterval
    blob_hash: bytes
    size_bytes: int
    payload_hash: bytes
    tokens_per_s: int
    def __init__(self, epoch: _Optional[int] = ..., round: _Optional[int] = ..., batch: _Optional[_Union[_common_pb2.BatchInterval, _Mapping]] = ..., blob_hash: _Optional[bytes] = ..., size_bytes: _Optional[int] = ..., payload_hash: _Optional[bytes] = ..., tokens_per_s: _Optional[int] = ...) -> None: ...

class AttestedBlob(_message.Message):
    __slots__ = ("batch", "trainer", "blob_hash")
    BATCH_FIELD_NUMBER: _ClassVar[int]
    TRAINER_FIELD_NUMBER: _ClassVar[int]
    BLOB_HASH_FIELD_NUMBER: _ClassVar[int]
    batch: _common_pb2.BatchInterval
    trainer: bytes
    blob_hash: bytes
    def __init__(self, batch: _Optional[_Union[_common_pb2.BatchInterval, _Mapping]] = ..., trainer: _Optional[bytes] = ..., blob_hash: _Optional[bytes] = ...) -> None: ...

class Attestation(_message.Message):
    __slots__ = ("epoch", "round", "blobs", "param_round", "param_roots")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    BLOBS_FIELD_NUMBER: _ClassVar[int]
    PARAM_ROUND_FIELD_NUMBER: _ClassVar[int]
    PARAM_ROOTS_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    round: int
    blobs: _containers.RepeatedCompositeFieldContainer[AttestedBlob]
    param_round: int
    param_roots: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, epoch: _Optional[int] = ..., round: _Optional[int] = ..., blobs: _Optional[_Iterable[_Union[AttestedBlob, _Mapping]]] = ..., param_round: _Optional[int] = ..., param_roots: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("epoch", "round", "batch", "trainer", "blob_hash", "agreement_ppm", "accepted")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    TRAINER_FIELD_NUMBER: _ClassVar[int]
    BLOB_HASH_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_PPM_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    round: int
    batch: _common_pb2.BatchInterval
    trainer: bytes
    blob_hash: bytes
    agreement_ppm: int
    accepted: bool
    def __init__(self, epoch: _Optional[int] = ..., round: _Optional[int] = ..., batch: _Optional[_Union[_common_pb2.BatchInterval, _Mapping]] = ..., trainer: _Optional[bytes] = ..., blob_hash: _Optional[bytes] = ..., agreement_ppm: _Optional[int] = ..., accepted: _Optional[bool] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("epoch", "round", "batch", "teacher", "blob_hash")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    TEACHER_FIELD_NUMBER: _ClassVar[int]
    BLOB_HASH_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    round: int
    batch: _common_pb2.BatchInterval
    teacher: bytes
    blob_hash: bytes
    def __init__(self, epoch: _Optional[int] = ..., round: _Optional[int] = ..., batch: _Optional[_Union[_common_pb2.BatchInterval, _Mapping]] = ..., teacher: _Optional[bytes] = ..., blob_hash: _Optional[bytes] = ...) -> None: ...
