"""Devices: what was asked for, or one line that says why not."""

from __future__ import annotations

import pytest
import torch

from psyche_p2p.errors import ResourceError
from psyche_p2p.train.device import (
    available_cores,
    choose_device,
    choose_devices,
    count_on_cpu,
    describe_devices,
    set_threads,
)


def test_auto_and_cpu_are_always_there() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("wanted", ["gpu", "cpu:0", "cuda:x", "cuda:-1", ""])
def test_a_device_that_is_none_is_refused(wanted: str) -> None:
    with pytest.raises(ResourceError, match=r"there is no device|torch sees no CUDA"):
        choose_device(wanted)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_missing_cuda_device_says_what_to_do() -> None:
    with pytest.raises(ResourceError, match="use --device cpu, or install a CUDA build"):
        choose_device("cuda")


def test_threads_leave_room_for_others() -> None:
    before = torch.get_num_threads()
    try:
        set_threads(1)
        assert torch.get_num_threads() == 1
        set_threads(0)
        assert 1 <= torch.get_num_threads() <= available_cores()
    finally:
        torch.set_num_threads(before)


def test_several_devices_are_a_list() -> None:
    devices = choose_devices("cpu,cpu,cpu")
    assert devices == (torch.device("cpu"),) * 3
    assert describe_devices(devices) == "cpu,cpu,cpu"
    assert count_on_cpu(devices) == 3
    assert describe_devices(devices * 3) == "cpu and 8 more"
    assert describe_devices(choose_devices("cpu")) == "cpu"


@pytest.mark.parametrize("wanted", ["cpu,abacus", "cpu,", ",", "auto,auto", "cpu,auto"])
def test_a_list_with_something_else_is_refused(wanted: str) -> None:
    with pytest.raises(ResourceError, match=r"there is no device|auto is one device"):
        choose_devices(wanted)


def test_processes_on_the_processor_share_its_threads() -> None:
    before = torch.get_num_threads()
    try:
        set_threads(6, processes=2)
        assert torch.get_num_threads() == 3
        set_threads(1, processes=2)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
