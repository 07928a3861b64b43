"""What every call on the server passes: admission, limits, deadlines, and our errors as codes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc

from psyche_p2p.clock import Clock
from psyche_p2p.errors import PsycheError, StorageError, WireError
from psyche_p2p.log import get_logger
from psyche_p2p.net.callers import Caller, Gate, NotTrusted
from psyche_p2p.net.errors import NotHeld, UnknownRun
from psyche_p2p.net.limits import Turnstile
from psyche_p2p.net.traffic import TrafficMeter
from psyche_p2p.net.watchdog import Watchdog

_log = get_logger(__name__)
ItemT = TypeVar("ItemT")
Answer = Callable[["Call", bytes], Awaitable[bytes]]
Stream = Callable[["Call", bytes], Awaitable[None]]
Intake = Callable[["Call"], Awaitable[bytes]]


@dataclass(slots=True)
class Call:
    """One call being served."""

    caller: Caller
    context: Any
    gate: Gate
    turnstile: Turnstile
    clock: Clock
    watchdog: Watchdog
    meter: TrafficMeter
    is_writing: bool = False

    async def send(self, data: bytes) -> None:
        """Send one message within the caller's bandwidth, once it has taken those before."""
        self.gate.require_still(self.caller)
        now = self.clock.monotonic_s()
        await self.pause(self.turnstile.spend_bytes(self.caller.key, len(data), now))
        self.is_writing = True
        await self.context.write(data)
        self.meter.note_sent(len(data))
        self.is_writing = False

    async def pause(self, seconds: float) -> None:
        """Hold back what is to be sent; the caller is not blamed for the silence."""
        if seconds > 0:
            self.watchdog.rest()
            await asyncio.sleep(seconds)
        self.watchdog.pat()

    async def received(self) -> AsyncIterator[bytes]:
        """The messages of the caller's stream, which must not pause for long."""
        while True:
            self.watchdog.pat()
            message = await self.context.read()
            if message is grpc.aio.EOF:
                return
            self.meter.note_received(len(message))
            self.gate.require_still(self.caller)
            yield message


class CallWrapper:
    """Makes gRPC handlers of methods that know callers and our errors, and nothing of gRPC."""

    def __init__(
        self, gate: Gate, turnstile: Turnstile, clock: Clock, meter: TrafficMeter | None = None
    ) -> None:
        self._gate = gate
        self._turnstile = turnstile
        self._clock = clock
        self._meter = meter or TrafficMeter()

    def unary(self, answer: Answer) -> grpc.RpcMethodHandler:
        """A request and its reply."""

        async def handle(request: bytes, context: Any) -> bytes | None:
            self._meter.note_received(len(request))
            reply = await self._serve(context, lambda call: answer(call, request))
            self._meter.note_sent(len(reply or b""))
            return reply

        return grpc.unary_unary_rpc_method_handler(handle)

    def stream(self, produce: Stream) -> grpc.RpcMethodHandler:
        """A request and a stream of messages."""

        async def handle(request: bytes, context: Any) -> None:
            self._meter.note_received(len(request))
            await self._serve(context, lambda call: produce(call, request))

        return grpc.unary_stream_rpc_method_handler(handle)

    def intake(self, consume: Intake) -> grpc.RpcMethodHandler:
        """A stream of messages and a reply."""

        async def handle(_: Any, context: Any) -> bytes | None:
            return await self._serve(context, consume)

        return grpc.stream_unary_rpc_method_handler(handle)

    async def _serve(self, context: Any, run: Callable[[Call], Awaitable[ItemT]]) -> ItemT | None:
        is_stuck = False
        try:
            with Watchdog(self._turnstile.limits.max_call_s), self._admitted(context) as call:
                try:
                    return await run(call)
                finally:
                    is_stuck = call.is_writing
        except (PsycheError, asyncio.TimeoutError) as error:
            code = status_code(error)
            _log.debug("call refused", code=code.name, cause=str(error))
            if is_stuck:
                # No status can follow a message that will not leave: gRPC resets the stream.
                raise asyncio.CancelledError from error
            await context.abort(code, str(error) or "too slow")
        return None

    @contextmanager
    def _admitted(self, context: Any) -> Iterator[Call]:
        caller = self._gate.admit(context)
        with (
            self._turnstile.enter(caller.key, self._clock.monotonic_s()),
            Watchdog(self._turnstile.limits.stall_s) as watchdog,
        ):
            yield Call(
                caller, context, self._gate, self._turnstile, self._clock, watchdog, self._meter
            )


def status_code(error: PsycheError | asyncio.TimeoutError) -> grpc.StatusCode:
    """Which gRPC code says the same as one of our errors."""
    match error:
        case NotTrusted():
            return grpc.StatusCode.PERMISSION_DENIED
        case NotHeld():
            return grpc.StatusCode.NOT_FOUND
        case UnknownRun():
            return grpc.StatusCode.FAILED_PRECONDITION
        case WireError():
            return grpc.StatusCode.INVALID_ARGUMENT
        case StorageError():
            return grpc.StatusCode.UNAVAILABLE
        case asyncio.TimeoutError():
            return grpc.StatusCode.DEADLINE_EXCEEDED
        case _:
            return grpc.StatusCode.RESOURCE_EXHAUSTED
