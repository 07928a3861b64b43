"""A peer's request to take part in the next epoch."""

from __future__ import annotations

from psyche_p2p.coordinator import State
from psyche_p2p.ids import BlobHash, PeerId, SchemaHash, Tier
from psyche_p2p.node.network import roles_of
from psyche_p2p.node.options import PeerOptions
from psyche_p2p.train.messages import Ready
from psyche_p2p.wire import Capabilities, Join


def make_join(
    options: PeerOptions,
    ready: Ready | None,
    fingerprint: bytes,
    schema: SchemaHash,
    nonce: int,
) -> Join:
    """What this machine is and can do; `ready` is what its trainer said, if it has one."""
    return Join(
        roles=roles_of(options),
        tier=options.tier or Tier(0),
        capabilities=Capabilities(
            tokens_per_s=0,
            memory_bytes=0 if ready is None else ready.memory_bytes,
            device="none" if ready is None else ready.device,
        ),
        addresses=(),
        tls_fingerprint=BlobHash(fingerprint),
        schema_hash=schema,
        nonce=nonce,
    )


def next_nonce(state: State | None, peer: PeerId, time_ms: int) -> int:
    """Newer than every earlier join and withdrawal of this peer."""
    account = state.find_account(peer) if state is not None else None
    return max(time_ms, account.nonce + 1 if account is not None else 0)
