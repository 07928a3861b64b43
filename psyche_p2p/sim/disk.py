"""What of a simulated peer survives a crash."""

from __future__ import annotations

from dataclasses import dataclass, field

from psyche_p2p.consensus import WalRecord
from psyche_p2p.coordinator import State
from psyche_p2p.ids import Height
from psyche_p2p.wire import DecidedBlock


@dataclass
class Disk:
    """The log, the state it leads to, and the write-ahead log."""

    state: State
    decided: list[DecidedBlock] = field(default_factory=list)
    wal: list[WalRecord] = field(default_factory=list)
    is_whole: bool = True
    """Whether everything that was ever written is still there."""

    def append(self, record: WalRecord) -> None:
        self.wal.append(record)

    def store(self, decided: DecidedBlock, state: State) -> None:
        """Keep a decided block and forget the votes that led to it."""
        self.decided.append(decided)
        self.state = state
        self.forget_through(decided.block.height)

    def load(self) -> list[WalRecord]:
        return list(self.wal)

    def forget_through(self, height: Height) -> None:
        self.wal = [record for record in self.wal if record.height > height]
