"""What a local network is made of, and the run configuration that its peers are given."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psyche_p2p.cli.run import toml_lines
from psyche_p2p.config import RunConfig
from psyche_p2p.config.load import check_run_config
from psyche_p2p.errors import ConfigError
from psyche_p2p.files import write_atomically
from psyche_p2p.identity import Identity

DEFAULT_ROUNDS = 100
_MAX_NAME = 64


@dataclass(frozen=True, slots=True)
class Plan:
    """Who takes part, for how long, and what is done to them."""

    tiers: tuple[int, ...]
    witnesses: int
    seed: int
    exit_after_s: float | None
    kill_every_s: float | None
    give_up_after_s: float
    data_dir: Path | None
    program: tuple[str, ...]
    """What starts a peer: `psyche-peer`, with the Python that runs this."""

    @property
    def peers(self) -> int:
        return len(self.tiers) + self.witnesses

    @property
    def threads(self) -> int:
        """Of each trainer, so that together they fill the machine and no more."""
        is_known = hasattr(os, "sched_getaffinity")
        cores = len(os.sched_getaffinity(0)) if is_known else os.cpu_count() or 1
        return max(1, cores // len(self.tiers))


def identity_of(seed: int, number: int) -> Identity:
    """The same peers for the same seed, so that committees and batches come out the same."""
    return Identity.from_seed(hashlib.sha256(f"localnet {seed} {number}".encode()).digest())


def make_run_config(
    base: RunConfig,
    plan: Plan,
    rounds: int | None,
    is_centralized: bool,
    changes: Sequence[str],
) -> RunConfig:
    """The base configuration, fitted to this network; `changes` like `section.key=value` win."""
    values = base.model_dump()
    suffix = f"{time.time_ns() // 1_000_000:x}-{os.getpid():x}"  # no other network has this name
    values["run"]["name"] = f"{base.run.name[: _MAX_NAME - len(suffix) - 1]}-{suffix}"
    values["run"]["seed"] += plan.seed
    if rounds is not None:
        values["run"]["total_rounds"] = rounds
        schedule = values["schedule"]  # a short run has no time for a long one's
        schedule["warmup_rounds"] = min(schedule["warmup_rounds"], rounds // 4)
        schedule["decay_rounds"] = min(schedule["decay_rounds"], rounds // 2)
    values["members"]["init_min_members"] = plan.peers
    if is_centralized:
        values["committee"]["authorities"] = (identity_of(plan.seed, 0).peer_id,)
    for change in changes:
        apply_change(values, change)
    return check_run_config(values, "this network's configuration")


def require_tiers(tiers: Sequence[int], config: RunConfig) -> None:
    """Say which tier this run does not allow."""
    for tier in tiers:
        if not 0 <= tier <= config.model.max_tier:
            raise ConfigError(
                f"--tiers {','.join(map(str, tiers))}: tier {tier} is not allowed",
                f"this run's model.max_tier is {config.model.max_tier}",
            )


def write_run_file(config: RunConfig, path: Path) -> None:
    """The configuration as the TOML file that a person would have written."""
    write_atomically(path, "\n".join([*toml_lines(config), ""]).encode())


def apply_change(values: dict[str, Any], change: str) -> None:
    """Change what SECTION.KEY=VALUE says; ConfigError if there is no such section."""
    key, separator, text = change.partition("=")
    *sections, name = key.strip().split(".")
    if not separator or not sections:
        raise ConfigError(f"--set {change}: this is not SECTION.KEY=VALUE")
    section: Any = values
    for part in sections:
        section = section.get(part) if isinstance(section, Mapping) else None
    if not isinstance(section, dict):
        raise ConfigError(f"--set {change}: there is no section {'.'.join(sections)}")
    section[name] = _value(text.strip())


def _value(text: str) -> Any:
    """A number, true, false or a list as JSON and TOML both spell it; anything else is text."""
    try:
        return json.loads(text)
    except ValueError:
        return text
