"""The first value of every weight of a run: the same bits on every machine.

Libraries draw normal numbers with vectorised logarithms and cosines, whose last bits depend on the
processor. Here every weight is the sum of four 16-bit integers from BLAKE3's output stream under
the run's seed and the tensor's name, centred and scaled once in float64: integer sums and a single
rounding are the same everywhere. The sum is bell-shaped, and ends at 3.5 standard deviations.
"""

from __future__ import annotations

import math

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from psyche_p2p.config import ModelConfig
from psyche_p2p.ids import ParamRoot, Tier
from psyche_p2p.model.param_root import ParamTree
from psyche_p2p.model.shapes import parameter_shapes

_SUMMANDS = 4
_MEAN_TIMES_TWO = _SUMMANDS * 0xFFFF
_VARIANCE = _SUMMANDS * ((1 << 32) - 1) / 12  # of integers uniform below 2**16
_WEIGHTS_AT_ONCE = 1 << 20


def initial_roots(config: ModelConfig, seed: int) -> tuple[ParamRoot, ...]:
    """The roots of the first parameters by tier, the smallest first, one tensor at a time."""
    tree = ParamTree(config)
    for name, shape in parameter_shapes(config).items():
        tree.update({name: initial_values(config, seed, name, shape)})
    return tuple(tree.root(Tier(tier)) for tier in range(config.max_tier, -1, -1))


def initial_values(
    config: ModelConfig, seed: int, name: str, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """One tensor's first values."""
    if name.endswith("norm.weight"):
        return np.ones(shape, dtype=np.float32)
    if name.endswith(".bias"):
        return np.zeros(shape, dtype=np.float32)
    values = np.empty(math.prod(shape), dtype=np.float32)
    factor = _deviation(config, name) / math.sqrt(_VARIANCE) / 2
    stream = blake3(
        f"{seed}:{name}".encode(), derive_key_context="psyche-p2p/v1/initial parameters"
    )
    for start in range(0, len(values), _WEIGHTS_AT_ONCE):
        count = min(_WEIGHTS_AT_ONCE, len(values) - start)
        size = 2 * _SUMMANDS
        raw = stream.digest(length=count * size, seek=start * size)
        sums = np.frombuffer(raw, dtype="<u2").reshape(count, _SUMMANDS).sum(axis=1, dtype=np.int64)
        values[start : start + count] = (2 * sums - _MEAN_TIMES_TWO) * factor
    return values.reshape(shape)


def _deviation(config: ModelConfig, name: str) -> float:
    """Smaller for what is added to the residual stream, which sums 2 terms a layer (GPT-2)."""
    if name.endswith(("o_proj.weight", "down_proj.weight")):
        return config.init_std / math.sqrt(2 * config.num_layers)
    return config.init_std
