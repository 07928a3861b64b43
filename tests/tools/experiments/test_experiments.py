"""tools/experiments: what is done, done again and skipped; what the table says of it."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from experiment_parts.plot import plot_lines
from experiment_parts.record import Cell, Record, find_record, make_record, save_record
from experiment_parts.table import make_rows, table_lines

from psyche_p2p.errors import StorageError
from psyche_p2p.ids import PeerId
from psyche_p2p.observe.event_log import EventLog
from psyche_p2p.observe.events import RoundClosed, Trained

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, str(ROOT / "tools" / "_experiments.py")]
MIXES = ("0,0,0", "0,1,1")


def record_of(mix: str, seed: int, loss: float, *, ok: bool = True) -> Record:
    cell = Cell(mix, seed, 4, "nano.toml")
    return Record(
        cell=cell,
        ok=ok,
        problems=() if ok else ("out of luck",),
        seconds=10.0,
        closed=4,
        accepted=(4, 4, 4),
        heldout={"0": loss, "1": loss + 1},
        losses=(5.0, 4.0, None, 3.0),
        nan_losses=1,
        errors=0,
    )


def test_the_table_compares_means_over_seeds_with_the_first_mix() -> None:
    losses = {"0,0,0": (2.0, 2.2), "0,1,1": (2.4, 2.2)}
    records = [
        record_of(mix, seed, loss) for mix, each in losses.items() for seed, loss in enumerate(each)
    ]
    baseline, mixed = make_rows(records, MIXES)
    assert baseline.difference_percent == {"0": 0.0, "1": 0.0}
    assert mixed.heldout["0"].mean == 2.3
    assert mixed.heldout["0"].deviation == pytest.approx(math.sqrt(0.02), abs=1e-4)
    assert mixed.difference_percent == {"0": 9.52, "1": 6.45}
    assert mixed.is_within_bar
    assert mixed.nan_losses == 2


def test_a_mix_that_is_too_bad_is_beyond_the_bar() -> None:
    rows = make_rows([record_of("0,0,0", 0, 2.0), record_of("0,1,1", 0, 2.31)], MIXES)
    assert [row.is_within_bar for row in rows] == [True, False]


def test_a_failed_run_is_counted_and_its_loss_is_not() -> None:
    records = [record_of("0,0,0", 0, 2.0), record_of("0,0,0", 1, 9.0, ok=False)]
    (row,) = make_rows(records, MIXES)
    assert (row.runs, row.failed, row.heldout["0"].mean) == (2, 1, 2.0)
    assert "2 (1 failed)" in list(table_lines([row]))[-1]


def test_a_round_that_somebody_missed_is_said() -> None:
    missed = replace(record_of("0,0,0", 0, 2.0), accepted=(4, 3, 4))
    (row,) = make_rows([missed], MIXES)
    assert not row.is_complete


def test_a_run_is_read_off_events_and_logs(tmp_path: Path) -> None:
    """Errors are those at ERROR level: INFO, nanogpt and a peer called error are none."""
    peers = [PeerId("a"), PeerId("b")]
    for number in range(len(peers)):
        home = tmp_path / f"peer{number}"
        home.mkdir()
        with EventLog.open(home / "events.jsonl") as log:
            log.write(Trained(0, 0, 4, 5.0 + number, 512, 0.1))
            log.write(Trained(1, 0, 4, math.nan if number else 4.0, 512, 0.1))
            log.write(RoundClosed(0, 3, 2, 2, tuple(peers), ()))
            log.write(RoundClosed(1, 4, 1, 2, (peers[0],), (peers[1],)))
    (tmp_path / "peer0.log").write_text(
        "12:00:00 INFO of nanogpt: no error\n12:00:01 run found name=error\n"
        "12:00:02 ERROR the disk is full\n"
    )
    outcome = {
        "ok": True, "problems": [], "seconds": 3.0, "rounds": 2, "heldout": {"0": 4.0},
        "peers": [{"id": peer} for peer in peers],
    }  # fmt: skip
    record = make_record(Cell("0,0", 0, 2, "nano.toml"), outcome, tmp_path)
    assert (record.errors, record.nan_losses) == (1, 1)
    assert record.losses == (5.5, 4.0)
    assert record.accepted == (2, 1)
    assert not record.is_complete


def test_a_finished_run_is_found_and_another_kind_is_refused(tmp_path: Path) -> None:
    record = record_of("0,0,0", 0, 2.0)
    save_record(record, tmp_path)
    found = find_record(record.cell, tmp_path)
    assert found is not None
    assert found.heldout == record.heldout
    assert find_record(replace(record.cell, seed=1), tmp_path) is None
    with pytest.raises(StorageError, match=r"4 rounds of nano\.toml, not 5"):
        find_record(replace(record.cell, rounds=5), tmp_path)
    (tmp_path / record.cell.file_name).write_text('{"cell": {}}')
    with pytest.raises(StorageError, match="not the record of a run"):
        find_record(record.cell, tmp_path)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_plot_is_an_image_with_a_line_a_mix(count: int) -> None:
    records = [record_of(MIXES[n % 2], n, 2.0) for n in range(count)]
    root = ET.fromstring("\n".join(plot_lines(records, MIXES)))
    lines = [element for element in root if element.tag.endswith("polyline")]
    assert len(lines) == min(count, 2)
    assert "nan" not in ET.tostring(root, encoding="unicode")


@pytest.mark.slow
def test_quick_runs_real_networks_and_skips_what_is_done(tmp_path: Path) -> None:
    words = ["--quick", "--mix", "0,1", "--out", str(tmp_path / "out")]
    results = [
        subprocess.run(
            [*COMMAND, *words],
            env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
            text=True,
            capture_output=True,
            timeout=300,
            check=False,
        )
        for _ in range(2)
    ]
    for result in results:
        assert result.returncode == 0, result.stdout + result.stderr
        assert "| 0,1 | 1 |" in result.stdout
    assert "run 1 of 1" in results[0].stdout
    assert "run 1 of 1" not in results[1].stdout
    (row,) = json.loads((tmp_path / "out" / "table.json").read_text())
    assert row["is_complete"]
    assert row["is_within_bar"]
    assert (row["nan_losses"], row["errors"], row["failed"]) == (0, 0, 0)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "0-1_seed0.json", "losses.svg", "table.json", "table.md",
    ]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "work folders are gone"
