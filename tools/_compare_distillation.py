"""tools/compare-distillation: the arms of the distillation experiment, seed by seed.

Runs that the results file already has are not repeated, so an interrupted comparison goes on where
it stopped.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import click
import torch
from simulation.arms import ARMS, make_setting
from simulation.peers import simulate

from psyche_p2p.cli.main import run_command
from psyche_p2p.files import write_atomically

_MAIN_ARMS = ("alone", "mixed", "gate", "kd", "both")
# two-sided 95% points of Student's t, by degrees of freedom
_T95 = (math.inf, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)

Results = dict[str, dict[str, Any]]


def run_arms(
    names: tuple[str, ...], seeds: range, steps: int, heldout_samples: int, path: Path
) -> Results:
    """Every arm at every seed, all arms of a seed before the next seed."""
    results: Results = json.loads(path.read_text()) if path.exists() else {}
    for seed in seeds:
        for name in names:
            key = _key(name, seed, steps)
            if key in results:
                continue
            outcome, simulation = simulate(make_setting(ARMS[name], seed, steps, heldout_samples))
            stats = [{"round": index, **asdict(found)} for index, found in simulation.stats]
            results[key] = {**outcome, "distillation_stats": stats}
            write_atomically(path, json.dumps(results, indent=1).encode())
            click.echo(f"{key}: {outcome['heldout']} in {outcome['seconds']} s", err=True)
    return results


def compare(
    results: Results, names: tuple[str, ...], seeds: range, steps: int, reference: str
) -> list[dict[str, Any]]:
    """Each arm's tier-0 loss, and its difference from the reference at the same seeds."""
    rows = []
    for name in names:
        losses = _losses(results, name, seeds, steps)
        row: dict[str, Any] = {"arm": name, "losses": losses, "mean": round(mean(losses), 4)}
        row["range"] = round(max(losses) - min(losses), 4)
        if name != reference:
            against = _losses(results, reference, seeds, steps)
            row |= _paired([a - b for a, b in zip(losses, against, strict=True)])
        rows.append(row)
    return rows


def _paired(differences: list[float]) -> dict[str, Any]:
    """The mean difference and the half-width of its 95% interval, by the paired t-test."""
    count = len(differences)
    if count < 2:
        return {"difference": round(differences[0], 4), "half_width": None}
    error = stdev(differences) / math.sqrt(count)
    width = _T95[min(count, len(_T95)) - 1] * error
    return {
        "difference": round(mean(differences), 4),
        "half_width": round(width, 4),
        "differences": [round(difference, 4) for difference in differences],
    }


def _losses(results: Results, name: str, seeds: range, steps: int) -> list[float]:
    found = [results[_key(name, seed, steps)]["heldout"] for seed in seeds]
    return [min(heldout.items())[1] for heldout in found]


def _key(name: str, seed: int, steps: int) -> str:
    return f"{name}/seed{seed}/steps{steps}"


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: tools/compare-distillation --seeds 3 --steps 1500 --results arms.json",
)
@click.option("--arms", default=",".join(_MAIN_ARMS), show_default=True, metavar="NAMES")
@click.option("--seeds", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option("--first-seed", type=click.IntRange(0, 100), default=0, show_default=True)
@click.option("--steps", type=click.IntRange(1), default=1500, show_default=True)
@click.option("--heldout-samples", type=click.IntRange(1), default=1024, show_default=True)
@click.option("--reference", default="mixed", show_default=True, help="Compare with this arm.")
@click.option("--results", type=click.Path(path_type=Path), required=True, help="JSON, kept.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
def compare_distillation(
    arms: str,
    seeds: int,
    first_seed: int,
    steps: int,
    heldout_samples: int,
    reference: str,
    results: Path,
    threads: int,
) -> None:
    """Train every arm at every seed and compare held-out losses of tier 0, one line of JSON an arm.

    A smallest tier's own arms (tier1, ...) report the loss of that tier.
    """
    names = tuple(arms.split(","))
    unknown = [name for name in (*names, reference) if name not in ARMS]
    if unknown:
        known = ", ".join(ARMS)
        raise click.BadParameter(f"{unknown[0]!r} is none of {known}", param_hint="--arms")
    torch.set_num_threads(threads)
    chosen = range(first_seed, first_seed + seeds)
    found = run_arms(
        tuple(dict.fromkeys((*names, reference))), chosen, steps, heldout_samples, results
    )
    for row in compare(found, names, chosen, steps, reference):
        json.dump(row, sys.stdout)
        sys.stdout.write("\n")


if __name__ == "__main__":
    run_command(compare_distillation)
