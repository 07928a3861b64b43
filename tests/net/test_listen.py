"""Ports are known to be free before the daemon starts, and mistakes name the cause."""

from __future__ import annotations

import socket

import pytest

from psyche_p2p.errors import ConfigError, ResourceError
from psyche_p2p.net.listen import reserve_ports
from psyche_p2p.net.multiaddr import parse_multiaddr

ANY = parse_multiaddr("/ip4/127.0.0.1/tcp/0")
FOREIGN = parse_multiaddr("/ip4/203.0.113.7/tcp/0")


def test_a_port_left_to_the_system_is_chosen_once() -> None:
    (address,) = reserve_ports([ANY])
    assert address.port > 0
    assert reserve_ports([address]) == (address,)


@pytest.mark.parametrize("reuse", [0, 1])
def test_a_taken_port_is_one_line_even_if_its_owner_would_share_it(reuse: int) -> None:
    with socket.socket() as owner:
        owner.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, reuse)
        owner.bind(("127.0.0.1", 0))
        owner.listen()
        port = owner.getsockname()[1]
        with pytest.raises(ResourceError) as caught:
            reserve_ports([ANY.with_port(port)])
    assert str(caught.value) == (
        f"port {port} of 127.0.0.1 is taken; "
        "stop the program that holds it, or listen on another port"
    )


def test_an_address_of_another_machine_is_left_out_or_refused() -> None:
    assert len(reserve_ports([FOREIGN, ANY])) == 1
    with pytest.raises(ConfigError, match="has none of the addresses to listen on"):
        reserve_ports([FOREIGN])


def test_a_name_is_no_address_to_listen_on() -> None:
    with pytest.raises(ConfigError, match="is a name"):
        reserve_ports([parse_multiaddr("/dns4/localhost/tcp/0")])
