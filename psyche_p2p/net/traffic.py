"""How much one peer sends and receives, as far as our own process sees it.

Counted are the payloads of the bulk plane, as server and as client, and every gossiped message once
as it goes to the daemon or comes from it. What the daemon forwards for others, and what TLS, HTTP/2
and TCP add, is not.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class TrafficMeter:
    """One peer's; everything that sends or receives adds to it."""

    sent_bytes: int = 0
    received_bytes: int = 0

    def note_sent(self, size_bytes: int) -> None:
        self.sent_bytes += size_bytes

    def note_received(self, size_bytes: int) -> None:
        self.received_bytes += size_bytes
