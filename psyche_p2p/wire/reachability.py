"""The messages of dial-back, one for each in proto/psyche/v1/reachability.proto."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from psyche_p2p.ids import BlobHash


class DialOutcome(IntEnum):
    """What a peer found when it dialled back."""

    REACHED = 1
    REFUSED = 2
    TIMED_OUT = 3
    UNREACHABLE = 4
    SOMEONE_ELSE = 5


@dataclass(frozen=True, slots=True)
class DialBackRequest:
    """Dial the address this comes from, on these ports, and look whose certificate is there."""

    tls_fingerprint: BlobHash
    ports: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PortOutcome:
    """What was found on one port."""

    port: int
    outcome: DialOutcome


@dataclass(frozen=True, slots=True)
class DialBackReport:
    """From which address the request came, and what was found there."""

    observed_host: str
    outcomes: tuple[PortOutcome, ...]
