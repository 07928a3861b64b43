"""The processes of one trainer, joined by torch.distributed: two things they do with tensors.

Rank 0 alone has an optimizer. A step broadcasts the working parameters from it and sums gradients
onto it, which together is as much traffic as an all-reduce.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from types import TracebackType

import torch
import torch.distributed as dist
from torch import Tensor
from typing_extensions import Self

GLOO, NCCL = "gloo", "nccl"
_LOOPBACK = "lo"


def choose_backend(devices: Sequence[torch.device]) -> str:
    """NCCL between GPUs of which each has one process, gloo for everything else."""
    is_all_cuda = all(device.type == "cuda" for device in devices)
    return NCCL if is_all_cuda and len(set(devices)) == len(devices) else GLOO


def new_meeting_place() -> tuple[int, str]:
    """A file without a name, which vanishes with its processes: its descriptor, and its path.

    Children that inherit the descriptor find the file under the same path.
    """
    descriptor = os.memfd_create("psyche-trainers")
    return descriptor, f"/proc/self/fd/{descriptor}"


class ProcessGroup:
    """This process's place among the others; a context manager. Only loopback is listened on."""

    def __init__(
        self, rank: int, ranks: int, backend: str, meeting: str, device: torch.device
    ) -> None:
        self._rank = rank
        self._ranks = ranks
        self._backend = backend
        self._meeting = meeting
        self._device = device
        self._is_staged = backend == GLOO and device.type != "cpu"

    def __enter__(self) -> Self:
        """Wait until all are there."""
        os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = _LOOPBACK
        on_gpu = self._backend == NCCL
        if on_gpu:
            torch.cuda.set_device(self._device)
        dist.init_process_group(
            self._backend,
            store=dist.FileStore(self._meeting, self._ranks),  # type: ignore[attr-defined]
            rank=self._rank,
            world_size=self._ranks,
            device_id=self._device if on_gpu else None,
        )
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._backend == GLOO:  # NCCL would wait for processes that are gone
            dist.destroy_process_group()

    @torch.no_grad()
    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite these with rank 0's, which has as many of the same shapes."""
        pairs = [(tensor.detach(), self._movable(tensor)) for tensor in tensors]
        works = [dist.broadcast(moved, src=0, async_op=True) for _, moved in pairs]
        _finish(works)
        if self._rank > 0:
            _copy_back(pairs)

    @torch.no_grad()
    def sum_onto_first(self, tensors: Iterable[Tensor]) -> None:
        """Add up all processes' tensors into those of rank 0; the others' mean nothing then."""
        pairs = [(tensor.detach(), self._movable(tensor)) for tensor in tensors]
        works = [dist.reduce(moved, dst=0, async_op=True) for _, moved in pairs]
        _finish(works)
        if self._rank == 0:
            _copy_back(pairs)

    def _movable(self, tensor: Tensor) -> Tensor:
        """The tensor itself, or a copy of it that the backend can move."""
        found = tensor.detach().contiguous()
        return found.cpu() if self._is_staged else found


def _finish(works: Iterable[dist.Work | None]) -> None:
    for work in works:
        if work is not None:
            work.wait()


def _copy_back(pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
    for tensor, moved in pairs:
        if moved.data_ptr() != tensor.data_ptr():
            tensor.copy_(moved)
