"""A blob from a stranger is taken for the run's parameters only if it is nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from psyche_p2p.blobs import BlobStore, Origin, SealedBlob, seal_dense
from psyche_p2p.config import load_run_config, run_id
from psyche_p2p.ids import EpochIndex, ParamRoot, RoundIndex, RunId, SchemaHash, Tier
from psyche_p2p.model.initial import initial_state
from psyche_p2p.model.param_root import param_root
from psyche_p2p.model.schema import model_schema, schema_hash
from psyche_p2p.node.snapshots import find_parameters_fault
from psyche_p2p.wire import BlobKind
from psyche_p2p.wire.bulk import ParameterOffer
from tests.blobs.builders import make_tiny_update

CONFIG = load_run_config(Path(__file__).parents[2] / "configs" / "nano.toml")
TIER, ROUND = Tier(CONFIG.model.max_tier), RoundIndex(7)
STATE = initial_state(CONFIG.model, 1, TIER)
ROOTS = (param_root(CONFIG.model, STATE, TIER),) + CONFIG.model.max_tier * (ParamRoot(bytes(32)),)
ORIGIN = Origin(run_id(CONFIG), EpochIndex(0), ROUND, TIER, schema_hash(model_schema(CONFIG.model)))
Arrays = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Parameters:
    """What a donor may make of the parameters."""

    arrays: Arrays = field(
        default_factory=lambda: {name: one.numpy().copy() for name, one in STATE.items()}
    )
    kind: BlobKind = BlobKind.PARAMETERS
    origin: Origin = ORIGIN

    def seal(self) -> SealedBlob:
        return seal_dense(self.kind, self.origin, self.arrays)


def fault_of(sealed: SealedBlob, folder: Path, round_index: RoundIndex = ROUND) -> str | None:
    store = BlobStore.open(folder, 1 << 30)
    offer = ParameterOffer(TIER, round_index, store.add(sealed), sealed.manifest.size_bytes)
    return find_parameters_fault(store, CONFIG, offer, {ROUND: ROOTS})


def test_what_the_log_names_is_taken(tmp_path: Path) -> None:
    assert fault_of(Parameters().seal(), tmp_path) is None


def test_a_round_without_a_root_is_not(tmp_path: Path) -> None:
    fault = fault_of(Parameters().seal(), tmp_path, RoundIndex(8))
    assert fault == "the log names no parameters of round 8"


def _first(arrays: Arrays) -> str:
    return min(arrays)


def _changed(arrays: Arrays) -> Arrays:
    return {**arrays, _first(arrays): arrays[_first(arrays)] + np.float32(1)}


def _reshaped(arrays: Arrays) -> Arrays:
    return {**arrays, _first(arrays): arrays[_first(arrays)].reshape(-1)}


def _cut(arrays: Arrays) -> Arrays:
    return {name: array[:1] for name, array in arrays.items()}


def _in_bytes(arrays: Arrays) -> Arrays:
    return {name: array.reshape(-1).view(np.uint8) for name, array in arrays.items()}


def _with_one_more(arrays: Arrays) -> Arrays:
    return {**arrays, "more": np.zeros(3, np.float32)}


def _with_one_less(arrays: Arrays) -> Arrays:
    return {name: array for name, array in arrays.items() if name != _first(arrays)}


def _not_a_number(arrays: Arrays) -> Arrays:
    return {**arrays, _first(arrays): arrays[_first(arrays)] * np.float32("nan")}


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (_changed, "the log says"),
        (_reshaped, "tensors:"),
        (_cut, "tensors:"),
        (_in_bytes, "tensors:"),
        (_with_one_more, "tensors:"),
        (_with_one_less, "tensors:"),
        (_not_a_number, "not finite"),
    ],
)
def test_other_tensors_are_a_fault_and_never_an_exception(
    spoil: Callable[[Arrays], Arrays], fault: str, tmp_path: Path
) -> None:
    made = Parameters()
    found = fault_of(replace(made, arrays=spoil(made.arrays)).seal(), tmp_path)
    assert found is not None
    assert fault in found


@pytest.mark.parametrize(
    ("made", "fault"),
    [
        (Parameters(origin=replace(ORIGIN, round=RoundIndex(5))), "round 5, expected 7"),
        (Parameters(origin=replace(ORIGIN, epoch=EpochIndex(1))), "epoch 1, expected 0"),
        (Parameters(origin=replace(ORIGIN, tier=Tier(0))), "tier 0, expected"),
        (Parameters(origin=replace(ORIGIN, run_id=RunId(bytes(32)))), "run_id"),
        (Parameters(origin=replace(ORIGIN, schema_hash=SchemaHash(bytes(32)))), "schema_hash"),
        (Parameters(kind=BlobKind.CHECKPOINT_SHARD), "kind"),
    ],
)
def test_the_right_tensors_under_another_name_are_a_fault(
    made: Parameters, fault: str, tmp_path: Path
) -> None:
    found = fault_of(made.seal(), tmp_path)
    assert found is not None
    assert fault in found


def test_an_update_is_no_parameters(tmp_path: Path) -> None:
    found = fault_of(make_tiny_update(), tmp_path)
    assert found is not None
    assert "kind update" in found
