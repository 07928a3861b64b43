"""Asks an address whether a libp2p host listens there.

Who it is cannot be asked under its own name: libp2p refuses to dial itself.
"""

from __future__ import annotations

import asyncio

from psyche_p2p.net.multiaddr import Multiaddr

PROBE_TIMEOUT_S = 1.0
# multistream-select 1.0: both sides begin with this (length-prefixed) line
_GREETING = b"\x13/multistream/1.0.0\n"


async def is_libp2p_at(address: Multiaddr) -> bool:
    """Whether a libp2p host greets us there."""
    if address.parts[1][0] != "tcp":
        return False
    try:
        return await asyncio.wait_for(_hear_greeting(address), PROBE_TIMEOUT_S)
    except (OSError, EOFError, asyncio.TimeoutError):
        return False


async def _hear_greeting(address: Multiaddr) -> bool:
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        writer.write(_GREETING)
        return await reader.readexactly(len(_GREETING)) == _GREETING
    finally:
        writer.close()
