from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KIND_UNSPECIFIED: _ClassVar[Kind]
    KIND_COMMITMENT: _ClassVar[Kind]
    KIND_ATTESTATION: _ClassVar[Kind]
    KIND_VERDICT: _ClassVar[Kind]
    KIND_JOIN: _ClassVar[Kind]
    KIND_WITHDRAW: _ClassVar[Kind]
    KIND_PROPOSAL: _ClassVar[Kind]
    KIND_VOTE: _ClassVar[Kind]
    KIND_STATUS: _ClassVar[Kind]
    KIND_ANTI_ENTROPY_DIGEST: _ClassVar[Kind]
    KIND_WARM: _ClassVar[Kind]
    KIND_OWNER_ORDER: _ClassVar[Kind]
    KIND_REFUSAL: _ClassVar[Kind]
KIND_UNSPECIFIED: Kind
KIND_COMMITMENT: Kind
KIND_ATTESTATION: Kind
KIND_VERDICT: Kind
KIND_JOIN: Kind
KIND_WITHDRAW: Kind
KIND_PROPOSAL: Kind
KIND_VOTE: Kind
KIND_STATUS: Kind
KIND_ANTI_ENTROPY_DIGEST: Kind
KIND_WARM: Kind
KIND_OWNER_ORDER: Kind
KIND_REFUSAL: Kind

class SignedEnvelope(_message.Message):
    __slots__ = ("version", "run_id", "kind", "body", "sender", "signature")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    version: int
    run_id: bytes
    kind: int
    body: bytes
    sender: bytes
    signature: bytes
    def __init__(self, version: _Optional[int] = ..., run_id: _Optional[bytes] = ..., kind: _Optional[int] = ..., body: _Optional[bytes] = ..., sender: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...
