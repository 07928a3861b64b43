"""Real daemons on the loopback for tests: ports from the system, deadlines instead of sleeps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

from psyche_p2p.errors import Unavailable
from psyche_p2p.identity import Identity
from psyche_p2p.net.daemon import Daemon, DaemonConfig, DaemonEvent
from psyche_p2p.net.multiaddr import parse_multiaddr

LOOPBACK = (parse_multiaddr("/ip4/127.0.0.1/tcp/0"),)
DEADLINE_S = 60.0
_POLL_S = 0.02
T = TypeVar("T")


def run(test: Coroutine[Any, Any, T]) -> T:
    """Run a test's coroutine; whatever hangs fails."""
    return asyncio.run(asyncio.wait_for(test, DEADLINE_S))


def identity_of(name: str) -> Identity:
    """The same identity for the same name."""
    return Identity.from_seed(name.encode().ljust(32, b"."))


def daemon_of(name: str, on_event: Callable[[DaemonEvent], None] | None = None) -> Daemon:
    return Daemon(DaemonConfig(identity_of(name), listen=LOOPBACK), on_event)


@asynccontextmanager
async def daemons(*names: str) -> AsyncIterator[list[Daemon]]:
    """Daemons, each connected to all before it."""
    async with AsyncExitStack() as stack:
        started = await asyncio.gather(
            *(stack.enter_async_context(daemon_of(name)) for name in names)
        )
        for number, daemon in enumerate(started):
            for earlier in started[:number]:
                await daemon.control.connect(earlier.peer_id, earlier.listen)
        yield started


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that only asking can tell; the test's own deadline bounds it."""
    while not await _holds(condition):  # noqa: ASYNC110 - the daemon has no event for it
        await asyncio.sleep(_POLL_S)


async def _holds(condition: Callable[[], Awaitable[bool]]) -> bool:
    try:
        return await condition()
    except Unavailable:  # a daemon between two lives
        return False


def kill(daemon: Daemon) -> None:
    """SIGKILL, as the kernel's out-of-memory killer would."""
    process = daemon._process
    assert process is not None
    process.kill()


def kill_for_good(daemon: Daemon) -> None:
    """SIGKILL, and nobody to start it again."""
    assert daemon._supervisor is not None
    daemon._supervisor.cancel()
    kill(daemon)
