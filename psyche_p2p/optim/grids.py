"""The chunk grids of a run's updates, at every tier. Torch-free, for who only checks updates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from psyche_p2p.codec import ChunkGrid, TensorSpec, build_grid, map_chunks
from psyche_p2p.config import ModelConfig, OptimizerConfig
from psyche_p2p.ids import Tier
from psyche_p2p.model.shapes import parameter_shapes
from psyche_p2p.model.tiers import matformer_prefix_dim


class ModelGrids:
    """The chunk grids of one model at every tier, and the way from each to this peer's own."""

    def __init__(
        self, specs: Sequence[TensorSpec], *, chunk_size: int, max_tier: int, tier: Tier
    ) -> None:
        self._specs = tuple(specs)
        self._chunk_size = chunk_size
        self._max_tier = max_tier
        self.tier = tier
        self._grids: dict[Tier, ChunkGrid] = {}
        self._sources: dict[Tier, tuple[NDArray[np.int64], ...]] = {}

    @property
    def own(self) -> ChunkGrid:
        return self.at(self.tier)

    def at(self, tier: Tier) -> ChunkGrid:
        """The grid of a tier."""
        if tier not in self._grids:
            self._grids[tier] = build_grid(
                self._specs, chunk_size=self._chunk_size, max_tier=self._max_tier, tier=tier
            )
        return self._grids[tier]

    def chunk_sources(self, tier: Tier) -> tuple[NDArray[np.int64], ...]:
        """For every group, where each of this peer's chunks is in the tier's, or -1."""
        if tier not in self._sources:
            self._sources[tier] = map_chunks(self.own, self.at(tier))
        return self._sources[tier]


def tensor_specs(model: ModelConfig) -> tuple[TensorSpec, ...]:
    """The tensors of a model at tier 0, and along which axis tiers shorten them."""
    return tuple(
        TensorSpec(name, shape, matformer_prefix_dim(name))
        for name, shape in parameter_shapes(model).items()
    )


def make_grids(model: ModelConfig, optimizer: OptimizerConfig, held_tier: Tier) -> ModelGrids:
    """The chunk grids of a run, seen from a peer that holds this tier."""
    sparse_loco = optimizer.kind == "sparse_loco"
    chunk_size = (optimizer.sparse_loco if sparse_loco else optimizer.distro).chunk_size
    return ModelGrids(
        tensor_specs(model), chunk_size=chunk_size, max_tier=model.max_tier, tier=held_tier
    )
