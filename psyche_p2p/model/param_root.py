"""The param root: one hash that says which parameters a peer has, at any tier.

A leaf is the part of a tensor that one tier adds to the next smaller one. The smallest tier holds
the core: every tensor without tiers and the narrowest prefix of the others. Each group of leaves
has a Merkle root, and the groups are chained from the core outwards:

    root(max_tier) = H(core)        root(t) = H(root(t + 1), leaves that tier t adds)

So `root(t)` is exactly what a model sliced to tier t can compute, and with the few group roots of
the larger tiers (`suffix_roots`) it proves that it is a part of the full model's `root(0)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from psyche_p2p.config import ModelConfig
from psyche_p2p.errors import ModelError
from psyche_p2p.hashing import hash_bytes, hash_parts
from psyche_p2p.ids import ParamRoot, Tier
from psyche_p2p.model.merkle import MerklePath, merkle_path, merkle_root, root_of_path
from psyche_p2p.model.shapes import parameter_shapes
from psyche_p2p.model.tiers import UNIVERSAL, matformer_prefix_dim, tier_width

if TYPE_CHECKING:
    from torch import Tensor

Values: TypeAlias = "Tensor | NDArray[Any]"
"""A tensor of the trainer, or an array of the peer beside it, which does without torch."""


@dataclass(frozen=True, slots=True)
class LeafSpan:
    """The units `start` to `stop` of a tensor; the whole of one without tiers."""

    start: int
    stop: int


class ParamTree:
    """The digests of all leaves a model holds; changed tensors are hashed again, others are not."""

    def __init__(self, config: ModelConfig, held_tier: Tier = UNIVERSAL) -> None:
        self._config = config
        self._held_tier = held_tier
        self._names = tuple(parameter_shapes(config, held_tier))
        self._groups: dict[int, dict[str, bytes]] = {
            group: {} for group in range(held_tier, config.max_tier + 1)
        }

    def update(self, tensors: Mapping[str, Values]) -> None:
        """Hash these tensors, which are all or only those that changed."""
        for name, tensor in tensors.items():
            if name not in self._names:
                raise ModelError(f"tensor {name!r} is not part of this model", "check its config")
            values = _as_array(name, tensor)
            for group in self._groups:
                if (span := leaf_span(self._config, name, Tier(group))) is not None:
                    self._groups[group][name] = _digest_part(name, span, _part(name, span, values))

    def root(self, tier: Tier | None = None) -> ParamRoot:
        """The root at a held tier; without one, of all this model holds."""
        wanted = self._held_tier if tier is None else tier
        root = _start(self.group_root(Tier(self._config.max_tier)))
        for group in range(self._config.max_tier - 1, wanted - 1, -1):
            root = _extend(root, self.group_root(Tier(group)))
        return root

    def group_root(self, tier: Tier) -> bytes:
        """The Merkle root of what `tier` adds to the next smaller one."""
        if tier not in self._groups:
            raise ModelError(f"this model holds nothing of what tier {tier} adds", "")
        return merkle_root(self.leaves(tier))

    def suffix_roots(self, tier: Tier) -> tuple[bytes, ...]:
        """What the owner of `root(tier)` needs to reach this tree's root, nearest tier first."""
        return tuple(
            self.group_root(Tier(group)) for group in range(tier - 1, self._held_tier - 1, -1)
        )

    def leaves(self, tier: Tier) -> list[bytes]:
        """The leaf digests of a group, in the order of the tensors' names."""
        digests = self._groups[tier]
        names = group_names(self._config, tier)
        if len(digests) != len(names):
            missing = next(name for name in names if name not in digests)
            raise ModelError(f"tensor {missing!r} was never hashed", "update the tree with all")
        return [digests[name] for name in names]

    def path(self, name: str, tier: Tier) -> MerklePath:
        """The proof that a tensor's leaf is under `group_root(tier)`."""
        return merkle_path(self.leaves(tier), group_names(self._config, tier).index(name))


def param_root(
    config: ModelConfig, tensors: Mapping[str, Values], held_tier: Tier = UNIVERSAL
) -> ParamRoot:
    """The root of all parameters a model holds."""
    tree = ParamTree(config, held_tier)
    tree.update(tensors)
    return tree.root()


def extend_root(prefix_root: ParamRoot, suffix_roots: tuple[bytes, ...]) -> ParamRoot:
    """The root of the larger model that adds these groups to a prefix."""
    root = prefix_root
    for group_root in suffix_roots:
        root = _extend(root, group_root)
    return root


def is_leaf_of(
    group_root: bytes, config: ModelConfig, name: str, tier: Tier, part: Values, path: MerklePath
) -> bool:
    """Whether a tensor that holds exactly a group's part of `name` is what the root promises."""
    names = group_names(config, tier)
    span = leaf_span(config, name, tier)
    if span is None or path.count != len(names) or path.index != names.index(name):
        return False
    return root_of_path(_digest_part(name, span, _as_array(name, part)), path) == group_root


def group_names(config: ModelConfig, tier: Tier) -> tuple[str, ...]:
    """The tensors of which a tier adds a part, sorted."""
    return tuple(
        name for name in parameter_shapes(config) if leaf_span(config, name, tier) is not None
    )


def leaf_span(config: ModelConfig, name: str, tier: Tier) -> LeafSpan | None:
    """What `tier` adds of a tensor to the next smaller tier; None if nothing."""
    is_core = tier == config.max_tier
    if matformer_prefix_dim(name) is None:
        return LeafSpan(0, 0) if is_core else None
    stop = tier_width(config, tier)
    return LeafSpan(0 if is_core else tier_width(config, Tier(tier + 1)), stop)


def _as_array(name: str, values: Values) -> NDArray[np.float32]:
    """The float32 values in main memory; a tensor is known by what it can do, not by its type."""
    dtype = str(values.dtype).removeprefix("torch.")
    if dtype != "float32":
        raise ModelError(f"tensor {name!r} is {dtype}", "param roots are over float32 masters")
    if isinstance(values, np.ndarray):
        return values
    array: NDArray[np.float32] = values.detach().cpu().numpy()
    return array


def _part(name: str, span: LeafSpan, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The units of a span; all of a tensor without tiers."""
    dimension = matformer_prefix_dim(name)
    if dimension is None:
        return values
    before = (slice(None),) * dimension
    place = (*before, slice(span.start, span.stop))
    return values[place]


def _digest_part(name: str, span: LeafSpan, part: NDArray[np.float32]) -> bytes:
    place = f"{name} {span.start}:{span.stop} {list(part.shape)} float32"
    data = np.ascontiguousarray(part).data.cast("B")
    return hash_parts("param leaf", place.encode(), hash_bytes(data))


def _start(core_root: bytes) -> ParamRoot:
    return ParamRoot(hash_parts("param root", core_root))


def _extend(prefix_root: ParamRoot, group_root: bytes) -> ParamRoot:
    return ParamRoot(hash_parts("param root", prefix_root, group_root))
