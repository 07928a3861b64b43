"""What a run begins with, as this machine finds it; and whether that is what its genesis says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from psyche_p2p.config import RunConfig, run_id
from psyche_p2p.coordinator.logfile import LogHead
from psyche_p2p.errors import ConfigError, DataError, ModelError
from psyche_p2p.ids import BlobHash, ParamRoot, RunId, SchemaHash
from psyche_p2p.model.initial_values import initial_roots
from psyche_p2p.node.comparison import Comparison
from psyche_p2p.train.messages import Ready


@dataclass(frozen=True, slots=True)
class Beginnings:
    """What this machine would write into the genesis."""

    run_id: RunId
    schema_hash: SchemaHash
    param_roots: tuple[ParamRoot, ...]
    """Of every tier of the run, the smallest first."""
    data_manifest: BlobHash


async def find_beginnings(
    config: RunConfig, ready: Ready | None, schema: SchemaHash
) -> Beginnings | None:
    """The run's first parameters and data; None for who cannot vouch for them.

    That is a witness, who has no data, and whoever lacks the checkpoint of a continued run.
    """
    if ready is None:
        return None
    roots = await _first_roots(config, ready)
    if roots is None:
        return None
    manifest = BlobHash(bytes.fromhex(ready.data_manifest))
    return Beginnings(run_id(config), schema, roots, manifest)


async def require_same_beginning(
    head: LogHead,
    config: RunConfig,
    ready: Ready | None,
    schema: SchemaHash,
    comparison: Comparison,
) -> None:
    """An error that says what differs, if this machine would begin the run with something else.

    A witness, who is never `ready`, has nothing but its software to compare.
    """
    genesis = head.genesis
    if genesis.schema_hash != schema:
        field = await comparison.describe_schema(genesis.schema_hash)
        raise ModelError(
            f"schema mismatch: the run has {genesis.schema_hash.hex()}, this software has "
            f"{schema.hex()}" + (field and f": {field}"),
            "use the version of psyche-p2p that the run was begun with",
        )
    if ready is None:
        return
    if genesis.data_manifest.hex() != ready.data_manifest:
        file = await comparison.describe_data(genesis.data_manifest)
        raise DataError(
            f"the training data here ({ready.data_manifest[:16]}) is not the run's "
            f"({genesis.data_manifest.hex()[:16]})" + (file and f": {file}"),
            _data_cure(config),
        )
    if config.beginning.param_root and not ready.first_roots:
        return  # the parameters come from those who have them
    roots = _decode_roots(ready.roots)
    if genesis.param_roots[: len(roots)] != roots:
        raise ModelError(
            "the first parameters of this software are not those of the run",
            "use the version of psyche-p2p that the run was begun with",
        )


def require_checkpoint(config: RunConfig, ready: Ready) -> None:
    """An error that says what is wrong with the checkpoint this peer was given, if anything is."""
    wanted, found = config.beginning.param_root, ready.first_roots
    if not found:
        return
    if not wanted:
        raise ConfigError(
            f"run {config.run.name} begins with the parameters that its seed draws, not with a "
            "checkpoint",
            "make a run that goes on from it: psyche-peer run continue CHECKPOINT --out DIR",
        )
    if len(found) > config.model.max_tier and found[-1] != wanted:
        raise ModelError(
            f"the checkpoint's param root is {found[-1]}, run {config.run.name} begins with "
            f"{wanted}",
            "give the checkpoint that the run was made of",
        )


async def _first_roots(config: RunConfig, ready: Ready) -> tuple[ParamRoot, ...] | None:
    if not config.beginning.param_root:
        roots = _decode_roots(ready.roots)
        if len(roots) > config.model.max_tier:
            return roots
        # the trainer holds but a slice
        return await asyncio.to_thread(initial_roots, config.model, config.run.seed)
    if len(ready.first_roots) <= config.model.max_tier:
        return None  # no checkpoint, or only a slice of one
    return _decode_roots(ready.first_roots)


def _decode_roots(roots: tuple[str, ...]) -> tuple[ParamRoot, ...]:
    return tuple(ParamRoot(bytes.fromhex(root)) for root in roots)


def _data_cure(config: RunConfig) -> str:
    if config.data.provider == "builtin":
        return "use the run's Python version; psyche-peer data manifest shows which file differs"
    return "compare with another peer's: psyche-peer data manifest --compare FILE"
