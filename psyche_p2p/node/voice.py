"""What this peer says: signed once, kept for whoever asks, gossiped in order by one task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from psyche_p2p.consensus import Signer
from psyche_p2p.errors import Unavailable
from psyche_p2p.log import get_logger
from psyche_p2p.net.gossip import Gossip
from psyche_p2p.node.promises import Promises
from psyche_p2p.wire import Commitment, Envelope

_QUEUED = 4096
_log = get_logger(__name__)


class Voice:
    """Says things without waiting; what gossip loses is repeated by its author or pulled."""

    def __init__(
        self,
        signer: Signer,
        promises: Promises,
        hear: Callable[[Envelope], None],
        keep: Callable[[Envelope], object],
    ) -> None:
        """`hear` takes in our own words like anyone's, `keep` holds what others may lack."""
        self._signer = signer
        self._promises = promises
        self._hear = hear
        self._keep = keep
        self._outbox: asyncio.Queue[bytes] = asyncio.Queue(_QUEUED)

    def say(self, message: Any) -> Envelope:
        """Sign, hear it ourselves, and tell everyone; of a batch, only what was said before."""
        if isinstance(message, Commitment):
            message = self._promises.bind(message)
        envelope = self._signer.seal(message)
        self._hear(envelope)
        self.repeat(envelope)
        return envelope

    def repeat(self, envelope: Envelope) -> None:
        """Tell everyone, of whomever it is; dropped when too much waits to be sent.

        Gossip hands on the same bytes only once. Whoever had no use for them then gets them later
        by comparing what it holds with us, so they are kept.
        """
        self._keep(envelope)
        try:
            self._outbox.put_nowait(envelope.raw)
        except asyncio.QueueFull:
            _log.debug("too much to say at once: left to anti-entropy")

    async def run(self, gossip: Gossip) -> None:
        """Send what was said, until cancelled."""
        while True:
            data = await self._outbox.get()
            try:
                await gossip.pass_on(data)
            except Unavailable as error:
                _log.debug("not gossiped", cause=str(error))
