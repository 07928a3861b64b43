"""PeerIds are libp2p's, and lead back to their keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.ids import (
    BatchInterval,
    PeerId,
    PublicKey,
    peer_id_from_public_key,
    public_key_from_peer_id,
    short_id,
)


@given(st.binary(min_size=32, max_size=32))
def test_a_peer_id_holds_its_key(key: bytes) -> None:
    peer = peer_id_from_public_key(PublicKey(key))
    assert peer.startswith("12D3KooW")
    assert public_key_from_peer_id(peer) == key


@given(st.text(max_size=60))
def test_other_text_is_no_peer_id(text: str) -> None:
    with pytest.raises(ValueError, match=r"peer id|base58|id of an Ed25519"):
        public_key_from_peer_id(PeerId(text))


@given(st.binary(min_size=32, max_size=32), st.integers(0, 51), st.sampled_from("1zAb0OIl +é"))
def test_a_changed_character_is_another_peer_or_none(key: bytes, at: int, other: str) -> None:
    peer = peer_id_from_public_key(PublicKey(key))
    changed = PeerId(peer[:at] + other + peer[at + 1 :])
    if changed == peer:
        return
    try:
        assert public_key_from_peer_id(changed) != key
    except ValueError:
        return


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_of_another_length_has_no_peer_id(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        peer_id_from_public_key(PublicKey(b"k" * length))


@pytest.mark.parametrize(("start", "end"), [(0, 0), (5, 4), (-1, 3)])
def test_a_batch_is_not_empty(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="start < end"):
        BatchInterval(start, end)


def test_short_ids_are_what_people_compare() -> None:
    assert short_id(bytes(range(32))) == "0001020304"
    assert short_id("12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq") == "fUmo7R3pq"[1:]
    assert BatchInterval(3, 7).size == 4
