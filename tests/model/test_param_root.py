"""The param root: a slice's own root, its proof, and incremental updates."""

from __future__ import annotations

from unittest import mock

import pytest
import torch

from psyche_p2p.errors import ModelError
from psyche_p2p.ids import Tier
from psyche_p2p.model import param_root as param_root_module
from psyche_p2p.model.initial import initial_state
from psyche_p2p.model.param_root import (
    ParamTree,
    extend_root,
    group_names,
    is_leaf_of,
    leaf_span,
    param_root,
)
from psyche_p2p.model.tiers import matformer_prefix_dim, slice_state, tier_width
from tests.model.configs import tiny_config
from tests.model.test_tiers import DOWN, GATE

CONFIG = tiny_config()


def full_tree(seed: int = 1) -> ParamTree:
    tree = ParamTree(CONFIG)
    tree.update(initial_state(CONFIG, seed))
    return tree


def test_the_root_is_part_of_the_protocol() -> None:
    assert full_tree().root().hex() == GOLDEN_ROOT


@pytest.mark.parametrize("tier", [1, 2])
def test_a_slice_computes_exactly_its_part_of_the_full_root(tier: int) -> None:
    full = full_tree()
    sliced = slice_state(initial_state(CONFIG, 1), tier_width(CONFIG, Tier(tier)))
    part = param_root(CONFIG, sliced, Tier(tier))
    assert part == full.root(Tier(tier)) != full.root()
    proof = full.suffix_roots(Tier(tier))
    assert len(proof) == tier
    assert extend_root(part, proof) == full.root()
    wrong = tuple(reversed(proof)) if tier > 1 else (bytes(32),)
    assert extend_root(part, wrong) != full.root()


@pytest.mark.parametrize("name", sorted(initial_state(CONFIG, 1)))
def test_any_changed_weight_changes_the_root(name: str) -> None:
    state = initial_state(CONFIG, 1)
    tree = ParamTree(CONFIG)
    tree.update(state)
    before = tree.root()
    flat = state[name].view(-1)
    flat[-1] = torch.nextafter(flat[-1], torch.tensor(9.0))
    tree.update({name: state[name]})
    assert tree.root() != before
    assert tree.root() == param_root(CONFIG, state)


def test_minus_zero_is_not_zero() -> None:
    state = initial_state(CONFIG, 1)
    roots = set()
    for zero in (0.0, -0.0):
        state[GATE][0, 0] = zero
        roots.add(param_root(CONFIG, state))
    assert len(roots) == 2


def test_a_suffix_change_leaves_the_prefix_root_alone() -> None:
    state = initial_state(CONFIG, 1)
    before = full_tree()
    state[DOWN][:, 40] += 1
    after = ParamTree(CONFIG)
    after.update(state)
    assert after.root() != before.root()
    assert after.root(Tier(1)) == before.root(Tier(1))
    state[DOWN][:, 20] += 1
    after.update({DOWN: state[DOWN]})
    assert after.root(Tier(1)) != before.root(Tier(1))
    assert after.root(Tier(2)) == before.root(Tier(2))


def test_only_changed_tensors_are_hashed_again() -> None:
    tree = full_tree()
    with mock.patch.object(
        param_root_module, "_digest_part", wraps=param_root_module._digest_part
    ) as digest:
        tree.update({"model.norm.weight": torch.ones(32)})
        tree.root()
        assert digest.call_count == 1


def test_the_leaves_cover_every_weight_once() -> None:
    for name, tensor in initial_state(CONFIG, 1).items():
        spans = [leaf_span(CONFIG, name, Tier(tier)) for tier in (2, 1, 0)]
        dimension = matformer_prefix_dim(name)
        if dimension is None:
            assert [span is not None for span in spans] == [True, False, False]
            continue
        covered = [i for span in spans if span for i in range(span.start, span.stop)]
        assert covered == list(range(tensor.shape[dimension]))


def test_a_single_part_can_be_proved() -> None:
    tree, state = full_tree(), initial_state(CONFIG, 1)
    root = tree.group_root(Tier(1))
    part = state[DOWN][:, 16:32]
    path = tree.path(DOWN, Tier(1))
    assert is_leaf_of(root, CONFIG, DOWN, Tier(1), part, path)
    assert not is_leaf_of(root, CONFIG, DOWN, Tier(1), state[DOWN][:, :16], path)
    assert not is_leaf_of(root, CONFIG, GATE, Tier(1), part, path)
    assert not is_leaf_of(root, CONFIG, "model.norm.weight", Tier(1), part, path)
    assert GATE in group_names(CONFIG, Tier(1))


def test_without_tiers_there_is_one_group() -> None:
    config = tiny_config(max_tier=0)
    state = initial_state(config, 1)
    tree = ParamTree(config)
    tree.update(state)
    assert tree.suffix_roots(Tier(0)) == ()
    # the widths are the same, but which parts can be proved is not
    assert tree.root() != param_root(CONFIG, state)


def test_a_tree_that_is_not_complete_says_what_is_missing() -> None:
    state = initial_state(CONFIG, 1)
    del state[DOWN]
    tree = ParamTree(CONFIG)
    tree.update(state)
    with pytest.raises(ModelError, match=f"{DOWN}' was never hashed"):
        tree.root()
    with pytest.raises(ModelError, match="'extra' is not part"):
        tree.update({"extra": torch.ones(1)})
    with pytest.raises(ModelError, match="bfloat16"):
        tree.update({DOWN: torch.ones(32, 64, dtype=torch.bfloat16)})


GOLDEN_ROOT = "8f53ab9cd8253a88b7670626d13f87f1f96dce0777e2ef9540b476231ce3880d"
