"""The choice between plain and fast kernels, made once a process.

Plain is torch on any device; fast is numba on the CPU (about twice as fast over a whole step, see
docs/experiments.md). Both give the same bits, which the tests hold them to. Where numba cannot be
imported or has no folder for what it compiles, plain is used and the log says so.
"""

from __future__ import annotations

from functools import cache

import torch

from psyche_p2p.log import get_logger
from psyche_p2p.optim.kernels import Kernels
from psyche_p2p.optim.plain import PlainKernels

log = get_logger(__name__)


def choose_kernels(device: torch.device) -> Kernels:
    """The fast kernels for tensors on the CPU if they work here, else the plain ones."""
    fast = _load_fast() if device.type == "cpu" else None
    return PlainKernels() if fast is None else fast


@cache
def _load_fast() -> Kernels | None:
    try:
        from psyche_p2p.optim.fast import FastKernels  # only here is numba needed
    except (ImportError, RuntimeError) as error:
        log.warning("numba is not usable, plain kernels instead", reason=str(error))
        return None
    return FastKernels()
