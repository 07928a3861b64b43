"""tools/experiments: the mixes of tiers, on real local networks, over several seeds."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from experiment_parts.plot import plot_lines
from experiment_parts.record import Cell, Record, find_record, make_record, save_record
from experiment_parts.table import BAR_PERCENT, Row, make_rows, table_lines
from localnet_parts.command import stop_on_signals

from psyche_p2p.cli.main import run_command
from psyche_p2p.errors import ExitCode
from psyche_p2p.files import storage_error, write_atomically

ROOT = Path(__file__).resolve().parent.parent
LOCALNET = (sys.executable, str(ROOT / "tools" / "_localnet.py"))
MIXES = ("0,0,0", "0,1,1", "0,0,1", "0,1,1,1")
"""The baseline first."""
_QUICK_ROUNDS, _QUICK_SEEDS = 4, 1
_END_S = 30.0
_path = click.Path(path_type=Path)


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: tools/experiments --rounds 300 --seeds 3 --out results",
)
@click.option("--mix", "mixes", multiple=True, metavar="TIERS", help=f"Default: {' '.join(MIXES)}.")
@click.option("--rounds", type=click.IntRange(1), default=300, show_default=True)
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="From 0 on.")
@click.option("--config", "path", type=_path, default=ROOT / "configs" / "nano.toml")
@click.option("--data-dir", type=_path, help="Where a run on token files finds them.")
@click.option("--set", "changes", multiple=True, metavar="SECTION.KEY=VALUE", help="Of every run.")
@click.option("--out", "folder", type=_path, default=Path("experiments"), show_default=True)
@click.option("--quick", is_flag=True, help=f"{_QUICK_ROUNDS} rounds of the first two mixes.")
@click.option("--program", hidden=True, help="What a peer is, for tests.")
def experiments(
    mixes: tuple[str, ...],
    rounds: int,
    seeds: int,
    path: Path,
    data_dir: Path | None,
    changes: tuple[str, ...],
    folder: Path,
    quick: bool,
    program: str | None,
) -> int:
    """Train every mix of tiers with every seed, and compare the held-out losses.

    The first mix is the baseline. Every run is one tools/localnet, and one file in --out: a run
    that came to its end is not done again, so that the same command goes on where it was
    interrupted; one that failed is. The table (table.md, table.json) and the plot (losses.svg) are
    written anew after every run.

    \b
    Exit codes:
      0    every run came to its end, and every mix is within 15% of the baseline
      2    wrong options
      3    the configuration is wrong
      5    the disk refused
      11   a run failed, or a mix is worse than that
      130  interrupted
    """
    stop_on_signals()
    mixes = mixes or MIXES
    if quick:
        mixes, rounds, seeds = mixes[:2], _QUICK_ROUNDS, _QUICK_SEEDS
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error("cannot use the folder", folder, error) from error
    name = " ".join((path.name, *changes))
    common = ["--config", str(path), *(word for change in changes for word in ("--set", change))]
    common += ["--data-dir", str(data_dir)] if data_dir else []
    common += ["--program", program] if program else []
    cells = [Cell(mix, seed, rounds, name) for seed in range(seeds) for mix in mixes]
    records: list[Record] = []
    for number, cell in enumerate(cells):
        record = find_record(cell, folder)
        if record is None or not record.ok:
            click.echo(f"run {number + 1} of {len(cells)}: tiers {cell.mix}, seed {cell.seed}")
            record = _run(cell, common)
            save_record(record, folder)
            click.echo(_summary(record))
        records.append(record)
        rows = _write(records, mixes, folder)
    for line in table_lines(rows):
        click.echo(line)
    is_good = all(row.is_within_bar and not row.failed for row in rows)
    return ExitCode.OK if is_good else ExitCode.INVALID


def _run(cell: Cell, common: Sequence[str]) -> Record:
    """One local network, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="psyche-experiment-") as temporary:
        work, outcome_path = Path(temporary) / "work", Path(temporary) / "outcome.json"
        words = [*common, "--tiers", cell.mix, "--seed", str(cell.seed)]
        words += ["--exit-after-steps", str(cell.rounds), "--headless"]
        words += ["--keep", str(work), "--json", str(outcome_path)]
        said = _call([*LOCALNET, *words])
        if not outcome_path.exists():
            raise click.ClickException(f"tools/localnet did not start: {said}")
        outcome = json.loads(outcome_path.read_text())
        if outcome["interrupted"]:
            raise KeyboardInterrupt
        return make_record(cell, outcome, work)


def _call(words: Sequence[str]) -> str:
    """The last line of what it said; an interrupt is passed on, and its end awaited."""
    process = subprocess.Popen(
        words, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        said, _ = process.communicate()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=_END_S)
        raise
    return said.strip().rpartition("\n")[2]


def _summary(record: Record) -> str:
    losses = ", ".join(f"{loss:.4f} at tier {tier}" for tier, loss in record.heldout.items())
    result = f"  {record.closed} rounds in {record.seconds:.0f} s, held-out loss {losses or '-'}"
    return "\n".join([result, *(f"  FAILED {problem}" for problem in record.problems)])


def _write(records: Sequence[Record], mixes: Sequence[str], folder: Path) -> list[Row]:
    """The table and the plot, as far as there are runs."""
    rows = make_rows(records, mixes)
    note = f"Bar: every mix at most {BAR_PERCENT:g}% above {mixes[0]}, at every tier."
    markdown = [*table_lines(rows), "", note, ""]
    write_atomically(folder / "table.md", "\n".join(markdown).encode())
    values = [{**asdict(row), "is_within_bar": row.is_within_bar} for row in rows]
    write_atomically(folder / "table.json", (json.dumps(values, indent=2) + "\n").encode())
    write_atomically(folder / "losses.svg", "\n".join([*plot_lines(records, mixes), ""]).encode())
    return rows


if __name__ == "__main__":
    run_command(experiments)
