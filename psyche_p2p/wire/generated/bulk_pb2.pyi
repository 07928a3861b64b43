from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Topic(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TOPIC_UNSPECIFIED: _ClassVar[Topic]
    TOPIC_COMMITMENTS: _ClassVar[Topic]
    TOPIC_ATTESTATIONS: _ClassVar[Topic]
    TOPIC_VERDICTS: _ClassVar[Topic]
    TOPIC_VOTES: _ClassVar[Topic]
TOPIC_UNSPECIFIED: Topic
TOPIC_COMMITMENTS: Topic
TOPIC_ATTESTATIONS: Topic
TOPIC_VERDICTS: Topic
TOPIC_VOTES: Topic

class BlobRequest(_message.Message):
    __slots__ = ("blob_hash",)
    BLOB_HASH_FIELD_NUMBER: _ClassVar[int]
    blob_hash: bytes
    def __init__(self, blob_hash: _Optional[bytes] = ...) -> None: ...

class HaveRequest(_message.Message):
    __slots__ = ("blob_hashes",)
    BLOB_HASHES_FIELD_NUMBER: _ClassVar[int]
    blob_hashes: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, blob_hashes: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Holding(_message.Message):
    __slots__ = ("chunk_count", "chunks")
    CHUNK_COUNT_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    chunk_count: int
    chunks: bytes
    def __init__(self, chunk_count: _Optional[int] = ..., chunks: _Optional[bytes] = ...) -> None: ...

class HaveReply(_message.Message):
    __slots__ = ("holdings",)
    HOLDINGS_FIELD_NUMBER: _ClassVar[int]
    holdings: _containers.RepeatedCompositeFieldContainer[Holding]
    def __init__(self, holdings: _Optional[_Iterable[_Union[Holding, _Mapping]]] = ...) -> None: ...

class ChunkRange(_message.Message):
    __slots__ = ("first", "count")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    first: int
    count: int
    def __init__(self, first: _Optional[int] = ..., count: _Optional[int] = ...) -> None: ...

class ChunkRequest(_message.Message):
    __slots__ = ("blob_hash", "ranges")
    BLOB_HASH_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    blob_hash: bytes
    ranges: _containers.RepeatedCompositeFieldContainer[ChunkRange]
    def __init__(self, blob_hash: _Optional[bytes] = ..., ranges: _Optional[_Iterable[_Union[ChunkRange, _Mapping]]] = ...) -> None: ...

class LogRequest(_message.Message):
    __slots__ = ("first_height", "count")
    FIRST_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    first_height: int
    count: int
    def __init__(self, first_height: _Optional[int] = ..., count: _Optional[int] = ...) -> None: ...

class StatementSet(_message.Message):
    __slots__ = ("topic", "epoch", "index", "ids")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    topic: Topic
    epoch: int
    index: int
    ids: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, topic: _Optional[_Union[Topic, str]] = ..., epoch: _Optional[int] = ..., index: _Optional[int] = ..., ids: _Optional[_Iterable[bytes]] = ...) -> None: ...

class PullRequest(_message.Message):
    __slots__ = ("sets",)
    SETS_FIELD_NUMBER: _ClassVar[int]
    sets: _containers.RepeatedCompositeFieldContainer[StatementSet]
    def __init__(self, sets: _Optional[_Iterable[_Union[StatementSet, _Mapping]]] = ...) -> None: ...

class PushReply(_message.Message):
    __slots__ = ("accepted", "ignored")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    IGNORED_FIELD_NUMBER: _ClassVar[int]
    accepted: int
    ignored: int
    def __init__(self, accepted: _Optional[int] = ..., ignored: _Optional[int] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ("run_id", "tier")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    run_id: bytes
    tier: int
    def __init__(self, run_id: _Optional[bytes] = ..., tier: _Optional[int] = ...) -> None: ...

class ParameterOffer(_message.Message):
    __slots__ = ("tier", "param_round", "blob_hash", "size_bytes")
    TIER_FIELD_NUMBER: _ClassVar[int]
    PARAM_ROUND_FIELD_NUMBER: _ClassVar[int]
    BLOB_HASH_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    tier: int
    param_round: int
    blob_hash: bytes
    size_bytes: int
    def __init__(self, tier: _Optional[int] = ..., param_round: _Optional[int] = ..., blob_hash: _Optional[bytes] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class RunDescription(_message.Message):
    __slots__ = ("config", "genesis", "founding", "height", "offers")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    GENESIS_FIELD_NUMBER: _ClassVar[int]
    FOUNDING_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    OFFERS_FIELD_NUMBER: _ClassVar[int]
    config: bytes
    genesis: bytes
    founding: bytes
    height: int
    offers: _containers.RepeatedCompositeFieldContainer[ParameterOffer]
    def __init__(self, config: _Optional[bytes] = ..., genesis: _Optional[bytes] = ..., founding: _Optional[bytes] = ..., height: _Optional[int] = ..., offers: _Optional[_Iterable[_Union[ParameterOffer, _Mapping]]] = ...) -> None: ...
