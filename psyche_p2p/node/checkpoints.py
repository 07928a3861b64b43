"""This peer's checkpoints: written by the trainer, published once the log vouches for them.

    checkpoints/round-00000016/             a Hugging Face folder; its psyche.json names the block
    checkpoints/.unproven-round-00000032/   written, and the log has not agreed on its root yet

A folder with the proper name always holds parameters whose root is the log's. One whose root the
log contradicts, or passes over, is removed.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from psyche_p2p.config import RunConfig
from psyche_p2p.errors import PsycheError, StorageError
from psyche_p2p.files import storage_error, sync_folder, write_atomically
from psyche_p2p.ids import BlobHash, RoundIndex, Tier
from psyche_p2p.log import get_logger
from psyche_p2p.model.checkpoint_manifest import (
    MANIFEST_FILE,
    CheckpointManifest,
    CheckpointOrigin,
    read_manifest,
)
from psyche_p2p.node.settled import Agreement, Settled

_PUBLISHED = re.compile(r"round-(\d{8,})")
_UNPROVEN = ".unproven-"
MOST_BEHIND = 2  # rounds; whoever is further behind catches up first
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Decision:
    """A checkpoint, and what the log says of its round; None if it says nothing."""

    param_round: RoundIndex
    folder: Path
    agreed: Agreement | None


class Checkpoints:
    """The folder of a run's checkpoints on this machine, in use by one peer."""

    def __init__(
        self,
        folder: Path,
        config: RunConfig,
        tier: Tier,
        settled: Settled,
        data_manifest: BlobHash,
    ) -> None:
        self._folder = folder
        self._config = config
        self._tier = tier
        self._settled = settled
        self._data_manifest = data_manifest
        self._unproven: dict[RoundIndex, Path] = {}
        self.on_published: Callable[[Path, RoundIndex], None] = lambda _folder, _round: None
        """Called when there is a new one."""

    def open(self) -> None:
        """Have the folder, without what an earlier process left unproven."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for path in self._folder.iterdir():
                if path.name.startswith("."):
                    shutil.rmtree(path)
        except OSError as error:
            raise storage_error("cannot use", self._folder, error) from error

    def is_scheduled(self, applied: RoundIndex) -> bool:
        """Whether the configuration wants a checkpoint of just these parameters."""
        every = self._config.checkpoint.every_rounds
        is_turn = every > 0 and applied > 0 and applied % every == 0
        return is_turn and self._settled.closed_count - applied <= MOST_BEHIND

    def is_missing(self, applied: RoundIndex) -> bool:
        """Whether there is no checkpoint of these parameters, proven or not."""
        return applied not in self._unproven and not self._place(applied).exists()

    def unproven_place(self, applied: RoundIndex) -> Path:
        """Where the trainer is to write the parameters after so many rounds."""
        return self._folder / f"{_UNPROVEN}{self._place(applied).name}"

    def take(self, applied: RoundIndex) -> None:
        """The trainer has written them."""
        self._unproven[applied] = self.unproven_place(applied)

    @property
    def is_any_decided(self) -> bool:
        """Whether the log has spoken of one that is not published yet."""
        return any(one <= self._settled.agreed_through for one in self._unproven)

    def take_decided(self) -> list[Decision]:
        """Those of whose round the log has spoken; each is handed out once."""
        through = self._settled.agreed_through
        decided = sorted(one for one in self._unproven if one <= through)
        return [
            Decision(one, self._unproven.pop(one), self._settled.agreement(one)) for one in decided
        ]

    def carry_out(self, decision: Decision) -> Path | None:
        """Publish it where the log agrees, and keep the newest few; else remove it."""
        try:
            fault = self._find_fault(decision)
            if fault is None:
                return self._publish(decision)
        except PsycheError as error:
            fault = str(error)
        _log.warning("a checkpoint is removed", rounds=decision.param_round, cause=fault)
        shutil.rmtree(decision.folder, ignore_errors=True)
        return None

    def published(self) -> list[Path]:
        """Every checkpoint that the log vouches for, the oldest first."""
        found = ((_PUBLISHED.fullmatch(path.name), path) for path in self._folder.iterdir())
        return [path for _, path in sorted((int(name[1]), path) for name, path in found if name)]

    def _find_fault(self, decision: Decision) -> str | None:
        if decision.agreed is None:
            return "the log names no root after so many rounds"
        ours = _require_manifest(decision.folder).param_root
        theirs = decision.agreed.roots[self._config.model.max_tier - self._tier]
        if ours == theirs:
            return None
        return f"its root is {ours.hex()[:16]}, the log says {theirs.hex()[:16]}"

    def _publish(self, decision: Decision) -> Path:
        """Say in it where it comes from, then give it its name."""
        agreed, place = decision.agreed, self._place(decision.param_round)
        assert agreed is not None, "looked at before"
        origin = CheckpointOrigin(
            config=self._config,
            data_manifest=self._data_manifest,
            height=agreed.height,
            block_hash=agreed.block_hash,
            epoch=agreed.epoch,
            param_round=decision.param_round,
            first_sample=agreed.first_sample,
            param_roots=agreed.roots,
        )
        manifest = replace(_require_manifest(decision.folder), origin=origin)
        write_atomically(decision.folder / MANIFEST_FILE, manifest.to_json())
        try:
            decision.folder.rename(place)
            sync_folder(self._folder)
            for old in self.published()[: -self._config.checkpoint.keep]:
                shutil.rmtree(old)
        except OSError as error:
            raise storage_error("cannot keep", place, error) from error
        _log.info("checkpoint written", folder=str(place), rounds=decision.param_round)
        return place

    def _place(self, applied: RoundIndex) -> Path:
        return self._folder / f"round-{applied:08}"


def _require_manifest(folder: Path) -> CheckpointManifest:
    manifest = read_manifest(folder)
    if manifest is None:
        raise StorageError(f"{str(folder / MANIFEST_FILE)!r} is gone", "leave the folder alone")
    return manifest
