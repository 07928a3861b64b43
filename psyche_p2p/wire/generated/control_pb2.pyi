from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ControlRequest(_message.Message):
    __slots__ = ("type", "connect", "stream_open", "stream_handler", "disconnect", "pubsub")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        IDENTIFY: _ClassVar[ControlRequest.Type]
        CONNECT: _ClassVar[ControlRequest.Type]
        STREAM_OPEN: _ClassVar[ControlRequest.Type]
        STREAM_HANDLER: _ClassVar[ControlRequest.Type]
        LIST_PEERS: _ClassVar[ControlRequest.Type]
        DISCONNECT: _ClassVar[ControlRequest.Type]
        PUBSUB: _ClassVar[ControlRequest.Type]
    IDENTIFY: ControlRequest.Type
    CONNECT: ControlRequest.Type
    STREAM_OPEN: ControlRequest.Type
    STREAM_HANDLER: ControlRequest.Type
    LIST_PEERS: ControlRequest.Type
    DISCONNECT: ControlRequest.Type
    PUBSUB: ControlRequest.Type
    TYPE_FIELD_NUMBER: _ClassVar[int]
    CONNECT_FIELD_NUMBER: _ClassVar[int]
    STREAM_OPEN_FIELD_NUMBER: _ClassVar[int]
    STREAM_HANDLER_FIELD_NUMBER: _ClassVar[int]
    DISCONNECT_FIELD_NUMBER: _ClassVar[int]
    PUBSUB_FIELD_NUMBER: _ClassVar[int]
    type: ControlRequest.Type
    connect: ConnectRequest
    stream_open: StreamOpenRequest
    stream_handler: StreamHandlerRequest
    disconnect: DisconnectRequest
    pubsub: PubSubRequest
    def __init__(self, type: _Optional[_Union[ControlRequest.Type, str]] = ..., connect: _Optional[_Union[ConnectRequest, _Mapping]] = ..., stream_open: _Optional[_Union[StreamOpenRequest, _Mapping]] = ..., stream_handler: _Optional[_Union[StreamHandlerRequest, _Mapping]] = ..., disconnect: _Optional[_Union[DisconnectRequest, _Mapping]] = ..., pubsub: _Optional[_Union[PubSubRequest, _Mapping]] = ...) -> None: ...

class ConnectRequest(_message.Message):
    __slots__ = ("peer", "addresses", "timeout_s")
    PEER_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    peer: bytes
    addresses: _containers.RepeatedScalarFieldContainer[bytes]
    timeout_s: int
    def __init__(self, peer: _Optional[bytes] = ..., addresses: _Optional[_Iterable[bytes]] = ..., timeout_s: _Optional[int] = ...) -> None: ...

class StreamOpenRequest(_message.Message):
    __slots__ = ("peer", "protocols", "timeout_s")
    PEER_FIELD_NUMBER: _ClassVar[int]
    PROTOCOLS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    peer: bytes
    protocols: _containers.RepeatedScalarFieldContainer[str]
    timeout_s: int
    def __init__(self, peer: _Optional[bytes] = ..., protocols: _Optional[_Iterable[str]] = ..., timeout_s: _Optional[int] = ...) -> None: ...

class StreamHandlerRequest(_message.Message):
    __slots__ = ("address", "protocols", "balanced")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PROTOCOLS_FIELD_NUMBER: _ClassVar[int]
    BALANCED_FIELD_NUMBER: _ClassVar[int]
    address: bytes
    protocols: _containers.RepeatedScalarFieldContainer[str]
    balanced: bool
    def __init__(self, address: _Optional[bytes] = ..., protocols: _Optional[_Iterable[str]] = ..., balanced: _Optional[bool] = ...) -> None: ...

class DisconnectRequest(_message.Message):
    __slots__ = ("peer",)
    PEER_FIELD_NUMBER: _ClassVar[int]
    peer: bytes
    def __init__(self, peer: _Optional[bytes] = ...) -> None: ...

class PubSubRequest(_message.Message):
    __slots__ = ("type", "topic", "data")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        LIST_TOPIC_PEERS: _ClassVar[PubSubRequest.Type]
        PUBLISH: _ClassVar[PubSubRequest.Type]
        SUBSCRIBE: _ClassVar[PubSubRequest.Type]
    LIST_TOPIC_PEERS: PubSubRequest.Type
    PUBLISH: PubSubRequest.Type
    SUBSCRIBE: PubSubRequest.Type
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    type: PubSubRequest.Type
    topic: str
    data: bytes
    def __init__(self, type: _Optional[_Union[PubSubRequest.Type, str]] = ..., topic: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...

class ControlResponse(_message.Message):
    __slots__ = ("type", "error", "stream", "identify", "peers", "pubsub")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OK: _ClassVar[ControlResponse.Type]
        ERROR: _ClassVar[ControlResponse.Type]
    OK: ControlResponse.Type
    ERROR: ControlResponse.Type
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    IDENTIFY_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    PUBSUB_FIELD_NUMBER: _ClassVar[int]
    type: ControlResponse.Type
    error: ErrorDetail
    stream: StreamInfo
    identify: PeerAddresses
    peers: _containers.RepeatedCompositeFieldContainer[PeerAddresses]
    pubsub: PubSubResponse
    def __init__(self, type: _Optional[_Union[ControlResponse.Type, str]] = ..., error: _Optional[_Union[ErrorDetail, _Mapping]] = ..., stream: _Optional[_Union[StreamInfo, _Mapping]] = ..., identify: _Optional[_Union[PeerAddresses, _Mapping]] = ..., peers: _Optional[_Iterable[_Union[PeerAddresses, _Mapping]]] = ..., pubsub: _Optional[_Union[PubSubResponse, _Mapping]] = ...) -> None: ...

class ErrorDetail(_message.Message):
    __slots__ = ("message",)
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    message: str
    def __init__(self, message: _Optional[str] = ...) -> None: ...

class StreamInfo(_message.Message):
    __slots__ = ("peer", "address", "protocol")
    PEER_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    peer: bytes
    address: bytes
    protocol: str
    def __init__(self, peer: _Optional[bytes] = ..., address: _Optional[bytes] = ..., protocol: _Optional[str] = ...) -> None: ...

class PeerAddresses(_message.Message):
    __slots__ = ("peer", "addresses")
    PEER_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    peer: bytes
    addresses: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, peer: _Optional[bytes] = ..., addresses: _Optional[_Iterable[bytes]] = ...) -> None: ...

class PubSubResponse(_message.Message):
    __slots__ = ("topics", "peers")
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    topics: _containers.RepeatedScalarFieldContainer[str]
    peers: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, topics: _Optional[_Iterable[str]] = ..., peers: _Optional[_Iterable[bytes]] = ...) -> None: ...

class GossipMessage(_message.Message):
    __slots__ = ("author", "data", "seqno", "topics")
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    SEQNO_FIELD_NUMBER: _ClassVar[int]
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    author: bytes
    data: bytes
    seqno: bytes
    topics: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, author: _Optional[bytes] = ..., data: _Optional[bytes] = ..., seqno: _Optional[bytes] = ..., topics: _Optional[_Iterable[str]] = ...) -> None: ...
