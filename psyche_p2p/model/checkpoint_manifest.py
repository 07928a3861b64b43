"""`psyche.json` of a checkpoint: the hash of every file in it, the schema and the param root.

It makes a checkpoint self-checking: loading compares every file with it. Checkpoints from elsewhere
have none, and are checked for their structure only. One that a peer took of a run also says where
in the run's log its parameters are the agreed ones, and with that how the run can be continued.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3

from psyche_p2p.config import RunConfig, canonical_bytes, decode_run_config, run_id
from psyche_p2p.errors import ConfigError, ModelError
from psyche_p2p.files import storage_error
from psyche_p2p.hashing import DIGEST_BYTES
from psyche_p2p.ids import (
    BlobHash,
    BlockHash,
    EpochIndex,
    Height,
    ParamRoot,
    RoundIndex,
    RunId,
    SchemaHash,
)
from psyche_p2p.model.json_file import read_json_object

MANIFEST_FILE = "psyche.json"
_FORMAT = 1
_MAX_BYTES = 4 << 20
_READ_BYTES = 1 << 20
_CURE = "fetch the checkpoint again"


@dataclass(frozen=True, slots=True)
class FileDigest:
    """Size and BLAKE3 of a file."""

    size_bytes: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class CheckpointOrigin:
    """Which parameters these are: the run's, after so many rounds, as a block of its log says."""

    config: RunConfig
    data_manifest: BlobHash
    height: Height
    """Of the first block after which these were the agreed parameters."""
    block_hash: BlockHash
    epoch: EpochIndex
    param_round: RoundIndex
    """How many rounds the parameters have had."""
    first_sample: int
    """The first sample of the data that they have not been trained on."""
    param_roots: tuple[ParamRoot, ...]
    """What the block agreed on, for every tier, the smallest first."""

    @property
    def run_id(self) -> RunId:
        return run_id(self.config)

    def to_values(self) -> dict[str, Any]:
        return {
            "run_id": self.run_id.hex(),
            "run_name": self.config.run.name,
            "height": self.height,
            "block_hash": self.block_hash.hex(),
            "epoch": self.epoch,
            "param_round": self.param_round,
            "first_sample": self.first_sample,
            "param_roots": [root.hex() for root in self.param_roots],
            "data_manifest": self.data_manifest.hex(),
            "config": canonical_bytes(self.config).decode(),
        }


@dataclass(frozen=True, slots=True)
class CheckpointManifest:
    """What was written. `suffix_roots` lead from a slice's root to the full model's, if known."""

    schema_hash: SchemaHash
    param_root: ParamRoot
    suffix_roots: tuple[bytes, ...]
    files: Mapping[str, FileDigest]
    origin: CheckpointOrigin | None = None

    def to_json(self) -> bytes:
        values: dict[str, Any] = {
            "format": _FORMAT,
            "schema_hash": self.schema_hash.hex(),
            "param_root": self.param_root.hex(),
            "suffix_roots": [root.hex() for root in self.suffix_roots],
            "files": {
                name: {"size_bytes": file.size_bytes, "blake3": file.digest.hex()}
                for name, file in sorted(self.files.items())
            },
        }
        if self.origin is not None:
            values["origin"] = self.origin.to_values()
        return json.dumps(values, indent=2).encode() + b"\n"


def digest_file(path: Path) -> FileDigest:
    """Size and BLAKE3 of a file, read in pieces."""
    hasher, size = blake3(), 0
    try:
        with path.open("rb") as file:
            while piece := file.read(_READ_BYTES):
                hasher.update(piece)
                size += len(piece)
    except OSError as error:
        raise storage_error("cannot read", path, error) from error
    return FileDigest(size, hasher.digest())


def read_manifest(folder: Path) -> CheckpointManifest | None:
    """The manifest of a checkpoint; None if it has none."""
    path = folder / MANIFEST_FILE
    if not path.exists():
        return None
    values = read_json_object(path, _MAX_BYTES)
    if values.get("format") != _FORMAT:
        written = str(values.get("format"))[:20]
        raise ModelError(f"{str(path)!r} has format {written}, not {_FORMAT}", _CURE)
    try:
        return CheckpointManifest(
            SchemaHash(_digest(values["schema_hash"])),
            ParamRoot(_digest(values["param_root"])),
            tuple(_digest(root) for root in values["suffix_roots"]),
            {name: _file_digest(name, entry) for name, entry in values["files"].items()},
            _origin(values["origin"]) if "origin" in values else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
        raise ModelError(f"{str(path)!r} is not a checkpoint's manifest: {error}", _CURE) from error


def verify_files(folder: Path, manifest: CheckpointManifest, needed: set[str]) -> None:
    """ModelError for the first file that is missing, unlisted or not what was written."""
    unlisted = sorted(needed - manifest.files.keys())
    if unlisted:
        raise ModelError(f"{str(folder / unlisted[0])!r} is not in {MANIFEST_FILE}", _CURE)
    for name, expected in sorted(manifest.files.items()):
        path = folder / name
        if not path.is_file():
            raise ModelError(f"{str(path)!r} is missing", _CURE)
        size = path.stat().st_size
        if size != expected.size_bytes:
            raise ModelError(
                f"{str(path)!r} has {size} bytes, {expected.size_bytes} were written", _CURE
            )
        if digest_file(path) != expected:
            raise ModelError(f"{str(path)!r} is not what was written: its hash differs", _CURE)


def _origin(values: Mapping[str, Any]) -> CheckpointOrigin:
    config = decode_run_config(values["config"].encode(), "the run that it was taken of")
    if run_id(config) != _digest(values["run_id"]):
        raise ValueError("its configuration is of another run than its run_id")
    return CheckpointOrigin(
        config,
        BlobHash(_digest(values["data_manifest"])),
        Height(_count(values["height"])),
        BlockHash(_digest(values["block_hash"])),
        EpochIndex(_count(values["epoch"])),
        RoundIndex(_count(values["param_round"])),
        _count(values["first_sample"]),
        tuple(ParamRoot(_digest(root)) for root in values["param_roots"]),
    )


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{str(value)[:40]!r} is not a count")
    return value


def _file_digest(name: str, entry: Mapping[str, Any]) -> FileDigest:
    if Path(name).name != name:
        raise ValueError(f"{name[:100]!r} is not the name of a file in the checkpoint")
    size = entry["size_bytes"]
    if type(size) is not int or size < 0:
        raise ValueError(f"{name!r} has no sensible size")
    return FileDigest(size, _digest(entry["blake3"]))


def _digest(text: Any) -> bytes:
    digest = bytes.fromhex(text)
    if len(digest) != DIGEST_BYTES:
        raise ValueError("a hash has 32 bytes")
    return digest
