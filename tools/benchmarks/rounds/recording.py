"""What a real trainer said and sent once, kept in a folder for stand-ins that repeat it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from psyche_p2p.blobs import Update, read_layout, read_update
from psyche_p2p.ids import Tier


@dataclass(frozen=True, slots=True)
class Recorded:
    """One tier's trainer."""

    parameters: int
    schema_hash: str
    data_manifest: str
    roots: tuple[str, ...]
    """Of the run's first parameters, the smallest tier's first."""
    memory_bytes: int
    loss: float
    seconds: float
    """What the recorded step took, for comparison."""


def write_recording(folder: Path, tier: Tier, recorded: Recorded, update: bytes) -> None:
    (folder / f"tier{tier}.json").write_text(json.dumps(asdict(recorded)))
    (folder / f"tier{tier}.blob").write_bytes(update)


def read_recording(folder: Path, tier: Tier) -> tuple[Recorded, Update]:
    values = json.loads((folder / f"tier{tier}.json").read_text())
    update = read_update(read_layout((folder / f"tier{tier}.blob").read_bytes()))
    return Recorded(**{**values, "roots": tuple(values["roots"])}), update
