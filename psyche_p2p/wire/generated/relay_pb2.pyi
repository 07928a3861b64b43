from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RelayPurpose(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RELAY_PURPOSE_UNSPECIFIED: _ClassVar[RelayPurpose]
    RELAY_PURPOSE_LISTEN: _ClassVar[RelayPurpose]
    RELAY_PURPOSE_DIAL: _ClassVar[RelayPurpose]
    RELAY_PURPOSE_ACCEPT: _ClassVar[RelayPurpose]

class RelayService(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RELAY_SERVICE_UNSPECIFIED: _ClassVar[RelayService]
    RELAY_SERVICE_MEMBERS: _ClassVar[RelayService]
    RELAY_SERVICE_JOINERS: _ClassVar[RelayService]
    RELAY_SERVICE_ECHO: _ClassVar[RelayService]

class RelayCode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RELAY_CODE_UNSPECIFIED: _ClassVar[RelayCode]
    RELAY_CODE_OK: _ClassVar[RelayCode]
    RELAY_CODE_BAD_TICKET: _ClassVar[RelayCode]
    RELAY_CODE_NOT_A_MEMBER: _ClassVar[RelayCode]
    RELAY_CODE_NOT_LISTENING: _ClassVar[RelayCode]
    RELAY_CODE_BUSY: _ClassVar[RelayCode]
    RELAY_CODE_NO_ANSWER: _ClassVar[RelayCode]
RELAY_PURPOSE_UNSPECIFIED: RelayPurpose
RELAY_PURPOSE_LISTEN: RelayPurpose
RELAY_PURPOSE_DIAL: RelayPurpose
RELAY_PURPOSE_ACCEPT: RelayPurpose
RELAY_SERVICE_UNSPECIFIED: RelayService
RELAY_SERVICE_MEMBERS: RelayService
RELAY_SERVICE_JOINERS: RelayService
RELAY_SERVICE_ECHO: RelayService
RELAY_CODE_UNSPECIFIED: RelayCode
RELAY_CODE_OK: RelayCode
RELAY_CODE_BAD_TICKET: RelayCode
RELAY_CODE_NOT_A_MEMBER: RelayCode
RELAY_CODE_NOT_LISTENING: RelayCode
RELAY_CODE_BUSY: RelayCode
RELAY_CODE_NO_ANSWER: RelayCode

class RelayHello(_message.Message):
    __slots__ = ("relay", "challenge")
    RELAY_FIELD_NUMBER: _ClassVar[int]
    CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    relay: bytes
    challenge: bytes
    def __init__(self, relay: _Optional[bytes] = ..., challenge: _Optional[bytes] = ...) -> None: ...

class RelayTicket(_message.Message):
    __slots__ = ("run_id", "peer", "relay", "challenge", "purpose", "target", "call", "life_s", "service")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    RELAY_FIELD_NUMBER: _ClassVar[int]
    CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    LIFE_S_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    run_id: bytes
    peer: bytes
    relay: bytes
    challenge: bytes
    purpose: RelayPurpose
    target: bytes
    call: bytes
    life_s: int
    service: RelayService
    def __init__(self, run_id: _Optional[bytes] = ..., peer: _Optional[bytes] = ..., relay: _Optional[bytes] = ..., challenge: _Optional[bytes] = ..., purpose: _Optional[_Union[RelayPurpose, str]] = ..., target: _Optional[bytes] = ..., call: _Optional[bytes] = ..., life_s: _Optional[int] = ..., service: _Optional[_Union[RelayService, str]] = ...) -> None: ...

class SignedRelayTicket(_message.Message):
    __slots__ = ("ticket", "signature")
    TICKET_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    ticket: bytes
    signature: bytes
    def __init__(self, ticket: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class RelayAnswer(_message.Message):
    __slots__ = ("code",)
    CODE_FIELD_NUMBER: _ClassVar[int]
    code: RelayCode
    def __init__(self, code: _Optional[_Union[RelayCode, str]] = ...) -> None: ...

class RelayCall(_message.Message):
    __slots__ = ("call", "caller", "service")
    CALL_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    call: bytes
    caller: bytes
    service: RelayService
    def __init__(self, call: _Optional[bytes] = ..., caller: _Optional[bytes] = ..., service: _Optional[_Union[RelayService, str]] = ...) -> None: ...
