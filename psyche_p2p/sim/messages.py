"""What simulated peers send each other beside envelopes: the bulk plane, reduced to the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psyche_p2p.ids import Height
from psyche_p2p.wire import DecidedBlock, Envelope

_PULL_BYTES = 60
_SIGNATURE_BYTES = 100
_BLOCK_BYTES = 300


@dataclass(frozen=True, slots=True)
class Pull:
    """Which height we decide next: send what is decided from there on."""

    height: Height
    wants_height: bool


@dataclass(frozen=True, slots=True)
class Blocks:
    """The height we decide next ourselves, and the decided blocks asked for."""

    height: Height
    blocks: tuple[DecidedBlock, ...]


def size_bytes(message: Any) -> int:
    """What the message takes on the wire: exact for envelopes, close for the others."""
    if isinstance(message, Envelope):
        return len(message.raw)
    if isinstance(message, Blocks):
        return _PULL_BYTES + sum(_size_of_decided(decided) for decided in message.blocks)
    return _PULL_BYTES


def _size_of_decided(decided: DecidedBlock) -> int:
    commands = sum(map(len, decided.block.commands))
    return _BLOCK_BYTES + commands + _SIGNATURE_BYTES * len(decided.certificate.signatures)
