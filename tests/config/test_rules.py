"""The rules between keys, each broken once, in the words a user reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from psyche_p2p.config import load_run_config
from psyche_p2p.config.load import check_run_config
from psyche_p2p.config.problems import InvalidConfigError

CONFIGS = Path(__file__).parents[2] / "configs"
ALICE = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"

PART = {"name": "a", "weight": 1, "provider": "builtin"}


def broken_by(**changes: Any) -> list[str]:
    """Keys found wrong when nano's values are changed: `members__min_members=3` and so on."""
    values: dict[str, Any] = load_run_config(CONFIGS / "nano.toml").model_dump()
    for path, value in changes.items():
        *sections, key = path.split("__")
        target = values
        for section in sections:
            target = target[section]
        target[key] = value
    try:
        check_run_config(values, "test")
    except InvalidConfigError as error:
        return [problem.key for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"beginning__round": 300, "beginning__param_root": "00" * 32}, "beginning.round"),
        ({"beginning__round": 1}, "beginning.round"),
        ({"beginning__sample": 1}, "beginning.sample"),
        ({"members__min_members": 3}, "members.init_min_members"),
        ({"members__init_min_members": 5, "members__max_members": 4}, "members.max_members"),
        ({"members__allow": (ALICE,), "members__block": (ALICE,)}, "members.block"),
        ({"members__allow": (ALICE, ALICE)}, "members.allow"),
        ({"rounds__global_batch_size_end": 11}, "rounds.global_batch_size_end"),
        ({"rounds__warmup_s": 600.0}, "rounds.warmup_s"),
        ({"rounds__max_round_train_s": 601.0}, "rounds.max_round_train_s"),
        ({"committee__witness_nodes": 2}, "committee.witness_nodes"),
        ({"committee__authorities": (ALICE, ALICE)}, "committee.authorities"),
        ({"committee__authorities": (ALICE,), "members__block": (ALICE,)}, "committee.authorities"),
        ({"model__hidden_size": 130}, "model.hidden_size"),
        ({"model__hidden_size": 132}, "model.num_attention_heads"),
        ({"model__num_key_value_heads": 3}, "model.num_key_value_heads"),
        ({"model__activation": "relu_squared"}, "model.activation"),
        ({"model__bias": True}, "model.bias"),
        ({"model__bias": True, "model__architecture": "nanogpt"}, "model.bias"),
        ({"model__intermediate_size": 512 + 64}, "model.intermediate_size"),
        ({"model__max_tier": 4}, "model.intermediate_size"),
        ({"data__sequence_length": 129}, "data.sequence_length"),
        ({"data__provider": "tokens"}, "data.files"),
        ({"data__source": "books"}, "data.source"),
        ({"data__files": ("a.bin",)}, "data.files"),
        ({"model__vocab_size": 255}, "model.vocab_size"),
        ({"data__provider": "parquet"}, "data.files"),
        ({"data__provider": "http"}, "data.mirrors"),
        ({"data__provider": "mixture"}, "data.parts"),
        ({"data__mirrors": ("http://a/",)}, "data.mirrors"),
        ({"data__parts": ({**PART},)}, "data.parts"),
        ({"data__provider": "mixture", "data__parts": ({**PART}, {**PART})}, "data.parts"),
        ({"data__provider": "mixture", "data__parts": ({**PART, "provider": "http"},)},
         "data.parts.0.mirrors"),
        ({"data__provider": "mixture", "data__parts": ({**PART, "files": ("a",)},)},
         "data.parts.0.files"),
        ({"data__provider": "mixture", "data__parts": ({**PART, "weight": 0},)},
         "data.parts.0.weight"),
        ({"data__provider": "http", "data__mirrors": ("http://a/",), "model__vocab_size": 65537},
         "data.token_bytes"),
        ({"data__provider": "tokens", "data__files": ("a",), "model__vocab_size": 65537},
         "data.token_bytes"),
        ({"optimizer__distro__top_k": 65, "optimizer__distro__chunk_size": 8},
         "optimizer.distro.top_k"),
        ({"optimizer__kind": "adamw"}, "optimizer.kind"),
        ({"schedule__warmup_rounds": 301}, "schedule.warmup_rounds"),
        ({"schedule__decay_rounds": 5}, "schedule.decay_rounds"),
        ({"schedule__kind": "warmup_stable_decay", "schedule__decay_rounds": 291},
         "schedule.warmup_rounds"),
        ({"distillation__synergy__ramp_rounds": 5}, "distillation.synergy.phase_a_rounds"),
        ({"distillation__synergy__phase_a_rounds": 5}, "distillation.synergy.ramp_rounds"),
        ({"distillation__top_k": 257}, "distillation.top_k"),
        ({"distillation__combine": "mix", "distillation__beta_max": 1.5}, "distillation.beta_max"),
        ({"distillation__enabled": True, "model__max_tier": 0}, "distillation.enabled"),
        ({"distillation__enabled": True, "distillation__targets_wait_s": 60.0},
         "distillation.targets_wait_s"),
        ({"distillation__enabled": True, "rounds__max_round_train_s": 30.0},
         "distillation.targets_wait_s"),
        ({"distillation__suffix_gate__enabled": True, "model__max_tier": 0},
         "distillation.suffix_gate.enabled"),
        ({"distillation__suffix_gate__enabled": True, "distillation__suffix_gate__prefix_tier": 3},
         "distillation.suffix_gate.prefix_tier"),
        ({"distillation__suffix_gate__learnable": True}, "distillation.suffix_gate.learnable"),
    ],
)  # fmt: skip
def test_a_broken_rule_names_its_key(changes: dict[str, Any], expected: str) -> None:
    assert expected in broken_by(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"members__init_min_members": 3, "members__min_members": 3, "committee__witness_nodes": 3},
        {"beginning__round": 299, "beginning__param_root": "00" * 32, "beginning__sample": 7},
        {"model__max_tier": 3},
        {"model__max_tier": 0, "model__intermediate_size": 500},
        {"model__architecture": "nanogpt", "model__max_tier": 0, "model__bias": True},
        {"optimizer__kind": "adamw", "members__max_members": 1},
        {"schedule__kind": "warmup_stable_decay", "schedule__decay_rounds": 290},
        {"distillation__synergy__phase_a_rounds": 5, "distillation__synergy__ramp_rounds": 5},
        {"distillation__enabled": True},
        {"distillation__enabled": True, "distillation__targets_wait_s": 59.9},
        {"distillation__targets_wait_s": 600.0},
    ],
)
def test_a_kept_rule_is_silent(changes: dict[str, Any]) -> None:
    assert broken_by(**changes) == []


