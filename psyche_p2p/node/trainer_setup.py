"""What the peer tells its trainer first."""

from __future__ import annotations

from pathlib import Path

from psyche_p2p.config import RunConfig, canonical_bytes
from psyche_p2p.ids import PeerId, Tier
from psyche_p2p.node.options import PeerOptions
from psyche_p2p.train.messages import Setup


def make_setup(
    config: RunConfig, options: PeerOptions, tier: Tier, store: Path, peer: PeerId
) -> Setup:
    """The run and this machine's part in it."""
    return Setup(
        config=canonical_bytes(config).decode(),
        store=str(store),
        store_bytes=options.store_bytes,
        peer=peer,
        tier=tier,
        device=options.device,
        threads=options.threads,
        micro_batch=options.micro_batch,
        checkpoint=str(options.checkpoint or ""),
        data_dir=str(options.data_dir or ""),
        compile=options.compile,
    )
