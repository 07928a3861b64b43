"""Which device to train on, and how many threads are this trainer's share of the machine."""

from __future__ import annotations

import os

import torch

from psyche_p2p.errors import ResourceError

DEVICE_HELP = "auto, cpu, cuda, cuda:N or mps"


def choose_device(wanted: str) -> torch.device:
    """The device of a `--device` option; ResourceError if this machine has none such."""
    if wanted == "auto":
        return torch.device(_best_kind())
    kind, _, number = wanted.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not (kind == "cuda" and number.isdigit())):
        raise ResourceError(f"there is no device {wanted!r}", f"choose {DEVICE_HELP}")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ResourceError("this machine has no Metal device", "use --device cpu or auto")
    if kind == "cuda":
        _require_cuda(int(number or 0))
    return torch.device(wanted)


def set_threads(threads: int) -> None:
    """Limit torch to so many threads; 0 leaves one core in four to the rest of the machine."""
    cores = available_cores()
    torch.set_num_threads(threads if threads > 0 else max(1, cores - cores // 4))


def available_cores() -> int:
    """The cores this process may use, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _best_kind() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _require_cuda(number: int) -> None:
    if not torch.cuda.is_available():
        cure = "use --device cpu, or install a CUDA build of torch (see the README)"
        raise ResourceError("torch sees no CUDA device", cure)
    if number >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ResourceError(f"there is no cuda:{number}, only {count}", "choose a smaller number")
