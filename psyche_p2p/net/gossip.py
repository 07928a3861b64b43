"""A run's topic: signed envelopes to everyone, and from everyone what the gatekeeper lets through.

Gossip is a hint. It may lose anything (the daemon drops what is not read in time), and what matters
is pulled by anti-entropy. Nothing of more than 64 KiB is published.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from typing_extensions import Self

from psyche_p2p.clock import Clock, SystemClock
from psyche_p2p.errors import Unavailable
from psyche_p2p.identity import Identity
from psyche_p2p.ids import PeerId, RunId, short_id
from psyche_p2p.log import get_logger
from psyche_p2p.net.control import Publisher
from psyche_p2p.net.daemon import Daemon
from psyche_p2p.net.gatekeeper import Gatekeeper, GossipLimits, Outcome, Validator
from psyche_p2p.net.tasks import end_tasks
from psyche_p2p.net.traffic import TrafficMeter
from psyche_p2p.wire import MAX_ENVELOPE_BYTES, Envelope, open_envelope, seal

INBOX_MESSAGES = 1024
RETRY_S = 0.05
POLICE_S = 1.0
_log = get_logger(__name__)


def topic_of(run_id: RunId) -> str:
    """The topic of a run (docs/protocol.md, "Gossip")."""
    return f"psyche-p2p/v1/{run_id.hex()}"


def everyone_is_a_member(_: PeerId) -> bool:
    """For runs whose members are not known yet: everyone has a budget of their own."""
    return True


class Gossip:
    """Publishes and receives envelopes of one run, inside `async with`."""

    def __init__(
        self,
        daemon: Daemon,
        identity: Identity,
        run_id: RunId,
        validate: Validator,
        *,
        is_member: Callable[[PeerId], bool] = everyone_is_a_member,
        limits: GossipLimits | None = None,
        clock: Clock | None = None,
        meter: TrafficMeter | None = None,
    ) -> None:
        self._daemon = daemon
        self._identity = identity
        self._run_id = run_id
        self._gate = Gatekeeper(run_id, validate, is_member, limits or GossipLimits())
        self._clock = clock or SystemClock()
        self._meter = meter or TrafficMeter()
        self._publisher = Publisher()
        self._inbox: asyncio.Queue[Envelope | BaseException] = asyncio.Queue(INBOX_MESSAGES)
        self._subscribed = asyncio.Event()
        self._has_offenders = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def topic(self) -> str:
        return topic_of(self._run_id)

    @property
    def outcomes(self) -> dict[str, int]:
        """How many messages were accepted, ignored and rejected so far."""
        return {outcome.value: self._gate.outcomes[outcome] for outcome in Outcome}

    @property
    def banned(self) -> frozenset[PeerId]:
        """Authors that nothing is taken from for now, and that are kept disconnected."""
        return self._gate.banned(self._clock.monotonic_s())

    async def subscribed(self) -> None:
        """Wait until the daemon sends us the topic's messages."""
        await self._subscribed.wait()

    async def peers(self) -> frozenset[PeerId]:
        """Connected peers that subscribe to the run's topic."""
        return await self._daemon.control.topic_peers(self.topic)

    async def publish(self, message: Any) -> Envelope:
        """Sign a message and send it to everyone; ValueError if it is too large to be sent."""
        envelope = open_envelope(seal(message, self._run_id, self._identity), self._run_id)
        await self.pass_on(envelope.raw)
        return envelope

    async def pass_on(self, data: bytes) -> None:
        """Send an envelope, of whomever, to everyone; Unavailable while the daemon is away."""
        if len(data) > MAX_ENVELOPE_BYTES:
            raise ValueError(f"{len(data)} bytes, at most {MAX_ENVELOPE_BYTES} may be gossiped")
        self._gate.remember(data)  # the daemon sends us our own messages as well
        await self._publisher.publish(self._daemon.control, self.topic, data)
        self._meter.note_sent(len(data))

    async def receive(self) -> Envelope:
        """The next envelope that was accepted."""
        received = await self._inbox.get()
        if isinstance(received, BaseException):
            raise received
        return received

    async def __aenter__(self) -> Self:
        for job in (self._listen, self._police):
            task = asyncio.create_task(job(), name=f"gossip{job.__name__}")
            task.add_done_callback(self._on_task_done)
            self._tasks.append(task)
        return self

    async def __aexit__(self, *_: object) -> None:
        await end_tasks(self._tasks)
        self._tasks.clear()
        self._publisher.close()

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        """A bug in a validator reaches whoever receives, instead of silence."""
        if not task.cancelled() and (error := task.exception()) is not None:
            if self._inbox.full():
                self._inbox.get_nowait()
            self._inbox.put_nowait(error)

    async def _listen(self) -> None:
        """Subscribe, and again whenever the daemon has been restarted."""
        while True:
            await self._daemon.running()
            with suppress(Unavailable):
                async with self._daemon.control.subscribe(self.topic) as messages:
                    self._subscribed.set()
                    async for message in messages:
                        await self._on_message(message.author, message.data)
            self._subscribed.clear()
            await asyncio.sleep(RETRY_S)

    async def _on_message(self, author: PeerId, data: bytes) -> None:
        if author != self._identity.peer_id:
            self._meter.note_received(len(data))
        judgement, envelope = self._gate.on_message(author, data, self._clock.monotonic_s())
        if envelope is not None:
            await self._inbox.put(envelope)  # waits for a slow receiver: memory stays bounded
        elif judgement.outcome is Outcome.REJECT:
            _log.debug("gossip rejected", author=short_id(author), reason=judgement.reason)
            if self.banned:
                self._has_offenders.set()

    async def _police(self) -> None:
        """Disconnect banned authors, and again whenever they come back."""
        while True:
            await self._has_offenders.wait()
            banned = self.banned
            if not banned:
                self._has_offenders.clear()
                continue
            with suppress(Unavailable):
                control = self._daemon.control
                for peer in banned & await control.connected_peers():
                    _log.warning("a peer is disconnected for its gossip", peer=peer)
                    await control.disconnect(peer)
            await asyncio.sleep(POLICE_S)
