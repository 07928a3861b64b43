"""Memory of one training step at tiers 0, 1 and 2: sliced models against masked full ones.

Every measurement is a child process of its own: its peak resident memory above what the imports
take, over one optimizer-less training step (forward, backward, momentum) at a realistic batch. A
masked model holds everything and runs the tier by narrow views; a sliced one holds only the prefix.
For shapes that do not fit here, the bytes of parameters, gradients and momentum are computed.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path

from benchmarks.report import report

_ROOT = Path(__file__).resolve().parents[2]
_STATE_COPIES = 3  # parameters, gradients, momentum
_BYTES = 4
_LARGE_SHAPES = {
    # Llama 3.2 1B and Llama 2 7B, as published
    "1b": {"vocab": 128_256, "hidden": 2048, "ffn": 8192, "layers": 16, "kv": 512, "tied": True},
    "7b": {"vocab": 32_000, "hidden": 4096, "ffn": 11_008, "layers": 32, "kv": 4096, "tied": False},
}


def main(arguments: list[str]) -> int:
    options = _parse(arguments)
    if options.measure:
        tier, mode = options.measure
        print(_measure(options.config, int(tier), mode == "masked", options.batch, options.length))
        return 0
    peaks = {
        (tier, mode): _in_child(options, tier, mode)
        for mode in ("sliced", "masked")
        for tier in options.tiers
    }
    base = peaks[0, "sliced"]
    for (tier, mode), peak in peaks.items():
        report(f"memory.tier{tier}_{mode}", round(peak / 1024, 1), "MiB above the imports")
    for mode, suffix in (("sliced", ""), ("masked", "_masked")):
        for tier in options.tiers[1:]:
            saving = 1 - peaks[tier, mode] / base
            report(f"memory.tier{tier}_saving{suffix}", round(saving, 4), "of tier 0")
    for name in _LARGE_SHAPES:
        for tier in options.tiers[1:]:
            saving = 1 - _parameters(name, tier) / _parameters(name, 0)
            gib = _parameters(name, tier) * _STATE_COPIES * _BYTES / 2**30
            report(
                f"memory.{name}_tier{tier}_saving_computed",
                round(saving, 4),
                "of parameters, gradients and momentum",
                state_gib=round(gib, 1),
            )
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools/bench memory", description=__doc__)
    parser.add_argument("--config", type=Path, default=_ROOT / "configs" / "nanogpt-20m.toml")
    parser.add_argument("--tiers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--batch", type=int, default=4, help="samples in a micro-batch")
    parser.add_argument("--length", type=int, default=256, help="tokens in a sample")
    parser.add_argument("--repeats", type=int, default=3, help="children a figure; the median")
    parser.add_argument("--measure", nargs=2, metavar=("TIER", "MODE"), help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _in_child(options: argparse.Namespace, tier: int, mode: str) -> int:
    command = [sys.executable, str(_ROOT / "tools" / "_bench.py"), "memory"]
    command += ["--config", str(options.config), "--measure", str(tier), mode]
    command += ["--batch", str(options.batch), "--length", str(options.length)]
    peaks = []
    for _ in range(options.repeats):
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(json.loads(result.stdout)))
    return sorted(peaks)[len(peaks) // 2]


def _measure(config_path: Path, tier: int, masked: bool, batch: int, length: int) -> int:
    """Peak KiB above the imports of two training steps, in this process."""
    import torch

    from psyche_p2p.config import load_run_config
    from psyche_p2p.ids import Tier
    from psyche_p2p.model.gradients import accumulate_gradients
    from psyche_p2p.model.initial import initial_model

    torch.set_num_threads(1)
    config = load_run_config(config_path).model
    torch.ones(64, 64) @ torch.ones(64, 64)  # the math library's own buffers belong to the imports
    before = _peak_kib()
    model = initial_model(config, 0, Tier(0 if masked else tier))
    momentum = [torch.zeros_like(parameter) for parameter in model.parameters()]
    tokens_bt = torch.arange(batch * (length + 1)).reshape(batch, -1) % config.vocab_size
    for _ in range(2):
        model.zero_grad(set_to_none=False)
        accumulate_gradients(model, tokens_bt, model.view_at(Tier(tier)))
        for buffer, parameter in zip(momentum, model.parameters(), strict=True):
            if parameter.grad is not None:
                buffer.mul_(0.9).add_(parameter.grad)
    return _peak_kib() - before


def _peak_kib() -> int:
    """VmHWM, which unlike ru_maxrss is not inherited from the parent across exec."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def _parameters(name: str, tier: int) -> int:
    shape = _LARGE_SHAPES[name]
    hidden, kv = shape["hidden"], shape["kv"]
    attention = 2 * hidden * hidden + 2 * hidden * kv
    ffn = 3 * hidden * (shape["ffn"] >> tier)
    embeddings = shape["vocab"] * hidden * (1 if shape["tied"] else 2)
    return math.floor(embeddings + shape["layers"] * (attention + ffn + 2 * hidden) + hidden)
