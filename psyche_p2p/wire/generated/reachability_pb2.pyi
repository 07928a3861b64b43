from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DialOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DIAL_OUTCOME_UNSPECIFIED: _ClassVar[DialOutcome]
    DIAL_OUTCOME_REACHED: _ClassVar[DialOutcome]
    DIAL_OUTCOME_REFUSED: _ClassVar[DialOutcome]
    DIAL_OUTCOME_TIMED_OUT: _ClassVar[DialOutcome]
    DIAL_OUTCOME_UNREACHABLE: _ClassVar[DialOutcome]
    DIAL_OUTCOME_SOMEONE_ELSE: _ClassVar[DialOutcome]
DIAL_OUTCOME_UNSPECIFIED: DialOutcome
DIAL_OUTCOME_REACHED: DialOutcome
DIAL_OUTCOME_REFUSED: DialOutcome
DIAL_OUTCOME_TIMED_OUT: DialOutcome
DIAL_OUTCOME_UNREACHABLE: DialOutcome
DIAL_OUTCOME_SOMEONE_ELSE: DialOutcome

class DialBackRequest(_message.Message):
    __slots__ = ("tls_fingerprint", "ports")
    TLS_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    tls_fingerprint: bytes
    ports: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, tls_fingerprint: _Optional[bytes] = ..., ports: _Optional[_Iterable[int]] = ...) -> None: ...

class PortOutcome(_message.Message):
    __slots__ = ("port", "outcome")
    PORT_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    port: int
    outcome: DialOutcome
    def __init__(self, port: _Optional[int] = ..., outcome: _Optional[_Union[DialOutcome, str]] = ...) -> None: ...

class DialBackReport(_message.Message):
    __slots__ = ("observed_host", "outcomes")
    OBSERVED_HOST_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    observed_host: str
    outcomes: _containers.RepeatedCompositeFieldContainer[PortOutcome]
    def __init__(self, observed_host: _Optional[str] = ..., outcomes: _Optional[_Iterable[_Union[PortOutcome, _Mapping]]] = ...) -> None: ...
