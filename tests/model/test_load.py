"""Loading: strategies, inference of tiers, double slicing, and the summary that tells of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from psyche_p2p.errors import ModelError
from psyche_p2p.ids import Tier
from psyche_p2p.model.checkpoint import open_checkpoint
from psyche_p2p.model.checkpoint_writer import write_checkpoint
from psyche_p2p.model.initial import initial_state
from psyche_p2p.model.load import LoadPlan, LoadStrategy, load_model, plan_load
from psyche_p2p.model.summary import render_box, render_plain, summarize
from tests.model.configs import tiny_config
from tests.model.test_transformer import random_tokens

CONFIG = tiny_config()
AUTO, UNIVERSAL, SLICED = LoadStrategy.AUTO, LoadStrategy.UNIVERSAL, LoadStrategy.SLICED


def checkpoint_at(tmp_path: Path, tier: int) -> Path:
    folder = tmp_path / f"nano-tier{tier}"
    if not folder.exists():
        write_checkpoint(folder, CONFIG, initial_state(CONFIG, 1, Tier(tier)), Tier(tier))
    return folder


def plan(
    tmp_path: Path,
    held: int,
    tier: int | None,
    strategy: LoadStrategy = AUTO,
    helper_fraction: float = 0.0,
) -> LoadPlan:
    checkpoint = open_checkpoint(checkpoint_at(tmp_path, held))
    return plan_load(checkpoint, None if tier is None else Tier(tier), strategy, helper_fraction)


@pytest.mark.parametrize(
    ("held", "tier", "strategy", "runs_at", "effective"),
    [
        (0, None, AUTO, 0, 0),
        (0, 0, AUTO, 0, 0),
        (0, 1, AUTO, 1, 1),
        (0, 2, UNIVERSAL, 2, 2),
        (0, 0, SLICED, 0, 0),
        (1, None, AUTO, 1, 0),
        (1, 1, AUTO, 1, 0),
        (1, 1, SLICED, 1, 0),
        (1, 2, AUTO, 2, 1),
    ],
)
def test_what_can_be_loaded(
    tmp_path: Path,
    held: int,
    tier: int | None,
    strategy: LoadStrategy,
    runs_at: int,
    effective: int,
) -> None:
    made = plan(tmp_path, held, tier, strategy)
    assert (made.tier, made.effective_tier) == (runs_at, effective)
    model = load_model(made)
    assert model.held_tier == runs_at
    assert model.model.layers[0].get_submodule("mlp").width == 64 >> runs_at
    full = load_model(plan(tmp_path, 0, 0))
    tokens_bt = random_tokens(CONFIG, 2, 8)
    with torch.no_grad():
        expected = full(tokens_bt, full.view_at(Tier(runs_at)))
        torch.testing.assert_close(model(tokens_bt), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("tier", [1, 2])
def test_double_slicing_is_a_hard_error(tmp_path: Path, tier: int) -> None:
    with pytest.raises(ModelError, match=r"already sliced to tier 1.*twice; use strategy auto or"):
        plan(tmp_path, 1, tier, UNIVERSAL)


@pytest.mark.parametrize(
    ("held", "tier", "strategy", "message"),
    [
        (1, 0, AUTO, "holds tier 1, not the larger tier 0; use the universal checkpoint"),
        (1, 0, UNIVERSAL, "holds tier 1, not the larger tier 0"),
        (0, 1, SLICED, "holds tier 0, so it is not sliced to tier 1; .* slice --tier 1"),
        (1, 2, SLICED, "holds tier 1, so it is not sliced to tier 2"),
        (0, 3, AUTO, "tier 3 is not one of this model's tiers"),
    ],
)
def test_what_cannot_be_loaded(
    tmp_path: Path, held: int, tier: int, strategy: LoadStrategy, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        plan(tmp_path, held, tier, strategy)


def test_the_suffix_can_be_kept_in_memory(tmp_path: Path) -> None:
    model = load_model(plan(tmp_path, 0, 1), keep_suffix=True)
    assert model.held_tier == 0
    assert model.model.layers[0].get_submodule("mlp").width == 64


@pytest.mark.parametrize(
    ("removed", "intermediate_size"),
    [
        (["matformer_tier"], 32),  # from the base width
        (["matformer_base_intermediate_size"], 32),  # from the tier
        (["matformer_tier", "matformer_base_intermediate_size"], 64),  # from the ratio of widths
    ],
)
def test_the_tier_is_inferred_where_metadata_is_missing(
    tmp_path: Path, removed: list[str], intermediate_size: int
) -> None:
    folder = checkpoint_at(tmp_path, 1)
    (folder / "psyche.json").unlink()
    values = json.loads((folder / "config.json").read_text())
    values["intermediate_size"] = intermediate_size
    for key in removed:
        del values[key]
    (folder / "config.json").write_text(json.dumps(values))
    checkpoint = open_checkpoint(folder)
    assert (checkpoint.held_tier, checkpoint.config) == (1, CONFIG)


def test_the_tier_is_inferred_from_the_runs_width(tmp_path: Path) -> None:
    folder = checkpoint_at(tmp_path, 2)
    (folder / "psyche.json").unlink()
    values = json.loads((folder / "config.json").read_text())
    for key in ("matformer_tier", "matformer_base_intermediate_size", "matformer_max_tier"):
        del values[key]
    (folder / "config.json").write_text(json.dumps(values))
    assert open_checkpoint(folder).held_tier == 0  # nothing says that it was ever larger
    checkpoint = open_checkpoint(folder, base_width=64)
    assert (checkpoint.held_tier, checkpoint.config) == (2, CONFIG)


SLICED_BOX = """\
╔══════════════════════════════════════════════════════════════════╗
║                     MATFORMER CONFIGURATION                      ║
╠══════════════════════════════════════════════════════════════════╣
║  Checkpoint:        nano-tier1                                   ║
║  Load strategy:     Auto                                         ║
║  Sliced checkpoint: Yes                                          ║
╠══════════════════════════════════════════════════════════════════╣
║  CLI tier:          1                                            ║
║  Effective tier:    0 ≠                                          ║
║  Helper mode:       Auto-disabled (sliced checkpoint)            ║
╠══════════════════════════════════════════════════════════════════╣
║  FFN width:         32 / 32 (100%)                               ║
╚══════════════════════════════════════════════════════════════════╝
warning: the checkpoint is already sliced to tier 1; it is used as it is
warning: helper mode needs tier 0 of a universal checkpoint; use fraction 0"""


def test_the_summary_of_a_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint_at(tmp_path, 1)
    monkeypatch.chdir(tmp_path)
    checkpoint = open_checkpoint(Path("nano-tier1"))
    summary = summarize(plan_load(checkpoint, Tier(1), AUTO, helper_fraction=0.5))
    assert render_box(summary) == SLICED_BOX
    plain = render_plain(summary)
    assert plain.isascii()
    assert "Effective tier:    0 !=\n" in plain
    assert "FFN width:         32 / 32 (100%)" in plain


def test_the_summary_of_a_cut_and_of_helper_mode(tmp_path: Path) -> None:
    cut = render_plain(summarize(plan(tmp_path, 0, 1)))
    assert "FFN width:         32 / 64 (50%)" in cut
    assert "CLI tier:          1\nEffective tier:    1\n" in cut
    assert "warning" not in cut
    helping = render_plain(summarize(plan(tmp_path, 0, None, helper_fraction=0.25)))
    assert "Helper mode:       25% of the suffix" in helping
    assert "CLI tier:          (not given)" in helping
    further = render_plain(summarize(plan(tmp_path, 1, 2)))
    assert "it is cut 1 tier(s) further" in further
    no_helper = render_plain(summarize(plan(tmp_path, 0, 1, helper_fraction=0.5)))
    assert "Helper mode:       Auto-disabled (tier 1)" in no_helper


def test_a_long_path_widens_the_box(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    write_checkpoint(folder, CONFIG, initial_state(CONFIG, 1))
    box = render_box(summarize(plan_load(open_checkpoint(folder))))
    widths = {len(line) for line in box.splitlines()}
    assert len(widths) == 1
    assert str(folder) in box
