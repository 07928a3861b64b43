"""The control socket's messages: the daemon's own numbers, and answers from anywhere."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.errors import WireError
from psyche_p2p.ids import PeerId, peer_id_from_bytes, peer_id_to_bytes
from psyche_p2p.wire import control
from psyche_p2p.wire.generated import control_pb2 as pb
from tests import strategies as our


def test_requests_have_the_daemons_numbers() -> None:
    """As go-libp2p-daemon's p2pd.proto numbers them: 1 is the type, 8 the pubsub request."""
    assert control.identify_request().hex() == "0800"
    assert control.list_peers_request().hex() == "0805"
    assert control.publish_request("t", b"x").hex() == "08084208" + "0802" + "120174" + "1a0178"
    assert control.subscribe_request("t").hex() == "08084205" + "0803" + "120174"


@given(our.peers, st.lists(st.binary(max_size=20), max_size=3))
def test_peers_travel_as_multihashes(peer: str, addresses: list[bytes]) -> None:
    raw = peer_id_to_bytes(PeerId(peer))
    assert peer_id_from_bytes(raw) == peer
    request = pb.ControlRequest.FromString(
        control.connect_request(PeerId(peer), addresses, timeout_s=3)
    )
    assert (request.connect.peer, list(request.connect.addresses)) == (raw, addresses)


def test_an_answer_lists_our_kind_of_peers_and_says_what_failed() -> None:
    alice = peer_id_to_bytes(PeerId("12D3KooWMbbPVGsZYh3ChQjue712NHHGNybRRXwnuSpezYjGbCDS"))
    entries = [pb.PeerAddresses(peer=alice), pb.PeerAddresses(peer=b"\x12\x20" + bytes(32))]
    answer = control.decode_answer(pb.ControlResponse(peers=entries).SerializeToString())
    assert (answer.error, answer.peers) == (None, (peer_id_from_bytes(alice),))
    failed = pb.ControlResponse(type=pb.ControlResponse.Type.ERROR)
    assert control.decode_answer(failed.SerializeToString()).error == "no reason given"


@pytest.mark.parametrize(
    "decode", [control.decode_answer, control.decode_gossip, control.decode_stream_info]
)
@given(data=st.binary(max_size=100))
def test_junk_is_a_wire_error_or_an_answer(decode: Callable[[bytes], Any], data: bytes) -> None:
    with suppress(WireError):
        decode(data)


def test_a_message_without_an_author_of_ours_is_refused() -> None:
    with pytest.raises(WireError, match="not a gossip message"):
        control.decode_gossip(pb.GossipMessage(author=b"Qm", data=b"x").SerializeToString())
