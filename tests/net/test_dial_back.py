"""Dial-back over real gRPC on loopback: what helpers find, what they refuse to do, who is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from psyche_p2p.clock import ManualClock, SystemClock
from psyche_p2p.errors import PsycheError, RemoteError, Unavailable, WireError
from psyche_p2p.ids import BlobHash
from psyche_p2p.net.bulk_client import Contact
from psyche_p2p.net.bulk_server import BulkServer, ServerLimits
from psyche_p2p.net.callers import AddressGate
from psyche_p2p.net.dial_back import (
    DialBack,
    JoinedServices,
    ask_over_grpc,
    caller_host,
    dial,
    dial_back_service,
    find_reachability,
)
from psyche_p2p.net.handlers import CallWrapper
from psyche_p2p.net.limits import CallLimits, Turnstile
from psyche_p2p.net.reachability import Reach
from psyche_p2p.net.tls import joiner_server_credentials
from psyche_p2p.wire.reachability import (
    DialBackReport,
    DialBackRequest,
    DialOutcome,
    PortOutcome,
)
from tests.net.builders import Host, Person, make_person, serve_members

ME, OTHER = make_person("me"), make_person("other")
HELPERS = [make_person(f"helper {n}") for n in range(4)]


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 60))


@asynccontextmanager
async def helping(person: Person) -> AsyncIterator[Contact]:
    """A peer that dials back whoever asks."""
    wrapper = CallWrapper(AddressGate(), Turnstile(CallLimits()), SystemClock())
    service = JoinedServices(dial_back_service(wrapper, DialBack(ManualClock(), dial_s=10.0)))
    async with BulkServer(
        ("127.0.0.1:0",), lambda: joiner_server_credentials(person.tls), service, ServerLimits()
    ) as server:
        yield Contact(person.pinned, f"127.0.0.1:{server.ports[0]}")


def asking(*ports: int) -> Callable[[Contact], Coroutine[Any, Any, DialBackReport]]:
    request = DialBackRequest(BlobHash(ME.tls.fingerprint), ports)
    return lambda helper: ask_over_grpc(helper, request)


def test_two_helpers_find_us_and_say_where(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            helpers = [await stack.enter_async_context(helping(each)) for each in HELPERS[:2]]
            mine: Host = await stack.enter_async_context(serve_members(ME, tmp_path, [OTHER]))
            port = mine.server.ports[0]
            verdict = await find_reachability(helpers, asking(port), port)
            assert verdict.reach is Reach.REACHABLE
            assert f"2 of 2 peers could connect to 127.0.0.1:{port}" in str(verdict)

    run(scenario())


def test_someone_elses_certificate_is_someone_else(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with helping(HELPERS[0]) as helper, serve_members(OTHER, tmp_path, [ME]) as others:
            port = others.server.ports[0]
            report = await asking(port)(helper)
            assert report.outcomes == (PortOutcome(port, DialOutcome.SOMEONE_ELSE),)

    run(scenario())


@pytest.mark.parametrize(
    ("greeting", "outcome"),
    [(b"SSH-2.0-not_tls\r\n", DialOutcome.SOMEONE_ELSE), (None, DialOutcome.TIMED_OUT)],
)
def test_a_port_without_tls_is_not_ours(greeting: bytes | None, outcome: DialOutcome) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if greeting is not None:
            writer.write(greeting)
            writer.close()
        else:
            await reader.read(-1)
            writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        fingerprint = BlobHash(ME.tls.fingerprint)
        assert await dial("127.0.0.1", port, fingerprint, 0.3) is outcome
        server.close()
        await server.wait_closed()
        assert await dial("127.0.0.1", port, fingerprint, 2.0) is DialOutcome.REFUSED

    run(scenario())


async def kind_of(question: Awaitable[DialBackReport]) -> str:
    """What comes of a question: a report, or which error."""
    try:
        return type(await question).__name__
    except PsycheError as error:
        return type(error).__name__


def test_a_flood_of_questions_is_refused_and_costs_one_dial_each_at_most() -> None:
    async def scenario() -> None:
        async with helping(HELPERS[0]) as helper:
            assert [await kind_of(asking(9)(helper)) for _ in range(10)] == (
                ["DialBackReport"] * 4 + ["Busy"] * 6
            )

    run(scenario())


@pytest.mark.parametrize("ports", [(), (0,), (70_000,), (1, 2, 3)])
def test_odd_questions_are_refused(ports: tuple[int, ...]) -> None:
    async def scenario() -> None:
        async with helping(HELPERS[0]) as helper:
            with pytest.raises(RemoteError, match="1 to 2 ports"):
                await asking(*ports)(helper)

    run(scenario())


def test_only_the_callers_own_address_is_dialled() -> None:
    assert caller_host("ipv4:203.0.113.7:5123") == "203.0.113.7"
    assert caller_host("ipv6:%5B2001:db8::7%5D:5123") == "2001:db8::7"
    assert caller_host("ipv6:[::ffff:203.0.113.7]:5123") == "203.0.113.7"
    for nobody in ("unix:/tmp/socket", "unix:", "", "ipv4:not-an-address:1"):
        with pytest.raises(WireError):
            caller_host(nobody)


class Script:
    """Helpers that answer from a list, and a note of who was asked."""

    def __init__(self, *answers: DialOutcome | PsycheError) -> None:
        self.asked: list[Contact] = []
        self._answers = answers

    async def ask(self, helper: Contact) -> DialBackReport:
        self.asked.append(helper)
        answer = self._answers[len(self.asked) - 1]
        if isinstance(answer, PsycheError):
            raise answer
        return DialBackReport("8.8.4.4", (PortOutcome(1, answer),))


CONTACTS = [Contact(person.pinned, "127.0.0.1:1") for person in HELPERS]


@pytest.mark.parametrize(
    ("script", "asked", "reach"),
    [
        (Script(DialOutcome.REACHED, DialOutcome.REACHED), 2, Reach.REACHABLE),
        (Script(DialOutcome.REFUSED, DialOutcome.TIMED_OUT), 2, Reach.UNREACHABLE),
        (
            Script(DialOutcome.REACHED, DialOutcome.REFUSED, DialOutcome.REACHED),
            3,
            Reach.REACHABLE,
        ),
        (
            Script(Unavailable("gone"), DialOutcome.REACHED, Unavailable("gone"), Unavailable("")),
            4,
            Reach.REACHABLE,
        ),
        (Script(*[Unavailable("gone")] * 4), 4, Reach.UNKNOWN),
    ],
)
def test_more_peers_are_asked_until_two_agree(script: Script, asked: int, reach: Reach) -> None:
    async def scenario() -> None:
        verdict = await find_reachability(CONTACTS, script.ask, 1)
        assert (len(script.asked), verdict.reach) == (asked, reach)

    run(scenario())


def test_a_helper_that_names_no_address_has_not_answered() -> None:
    async def ask(_: Contact) -> DialBackReport:
        return DialBackReport("the moon " * 50, (PortOutcome(1, DialOutcome.REACHED),))

    async def scenario() -> None:
        assert (await find_reachability(CONTACTS, ask, 1)).reach is Reach.UNKNOWN

    run(scenario())


def test_nobody_to_ask_is_a_verdict_too() -> None:
    async def scenario() -> None:
        assert (await find_reachability([], Script().ask, 1)).reach is Reach.UNKNOWN

    run(scenario())
