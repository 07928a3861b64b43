"""Errors of a configuration: the file, the key, the value, what is allowed, the nearest key."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.config import load_run_config, parse_run_config
from psyche_p2p.config.problems import InvalidConfigError
from psyche_p2p.errors import ConfigError, ExitCode

CONFIGS = Path(__file__).parents[2] / "configs"
NANO = (CONFIGS / "nano.toml").read_text()


def problems_of(text: str) -> list[str]:
    with pytest.raises(InvalidConfigError) as caught:
        parse_run_config(text.encode(), "my.toml")
    assert str(caught.value).startswith("my.toml: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert caught.value.exit_code is ExitCode.CONFIG
    return [str(problem) for problem in caught.value.problems]


def changed(old: str, new: str) -> str:
    assert old in NANO
    return NANO.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("hidden_size", "hiden_size", "model.hiden_size: is not a known key; did you mean model.hidden_size?"),
        ("[optimizer]", "[optimizer]\nlearning_rate = 1.0", "optimizer.learning_rate: is not a known key; did you mean schedule.learning_rate?"),
        ("[members]", "[membrs]", "membrs: is not a known key; did you mean members?"),
        ("max_tier = 2", 'max_tier = "2"', 'model.max_tier = "2": must be a whole number'),
        ("max_tier = 2", "max_tier = true", "model.max_tier = true: must be a whole number"),
        ("max_tier = 2", "max_tier = 8", "model.max_tier = 8: must be at most 7"),
        ("max_tier = 2", "max_tier = 2.0", "model.max_tier = 2.0: must be a whole number"),
        ("learning_rate = 2e-3", "learning_rate = nan", "schedule.learning_rate = NaN: must be a finite number"),
        ("learning_rate = 2e-3", "learning_rate = inf", "schedule.learning_rate = Infinity: must be a finite number"),
        ("learning_rate = 2e-3", "learning_rate = 0.0", "schedule.learning_rate = 0.0: must be above 0.0"),
        ("hidden_size = 128", "hidden_size = " + "9" * 40, "model.hidden_size = 9999999999999999999999999999999999999999: must be at most 1048576"),
        ("total_rounds = 300", "total_rounds = " + "9" * 20, "run.total_rounds = 99999999999999999999: must be at most 9007199254740991"),
        ('kind = "distro"', 'kind = "adam"', "optimizer.kind = \"adam\": must be 'distro', 'sparse_loco' or 'adamw'"),
        ('name = "nano"', 'name = "a b"', 'run.name = "a b": must match ^[a-z0-9][a-z0-9._-]{0,63}$'),
        ('description = "', 'description = "nul\\u0000', "run.description = \"nul\\u00001.1M parameters on the text of Python's standard l...: must be one line of printable text"),
        ("[members]", '[members]\nallow = ["nobody"]', 'members.allow.0 = "nobody": must be a peer id (12D3KooW...)'),
        ("[members]", "[members]\nallow = 3", "members.allow = 3: must be a list"),
        ("[members]", "[run.zzzzzz]\n[members]", "run.zzzzzz: is not a known key"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_line(old: str, new: str, expected: str) -> None:
    assert problems_of(changed(old, new))[0] == expected


def test_a_typo_comes_before_what_it_leaves_missing() -> None:
    assert problems_of(changed("hidden_size", "hiden_size")) == [
        "model.hiden_size: is not a known key; did you mean model.hidden_size?",
        "model.hidden_size: is required",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "run: is required"),
        ("[run", "is not TOML: "),
        (NANO + "\0", "is not TOML: "),
        ("a = " + "[" * 50_000, "is nested too deeply"),
        ("a = " + "9" * 6_000, "is not TOML: "),
        ("# " + "x" * (1 << 20), "a configuration has at most 1048576 bytes"),
        ("model = 3", "model = 3: must be a table"),
    ],
)
def test_what_is_no_configuration_says_so(text: str, expected: str) -> None:
    assert any(problem.startswith(expected) for problem in problems_of(text))


def test_text_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"my\.toml: must be UTF-8 text"):
        parse_run_config(b"name = '\xff'", "my.toml")


@given(st.binary(max_size=300))
def test_random_bytes_raise_nothing_but_a_config_error(data: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_run_config(data, "random")


@given(st.data())
def test_a_damaged_file_is_read_or_refused(data: st.DataObject) -> None:
    text = bytearray(NANO.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    try:
        parse_run_config(bytes(text), "damaged")
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize("name", ["missing.toml", "", "nul\0.toml", "x" * 300])
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"no such file|cannot be read"):
        load_run_config(tmp_path / name)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_configuration_is_valid(path: Path) -> None:
    assert load_run_config(path).run.name == path.stem
