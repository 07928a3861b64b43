"""What comes out of the core: the driver carries these out in order, one after the other.

The order is the safety argument: a `Persist` stands before the `Broadcast` it covers, so a driver
that dies between the two has promised less than it wrote down, never more.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from psyche_p2p.ids import Height, PeerId
from psyche_p2p.wire import DecidedBlock, Envelope


class Judgement(Enum):
    """What a message from outside deserves (gossip's three answers)."""

    ACCEPT = "accept"
    """Taken in; pass it on."""
    IGNORE = "ignore"
    """Of no use here; the sender did nothing wrong."""
    REJECT = "reject"
    """No honest peer sends this; whoever forwarded it should have known."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judgement and its reason; for a contradiction also the proof."""

    judgement: Judgement
    reason: str
    evidence: EvidenceFound | None = None


ACCEPTED = Verdict(Judgement.ACCEPT, "")


def ignore(reason: str) -> Verdict:
    return Verdict(Judgement.IGNORE, reason)


def reject(reason: str, evidence: EvidenceFound | None = None) -> Verdict:
    return Verdict(Judgement.REJECT, reason, evidence)


@dataclass(frozen=True, slots=True)
class WalRecord:
    """A statement of ours about to be sent, with the statements of others that justified it."""

    height: Height
    own: Envelope
    reasons: tuple[Envelope, ...]


@dataclass(frozen=True, slots=True)
class Persist:
    """Write this to stable storage before carrying out anything that follows."""

    record: WalRecord


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Send this envelope to the height's committee; `is_repeat` marks what was sent before."""

    envelope: Envelope
    is_repeat: bool


@dataclass(frozen=True, slots=True)
class Decided:
    """A block is final; to be stored with its certificate before anything that follows."""

    decided: DecidedBlock


@dataclass(frozen=True, slots=True)
class EvidenceFound:
    """Two signed statements of one peer that contradict each other: proof for an `Eject`."""

    offender: PeerId
    first: Envelope
    second: Envelope


@dataclass(frozen=True, slots=True)
class FellBehind:
    """This peer says that it is at a later height: ask it for the decided blocks between."""

    peer: PeerId
    height: Height


@dataclass(frozen=True, slots=True)
class Halted:
    """A quorum decided what this peer cannot accept; it stops voting and must resynchronise."""

    height: Height
    reason: str


Effect: TypeAlias = Persist | Broadcast | Decided | EvidenceFound | FellBehind | Halted
