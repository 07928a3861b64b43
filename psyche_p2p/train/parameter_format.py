"""What a blob of a run's parameters has to be. Torch-free, for who fetches them."""

from __future__ import annotations

from psyche_p2p.blobs import Expectation
from psyche_p2p.config import RunConfig, run_id
from psyche_p2p.ids import EpochIndex, RoundIndex, Tier
from psyche_p2p.model.schema import model_schema, schema_hash
from psyche_p2p.model.shapes import parameter_shapes
from psyche_p2p.wire import BlobKind, TensorEntry

ANY_EPOCH = EpochIndex(0)
"""Parameters belong to a number of rounds, whichever epoch that fell into."""


def expect_parameters(
    config: RunConfig, tier: Tier, param_round: RoundIndex | None, size_bytes: int
) -> Expectation:
    """What a blob of the run's parameters at a tier must be, of a round or of any."""
    shapes = parameter_shapes(config.model, tier)
    return Expectation(
        max_bytes=size_bytes,
        kind=BlobKind.PARAMETERS,
        run_id=run_id(config),
        epoch=ANY_EPOCH,
        round=param_round,
        batch=None,
        producer=None,
        tier=tier,
        schema_hash=schema_hash(model_schema(config.model)),
        codec=None,
        tensors=tuple(TensorEntry(name, shapes[name], "float32", 0, 0) for name in sorted(shapes)),
        tokens=None,
        payload_hash=None,
        vocab_size=None,
    )
