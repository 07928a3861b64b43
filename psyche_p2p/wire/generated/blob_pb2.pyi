from psyche_p2p.wire.generated import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BlobKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BLOB_KIND_UNSPECIFIED: _ClassVar[BlobKind]
    BLOB_KIND_UPDATE: _ClassVar[BlobKind]
    BLOB_KIND_TEACHER_TARGETS: _ClassVar[BlobKind]
    BLOB_KIND_PARAMETERS: _ClassVar[BlobKind]
    BLOB_KIND_CHECKPOINT_SHARD: _ClassVar[BlobKind]
BLOB_KIND_UNSPECIFIED: BlobKind
BLOB_KIND_UPDATE: BlobKind
BLOB_KIND_TEACHER_TARGETS: BlobKind
BLOB_KIND_PARAMETERS: BlobKind
BLOB_KIND_CHECKPOINT_SHARD: BlobKind

class TensorEntry(_message.Message):
    __slots__ = ("name", "shape", "dtype", "chunk_rows", "chunk_columns")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    CHUNK_ROWS_FIELD_NUMBER: _ClassVar[int]
    CHUNK_COLUMNS_FIELD_NUMBER: _ClassVar[int]
    name: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    dtype: str
    chunk_rows: int
    chunk_columns: int
    def __init__(self, name: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., dtype: _Optional[str] = ..., chunk_rows: _Optional[int] = ..., chunk_columns: _Optional[int] = ...) -> None: ...

class Section(_message.Message):
    __slots__ = ("name", "size_bytes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    size_bytes: int
    def __init__(self, name: _Optional[str] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class CodecParameters(_message.Message):
    __slots__ = ("name", "payload", "chunk_size", "top_k")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    CHUNK_SIZE_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    name: str
    payload: str
    chunk_size: int
    top_k: int
    def __init__(self, name: _Optional[str] = ..., payload: _Optional[str] = ..., chunk_size: _Optional[int] = ..., top_k: _Optional[int] = ...) -> None: ...

class BlobHeader(_message.Message):
    __slots__ = ("version", "kind", "run_id", "epoch", "round", "batch", "producer", "tier", "schema_hash", "codec", "tensors", "sections", "tokens", "loss", "payload_hash")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    PRODUCER_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_HASH_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    SECTIONS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_HASH_FIELD_NUMBER: _ClassVar[int]
    version: int
    kind: BlobKind
    run_id: bytes
    epoch: int
    round: int
    batch: _common_pb2.BatchInterval
    producer: bytes
    tier: int
    schema_hash: bytes
    codec: CodecParameters
    tensors: _containers.RepeatedCompositeFieldContainer[TensorEntry]
    sections: _containers.RepeatedCompositeFieldContainer[Section]
    tokens: int
    loss: float
    payload_hash: bytes
    def __init__(self, version: _Optional[int] = ..., kind: _Optional[_Union[BlobKind, str]] = ..., run_id: _Optional[bytes] = ..., epoch: _Optional[int] = ..., round: _Optional[int] = ..., batch: _Optional[_Union[_common_pb2.BatchInterval, _Mapping]] = ..., producer: _Optional[bytes] = ..., tier: _Optional[int] = ..., schema_hash: _Optional[bytes] = ..., codec: _Optional[_Union[CodecParameters, _Mapping]] = ..., tensors: _Optional[_Iterable[_Union[TensorEntry, _Mapping]]] = ..., sections: _Optional[_Iterable[_Union[Section, _Mapping]]] = ..., tokens: _Optional[int] = ..., loss: _Optional[float] = ..., payload_hash: _Optional[bytes] = ...) -> None: ...

class ChunkManifest(_message.Message):
    __slots__ = ("size_bytes", "chunks")
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    size_bytes: int
    chunks: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, size_bytes: _Optional[int] = ..., chunks: _Optional[_Iterable[bytes]] = ...) -> None: ...
