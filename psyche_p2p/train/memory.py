"""How much memory training takes and a device has: the check before a peer joins.

An estimate, not a promise: buffers are counted exactly, activations by what a decoder block keeps
for its backward pass.
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

import torch

from psyche_p2p.config import ModelConfig, OptimizerConfig, RunConfig
from psyche_p2p.errors import ResourceError
from psyche_p2p.ids import Tier
from psyche_p2p.model.shapes import parameter_shapes
from psyche_p2p.model.tiers import tier_width

_FLOAT_BYTES = 4
# float32 copies of every parameter: masters, the working copy, its gradient, and then
_BUFFERS = {"distro": 1, "sparse_loco": 4, "adamw": 2}  # momentum; moments, start, feedback
_WORKER_COPIES = 2
_LOGITS_AT_ONCE = 512
_PROCESS_BYTES = 300 << 20  # torch itself
_HIDDEN_COPIES, _FFN_COPIES = 12, 4  # of a block's activations that autograd keeps


def estimate_bytes(config: RunConfig, tier: Tier, micro_batch: int) -> int:
    """What a trainer at this tier needs, with so many samples at once."""
    count = sum(math.prod(shape) for shape in parameter_shapes(config.model, tier).values())
    copies = 3 + _BUFFERS[config.optimizer.kind] - _has_no_copy(config.optimizer)
    fixed = _PROCESS_BYTES + count * copies * _FLOAT_BYTES
    return fixed + micro_batch * _sample_bytes(config.model, config.data.sequence_length, tier)


def estimate_worker_bytes(config: RunConfig, tier: Tier, micro_batch: int) -> int:
    """What each further process of a trainer needs: parameters, gradients, activations."""
    count = sum(math.prod(shape) for shape in parameter_shapes(config.model, tier).values())
    fixed = _PROCESS_BYTES + count * _WORKER_COPIES * _FLOAT_BYTES
    return fixed + micro_batch * _sample_bytes(config.model, config.data.sequence_length, tier)


def available_bytes(device: torch.device) -> int:
    """The memory this process could still get."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return _available_main_memory()


def require_memory(
    config: RunConfig, tier: Tier, device: torch.device, *, trainers: int = 1, workers: int = 0
) -> None:
    """ResourceError, naming the largest tier that fits, if one sample at a time is too much.

    So many processes share the device: `trainers` with an optimizer, `workers` without.
    """

    def need_of(tier: Tier) -> int:
        each = estimate_bytes(config, tier, micro_batch=1)
        return trainers * each + workers * estimate_worker_bytes(config, tier, micro_batch=1)

    have, need = available_bytes(device), need_of(tier)
    if need <= have:
        return
    smaller = [Tier(other) for other in range(tier + 1, config.model.max_tier + 1)]
    fitting = [other for other in smaller if need_of(other) <= have]
    cure = f"use --tier {fitting[0]}" if fitting else "use a device with more memory"
    where = "this device" if trainers + workers == 1 else f"{device}, where it is shared,"
    cause = f"tier {tier} needs about {_gigabytes(need)}, {where} has {_gigabytes(have)}"
    raise ResourceError(cause, cure)


def largest_micro_batch(
    config: RunConfig, tier: Tier, device: torch.device, batch: int, processes: int = 1
) -> int:
    """How many of a batch's samples fit at once into half of a process's part of what is free."""
    have = available_bytes(device) // 2 // processes
    size = batch
    while size > 1 and estimate_bytes(config, tier, size) > have:
        size = (size + 1) // 2
    return size


def _has_no_copy(optimizer: OptimizerConfig) -> int:
    """DisTrO without lookahead trains on the masters themselves."""
    return int(optimizer.kind == "distro" and not optimizer.distro.lookahead)


def _sample_bytes(model: ModelConfig, length: int, tier: Tier) -> int:
    width = tier_width(model, tier)
    block = _HIDDEN_COPIES * model.hidden_size + _FFN_COPIES * width
    kept = length * block * model.num_layers * _FLOAT_BYTES
    logits = 3 * min(length, _LOGITS_AT_ONCE) * model.vocab_size * _FLOAT_BYTES
    return kept + logits


def _available_main_memory() -> int:
    """What is free on this machine, or in the container we are in, whichever is less."""
    return min(_free_on_machine(), _free_in_container())


def _free_on_machine() -> int:
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _free_in_container(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """What the control group of a container leaves us; files that can be dropped count as free."""
    try:
        limit = int((groups / "memory.max").read_text())
        used = int((groups / "memory.current").read_text())
        stat = dict(line.split() for line in (groups / "memory.stat").read_text().splitlines())
        return max(0, limit - used + int(stat["inactive_file"]))
    except (OSError, ValueError, KeyError):  # no such group, or one without a limit
        return sys.maxsize


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
