"""What an operator is told whose run file is not the network's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from psyche_p2p.config import RunConfig, load_run_config, run_id
from psyche_p2p.errors import ConfigError, ModelError
from psyche_p2p.node.namesakes import explain_difference, require_asked_for

NANO = load_run_config(Path(__file__).parents[2] / "configs" / "nano.toml")


def changed(section: str, **values: Any) -> RunConfig:
    part = getattr(NANO, section).model_copy(update=values)
    return NANO.model_copy(update={section: part})


def test_a_model_that_differs_is_a_schema_mismatch_with_the_field() -> None:
    theirs = changed("model", num_layers=5)
    error = explain_difference(NANO, theirs)
    assert isinstance(error, ModelError)
    assert "schema mismatch: the run 'nano' of this network has " in error.cause
    assert error.cause.endswith("config.num_layers is 5 there, 4 here")


def test_any_other_value_is_named_with_both_ids() -> None:
    theirs = changed("rounds", epoch_s=17.0)
    error = explain_difference(NANO, theirs)
    assert isinstance(error, ConfigError)
    for part in (run_id(NANO).hex(), run_id(theirs).hex()):
        assert part in error.cause
    assert error.cause.endswith("rounds.epoch_s is 17.0 there, 600.0 here")


@pytest.mark.parametrize("wanted", [None, "nano", run_id(NANO).hex()])
def test_a_run_and_its_file_may_both_be_named(wanted: str | None) -> None:
    require_asked_for(NANO, wanted)


def test_a_run_and_another_file_may_not() -> None:
    with pytest.raises(ConfigError, match="--run other is not the run of --run-file"):
        require_asked_for(NANO, "other")
