"""How a run's updates are written, as its configuration says. Torch-free."""

from __future__ import annotations

from psyche_p2p.blobs import Transform
from psyche_p2p.codec import Payload
from psyche_p2p.config import RunConfig
from psyche_p2p.wire import CodecParameters


def transform_of(config: RunConfig) -> Transform:
    """What the coefficients of this run's updates are coefficients of."""
    return Transform.DCT if config.optimizer.kind == "distro" else Transform.NONE


def chunk_size_of(config: RunConfig) -> int:
    kind = config.optimizer.kind
    settings = config.optimizer.sparse_loco if kind == "sparse_loco" else config.optimizer.distro
    return settings.chunk_size


def codec_of(config: RunConfig) -> CodecParameters:
    """What every update of this run has to name as its codec."""
    settings = config.optimizer.distro
    payload = Payload.SIGNS if settings.quantize_1bit else Payload.VALUES
    top_k = settings.top_k
    if config.optimizer.kind == "sparse_loco":
        payload, top_k = Payload.SCALED_SIGNS, config.optimizer.sparse_loco.top_k
    return CodecParameters(transform_of(config).value, payload.value, chunk_size_of(config), top_k)
