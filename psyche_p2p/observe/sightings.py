"""What an observer of a run has seen: verified envelopes, and the blocks they prove decided.

Pure. An observer holds no state of the run, so it cannot know who may vote; it reports how many
different peers precommitted a block and leaves the judgement to the reader.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from psyche_p2p.errors import WireError
from psyche_p2p.ids import PeerId, RunId, short_id
from psyche_p2p.wire import Envelope, Vote, VoteStep, open_envelope

_REMEMBERED_BLOCKS = 1024
_REMEMBERED_IDS = 1 << 14


@dataclass(frozen=True, slots=True)
class Sighting:
    """A verified envelope, and how many peers have precommitted the block it votes for."""

    envelope: Envelope
    precommits: int | None

    def as_json(self) -> dict[str, Any]:
        """For machines: bytes in hexadecimal, enums by name."""
        envelope = self.envelope
        return {
            "kind": envelope.kind.name.lower(),
            "sender": envelope.sender,
            "id": envelope.id.hex(),
            "size_bytes": len(envelope.raw),
            "precommits": self.precommits,
            "message": _plain(envelope.message),
        }

    def as_line(self) -> str:
        """For people."""
        envelope, message = self.envelope, self.envelope.message
        names = ("height", "view", "epoch", "round", "step", "phase", "tier")
        said = [(name, getattr(message, name)) for name in names if hasattr(message, name)]
        parts = [f"{name}={_plain(value)}" for name, value in said]
        if self.precommits is not None:
            parts.append(f"precommits={self.precommits}")
        kind = envelope.kind.name.lower()
        return " ".join([f"{kind:12}", f"from={short_id(envelope.sender)}", *parts])


@dataclass(slots=True)
class Sightings:
    """Everything seen of one run so far."""

    run_id: RunId
    kinds: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    """Messages that were no valid envelopes, by the wire's code."""
    senders: Counter[PeerId] = field(default_factory=Counter)
    _precommits: OrderedDict[tuple[int, int, bytes], set[PeerId]] = field(
        default_factory=OrderedDict
    )
    _seen: OrderedDict[bytes, None] = field(default_factory=OrderedDict)

    def on_message(self, data: bytes) -> Sighting | None:
        """Check a message of the run's topic; None if it is refused or known."""
        try:
            envelope = open_envelope(data, self.run_id)
        except WireError as error:
            self.refused[error.code.value] += 1
            return None
        if envelope.id in self._seen:
            return None
        _remember(self._seen, envelope.id, None, _REMEMBERED_IDS)
        self.kinds[envelope.kind.name.lower()] += 1
        self.senders[envelope.sender] += 1
        return Sighting(envelope, self._count_precommits(envelope))

    def _count_precommits(self, envelope: Envelope) -> int | None:
        vote = envelope.message
        if not isinstance(vote, Vote) or vote.step is not VoteStep.PRECOMMIT:
            return None
        if vote.block_hash is None:
            return None
        key = (vote.height, vote.view, vote.block_hash)
        voters = self._precommits.get(key, set())
        voters.add(envelope.sender)
        _remember(self._precommits, key, voters, _REMEMBERED_BLOCKS)
        return len(voters)


def _remember(table: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> None:
    table[key] = value
    table.move_to_end(key)
    while len(table) > most:
        table.popitem(last=False)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, IntEnum):
        return value.name.lower()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: _plain(getattr(value, field.name)) for field in fields}
    return value
