"""The self-test at the start: can others reach this machine? One line says so, and what to do."""

from __future__ import annotations

import asyncio

from psyche_p2p.certificate import TlsCertificate
from psyche_p2p.ids import BlobHash
from psyche_p2p.log import get_logger
from psyche_p2p.net.bulk_client import Contact
from psyche_p2p.net.dial_back import ask_over_grpc, find_reachability
from psyche_p2p.net.reachability import AGREEING_ANSWERS, Reach
from psyche_p2p.node.directory import Directory
from psyche_p2p.wire.reachability import DialBackReport, DialBackRequest

_PATIENCE_S = 60.0
_log = get_logger(__name__)


async def report_reach(directory: Directory, own: TlsCertificate, port: int) -> None:
    """Ask two peers to dial us back once there are two, and say what they found."""
    request = DialBackRequest(BlobHash(own.fingerprint), (port,))

    async def ask(helper: Contact) -> DialBackReport:
        return await ask_over_grpc(helper, request)

    helpers = await _wait_for_helpers(directory)
    if not helpers:
        _log.info("nobody is there yet to tell whether this machine can be reached")
        return
    found = await find_reachability(helpers, ask, port)
    say = _log.warning if found.reach is Reach.UNREACHABLE else _log.info
    say("reachability", verdict=found.reach.value, why=str(found))


async def _wait_for_helpers(directory: Directory) -> list[Contact]:
    """Two peers, or however many there are when patience ends."""
    try:
        return await asyncio.wait_for(directory.find_doors(AGREEING_ANSWERS), _PATIENCE_S)
    except asyncio.TimeoutError:
        return list(directory.open_doors().values())
