"""One meaning, one run id: spelling never matters, every value does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.cli.run import toml_lines
from psyche_p2p.config import (
    DataPartConfig,
    RunConfig,
    canonical_bytes,
    decode_run_config,
    load_run_config,
    parse_run_config,
    run_id,
)
from psyche_p2p.config.load import known_keys
from psyche_p2p.config.section import Section
from psyche_p2p.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"
SectionT = TypeVar("SectionT", bound=Section)
NANO = (CONFIGS / "nano.toml").read_text()


def nano_id(text: str) -> bytes:
    return run_id(parse_run_config(text.encode(), "test.toml"))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_configuration_survives_its_canonical_bytes(path: Path) -> None:
    config = load_run_config(path)
    assert decode_run_config(canonical_bytes(config), "peer") == config


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("learning_rate = 2e-3", "learning_rate = 0.002"),
        ("learning_rate = 2e-3", "learning_rate = 0.20e-2   # a comment"),
        ("epoch_s = 600.0", "epoch_s = 600"),
        ("hidden_size = 128", "hidden_size = 0x80"),
        ("total_rounds = 300", "total_rounds = 3_00"),
        ('name = "nano"', "name = 'nano'"),
        ('name = "nano"', 'name = "n\\u0061no"'),
        ("warmup_rounds = 10", "warmup_rounds = 10\nfinal_ratio = 0.1"),
        ('[optimizer]\nkind = "distro"', 'optimizer = { kind = "distro" }'),
        ('[optimizer]\nkind = "distro"', "[optimizer.distro]\ntop_k = 8\nweight_decay = -0.0"),
    ],
)
def test_spelling_does_not_matter(old: str, new: str) -> None:
    assert old in NANO
    text = NANO.replace(old, new)
    if new.startswith("optimizer ="):  # an inline table must stand before the first header
        text = new + "\n" + NANO.replace(old, "")
    assert nano_id(text) == nano_id(NANO)


@given(st.permutations(NANO.split("\n\n")))
def test_the_order_of_sections_does_not_matter(sections: list[str]) -> None:
    assert nano_id("\n\n".join(sections)) == nano_id(NANO)


def test_every_value_matters() -> None:
    """Changing any one leaf of the configuration changes the canonical bytes and the id."""
    config = load_run_config(CONFIGS / "nano.toml")
    seen = {run_id(config)}
    leaves = [key for key in known_keys(RunConfig) if not _is_section(config, key)]
    for key in leaves:
        seen.add(run_id(_with_other_value(config, key)))
    assert len(leaves) > 80
    assert len(seen) == len(leaves) + 1


def test_a_float_next_to_another_is_another_run() -> None:
    assert nano_id(NANO.replace("2e-3", "0.0020000000000000005")) != nano_id(NANO)


@given(st.binary(max_size=200))
def test_other_bytes_are_refused(data: bytes) -> None:
    for candidate in (data, b"psyche-p2p run config 1\n" + data):
        with pytest.raises(ConfigError, match="peer"):
            decode_run_config(candidate, "peer")


@given(st.data())
def test_changed_canonical_bytes_are_another_run_or_refused(data: st.DataObject) -> None:
    config = load_run_config(CONFIGS / "nano.toml")
    changed = bytearray(canonical_bytes(config))
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        other = decode_run_config(bytes(changed), "peer")
    except ConfigError:
        return
    assert run_id(other) != run_id(config)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"{", b"{ "),
        (b'"f64":"', b'"f64":"0'),
        (b'"total_rounds":300', b'"total_rounds":3e2'),
        (b'"total_rounds":300', b'"total_rounds":300,"total_rounds":300'),
        (b'{"f64":"3f', b'{"f64":"3F'),
        (b'{"f64":"', b'{"f64":"7ff8000000000000","x":"'),
    ],
)
def test_other_spellings_from_a_peer_are_refused(old: bytes, new: bytes) -> None:
    data = canonical_bytes(load_run_config(CONFIGS / "nano.toml"))
    assert old in data
    with pytest.raises(ConfigError):
        decode_run_config(data.replace(old, new, 1), "peer")


def test_a_deeply_nested_document_from_a_peer_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a canonical run configuration"):
        decode_run_config(b"psyche-p2p run config 1\n" + b"[" * 100_000, "peer")


def _get(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = getattr(config, part)
    return config


def _is_section(config: RunConfig, key: str) -> bool:
    return hasattr(_get(config, key), "model_fields_set")


def _with_other_value(config: RunConfig, key: str) -> RunConfig:
    value = _get(config, key)
    other: Any
    if isinstance(value, bool):
        other = not value
    elif isinstance(value, (int, float)):
        other = value + 1
    elif isinstance(value, str):
        other = value + "x"
    elif key == "data.parts":
        other = (DataPartConfig(name="a", weight=1, provider="builtin"),)
    else:
        other = (*value, "x")
    return _replaced(config, key.split("."), other)


def _replaced(section: SectionT, path: list[str], value: Any) -> SectionT:
    name, *rest = path
    inner = _replaced(getattr(section, name), rest, value) if rest else value
    return section.model_copy(update={name: inner})


MIXTURE = """provider = "mixture"

[[data.parts]]
name = "web"
weight = 7
provider = "http"
mirrors = ["https://a.example/web/", "http://b.example:8080/web"]

[[data.parts]]
name = "code"
weight = 3
provider = "tokens"
files = ["code/*.bin"]
"""


def test_a_mixture_survives_its_canonical_bytes_and_its_toml() -> None:
    text = NANO.replace(
        'provider = "builtin"\nsequence_length = 128', f"sequence_length = 128\n{MIXTURE}"
    )
    config = parse_run_config(text.encode(), "test.toml")
    assert [part.weight for part in config.data.parts] == [7, 3]
    assert decode_run_config(canonical_bytes(config), "peer") == config
    again = "\n".join(toml_lines(config)).encode()
    assert parse_run_config(again, "again.toml") == config
    assert nano_id(text.replace("weight = 7", "weight = 8")) != nano_id(text)
