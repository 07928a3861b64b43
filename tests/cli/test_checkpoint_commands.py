"""The commands around checkpoints, as a person runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from psyche_p2p.cli.main import main

NANO = Path(__file__).parents[2] / "configs" / "nano.toml"


class Shell:
    """Runs `psyche-peer` in this process and keeps what it printed."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd
        self.error = ""

    def __call__(self, *arguments: object, code: int = 0) -> str:
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        captured = self._capfd.readouterr()
        self.error = captured.err
        assert stopped.value.code == code, captured.err
        return captured.out

    def json(self, *arguments: object, code: int = 0) -> dict[str, Any]:
        values: dict[str, Any] = json.loads(self(*arguments, "--json", code=code))
        return values


@pytest.fixture
def shell(capfd: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capfd)


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained nano checkpoint and its slice to tier 1, at `nano` and `nano-t1`."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for arguments in (
        ["checkpoint", "init", "--config", NANO, "--seed", "3", "--out", folder / "nano"],
        ["checkpoint", "slice", "--tier", "1", folder / "nano", folder / "nano-t1"],
    ):
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        assert stopped.value.code == 0
    return folder / "nano"


def test_init_is_the_same_twice_and_differs_by_seed(
    shell: Shell, nano: Path, tmp_path: Path
) -> None:
    roots = {
        shell("checkpoint", "init", "--config", NANO, "--seed", seed, "--out", tmp_path / str(i))
        .strip()
        .rpartition(" ")[2]
        for i, seed in enumerate((3, 3, 4))
    }
    assert len(roots) == 2
    assert shell.json("checkpoint", "info", nano)["param_root"] in roots


def test_info_says_what_is_held(shell: Shell, nano: Path) -> None:
    whole = shell.json("checkpoint", "info", nano)
    part = shell.json("checkpoint", "info", f"{nano}-t1")
    assert (whole["tier"], whole["ffn_width"], whole["parameters"]) == (0, 512, 1_115_264)
    assert (part["tier"], part["ffn_width"], part["base_ffn_width"]) == (1, 256, 512)
    assert part["schema_hash"] == whole["schema_hash"]
    assert "param_root" in shell("checkpoint", "info", nano)


def test_verify_shows_that_a_slice_is_a_part(shell: Shell, nano: Path, tmp_path: Path) -> None:
    whole = shell.json("checkpoint", "verify", nano)
    part = shell.json("checkpoint", "verify", f"{nano}-t1", "--against", nano)
    assert part["full_param_root"] == part["part_of"] == whole["param_root"]
    assert part["param_root"] != whole["param_root"]
    other = tmp_path / "other"
    shell("checkpoint", "init", "--config", NANO, "--seed", "9", "--out", other)
    shell("checkpoint", "verify", f"{nano}-t1", "--against", other, code=8)
    assert "is not a part of" in shell.error


def test_a_slice_of_a_slice_still_proves_its_root(shell: Shell, nano: Path, tmp_path: Path) -> None:
    shell("checkpoint", "slice", "--tier", 2, f"{nano}-t1", tmp_path / "t2")
    shown = shell.json("checkpoint", "verify", tmp_path / "t2")
    assert shown["full_param_root"] == shell.json("checkpoint", "verify", nano)["param_root"]


