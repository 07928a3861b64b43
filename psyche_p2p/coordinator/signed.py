"""A statement with its signature, and how a core checks one without owning the arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from psyche_p2p.errors import Rejected
from psyche_p2p.ids import PeerId, RunId, Signature, short_id
from psyche_p2p.wire.envelope import ENVELOPE_CONTEXT, bytes_to_sign

# (signer, context, message, signature) -> bool, as `identity.verify`. Simulations may count
# signatures instead of computing them.
Verify: TypeAlias = Callable[[PeerId, str, bytes, bytes], bool]
Sign: TypeAlias = Callable[[str, bytes], Signature]


def trust(_signer: PeerId, _context: str, _message: bytes, _signature: bytes) -> bool:
    """A Verify for statements whose envelopes were checked when they came."""
    return True


@dataclass(frozen=True, slots=True)
class Signed:
    """What was in an envelope: who said what, and the proof."""

    sender: PeerId
    message: Any
    signature: Signature


def latest_by_sender(statements: Iterable[Signed]) -> dict[PeerId, Signed]:
    """One statement a sender, whichever order they came in."""
    chosen: dict[PeerId, Signed] = {}
    for signed in sorted(statements, key=lambda one: one.signature):
        chosen[signed.sender] = signed
    return chosen


def require_signed(
    verify: Verify, run_id: RunId, sender: PeerId, message: Any, signature: bytes
) -> None:
    """Rejected unless the sender sealed this message in this run."""
    if verify is trust:  # spares writing the message down again
        return
    try:
        signed = bytes_to_sign(message, run_id, sender)
    except ValueError as error:
        raise Rejected(f"a {type(message).__name__} that cannot be sent: {error}") from error
    if not verify(sender, ENVELOPE_CONTEXT, signed, signature):
        name = type(message).__name__
        raise Rejected(f"{short_id(sender)} did not sign this {name}")
