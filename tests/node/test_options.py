"""Where a peer listens, in the words of an operator."""

from __future__ import annotations

import pytest

from psyche_p2p.errors import ConfigError
from psyche_p2p.identity import Identity
from psyche_p2p.net.relay.address import RelayAddress
from psyche_p2p.node.options import ReachChoice, Reached, parse_listen, parse_reach


@pytest.mark.parametrize(
    ("text", "libp2p", "members", "joiners"),
    [
        ("127.0.0.1", "/ip4/127.0.0.1/tcp/0", "127.0.0.1:0", "127.0.0.1:0"),
        ("0.0.0.0:4001", "/ip4/0.0.0.0/tcp/4001", "0.0.0.0:4002", "0.0.0.0:4003"),
        ("[::1]:4001", "/ip6/::1/tcp/4001", "[::1]:4002", "[::1]:4003"),
        ("::1", "/ip6/::1/tcp/0", "[::1]:0", "[::1]:0"),
    ],
)
def test_a_host_and_a_port_become_three_addresses(
    text: str, libp2p: str, members: str, joiners: str
) -> None:
    listen = parse_listen(text)
    assert (str(listen.libp2p), listen.members, listen.joiners) == (libp2p, members, joiners)


@pytest.mark.parametrize(
    "text", ["", "example", "1.2.3.4:x", "1.2.3.4:65533", "1.2.3.4:-1", "[::1"]
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="write it like"):
        parse_listen(text)


def test_how_a_machine_is_reached_is_one_word_or_a_relay() -> None:
    assert parse_reach("auto") == ReachChoice(Reached.AUTO)
    assert parse_reach("direct") == ReachChoice(Reached.DIRECT)
    assert parse_reach("relay") == ReachChoice(Reached.RELAY)
    relay = RelayAddress("203.0.113.7", 4002, Identity.from_seed(b"r" * 32).peer_id)
    assert parse_reach(str(relay)) == ReachChoice(Reached.RELAY, relay)


@pytest.mark.parametrize("text", ["", "nat", "relay/nowhere", "relay/1.2.3.4:5/eve"])
def test_any_other_way_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="relay/"):
        parse_reach(text)
