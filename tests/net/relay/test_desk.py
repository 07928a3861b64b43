"""The relay's lists: places are given back whatever happens, calls are answered once."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.identity import Identity
from psyche_p2p.ids import BlobHash, PeerId, RunId
from psyche_p2p.net.relay.desk import Desk, RelayLimits
from psyche_p2p.net.relay.ticket import TicketRefused
from psyche_p2p.wire.relay import RelayCode, RelayPurpose, RelayService, RelayTicket

RUN = RunId(b"r" * 32)
PEERS = [Identity.from_seed(bytes([n]) * 32).peer_id for n in range(4)]
LIMITS = RelayLimits(circuits=5, circuits_per_peer=3, circuits_per_pair=2, listeners=2)
CALL = BlobHash(b"c" * 32)


def ticket(peer: PeerId, target: PeerId | None = None, call: BlobHash | None = None) -> RelayTicket:
    purpose = RelayPurpose.LISTEN
    if target is not None or call is not None:
        purpose = RelayPurpose.ACCEPT if target is None else RelayPurpose.DIAL
    return RelayTicket(RUN, peer, PEERS[3], BlobHash(b"h" * 32), purpose, target, call, 60)


def refusal(caught: pytest.ExceptionInfo[TicketRefused]) -> RelayCode:
    return caught.value.code


dials = st.permutations(PEERS).map(lambda order: (order[0], order[1]))


@given(st.lists(dials, max_size=12))
def test_circuits_stay_within_every_limit_and_all_places_come_back(
    wanted: list[tuple[PeerId, PeerId]],
) -> None:
    desk: Desk[str, str] = Desk(LIMITS)
    with ExitStack() as stack:
        granted: list[tuple[PeerId, PeerId]] = []
        for caller, target in wanted:
            try:
                stack.enter_context(desk.circuit(ticket(caller, target)))
            except TicketRefused:
                assert (
                    len(granted) == 5
                    or granted.count((caller, target)) == 2
                    or any(sum(end in pair for pair in granted) == 3 for end in (caller, target))
                )
            else:
                granted.append((caller, target))
            assert desk.circuits == len(granted) <= 5
            assert all(granted.count(pair) <= 2 for pair in granted)
            assert all(sum(peer in pair for pair in granted) <= 3 for peer in PEERS)
    assert desk.circuits == 0
    for pair in wanted[:1]:
        with desk.circuit(ticket(*pair)):
            assert desk.circuits == 1


def test_newcomers_get_few_places_and_take_none_from_members() -> None:
    desk: Desk[str, str] = Desk(RelayLimits(guest_circuits=2, guest_circuits_per_peer=1))

    def guest(caller: PeerId, target: PeerId) -> RelayTicket:
        return replace(ticket(caller, target), service=RelayService.JOINERS)

    with ExitStack() as stack:
        stack.enter_context(desk.circuit(guest(PEERS[0], PEERS[1])))
        with pytest.raises(TicketRefused):
            stack.enter_context(desk.circuit(guest(PEERS[2], PEERS[1])))
        stack.enter_context(desk.circuit(guest(PEERS[0], PEERS[2])))
        with pytest.raises(TicketRefused) as caught:
            stack.enter_context(desk.circuit(guest(PEERS[1], PEERS[0])))
        assert refusal(caught) is RelayCode.BUSY
        stack.enter_context(desk.circuit(ticket(PEERS[2], PEERS[1])))
    with desk.circuit(guest(PEERS[2], PEERS[1])):
        assert desk.circuits == 1


def test_a_call_is_answered_once_and_only_by_the_one_called() -> None:
    desk: Desk[str, str] = Desk(LIMITS)
    with desk.call(ticket(PEERS[0], PEERS[1]), CALL, "promise"):
        with pytest.raises(TicketRefused) as caught:
            desk.take_call(ticket(PEERS[2], call=CALL))
        assert refusal(caught) is RelayCode.BAD_TICKET
        assert desk.take_call(ticket(PEERS[1], call=CALL)) == "promise"
        with pytest.raises(TicketRefused):
            desk.take_call(ticket(PEERS[1], call=CALL))


def test_a_call_that_was_given_up_cannot_be_answered() -> None:
    desk: Desk[str, str] = Desk(LIMITS)
    with desk.call(ticket(PEERS[0], PEERS[1]), CALL, "promise"):
        pass
    with pytest.raises(TicketRefused):
        desk.take_call(ticket(PEERS[1], call=CALL))


def test_listeners_are_limited_and_a_newer_one_takes_over() -> None:
    desk: Desk[str, str] = Desk(LIMITS)
    assert desk.add_listener(ticket(PEERS[0]), "old") is None
    assert desk.add_listener(ticket(PEERS[1]), "other") is None
    with pytest.raises(TicketRefused) as caught:
        desk.add_listener(ticket(PEERS[2]), "third")
    assert refusal(caught) is RelayCode.BUSY
    assert desk.add_listener(ticket(PEERS[0]), "new") == "old"
    desk.remove_listener(ticket(PEERS[0]), "old")
    assert desk.find_listener(ticket(PEERS[1], PEERS[0])) == "new"
    desk.remove_listener(ticket(PEERS[0]), "new")
    with pytest.raises(TicketRefused) as caught:
        desk.find_listener(ticket(PEERS[1], PEERS[0]))
    assert refusal(caught) is RelayCode.NOT_LISTENING
