"""The whole DisTrO step against a plain reference, and the update's size against its bound.

    tools/bench codec                        # the 25M shape, 4 peers
    tools/bench codec --config configs/nano.toml --repeats 3

`codec.step_speedup` is the median, over steps timed turn by turn in this process, of the
reference's time through ours: momentum, transform, choice of the largest, removal of what is sent,
votes, inverse transform, sign and step. The reference (`codec_reference.py`) is what one would
write first. Lookahead is work that it does not do and is timed by itself.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import torch
from torch import Tensor

from benchmarks.codec_reference import PlainStep, Sent
from benchmarks.report import median_ratio, report, time_in_turns
from psyche_p2p.codec import (
    Coefficients,
    compute_bound_bits,
    decode_coefficients,
    encode_coefficients,
)
from psyche_p2p.codec.recording import parse_recording
from psyche_p2p.config import RunConfig, load_run_config
from psyche_p2p.ids import Tier
from psyche_p2p.model.initial import initial_state
from psyche_p2p.optim.distro import Distro
from psyche_p2p.optim.grids import make_grids
from psyche_p2p.optim.interface import Contribution
from psyche_p2p.optim.make import make_optimizer
from psyche_p2p.optim.schedule import learning_rate_to_bits

ROOT = Path(__file__).resolve().parents[2]
_RECORDING = ROOT / "tests" / "codec" / "assets" / "steady_state.npz"
_RATE = 1e-3


@dataclass(frozen=True, slots=True)
class Bench:
    """Our optimizer and the reference on the same model, gradients and peers."""

    config: RunConfig
    ours: Distro
    plain: PlainStep
    gradients: dict[str, Tensor]
    contributions: list[Contribution]
    sent: list[Sent]

    def run_ours(self) -> None:
        self.encode_ours()
        self.apply_ours()

    def run_plain(self) -> None:
        self.plain.encode(self.gradients)
        self.plain.apply(self.sent)

    def encode_ours(self) -> None:
        self.ours.accumulate(self.gradients)
        self.ours.contribution()

    def encode_plain(self) -> None:
        self.plain.encode(self.gradients)

    def apply_ours(self) -> None:
        self.ours.apply(self.contributions, learning_rate_to_bits(_RATE))

    def apply_plain(self) -> None:
        self.plain.apply(self.sent)

    def look_ahead(self) -> None:
        self.ours.begin_round(_RATE)


def main(arguments: list[str]) -> int:
    _command.main(arguments, standalone_mode=False)
    return 0


@click.command(epilog="Example: tools/bench codec --config configs/nano.toml")
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default=ROOT / "configs" / "nanogpt-20m.toml",
    help="Whose model.  [default: configs/nanogpt-20m.toml]",
)
@click.option("--peers", default=4, show_default=True)
@click.option("--repeats", default=7, show_default=True)
@click.option("--threads", default=2, show_default=True)
def _command(path: Path, peers: int, repeats: int, threads: int) -> None:
    torch.set_num_threads(threads)
    bench = _make_bench(path, peers)
    details = {"peers": peers, "threads": threads, "parameters": _count(bench.gradients)}
    for figure, ours, plain in (
        ("codec.step_speedup", bench.run_ours, bench.run_plain),
        ("codec.encode_speedup", bench.encode_ours, bench.encode_plain),
        ("codec.apply_speedup", bench.apply_ours, bench.apply_plain),
    ):
        _report_speedup(figure, ours, plain, repeats, details)
    seconds = time_in_turns({"lookahead": bench.look_ahead}, repeats)["lookahead"]
    report("codec.lookahead", round(1e3 * statistics.median(seconds), 1), "ms", **details)
    _report_memory(bench)
    _report_sizes(bench, repeats)
    _report_recorded_sizes()


def _make_bench(path: Path, peers: int) -> Bench:
    config = load_run_config(path)
    generator = torch.Generator().manual_seed(0)
    state = initial_state(config.model, seed=0)
    gradients = {
        name: torch.randn(value.shape, generator=generator) for name, value in state.items()
    }
    ours = make_optimizer(config.model, config.optimizer, state)
    assert isinstance(ours, Distro)
    settings = config.optimizer.distro
    plain = PlainStep(
        {name: value.clone() for name, value in ours.masters.items()},
        chunk_size=settings.chunk_size,
        top_k=settings.top_k,
        decay=settings.momentum_decay,
        clip_grad_norm=settings.clip_grad_norm,
        learning_rate=_RATE,
    )
    ours.begin_round(_RATE)
    contributions, sent = [], []
    for _ in range(peers):
        noise = {n: torch.randn(v.shape, generator=generator) for n, v in gradients.items()}
        ours.accumulate(noise)
        contributions.append(ours.contribution())
        sent.append(plain.encode(noise))
    return Bench(config, ours, plain, gradients, contributions, sent)


def _report_speedup(
    figure: str,
    ours: Callable[[], None],
    plain: Callable[[], None],
    repeats: int,
    details: dict[str, int],
) -> None:
    seconds = time_in_turns({"plain": plain, "ours": ours}, repeats)
    report(
        figure,
        round(median_ratio(seconds["plain"], seconds["ours"]), 2),
        "times faster",
        ours_ms=round(1e3 * statistics.median(seconds["ours"]), 1),
        plain_ms=round(1e3 * statistics.median(seconds["plain"]), 1),
        repeats=repeats,
        **details,
    )


def _report_memory(bench: Bench) -> None:
    """What one peer holds beside the parameters its model reads."""
    momentum = sum(part.numel() * part.element_size() for part in bench.ours.momentum.values())
    masters = sum(part.numel() * part.element_size() for part in bench.ours.masters.values())
    report("codec.momentum_memory", round(momentum / 2**20, 1), "MiB")
    report("codec.masters_memory", round(masters / 2**20, 1), "MiB", only_with="lookahead")
    plain = sum(part.numel() * part.element_size() for part in bench.plain.momentum.values())
    report("codec.plain_momentum_memory", round(plain / 2**20, 1), "MiB")


def _report_sizes(bench: Bench, repeats: int) -> None:
    """The bytes of one update of noise, and how long its bits take to write and read."""
    grid = make_grids(bench.config.model, bench.config.optimizer, Tier(0)).own
    sent: Coefficients = bench.contributions[0].coefficients
    sections = encode_coefficients(grid, sent)
    size = sum(len(data) for data in sections.values())
    bound = compute_bound_bits(grid, sent) / 8
    report("codec.noise_bound_ratio", round(size / bound, 4), "", bytes=size, bound=round(bound))
    seconds = time_in_turns(
        {
            "write": lambda: encode_coefficients(grid, sent),
            "read": lambda: decode_coefficients(grid, sent.payload, sent.top_k, sections),
        },
        repeats,
    )
    for name, runs in seconds.items():
        report(f"codec.{name}_bits", round(1e3 * statistics.median(runs), 2), "ms")


def _report_recorded_sizes() -> None:
    """Updates of a real run's last round against the bits that no code can do without."""
    grid, updates = parse_recording(_RECORDING.read_bytes())
    sizes = [sum(len(data) for data in encode_coefficients(grid, u).values()) for u in updates]
    bounds = [compute_bound_bits(grid, update) / 8 for update in updates]
    ratio = round(sum(sizes) / sum(bounds), 4)
    report("codec.bound_ratio", ratio, "", updates=len(updates), bytes=sum(sizes))


def _count(tensors: dict[str, Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors.values())
