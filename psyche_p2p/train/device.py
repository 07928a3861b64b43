"""Which devices to train on, and how many threads are this trainer's share of the machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import torch

from psyche_p2p.errors import ResourceError

DEVICE_HELP = "auto, cpu, cuda, cuda:N or mps"
_NAMED_DEVICES = 8


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


def choose_devices(wanted: str) -> tuple[torch.device, ...]:
    """The devices of a `--device` option, one for each of the peer's training processes."""
    names = wanted.split(",")
    if len(names) == 1:
        return (choose_device(wanted),)
    if sys.platform != "linux":
        raise ResourceError(f"{wanted!r} are several devices, which need Linux", "name one device")
    if "auto" in names:
        raise ResourceError("auto is one device", "name each, like cuda:0,cuda:1")
    return tuple(choose_device("cuda:0" if name == "cuda" else name) for name in names)


def count_on_cpu(devices: Sequence[torch.device]) -> int:
    """How many of the processes share the threads; at least one."""
    return max(1, sum(device.type == "cpu" for device in devices))


def describe_devices(devices: Sequence[torch.device]) -> str:
    """What others are told about them; short, however many they are."""
    if len(devices) > _NAMED_DEVICES:
        return f"{devices[0]} and {len(devices) - 1} more"
    return ",".join(map(str, devices))


def set_threads(threads: int, processes: int = 1) -> None:
    """Limit torch to a share of so many threads; 0 leaves one core in four to the machine."""
    cores = available_cores()
    threads = threads if threads > 0 else cores - cores // 4
    torch.set_num_threads(max(1, threads // processes))


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
