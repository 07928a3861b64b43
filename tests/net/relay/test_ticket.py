"""Tickets: good once, for one member, at one relay, on one connection."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.identity import Identity
from psyche_p2p.ids import BlobHash, PeerId, RunId
from psyche_p2p.net.relay.ticket import MAX_LIFE_S, TicketRefused, check_ticket, sign_ticket
from psyche_p2p.wire import encode
from psyche_p2p.wire.relay import (
    RelayCode,
    RelayHello,
    RelayPurpose,
    RelayService,
    RelayTicket,
    SignedRelayTicket,
)

ALICE, BOB, RELAY = (Identity.from_seed(bytes([n]) * 32) for n in range(3))
RUN, OTHER_RUN = RunId(b"r" * 32), RunId(b"o" * 32)
HELLO = RelayHello(RELAY.peer_id, BlobHash(b"c" * 32))
TICKET = RelayTicket(
    run_id=RUN,
    peer=ALICE.peer_id,
    relay=RELAY.peer_id,
    challenge=HELLO.challenge,
    purpose=RelayPurpose.DIAL,
    target=BOB.peer_id,
    call=None,
    life_s=60,
    service=RelayService.MEMBERS,
)


def is_member(run_id: RunId, peer: PeerId) -> bool:
    return run_id == RUN and peer in (ALICE.peer_id, BOB.peer_id)


def refusal(data: bytes, hello: RelayHello = HELLO) -> RelayCode:
    with pytest.raises(TicketRefused) as caught:
        check_ticket(data, hello, is_member)
    return caught.value.code


def test_a_members_ticket_is_accepted() -> None:
    assert check_ticket(sign_ticket(TICKET, ALICE), HELLO, is_member) == TICKET


def test_a_ticket_is_worth_nothing_on_another_connection_or_relay() -> None:
    data = sign_ticket(TICKET, ALICE)
    other_connection = replace(HELLO, challenge=BlobHash(b"d" * 32))
    other_relay = replace(HELLO, relay=BOB.peer_id)
    assert refusal(data, other_connection) is RelayCode.BAD_TICKET
    assert refusal(data, other_relay) is RelayCode.BAD_TICKET


def test_nobody_else_can_sign_it() -> None:
    assert refusal(sign_ticket(TICKET, BOB)) is RelayCode.BAD_TICKET
    encoded = encode(TICKET)
    elsewhere = SignedRelayTicket(encoded, ALICE.sign("envelope", encoded))
    assert refusal(encode(elsewhere)) is RelayCode.BAD_TICKET


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"run_id": OTHER_RUN}, RelayCode.NOT_A_MEMBER),
        ({"target": None}, RelayCode.BAD_TICKET),
        ({"target": ALICE.peer_id}, RelayCode.BAD_TICKET),
        ({"call": BlobHash(b"x" * 32)}, RelayCode.BAD_TICKET),
        ({"purpose": RelayPurpose.LISTEN}, RelayCode.BAD_TICKET),
        ({"purpose": RelayPurpose.ACCEPT}, RelayCode.BAD_TICKET),
        ({"service": None}, RelayCode.BAD_TICKET),
        ({"life_s": 0}, RelayCode.BAD_TICKET),
        ({"life_s": MAX_LIFE_S + 1}, RelayCode.BAD_TICKET),
    ],
)
def test_a_ticket_that_asks_for_something_odd_is_refused(
    change: dict[str, object], code: RelayCode
) -> None:
    ticket = replace(TICKET, **change)  # type: ignore[arg-type]
    assert refusal(sign_ticket(ticket, ALICE)) is code


def test_a_stranger_is_not_a_member() -> None:
    ticket = replace(TICKET, peer=RELAY.peer_id)
    assert refusal(sign_ticket(ticket, RELAY)) is RelayCode.NOT_A_MEMBER


def test_a_stranger_may_ask_for_a_newcomers_door_and_for_no_other() -> None:
    wanted = replace(TICKET, peer=RELAY.peer_id, service=RelayService.JOINERS)
    assert check_ticket(sign_ticket(wanted, RELAY), HELLO, is_member) == wanted
    forged = sign_ticket(wanted, BOB)
    assert refusal(forged) is RelayCode.BAD_TICKET
    listen = replace(wanted, purpose=RelayPurpose.LISTEN, target=None, service=None)
    assert refusal(sign_ticket(listen, RELAY)) is RelayCode.NOT_A_MEMBER


def test_an_echo_is_asked_of_oneself_alone() -> None:
    own = replace(TICKET, target=ALICE.peer_id, service=RelayService.ECHO)
    assert check_ticket(sign_ticket(own, ALICE), HELLO, is_member) == own
    others = replace(own, target=BOB.peer_id)
    assert refusal(sign_ticket(others, ALICE)) is RelayCode.BAD_TICKET


@given(st.data())
def test_no_changed_byte_goes_unnoticed(data: st.DataObject) -> None:
    signed = bytearray(sign_ticket(TICKET, ALICE))
    signed[data.draw(st.integers(0, len(signed) - 1))] ^= data.draw(st.integers(1, 255))
    assert refusal(bytes(signed)) in (RelayCode.BAD_TICKET, RelayCode.NOT_A_MEMBER)


@given(st.binary(max_size=400))
def test_random_bytes_are_no_ticket(data: bytes) -> None:
    assert refusal(data) is RelayCode.BAD_TICKET