def test_all_broken_rules_are_told_at_once() -> None:
    assert len(broken_by(model__vocab_size=255, schedule__decay_rounds=5)) == 2


@pytest.mark.parametrize(
    "address",
    ["file:///etc/", "ftp://a/", "http://", "http://u:p@a/", "http://a/?q", "http://a/#f",
     "http://a b/", "http://a/\n", "http://[::1", "a/b", "http://ä/", ""],
)  # fmt: skip
def test_a_mirror_is_an_address_of_the_web(address: str) -> None:
    changes = {"data__provider": "http", "data__mirrors": (address,)}
    assert broken_by(**changes) == ["data.mirrors.0"]


@pytest.mark.parametrize("address", ["http://a/", "https://a.example:8443/x/y", "http://[::1]:80/"])
def test_good_mirrors(address: str) -> None:
    assert broken_by(data__provider="http", data__mirrors=(address,)) == []


def test_a_wait_that_outlasts_the_round_is_told_with_its_cure() -> None:
    values: dict[str, Any] = load_run_config(CONFIGS / "nano.toml").model_dump()
    values["distillation"] |= {"enabled": True, "targets_wait_s": 90.0}
    with pytest.raises(InvalidConfigError) as caught:
        check_run_config(values, "run.toml")
    assert str(caught.value) == (
        "run.toml: distillation.targets_wait_s = 90.0: must be below rounds.max_round_train_s "
        "(60.0): a student that waits longer for its targets has no time left to train; lower it "
        "or raise the other"
    )
