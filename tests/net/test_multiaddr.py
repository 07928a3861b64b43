"""Addresses: what is written comes back, libp2p's own vectors hold, mistakes are named."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.errors import ConfigError
from psyche_p2p.net.multiaddr import (
    decode_multiaddr,
    parse_multiaddr,
    require_address,
    require_peer_address,
)
from tests import strategies as our

PEER = "12D3KooWMbbPVGsZYh3ChQjue712NHHGNybRRXwnuSpezYjGbCDS"
# The first three are test vectors of the multiaddr specification's implementations.
VECTORS = {
    "/ip4/127.0.0.1/tcp/4321": "047f0000010610e1",
    "/ip6/2001:8a0:7ac5:4201:3ac9:86ff:fe31:7095/tcp/8000": (
        "29200108a07ac542013ac986fffe317095061f40"
    ),
    "/ip4/127.0.0.1/udp/1234/quic-v1": "047f000001910204d2cd03",
    "/dns4/example.org/tcp/443": "360b6578616d706c652e6f72670601bb",
}

hosts = st.one_of(
    st.ip_addresses(v=4).map(lambda ip: f"/ip4/{ip}"),
    st.ip_addresses(v=6).map(lambda ip: f"/ip6/{ip}"),
    st.sampled_from(["/dns/a.example", "/dns4/b.example", "/dns6/c.example"]),
)
ports = st.integers(0, 65535)
transports = ports.map(lambda port: f"/tcp/{port}") | ports.map(lambda port: f"/udp/{port}/quic-v1")
ends = st.just("") | our.peers.map(lambda peer: f"/p2p/{peer}")
relays = st.just("") | our.peers.map(lambda peer: f"/p2p/{peer}/p2p-circuit")
texts = st.builds(lambda *parts: "".join(parts), hosts, transports, relays, ends)


@pytest.mark.parametrize(("text", "encoded"), VECTORS.items())
def test_libp2p_writes_the_same_bytes(text: str, encoded: str) -> None:
    assert parse_multiaddr(text).to_bytes().hex() == encoded


@given(texts)
def test_what_is_written_comes_back(text: str) -> None:
    address = parse_multiaddr(text)
    assert str(address) == text
    assert decode_multiaddr(address.to_bytes()) == address


@given(st.binary(max_size=60) | texts.map(lambda text: parse_multiaddr(text).to_bytes()[:-1]))
def test_bytes_from_outside_are_an_address_or_a_value_error(data: bytes) -> None:
    try:
        assert decode_multiaddr(data).to_bytes() == data
    except ValueError:
        return


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("127.0.0.1:4001", "does not begin with a slash"),
        ("", "does not begin with a slash"),
        ("/ip4/127.0.0.1", "needs an IP address or a name, then /tcp or /udp"),
        ("/ip4/127.0.0.1/tcp", "nothing follows /tcp"),
        ("/ip4/127.0.0.1/tcq/4001", "'tcq' is not a protocol this peer speaks"),
        ("/ip4/127.0.0.1/tcp/70000", "'70000' is not a port"),
        ("/ip4/300.0.0.1/tcp/1", "not permitted"),
        ("/ip6/::g/tcp/1", "Only hex digits permitted"),
        ("/ip4/127.0.0.1/udp/1", "only /quic-v1 is spoken over /udp"),
        ("/ip4/127.0.0.1/tcp/1/p2p/QmNonsense", "52 characters"),
        ("/unix/tmp/socket", "'unix' is not a protocol"),
    ],
)
def test_a_malformed_address_is_one_line_that_says_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        require_address(text)
    assert reason in str(caught.value)
    assert "write it like /ip4/203.0.113.7/tcp/4001/p2p/12D3KooW..." in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_address_of_nobody_is_refused_where_a_peer_is_needed() -> None:
    with pytest.raises(ConfigError, match="does not say which peer is there"):
        require_peer_address("/ip4/127.0.0.1/tcp/4001")
    assert require_peer_address(f"/ip4/127.0.0.1/tcp/4001/p2p/{PEER}").peer == PEER


def test_the_way_to_a_peer_behind_a_relay_keeps_the_relay() -> None:
    text = f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}/p2p-circuit"
    assert str(parse_multiaddr(f"{text}/p2p/{PEER}").without_peer) == text
    assert parse_multiaddr(text).peer is None


def test_the_multiaddr_package_agrees() -> None:
    if importlib.util.find_spec("multiaddr") is None:
        pytest.skip("the observer extra is not installed")
    texts = [*VECTORS, f"/ip4/1.2.3.4/tcp/5/p2p/{PEER}/p2p-circuit/p2p/{PEER}"]
    code = (
        "import sys, multiaddr\n"
        "for text in sys.argv[1:]: print(multiaddr.Multiaddr(text).to_bytes().hex())"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, *texts]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.split() == [parse_multiaddr(text).to_bytes().hex() for text in texts]
