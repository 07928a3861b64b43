"""A run of every data provider trains a step and evaluates, through the trainer that peers use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from psyche_p2p.config import RunConfig, canonical_bytes, load_run_config
from psyche_p2p.config.load import check_run_config
from psyche_p2p.data.documents import find_sources
from psyche_p2p.data.encoder import ByteEncoder
from psyche_p2p.data.prepare import Plan, prepare
from psyche_p2p.errors import DataError
from psyche_p2p.identity import Identity
from psyche_p2p.optim.schedule import learning_rate_to_bits
from psyche_p2p.train.messages import Apply, Evaluate, Setup, Train
from psyche_p2p.train.trainer import Trainer
from psyche_p2p.train.workshop import open_workshop
from tests.data.web_server import WebServer

CONFIG = Path(__file__).parents[2] / "configs" / "nano.toml"
BITS = learning_rate_to_bits(2e-3)
LENGTH = 16
Make = Callable[[Path, str], dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that the providers read."""
    folder = tmp_path_factory.mktemp("data")
    source = Path(__file__).read_bytes()
    (folder / "text.txt").write_bytes(source)
    prepare(Plan(find_sources([folder / "text.txt"]), "text", ByteEncoder()), folder / "tokens")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[WebServer]:
    server = WebServer(folder / "tokens")
    yield server
    server.close()


def builtin(_folder: Path, _address: str) -> dict[str, Any]:
    return {"provider": "builtin"}


def tokens(_folder: Path, _address: str) -> dict[str, Any]:
    return {"provider": "tokens", "files": ("tokens/shard-*.bin",)}


def http(_folder: Path, address: str) -> dict[str, Any]:
    return {"provider": "http", "mirrors": (address,)}


def parquet(folder: Path, _address: str) -> dict[str, Any]:
    pyarrow = pytest.importorskip("pyarrow")
    rows = np.random.default_rng(3).integers(0, 256, (64, LENGTH + 1)).tolist()
    labels = [[-100] * 5 + row[5:] for row in rows]
    table = pyarrow.table({"inputs": rows, "labels": labels})
    pytest.importorskip("pyarrow.parquet").write_table(table, folder / "rows.parquet")
    return {"provider": "parquet", "files": ("rows.parquet",)}


def mixture(folder: Path, address: str) -> dict[str, Any]:
    parts = [make(folder, address) for make in (builtin, tokens, http, parquet)]
    named = tuple(
        {"name": part["provider"], "weight": weight, **part} for weight, part in enumerate(parts, 1)
    )
    return {"provider": "mixture", "parts": named}


def run_config(data: dict[str, Any]) -> RunConfig:
    values = load_run_config(CONFIG).model_dump()
    values["data"] = {**values["data"], "sequence_length": LENGTH, "heldout_fraction": 0.1, **data}
    return check_run_config(values, "test")


def setup_of(config: RunConfig, data_dir: Path, store: Path) -> Setup:
    return Setup(
        config=canonical_bytes(config).decode(),
        store=str(store),
        store_bytes=1 << 30,
        peer=Identity.from_seed(b"t" * 32).peer_id,
        tier=2,
        device="cpu",
        threads=1,
        micro_batch=4,
        checkpoint="",
        data_dir=str(data_dir),
        compile=False,
    )


@pytest.mark.parametrize("make", [builtin, tokens, http, parquet, mixture])
def test_a_run_of_every_provider_trains_a_step(
    folder: Path, server: WebServer, tmp_path: Path, make: Make
) -> None:
    config = run_config(make(folder, server.address))
    said: list[object] = []
    setup = setup_of(config, folder, tmp_path / "store")
    trainer = Trainer(open_workshop(setup), said.append)
    manifest = trainer.ready(0.0).data_manifest
    pinned = config.data.model_copy(update={"manifest": manifest})
    config = config.model_copy(update={"data": pinned})
    trainer = Trainer(open_workshop(setup_of(config, folder, tmp_path / "store")), said.append)
    assert trainer.ready(0.0).data_manifest == manifest
    command = Train(epoch=0, round=0, batch_start=0, batch_end=10, learning_rate_bits=BITS)
    trained = trainer.train(command)
    assert 4 < trained.loss < 7
    assert trained.tokens == 10 * LENGTH
    trainer.apply(Apply(0, (trained.blob,), BITS))
    assert all(4 < loss < 7 for loss in trainer.evaluate(Evaluate(8)).losses)


def test_a_trainer_without_its_data_says_why(folder: Path, tmp_path: Path) -> None:
    pinned = {"provider": "tokens", "files": ("tokens/*.bin",), "manifest": "ab" * 32}
    setup = setup_of(run_config(pinned), folder, tmp_path / "store")
    with pytest.raises(DataError, match="the data's manifest is"):
        open_workshop(setup)
