"""The optimizers: what they keep, what they send, and what they never touch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from psyche_p2p.codec import Payload
from psyche_p2p.config import ModelConfig, OptimizerConfig
from psyche_p2p.errors import ModelError
from psyche_p2p.hashing import hash_parts
from psyche_p2p.ids import Tier
from psyche_p2p.model.initial import initial_model
from psyche_p2p.optim.chunks import as_matrix, blocks_of, read_chunks
from psyche_p2p.optim.dct import dct_matrix, inverse_dct
from psyche_p2p.optim.distro import Distro
from psyche_p2p.optim.exact import apply_scaled_signs
from psyche_p2p.optim.grids import make_grids
from psyche_p2p.optim.interface import Optimizer, Tensors
from psyche_p2p.optim.make import make_optimizer
from psyche_p2p.optim.schedule import learning_rate_to_bits
from psyche_p2p.optim.sparse_loco import SparseLoco

MODEL = ModelConfig(
    vocab_size=61,
    hidden_size=32,
    intermediate_size=128,
    num_layers=1,
    num_attention_heads=2,
    num_key_value_heads=2,
    max_seq_len=16,
    max_tier=1,
)
BITS = learning_rate_to_bits(0.01)


def make_config(kind: Any = "distro", **changes: Any) -> OptimizerConfig:
    """The defaults of a kind with chunks of 32, and changes to its section."""
    config = OptimizerConfig(kind=kind)
    section = getattr(config, kind)
    if kind != "adamw":
        changes = {"chunk_size": 32, "top_k": 8, **changes}
    return config.model_copy(update={kind: section.model_copy(update=changes)})


def make(config: OptimizerConfig, held: int = 0, trained: int | None = None) -> Optimizer:
    parameters = dict(initial_model(MODEL, 1, Tier(held)).named_parameters())
    trained_tier = None if trained is None else Tier(trained)
    return make_optimizer(
        MODEL, config, parameters, held_tier=Tier(held), trained_tier=trained_tier
    )


def make_gradients(optimizer: Optimizer, seed: int, scale: float = 1.0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: scale * torch.randn(value.shape, generator=generator)
        for name, value in optimizer.working_parameters.items()
    }


def snapshot(tensors: Tensors) -> bytes:
    parts = [value.detach().contiguous().numpy().tobytes() for value in tensors.values()]
    return hash_parts("snapshot", *parts)


def train(optimizer: Optimizer, seed: int, learning_rate: float = 0.01) -> Any:
    optimizer.begin_round(learning_rate)
    for step in range(optimizer.inner_steps):
        optimizer.accumulate(make_gradients(optimizer, 100 * seed + step))
    return optimizer.contribution()


@pytest.mark.parametrize("kind", ["distro", "sparse_loco", "adamw"])
def test_training_never_changes_the_masters_by_a_bit(kind: str) -> None:
    """Lookahead and inner steps happen on the working copy; only `apply` writes the masters."""
    optimizer = make(make_config(kind))
    masters = snapshot(optimizer.masters)
    for seed in range(5):
        train(optimizer, seed)
        assert snapshot(optimizer.masters) == masters
    assert snapshot(optimizer.working_parameters) != masters
    optimizer.apply([train(optimizer, 9)], BITS)
    assert snapshot(optimizer.masters) != masters


def test_lookahead_steps_against_the_momentum() -> None:
    optimizer = make(make_config(lookahead=True))
    assert isinstance(optimizer, Distro)
    optimizer.begin_round(0.01)
    assert snapshot(optimizer.working_parameters) == snapshot(optimizer.masters)
    optimizer.accumulate(make_gradients(optimizer, 1))
    optimizer.begin_round(0.25)
    for name, master in optimizer.masters.items():
        difference = (master - optimizer.working_parameters[name].detach()).abs()
        assert torch.allclose(difference, torch.tensor(0.25), atol=1e-6), name


def test_without_lookahead_training_reads_the_masters_themselves() -> None:
    optimizer = make(make_config(lookahead=False))
    for name, master in optimizer.masters.items():
        assert master.data_ptr() == optimizer.working_parameters[name].data_ptr()
    masters = snapshot(optimizer.masters)
    contribution = train(optimizer, 3)
    assert snapshot(optimizer.masters) == masters
    optimizer.apply([contribution], BITS)
    assert snapshot(optimizer.working_parameters) == snapshot(optimizer.masters) != masters


def test_momentum_is_the_transformed_sum_without_what_was_sent() -> None:
    """decay * momentum + rate * DCT(gradient), against float64, with the sent entries at zero."""
    optimizer = make(make_config(momentum_decay=0.5, clip_grad_norm=0.0))
    assert isinstance(optimizer, Distro)
    first, second = (make_gradients(optimizer, seed) for seed in (1, 2))
    optimizer.begin_round(0.1)
    optimizer.accumulate(first)
    optimizer.begin_round(0.2)
    optimizer.accumulate(second)
    grid = make_grids(MODEL, make_config(), Tier(0)).own
    for block in (block for group in grid.groups for block in blocks_of(group)):
        name = block.tensor.name
        wanted = as_matrix(0.5 * 0.1 * first[name] + 0.2 * second[name])
        back = inverse_dct(as_matrix(optimizer.momentum[name]), block)
        assert torch.allclose(back, wanted[block.matrix_rows], atol=1e-6), name
    before = {name: momentum.clone() for name, momentum in optimizer.momentum.items()}
    sent = optimizer.contribution().coefficients
    for group, chosen in zip(grid.groups, sent.groups, strict=True):
        old, new = (
            torch.cat([read_chunks(part[block.tensor.name], block) for block in blocks_of(group)])
            for part in (before, optimizer.momentum)
        )
        keys = torch.from_numpy(chosen.keys(group.area))
        assert (new.view(-1)[keys] == 0).all()
        assert np.array_equal(old.view(-1)[keys].numpy() < 0, chosen.negative)
        assert int((old != new).sum()) == len(keys)


def test_the_transform_is_orthonormal() -> None:
    for size in (1, 29, 32, 64):
        matrix = dct_matrix(size, torch.device("cpu"))
        assert torch.allclose(matrix @ matrix.T, torch.eye(size), atol=1e-6)


def test_gradients_are_clipped_by_their_global_norm() -> None:
    small, large = make(make_config()), make(make_config())
    assert isinstance(small, Distro)
    assert isinstance(large, Distro)
    for optimizer, scale in ((small, 1.0), (large, 1000.0)):
        optimizer.begin_round(0.1)
        optimizer.accumulate(make_gradients(optimizer, 1, scale))
    for name, momentum in small.momentum.items():
        assert torch.allclose(momentum, large.momentum[name], atol=1e-6), name
    norm = sum(float(momentum.square().sum()) for momentum in large.momentum.values()) ** 0.5
    assert norm == pytest.approx(0.1, rel=1e-4)


@pytest.mark.parametrize("kind", ["distro", "sparse_loco", "adamw"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_refused(kind: str, value: float) -> None:
    optimizer = make(make_config(kind))
    optimizer.begin_round(0.1)
    gradients = make_gradients(optimizer, 1)
    next(iter(gradients.values())).view(-1)[3] = value
    before = snapshot(optimizer.working_parameters)
    with pytest.raises(ModelError, match="norm is"):
        optimizer.accumulate(gradients)
    assert snapshot(optimizer.working_parameters) == before


@pytest.mark.parametrize("kind", ["distro", "sparse_loco"])
def test_zero_chunks_never_vote(kind: str) -> None:
    """No gradient, no sign: neither for a whole chunk nor for single coefficients."""
    optimizer = make(make_config(kind, top_k=32))
    optimizer.begin_round(0.01)
    for _ in range(optimizer.inner_steps):
        gradients = {n: torch.zeros_like(v) for n, v in optimizer.working_parameters.items()}
        gradients["lm_head.weight"][0, :5] = 1.0
        optimizer.accumulate(gradients)
    contribution = optimizer.contribution()
    grid = make_grids(MODEL, make_config(kind, top_k=32), Tier(0)).own
    for group, sent in zip(grid.groups, contribution.coefficients.groups, strict=True):
        for member in group.members:
            counts = sent.counts[member.first : member.first + member.tensor.chunks]
            alive = member.tensor.name == "lm_head.weight"
            assert bool(counts.any()) == alive, member.tensor.name
            if alive and kind == "sparse_loco":
                assert counts.tolist().count(5) == 1, "five entries moved, of 32 allowed"
    before = {name: value.clone() for name, value in optimizer.masters.items()}
    optimizer.apply([contribution], BITS)
    for name, master in optimizer.masters.items():
        assert torch.equal(master, before[name]) == (name != "lm_head.weight"), name


@pytest.mark.parametrize("trains", [True, False])
def test_weight_decay_is_applied_whether_or_not_the_peer_trains(trains: bool) -> None:
    """An idle peer and a busy one end with the same masters."""
    config = make_config(weight_decay=0.5)
    busy, other = make(config), make(config)
    contributions = [train(busy, 1)]
    if trains:
        train(other, 2)
    for peer in (busy, other):
        peer.apply(contributions, BITS)
        peer.apply([], BITS)
    assert snapshot(busy.masters) == snapshot(other.masters)
    undecayed = make(make_config())
    undecayed.apply(contributions, BITS)
    assert snapshot(undecayed.masters) != snapshot(busy.masters)


@pytest.mark.parametrize("kind", ["distro", "sparse_loco"])
def test_a_full_peer_that_trains_narrower_sends_the_narrower_grid(kind: str) -> None:
    """Tier 1 by view on a full model, and a sliced tier-1 model: one contribution."""
    config = make_config(kind, clip_grad_norm=0.0)
    full, sliced = make(config, held=0, trained=1), make(config, held=1)
    seen = []
    for optimizer in (full, sliced):
        optimizer.begin_round(0.01)
        for step in range(optimizer.inner_steps):
            gradients = make_gradients(full, step)
            for name, value in optimizer.working_parameters.items():
                part = gradients[name]
                for axis, size in enumerate(sliced.working_parameters[name].shape):
                    part[(slice(None),) * axis + (slice(size, None),)] = 0
                    part = part.narrow(axis, 0, min(size, value.shape[axis]))
                gradients[name] = part if optimizer is sliced else gradients[name]
            optimizer.accumulate(gradients)
        contribution = optimizer.contribution()
        assert contribution.tier == 1
        seen.append(contribution.coefficients)
    for a, b in zip(seen[0].groups, seen[1].groups, strict=True):
        np.testing.assert_array_equal(a.counts, b.counts)
        np.testing.assert_array_equal(a.positions, b.positions)
        np.testing.assert_array_equal(a.negative, b.negative)
    for peer in (full, sliced):
        peer.apply([contribution], BITS)
    narrow = sliced.masters["model.layers.0.mlp.up_proj.weight"]
    wide = full.masters["model.layers.0.mlp.up_proj.weight"]
    assert torch.equal(wide[: len(narrow)], narrow)


def test_sparse_loco_loses_nothing_it_did_not_send() -> None:
    """Error feedback plus what was sent is exactly what was there (to float32's rounding)."""
    config = make_config("sparse_loco", inner_steps=2, error_feedback=0.5)
    optimizer = make(config)
    assert isinstance(optimizer, SparseLoco)
    grids = make_grids(MODEL, config, Tier(0))
    for seed in range(3):
        carried = {name: 0.5 * feedback for name, feedback in optimizer.error_feedback.items()}
        contribution = train(optimizer, seed)
        assert contribution.coefficients.payload is Payload.SCALED_SIGNS
        decoded = {name: torch.zeros_like(master) for name, master in optimizer.masters.items()}
        apply_scaled_signs(decoded, grids, [contribution])  # zeros minus what was sent
        for name, feedback in optimizer.error_feedback.items():
            moved = optimizer.masters[name] - optimizer.working_parameters[name].detach()
            assert torch.allclose(feedback - decoded[name], carried[name] + moved, atol=1e-7), name
            assert not torch.equal(feedback, carried[name] + moved), name


def test_lone_adamw_masters_follow_at_apply() -> None:
    """One round late, they are what that round's training ended with."""
    optimizer = make(make_config("adamw"))
    first = train(optimizer, 1)
    ended = snapshot(optimizer.working_parameters)
    train(optimizer, 2)
    optimizer.apply([first], BITS)
    assert snapshot(optimizer.masters) == ended
    assert first.coefficients.entries == 0


def test_values_instead_of_signs() -> None:
    optimizer = make(make_config(quantize_1bit=False))
    sent = train(optimizer, 1).coefficients
    assert sent.payload is Payload.VALUES
    for group in sent.groups:
        assert group.values is not None
        assert np.array_equal(group.values < 0, group.negative)
    optimizer.apply([train(optimizer, 2)], BITS)


def test_the_transform_in_bfloat16_finds_nearly_the_same() -> None:
    exact, rough = make(make_config()), make(make_config())
    assert isinstance(exact, Distro)
    assert isinstance(rough, Distro)
    rough._transform_dtype = torch.bfloat16
    for optimizer in (exact, rough):
        optimizer.begin_round(0.01)
        optimizer.accumulate(make_gradients(optimizer, 1))
    for name, momentum in exact.momentum.items():
        assert float((momentum - rough.momentum[name]).norm() / momentum.norm()) < 0.02, name


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
