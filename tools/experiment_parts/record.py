"""One run of one mix, as it is kept on disk: one JSON file, so that a matrix can be resumed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from localnet_parts.peer import find_error_lines

from psyche_p2p.errors import StorageError
from psyche_p2p.files import write_atomically
from psyche_p2p.ids import PeerId
from psyche_p2p.observe.event_log import read_events
from psyche_p2p.observe.events import Recorded, RoundClosed, Trained


@dataclass(frozen=True, slots=True)
class Cell:
    """What one run is to be."""

    mix: str
    """The tiers, like 0,1,1."""
    seed: int
    rounds: int
    config: str
    """The configuration's file name and the changes to it: what makes runs comparable."""

    @property
    def file_name(self) -> str:
        return f"{self.mix.replace(',', '-')}_seed{self.seed}.json"


@dataclass(frozen=True, slots=True)
class Record:
    """What a run was asked to be, and what it was."""

    cell: Cell
    ok: bool
    problems: tuple[str, ...]
    seconds: float
    closed: int
    """Rounds that the log settled."""
    accepted: tuple[int, ...]
    """By peer: in how many of them its contribution was accepted."""
    heldout: dict[str, float]
    """By tier, after the last round."""
    losses: tuple[float | None, ...]
    """By round: the mean over the peers that trained it; None where no loss was a number."""
    nan_losses: int
    errors: int
    """Lines at ERROR level, and tracebacks, in all logs."""

    @property
    def is_complete(self) -> bool:
        """Every peer's contribution to every round was accepted."""
        return all(count == self.closed == self.cell.rounds for count in self.accepted)


def make_record(cell: Cell, outcome: dict[str, Any], work: Path) -> Record:
    """From tools/localnet's outcome and the peers' own events and logs."""
    homes = [work / f"peer{number}" for number in range(len(outcome["peers"]))]
    recorded = [read_events(home / "events.jsonl") for home in homes]
    accepted = _accepted(recorded)
    by_round = _losses(recorded)
    losses = [loss for each in by_round.values() for loss in each]
    return Record(
        cell=cell,
        ok=bool(outcome["ok"]),
        problems=tuple(outcome["problems"]),
        seconds=outcome["seconds"],
        closed=outcome["rounds"],
        accepted=tuple(
            sum(peer["id"] in who for who in accepted.values()) for peer in outcome["peers"]
        ),
        heldout=outcome["heldout"],
        losses=tuple(_finite_mean(by_round[number]) for number in sorted(by_round)),
        nan_losses=sum(not math.isfinite(loss) for loss in losses),
        errors=sum(len(find_error_lines(home.with_name(f"{home.name}.log"))) for home in homes),
    )


def save_record(record: Record, folder: Path) -> None:
    """Write the run's file, whole or not at all."""
    text = json.dumps(asdict(record), indent=2)
    write_atomically(folder / record.cell.file_name, (text + "\n").encode())


def load_record(path: Path) -> Record:
    """A run's file; a StorageError for anything else."""
    try:
        values = json.loads(path.read_text())
        cell = Cell(**values.pop("cell"))
        record = Record(cell=cell, **values)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise StorageError(f"{path}: not the record of a run: {error}", "remove it") from error
    return record


def find_record(cell: Cell, folder: Path) -> Record | None:
    """The run as it was done before; a StorageError if the file is of another kind of run."""
    path = folder / cell.file_name
    if not path.exists():
        return None
    record = load_record(path)
    if record.cell != cell:
        raise StorageError(
            f"{path} is of {record.cell.rounds} rounds of {record.cell.config}, "
            f"not {cell.rounds} of {cell.config}",
            "name another --out",
        )
    return record


def _accepted(recorded: Iterable[Sequence[Recorded]]) -> dict[int, tuple[PeerId, ...]]:
    """By round: whose contributions the log accepted; every peer's log says the same."""
    return {
        one.event.round: one.event.trainers
        for events in recorded
        for one in events
        if isinstance(one.event, RoundClosed)
    }


def _losses(recorded: Iterable[Sequence[Recorded]]) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for events in recorded:
        for one in events:
            if isinstance(one.event, Trained):
                found.setdefault(one.event.round, []).append(one.event.loss)
    return found


def _finite_mean(losses: Sequence[float]) -> float | None:
    finite = [loss for loss in losses if math.isfinite(loss)]
    return round(fmean(finite), 4) if finite else None
