"""Where a peer listens, in the words of an operator."""

from __future__ import annotations

import pytest

from psyche_p2p.errors import ConfigError
from psyche_p2p.node.options import parse_listen


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
    "text", ["", "example", "1.2.3.4:x", "1.2.3.4:65534", "1.2.3.4:-1", "[::1"]
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="write it like"):
        parse_listen(text)
