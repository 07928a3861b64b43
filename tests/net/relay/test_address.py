"""Relay addresses as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.errors import ConfigError
from psyche_p2p.net.relay.address import RelayAddress, is_relay_address, parse_relay_address
from tests import strategies as our
from tests.net.relay.relays import RELAY

PEER = RELAY.peer_id
hosts = st.sampled_from(["203.0.113.7", "relay.example.org", "2001:db8::7", "::1"])


@given(st.builds(RelayAddress, hosts, st.integers(1, 65535), our.peers))
def test_what_is_written_can_be_read(address: RelayAddress) -> None:
    assert is_relay_address(str(address))
    assert parse_relay_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "relay/",
        f"1.2.3.4:5/{PEER}",
        f"relay/1.2.3.4/{PEER}",
        f"relay/1.2.3.4:0/{PEER}",
        f"relay/1.2.3.4:70000/{PEER}",
        f"relay/:5/{PEER}",
        f"relay/a b:5/{PEER}",
        f"relay/a/b:5/{PEER}",
        "relay/1.2.3.4:5/12D3KooWnobody",
        f"relay/{'a' * 300}:5/{PEER}",
    ],
)
def test_what_leads_nowhere_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(
        ConfigError, match=r"is not the address of a relay: .*; write it like relay/"
    ):
        parse_relay_address(text)
