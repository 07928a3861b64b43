"""The messages of the blind relay, one for each in proto/psyche/v1/relay.proto."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from psyche_p2p.ids import BlobHash, PeerId, RunId, Signature


class RelayPurpose(IntEnum):
    """What a ticket opens."""

    LISTEN = 1
    DIAL = 2
    ACCEPT = 3


class RelayService(IntEnum):
    """What a dial is for."""

    MEMBERS = 1
    JOINERS = 2
    ECHO = 3


class RelayCode(IntEnum):
    """The relay's answer to a ticket."""

    OK = 1
    BAD_TICKET = 2
    NOT_A_MEMBER = 3
    NOT_LISTENING = 4
    BUSY = 5
    NO_ANSWER = 6


@dataclass(frozen=True, slots=True)
class RelayHello:
    """The relay's first words to every connection."""

    relay: PeerId
    challenge: BlobHash


@dataclass(frozen=True, slots=True)
class RelayTicket:
    """A peer's right to one thing at one relay on one connection."""

    run_id: RunId
    peer: PeerId
    relay: PeerId
    challenge: BlobHash
    purpose: RelayPurpose
    target: PeerId | None
    call: BlobHash | None
    life_s: int
    service: RelayService | None = None


@dataclass(frozen=True, slots=True)
class SignedRelayTicket:
    """A ticket's bytes and its peer's signature over them."""

    ticket: bytes
    signature: Signature


@dataclass(frozen=True, slots=True)
class RelayAnswer:
    """Whether the ticket was accepted."""

    code: RelayCode


@dataclass(frozen=True, slots=True)
class RelayCall:
    """Someone waits for the listening peer."""

    call: BlobHash
    caller: PeerId
    service: RelayService