def test_merging_a_slice_back_gives_the_same_root(shell: Shell, nano: Path, tmp_path: Path) -> None:
    out = shell("checkpoint", "merge", f"{nano}-t1", nano, tmp_path / "merged")
    assert out.strip().endswith(shell.json("checkpoint", "info", nano)["param_root"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["slice", "--tier", "1", "{nano}-t1", "{out}"], "nothing to cut at tier 1"),
        (["slice", "--tier", "3", "{nano}", "{out}"], "tier 3 is not one of this model's tiers"),
        (["merge", "{nano}", "{nano}-t1", "{out}"], "is not a slice of"),
        (["export", "--tier", "0", "{nano}-t1", "{out}"], "not the larger tier 0"),
        (["info", "{out}"], "is not a checkpoint: it has no config.json"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_written(
    shell: Shell, nano: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    out = tmp_path / "out"
    filled = [argument.format(nano=nano, out=out) for argument in arguments]
    shell("checkpoint", *filled, code=8)
    assert message in shell.error
    assert shell.error.count("\n") == 1
    assert not out.exists()


def test_an_existing_checkpoint_is_only_replaced_on_request(
    shell: Shell, nano: Path, tmp_path: Path
) -> None:
    arguments = ["checkpoint", "init", "--config", NANO, "--out", tmp_path / "c", "--seed"]
    shell(*arguments, 1)
    shell(*arguments, 2, code=5)
    assert "exists already; choose another name, or --replace" in shell.error
    assert "param root" in shell(*arguments, 2, "--replace")


def test_the_schema_hash_is_the_same_for_every_tier(shell: Shell, nano: Path) -> None:
    printed = {
        shell("print-schema-hash", "--checkpoint", source, *tier)
        for source, tier in (
            (nano, []),
            (nano, ["--matformer-tier", "0"]),
            (nano, ["--matformer-tier", "2"]),
            (f"{nano}-t1", []),
            (f"{nano}-t1", ["--matformer-tier", "1"]),
            (NANO, []),
            (NANO, ["--matformer-tier", "1"]),
        )
    }
    assert len(printed) == 1
    assert len(printed.pop().strip()) == 64
    shell("print-schema-hash", "--checkpoint", f"{nano}-t1", "--matformer-tier", "0", code=8)
    shell("print-schema-hash", "--checkpoint", NANO, "--matformer-tier", "5", code=8)


def test_schema_diff_names_the_field(shell: Shell, nano: Path, tmp_path: Path) -> None:
    assert shell("schema-diff", nano, f"{nano}-t1") == "the schemas are equal\n"
    changed = tmp_path / "changed.toml"
    changed.write_text(NANO.read_text().replace("max_seq_len = 128", "max_seq_len = 256"))
    assert shell("schema-diff", nano, changed, code=11) == "config.max_seq_len: 128 | 256\n"
    shown = shell.json("schema-diff", nano, changed, code=11)
    assert shown["differences"] == [{"field": "config.max_seq_len", "a": "128", "b": "256"}]


def test_eval_measures_every_tier(shell: Shell, nano: Path, tmp_path: Path) -> None:
    shown = shell.json("eval", "--checkpoint", nano, "--data", NANO, "--samples", 3)
    assert [row["tier"] for row in shown["tiers"]] == [0, 1, 2]
    for row in shown["tiers"]:
        assert row["loss"] == pytest.approx(5.55, abs=0.15)  # untrained: about log 256
        assert row["tokens"] == 3 * 128
    assert "FFN width:         512 / 512 (100%)" in shell.error
    text = tmp_path / "text.txt"
    text.write_text("print('hello')\n" * 40)
    of_slice = shell("eval", "--checkpoint", f"{nano}-t1", "--data", text)
    assert of_slice.startswith("tier 1: loss 5.")
    assert "(512 tokens)" in of_slice


def test_eval_refuses_too_little_text(shell: Shell, nano: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("short")
    shell("eval", "--checkpoint", nano, "--data", tmp_path / "text.txt", code=9)
    assert "5 tokens are too few" in shell.error


def test_generate_repeats_with_its_seed(shell: Shell, nano: Path) -> None:
    base = ["generate", "--checkpoint", nano, "--prompt-ids", "1,2,3", "--tokens", "6"]
    first = shell(*base, "--seed", 1)
    assert len(first.split()) == 6
    assert shell(*base, "--seed", 1) == first
    assert shell(*base, "--seed", 2) != first
    greedy = [*base, "--temperature", "0", "--seed"]
    assert shell(*greedy, 1) == shell(*greedy, 2)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ([], 2, "give either --prompt or --prompt-ids"),
        (["--prompt", ""], 8, "the prompt is empty"),
        (["--prompt-ids", "1,x"], 2, "whole numbers"),
        (["--prompt-ids", "256"], 8, "token 256 is not below this model's vocabulary of 256"),
        (["--prompt", "a", "--top-p", "0"], 8, "cannot sample with"),
        (["--prompt", "a", "--temperature", "nan"], 8, "cannot sample with"),
    ],
)
def test_generate_refuses_what_makes_no_sense(
    shell: Shell, nano: Path, options: list[str], code: int, message: str
) -> None:
    shell("generate", "--checkpoint", nano, *options, code=code)
    assert message in shell.error
