"""What applying a round promises, beyond the one hash."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from psyche_p2p.codec import Coefficients, Payload, scale_integers
from psyche_p2p.errors import ConfigError, ModelError
from psyche_p2p.ids import Tier
from psyche_p2p.optim import exact
from psyche_p2p.optim.exact import apply_scaled_signs, apply_signs
from psyche_p2p.optim.fast import FastKernels
from psyche_p2p.optim.grids import ModelGrids
from psyche_p2p.optim.interface import Contribution, Tensors
from psyche_p2p.optim.plain import float64_vote_bound
from tests.codec.builders import make_coefficients
from tests.optim.models import hash_parameters, make_contributions, make_grids, make_parameters


def apply(
    masters: Tensors,
    grids: ModelGrids,
    contributions: list[Contribution],
    weight_decay: float = 0.0,
) -> None:
    apply_signs(
        masters,
        grids,
        contributions,
        learning_rate=np.float32(0.01),
        weight_decay=weight_decay,
        kernels=FastKernels(),
    )


def test_every_moved_parameter_moves_by_the_learning_rate() -> None:
    before, after = make_parameters(), make_parameters()
    apply(after, make_grids(), make_contributions(make_grids(), [0, 1], seed=1))
    for name in before:
        step = np.float32(0.01)
        up, down = before[name] + step, before[name] - step
        still = before[name]
        moved = (after[name] == up) | (after[name] == down) | (after[name] == still)
        assert moved.all(), name


def test_chunks_that_nobody_sends_do_not_move() -> None:
    """A suffix that only tier 0 holds stays, to the bit, when only tier 1 and 2 contribute."""
    before, after = make_parameters(), make_parameters()
    apply(after, make_grids(), make_contributions(make_grids(), [1, 2, 2], seed=1))
    assert torch.equal(before["ffn.gate"][128:], after["ffn.gate"][128:])
    assert torch.equal(before["ffn.down"][:, 128:], after["ffn.down"][:, 128:])
    assert not torch.equal(before["ffn.gate"][:128], after["ffn.gate"][:128])


def test_opposite_votes_cancel_exactly() -> None:
    before, after = make_parameters(), make_parameters()
    (one,) = make_contributions(make_grids(), [0], seed=4)
    opposite = tuple(replace(group, negative=~group.negative) for group in one.coefficients.groups)
    other = Contribution(one.tier, replace(one.coefficients, groups=opposite))
    apply(after, make_grids(), [one, other])
    assert hash_parameters(after, 0) == hash_parameters(before, 0)


def test_weight_decay_comes_without_any_contribution() -> None:
    before, after = make_parameters(), make_parameters()
    apply(after, make_grids(), [], weight_decay=0.1)
    factor = float(np.float32(1) - np.float32(0.01) * np.float32(0.1))
    assert factor < 1
    for name in before:
        assert torch.equal(after[name], before[name] * factor)


def test_decay_and_step_round_separately() -> None:
    """Every parameter is round(round(p * factor) -+ rate), in float32 arithmetic of numpy."""
    before, after = make_parameters(), make_parameters()
    contributions = make_contributions(make_grids(), [0, 1, 2], seed=2)
    still = make_parameters()
    apply(after, make_grids(), contributions, weight_decay=0.3)
    apply(still, make_grids(), contributions)
    factor = np.float32(1) - np.float32(0.01) * np.float32(0.3)
    for name in before:
        direction = np.sign(before[name].numpy() - still[name].numpy())
        expected = before[name].numpy() * factor - np.float32(0.01) * direction
        np.testing.assert_array_equal(after[name].numpy(), expected)


def test_too_many_votes_are_refused_and_nothing_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "float64_vote_bound", lambda _: 31)
    masters = make_parameters()
    with pytest.raises(ConfigError, match=r"32 votes on one chunk .* holds 31"):
        apply(masters, make_grids(), _full_contributions(4), weight_decay=0.1)
    assert hash_parameters(masters, 0) == hash_parameters(make_parameters(), 0)
    apply(masters, make_grids(), _full_contributions(3))


def test_the_bounds_are_those_of_the_arithmetic() -> None:
    for group in make_grids().own.groups:
        assert float64_vote_bound(group) * 4096 * 4096 * 2 >= 2**53 / 4
        assert float64_vote_bound(group) > 256 * 4096, "256 peers sending everything fit"


def test_a_contribution_of_another_model_is_refused() -> None:
    (sent,) = make_contributions(make_grids(), [1], seed=1)
    with pytest.raises(ModelError, match="does not fit tier 0"):
        apply(make_parameters(), make_grids(), [Contribution(Tier(0), sent.coefficients)])


@pytest.mark.parametrize("damage", ["position", "count"])
def test_positions_outside_their_chunks_are_refused(damage: str) -> None:
    """Nothing that the compiled loops would follow out of a chunk gets to them."""
    (sent,) = make_contributions(make_grids(), [0], seed=1)
    group = sent.coefficients.groups[0]
    if damage == "position":
        group.positions[5] = 32 * 32
    else:
        group.counts[5] += 1
    with pytest.raises(ModelError, match="do not fit its chunks"):
        apply(make_parameters(), make_grids(), [sent])


def test_different_payloads_are_refused() -> None:
    grid, generator = make_grids().own, np.random.default_rng(0)
    contributions = [
        Contribution(Tier(0), make_coefficients(grid, generator, payload=payload))
        for payload in (Payload.SIGNS, Payload.VALUES)
    ]
    with pytest.raises(ModelError, match="different payloads"):
        apply(make_parameters(), make_grids(), contributions)


def test_values_move_like_signs_where_all_are_alike() -> None:
    """The mode for study: with equal magnitudes it is the same direction."""
    (signs,) = make_contributions(make_grids(), [0], seed=3)
    groups = tuple(
        replace(group, values=np.where(group.negative, -1, 1).astype(np.float32))
        for group in signs.coefficients.groups
    )
    values = Contribution(Tier(0), Coefficients(Payload.VALUES, 8, groups))
    first, second = make_parameters(), make_parameters()
    apply(first, make_grids(), [signs])
    apply(second, make_grids(), [values])
    assert hash_parameters(first, 0) == hash_parameters(second, 0)


@pytest.mark.parametrize("held_tier", [0, 1, 2])
def test_scaled_signs_are_the_mean_over_those_that_hold_the_chunk(held_tier: int) -> None:
    """Against sums in Python's integers and numpy's division, in two orders of peers."""
    generator = np.random.default_rng(5)
    tiers = [0, 1, 2, 2]
    contributions = [
        Contribution(
            Tier(tier),
            make_coefficients(
                make_grids().at(Tier(tier)), generator, payload=Payload.SCALED_SIGNS, top_k=40
            ),
        )
        for tier in tiers
    ]
    hashes = set()
    for order in (contributions, contributions[::-1]):
        masters = make_parameters(held_tier)
        apply_scaled_signs(masters, make_grids(held_tier), order)
        hashes.add(hash_parameters(masters))
    assert len(hashes) == 1
    expected = make_parameters(held_tier)["norm"].numpy() - _expected_norm_step(contributions)
    np.testing.assert_array_equal(masters["norm"].numpy(), expected)


def _expected_norm_step(
    contributions: list[Contribution],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    grids = make_grids()
    index = next(i for i, group in enumerate(grids.own.groups) if group.rows == 1)
    sums = [0] * 64
    for contribution in contributions:
        group = contribution.coefficients.groups[index]
        assert group.scales is not None
        magnitudes = iter(scale_integers(group.scales).tolist())
        entry = 0
        for chunk, count in enumerate(group.counts):
            magnitude = next(magnitudes) if count else 0
            for _ in range(count):
                sign = -1 if group.negative[entry] else 1
                sums[32 * chunk + int(group.positions[entry])] += sign * magnitude
                entry += 1
    mean = np.array(sums, np.float64) / np.float64(len(contributions)) * 2.0**-36
    return np.array(mean, np.float32)


def _full_contributions(peers: int) -> list[Contribution]:
    generator = np.random.default_rng(0)
    grid = make_grids().own
    return [
        Contribution(Tier(0), make_coefficients(grid, generator, dead=0, short=0))
        for _ in range(peers)
    ]
