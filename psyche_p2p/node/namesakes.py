"""An operator's run file against the network: is it the run that was asked for, and the only one?

A run's id is the hash of its configuration, so a file that differs in one value begins another run,
and its peer would wait there alone. It is told what differs instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from psyche_p2p.config import RunConfig, run_id
from psyche_p2p.errors import ConfigError, LocalError, ModelError
from psyche_p2p.ids import RunId
from psyche_p2p.model.schema import describe_schema_difference, model_schema, schema_hash
from psyche_p2p.net.bulk_client import BulkClient, Patience
from psyche_p2p.net.discovery import Discovery
from psyche_p2p.node.directory import Directory
from psyche_p2p.node.entering import describe

_CURE = "join it with --run and without --run-file, or give yours another name (run.name)"


def require_asked_for(config: RunConfig, wanted: str | None) -> None:
    """ConfigError if --run and --run-file name two runs."""
    found = run_id(config).hex()
    if wanted not in (None, config.run.name, found):
        raise ConfigError(
            f"--run {wanted} is not the run of --run-file, which is {config.run.name} ({found})",
            "give only one of them",
        )


async def require_no_namesake(
    discovery: Discovery, directory_of: Callable[[RunId], Directory], config: RunConfig
) -> None:
    """An error that says what differs, if the network is in another run of this name."""
    ours = run_id(config)
    for run in await discovery.find_runs():
        if run.name == config.run.name and run.run_id != ours:
            directory = directory_of(run.run_id)
            await directory.look()
            async with BulkClient(None, Patience()) as client:
                doors = list(directory.open_doors().values())
                for description in await describe(client, doors, run.run_id):
                    raise explain_difference(config, description.config)


def explain_difference(ours: RunConfig, theirs: RunConfig) -> LocalError:
    """What sets two runs of one name apart; a model that differs comes first."""
    run = f"the run {theirs.run.name!r} of this network"
    here, there = model_schema(ours.model), model_schema(theirs.model)
    field = describe_schema_difference(here, there)
    if field:
        hashes = schema_hash(there).hex(), schema_hash(here).hex()
        cause = f"schema mismatch: {run} has {hashes[0]}, the run file {hashes[1]}"
        return ModelError(f"{cause}; {field}", _CURE)
    here_by_key = dict(_flat(ours.model_dump()))
    key, value = next(
        (key, value) for key, value in _flat(theirs.model_dump()) if here_by_key[key] != value
    )
    cause = f"{run} is {run_id(theirs).hex()}, the run file's {run_id(ours).hex()}"
    return ConfigError(f"{cause}; {key} is {value!r} there, {here_by_key[key]!r} here", _CURE)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
