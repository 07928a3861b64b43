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

import torch
from torch import Tensor

from psyche_p2p.config import ModelConfig
from psyche_p2p.errors import ModelError
from psyche_p2p.hashing import hash_bytes, hash_parts
from psyche_p2p.ids import ParamRoot, Tier
from psyche_p2p.model.merkle import MerklePath, merkle_path, merkle_root, root_of_path
from psyche_p2p.model.tiers import UNIVERSAL, matformer_prefix_dim, tier_width
from psyche_p2p.model.transformer import parameter_shapes


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

    def update(self, tensors: Mapping[str, Tensor]) -> None:
        """Hash these tensors, which are all or only those that changed."""
        for name, tensor in tensors.items():
            if name not in self._names:
                raise ModelError(f"tensor {name!r} is not part of this model", "check its config")
            for group in self._groups:
                if (span := leaf_span(self._config, name, Tier(group))) is not None:
                    self._groups[group][name] = leaf_digest(name, span, tensor)

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
    config: ModelConfig, tensors: Mapping[str, Tensor], held_tier: Tier = UNIVERSAL
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
    group_root: bytes, config: ModelConfig, name: str, tier: Tier, part: Tensor, path: MerklePath
) -> bool:
    """Whether a tensor that holds exactly a group's part of `name` is what the root promises."""
    names = group_names(config, tier)
    span = leaf_span(config, name, tier)
    if span is None or path.count != len(names) or path.index != names.index(name):
        return False
    return root_of_path(_digest_part(name, span, part), path) == group_root


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


def leaf_digest(name: str, span: LeafSpan, tensor: Tensor) -> bytes:
    """The digest of one part of a tensor."""
    dimension = matformer_prefix_dim(name)
    if dimension is None:
        return _digest_part(name, span, tensor)
    return _digest_part(name, span, tensor.narrow(dimension, span.start, span.stop - span.start))


def _digest_part(name: str, span: LeafSpan, part: Tensor) -> bytes:
    if part.dtype != torch.float32:
        raise ModelError(f"tensor {name!r} is {part.dtype}", "param roots are over float32 masters")
    values = part.detach().cpu().contiguous().numpy()
    place = f"{name} {span.start}:{span.stop} {list(part.shape)} float32"
    return hash_parts("param leaf", place.encode(), hash_bytes(values.data.cast("B")))


def _start(core_root: bytes) -> ParamRoot:
    return ParamRoot(hash_parts("param root", core_root))


def _extend(prefix_root: ParamRoot, group_root: bytes) -> ParamRoot:
    return ParamRoot(hash_parts("param root", prefix_root, group_root))
