"""Tickets: how a peer proves to a relay, once, that it may have what it asks for (pure).

A ticket answers the challenge of one connection, so a copy of it is worth nothing on another, no
two clocks need to agree, and the relay remembers nothing. What it opened ends after its life.
"""

from __future__ import annotations

from collections.abc import Callable

from psyche_p2p.errors import WireError
from psyche_p2p.identity import Identity, verify
from psyche_p2p.ids import PeerId, RunId
from psyche_p2p.wire.codec import decode, encode
from psyche_p2p.wire.relay import (
    RelayCode,
    RelayHello,
    RelayPurpose,
    RelayService,
    RelayTicket,
    SignedRelayTicket,
)

TICKET_CONTEXT = "relay-ticket"
MAX_LIFE_S = 24 * 3600
IsMember = Callable[[RunId, PeerId], bool]


class TicketRefused(Exception):
    """Why a ticket opens nothing."""

    def __init__(self, code: RelayCode) -> None:
        super().__init__(code.name)
        self.code = code


def sign_ticket(ticket: RelayTicket, identity: Identity) -> bytes:
    """A ticket of ours, ready to send."""
    encoded = encode(ticket)
    return encode(SignedRelayTicket(encoded, identity.sign(TICKET_CONTEXT, encoded)))


def read_ticket(data: bytes) -> tuple[RelayTicket, SignedRelayTicket]:
    """The ticket in bytes from outside, not checked yet; TicketRefused if there is none."""
    try:
        signed = decode(SignedRelayTicket, data)
        return decode(RelayTicket, signed.ticket), signed
    except WireError as error:
        raise TicketRefused(RelayCode.BAD_TICKET) from error


def is_guest(ticket: RelayTicket) -> bool:
    """Whether it asks for no more than anyone may have: a newcomer's way to a member."""
    return ticket.service is RelayService.JOINERS


def check_ticket(data: bytes, hello: RelayHello, is_member: IsMember) -> RelayTicket:
    """The ticket in bytes from outside; TicketRefused unless it answers this very hello."""
    ticket, signed = read_ticket(data)
    is_for_us = ticket.relay == hello.relay and ticket.challenge == hello.challenge
    if not is_for_us or not 0 < ticket.life_s <= MAX_LIFE_S or not _is_complete(ticket):
        raise TicketRefused(RelayCode.BAD_TICKET)
    if not is_guest(ticket) and not is_member(ticket.run_id, ticket.peer):
        raise TicketRefused(RelayCode.NOT_A_MEMBER)
    if not verify(ticket.peer, TICKET_CONTEXT, signed.ticket, signed.signature):
        raise TicketRefused(RelayCode.BAD_TICKET)
    return ticket


def _is_complete(ticket: RelayTicket) -> bool:
    """A dial names whom and what for, an answer names the call, and neither names anything else.

    Only an echo is asked of oneself, and of nobody else.
    """
    is_dial, is_answer = (ticket.purpose is one for one in (RelayPurpose.DIAL, RelayPurpose.ACCEPT))
    named = (ticket.target is not None, ticket.service is not None, ticket.call is not None)
    is_own = ticket.target == ticket.peer
    return named == (is_dial, is_dial, is_answer) and is_own == (
        ticket.service is RelayService.ECHO
    )
