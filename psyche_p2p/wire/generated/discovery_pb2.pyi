from psyche_p2p.wire.generated import membership_pb2 as _membership_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PeerRecord(_message.Message):
    __slots__ = ("instance", "roles", "tier", "addresses", "bulk_addresses", "certificate", "certificate_signature", "joiner_addresses")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    BULK_ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    JOINER_ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    instance: int
    roles: _containers.RepeatedScalarFieldContainer[_membership_pb2.Role]
    tier: int
    addresses: _containers.RepeatedScalarFieldContainer[str]
    bulk_addresses: _containers.RepeatedScalarFieldContainer[str]
    certificate: bytes
    certificate_signature: bytes
    joiner_addresses: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, instance: _Optional[int] = ..., roles: _Optional[_Iterable[_Union[_membership_pb2.Role, str]]] = ..., tier: _Optional[int] = ..., addresses: _Optional[_Iterable[str]] = ..., bulk_addresses: _Optional[_Iterable[str]] = ..., certificate: _Optional[bytes] = ..., certificate_signature: _Optional[bytes] = ..., joiner_addresses: _Optional[_Iterable[str]] = ...) -> None: ...

class RunListing(_message.Message):
    __slots__ = ("run_id", "name")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    run_id: bytes
    name: str
    def __init__(self, run_id: _Optional[bytes] = ..., name: _Optional[str] = ...) -> None: ...

class RelayListing(_message.Message):
    __slots__ = ("address",)
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    address: str
    def __init__(self, address: _Optional[str] = ...) -> None: ...
