"""Tickets: how a member proves to a relay, once, that it may have what it asks for (pure).

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


def check_ticket(data: bytes, hello: RelayHello, is_member: IsMember) -> RelayTicket:
    """The ticket in bytes from outside; TicketRefused unless it answers this very hello."""
    try:
        signed = decode(SignedRelayTicket, data)
        ticket = decode(RelayTicket, signed.ticket)
    except WireError as error:
        raise TicketRefused(RelayCode.BAD_TICKET) from error
    is_for_us = ticket.relay == hello.relay and ticket.challenge == hello.challenge
    if not is_for_us or not 0 < ticket.life_s <= MAX_LIFE_S or not _is_complete(ticket):
        raise TicketRefused(RelayCode.BAD_TICKET)
    if not is_member(ticket.run_id, ticket.peer):
        raise TicketRefused(RelayCode.NOT_A_MEMBER)
    if not verify(ticket.peer, TICKET_CONTEXT, signed.ticket, signed.signature):
        raise TicketRefused(RelayCode.BAD_TICKET)
    return ticket


def _is_complete(ticket: RelayTicket) -> bool:
    """A dial names whom, an answer names the call, and neither names anything else."""
    has_target, has_call = ticket.target is not None, ticket.call is not None
    wanted = (ticket.purpose is RelayPurpose.DIAL, ticket.purpose is RelayPurpose.ACCEPT)
    return (has_target, has_call) == wanted and ticket.target != ticket.peer
