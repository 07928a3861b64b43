"""Dial-back over the bulk plane: ask peers to connect to us, and do the same for those who ask.

A peer dials no address but the one the question came from, a few ports of it, rarely, and sends
nothing but a TLS hello: it cannot be used to probe or flood anyone else.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote

import grpc

from psyche_p2p.certificate import TLS_SERVER_NAME, certificate_fingerprint
from psyche_p2p.clock import Clock
from psyche_p2p.errors import PsycheError, RemoteError, Unavailable, WireCode, WireError
from psyche_p2p.ids import BlobHash
from psyche_p2p.log import get_logger
from psyche_p2p.net.bulk_client import Contact
from psyche_p2p.net.errors import from_rpc_error
from psyche_p2p.net.handlers import Call, CallWrapper
from psyche_p2p.net.limits import CallerBuckets, TokenBucket
from psyche_p2p.net.methods import channel_options
from psyche_p2p.net.reachability import (
    AGREEING_ANSWERS,
    Answer,
    Reachability,
    decide_reachability,
    is_decided,
)
from psyche_p2p.net.tls import CHANNEL_TLS_OPTIONS, channel_credentials
from psyche_p2p.wire.codec import decode, encode
from psyche_p2p.wire.reachability import (
    DialBackReport,
    DialBackRequest,
    DialOutcome,
    PortOutcome,
)

REACHABILITY_SERVICE = "psyche.v1.Reachability"
MAX_PORTS = 2
DIAL_S = 5.0
ASK_S = 20.0
MAX_HELPERS = 5
_DIALS_PER_S = 0.2
_BURST = 4
_TOTAL_DIALS_PER_S = 10.0
_log = get_logger(__name__)
Ask = Callable[[Contact], Awaitable[DialBackReport]]


async def find_reachability(helpers: Sequence[Contact], ask: Ask, port: int) -> Reachability:
    """Ask two peers at once, and more until two agree or nobody is left."""
    answers: list[Answer] = []
    waiting = list(helpers[:MAX_HELPERS])
    while waiting and not is_decided(answers, port):
        missing = AGREEING_ANSWERS if not answers else 1
        asked, waiting = waiting[:missing], waiting[missing:]
        answers += await asyncio.gather(*(_ask_one(helper, ask) for helper in asked))
    return decide_reachability(answers, port)


async def _ask_one(helper: Contact, ask: Ask) -> Answer:
    try:
        report = await asyncio.wait_for(ask(helper), ASK_S)
        _require_address(helper, report)
        return Answer(helper.peer, report)
    except (PsycheError, asyncio.TimeoutError) as error:
        _log.info("a peer did not dial back", peer=helper.peer, cause=str(error) or "no answer")
        return Answer(helper.peer, None)


async def ask_over_grpc(helper: Contact, request: DialBackRequest) -> DialBackReport:
    """One question to one peer, on a connection of its own."""
    credentials = channel_credentials(helper.certificate, None)
    options = [*channel_options(), *CHANNEL_TLS_OPTIONS]
    async with grpc.aio.secure_channel(helper.address, credentials, options) as channel:
        call = channel.unary_unary(f"/{REACHABILITY_SERVICE}/DialBack")
        try:
            reply: bytes = await call(encode(request), timeout=ASK_S)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(helper.peer, error) from error
    return decode(DialBackReport, reply)


def _require_address(helper: Contact, report: DialBackReport) -> None:
    try:
        ip_address(report.observed_host)
    except ValueError as error:
        raise RemoteError(f"peer {helper.peer} saw us at what is no address") from error


class DialBack:
    """Dials whoever asks for it back."""

    def __init__(
        self,
        clock: Clock,
        dial_s: float = DIAL_S,
        is_detoured: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """`is_detoured`: whether a caller comes through a relay, and so from this machine."""
        self._clock = clock
        self._dial_s = dial_s
        self._is_detoured = is_detoured
        self._by_host = CallerBuckets(_DIALS_PER_S, _BURST)
        self._total = TokenBucket(_TOTAL_DIALS_PER_S, _TOTAL_DIALS_PER_S)

    async def answer(self, call: Call, request: bytes) -> bytes:
        """What is found on the ports the caller names, at the address it calls from."""
        asked = decode(DialBackRequest, request)
        if not 0 < len(asked.ports) <= MAX_PORTS or not all(0 < p < 1 << 16 for p in asked.ports):
            raise WireError(WireCode.OUT_OF_RANGE, f"1 to {MAX_PORTS} ports can be asked for")
        if self._is_detoured(call.context.peer()):
            raise WireError(WireCode.OUT_OF_RANGE, "callers through a relay are not dialled back")
        host = caller_host(call.context.peer())
        now = self._clock.monotonic_s()
        if not self._by_host.of(host).try_take(1, now) or not self._total.try_take(1, now):
            raise Unavailable("too many dial-backs", "ask another peer, or later")
        outcomes = [
            PortOutcome(port, await dial(host, port, asked.tls_fingerprint, self._dial_s))
            for port in asked.ports
        ]
        return encode(DialBackReport(host, tuple(outcomes)))


def dial_back_service(wrapper: CallWrapper, dial_back: DialBack) -> grpc.GenericRpcHandler:
    """The service for anyone who may become a member."""
    return grpc.method_handlers_generic_handler(
        REACHABILITY_SERVICE, {"DialBack": wrapper.unary(dial_back.answer)}
    )


class JoinedServices(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Several services on one server."""

    def __init__(self, *services: grpc.GenericRpcHandler) -> None:
        self._services = services

    def service(self, details: Any) -> Any:
        found = (service.service(details) for service in self._services)
        return next((handler for handler in found if handler is not None), None)


def caller_host(peer: str) -> str:
    """The IP address in gRPC's name for a caller; WireError for a caller that has none."""
    _, _, rest = unquote(peer).partition(":")
    host = rest.rpartition(":")[0].strip("[]")
    try:
        address = ip_address(host)
    except ValueError as error:
        raise WireError(WireCode.OUT_OF_RANGE, "only callers over TCP are dialled back") from error
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


async def dial(host: str, port: int, fingerprint: BlobHash, timeout_s: float) -> DialOutcome:
    """Whether the owner of this certificate answers there."""
    try:
        shown = await asyncio.wait_for(_shown_certificate(host, port), timeout_s)
    except asyncio.TimeoutError:
        return DialOutcome.TIMED_OUT
    except (ConnectionRefusedError, ConnectionResetError) as error:
        refused = isinstance(error, ConnectionRefusedError)
        return DialOutcome.REFUSED if refused else DialOutcome.SOMEONE_ELSE
    except ssl.SSLError:
        return DialOutcome.SOMEONE_ELSE
    except OSError:
        return DialOutcome.UNREACHABLE
    is_theirs = certificate_fingerprint(shown) == fingerprint
    return DialOutcome.REACHED if is_theirs else DialOutcome.SOMEONE_ELSE


async def _shown_certificate(host: str, port: int) -> bytes:
    """The certificate that a TLS server shows, whoever it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # not trusted: compared with the fingerprint asked for
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection(
        host, port, ssl=context, server_hostname=TLS_SERVER_NAME
    )
    try:
        certificate: bytes | None = writer.get_extra_info("ssl_object").getpeercert(True)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    return certificate or b""
