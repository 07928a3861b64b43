"""Network namespaces without names, each with one TUN device; the kernel forgets both with us.

Nothing is registered anywhere: a namespace lives as long as a process or an open file refers to it,
and a TUN device as long as its file is open. So there is nothing to clean up but processes. Linux
only, and only for root (network namespaces, ioctls of netdevice(7), /dev/net/tun).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

TUN_DEVICE = Path("/dev/net/tun")
DEVICE_NAME = "wan0"
NETMASK = "255.255.0.0"
_OWN_NAMESPACE = "/proc/self/ns/net"
_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_SIOCSIFADDR, _SIOCSIFNETMASK = 0x8916, 0x891C
_SIOCSIFMTU, _SIOCSIFTXQLEN = 0x8922, 0x8943
_IFF_UP = 0x1
_TX_QUEUE_PACKETS = 2000
_KILL_S = 5.0


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace and the packet end of its device, both open files of this process."""

    namespace_fd: int
    tun_fd: int
    inode: int


def why_unavailable() -> str:
    """Why this machine cannot emulate with namespaces, in one line; empty if it can."""
    if sys.platform != "linux":
        return "network namespaces exist only on Linux"
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not TUN_DEVICE.exists():
        return f"{TUN_DEVICE} is missing (modprobe tun, or give it to the container)"
    if shutil.which("nsenter") is None or shutil.which("unshare") is None:
        return "nsenter and unshare are missing (install util-linux)"
    trial = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    if trial.returncode != 0:
        return "this machine does not let root make network namespaces"
    return ""


def make_namespace(address: str, mtu: int) -> Namespace:
    """A new namespace whose only way out is a TUN device with this address."""
    with _own_namespace_kept():
        _unshare_network()
        namespace_fd = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        tun_fd = _open_tun()
        _bring_up("lo")
        _set_address(address)
        _set_number(_SIOCSIFMTU, mtu)
        _set_number(_SIOCSIFTXQLEN, _TX_QUEUE_PACKETS)
        _bring_up(DEVICE_NAME)
    return Namespace(namespace_fd, tun_fd, os.fstat(namespace_fd).st_ino)


def kill_everyone_in(inodes: frozenset[int]) -> None:
    """End every process that lives in one of these namespaces, and wait until none is left."""
    deadline_s = time.monotonic() + _KILL_S
    while (found := list(_processes_in(inodes))) and time.monotonic() < deadline_s:
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _processes_in(inodes: frozenset[int]) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if (entry / "ns" / "net").stat().st_ino in inodes:
                    yield int(entry.name)


@contextmanager
def _own_namespace_kept() -> Iterator[None]:
    home = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        _call("setns", home, _CLONE_NEWNET)
        os.close(home)


def _unshare_network() -> None:
    _call("unshare", _CLONE_NEWNET)


def _call(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def _open_tun() -> int:
    descriptor = os.open(TUN_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    request = struct.pack("16sH22x", DEVICE_NAME.encode(), _IFF_TUN | _IFF_NO_PI)
    fcntl.ioctl(descriptor, _TUNSETIFF, request)
    return descriptor


def _set_address(address: str) -> None:
    for request, value in ((_SIOCSIFADDR, address), (_SIOCSIFNETMASK, NETMASK)):
        sockaddr = struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(value))
        _interface_ioctl(request, DEVICE_NAME, sockaddr)


def _set_number(request: int, value: int) -> None:
    _interface_ioctl(request, DEVICE_NAME, struct.pack("=i", value))


def _bring_up(device: str) -> None:
    raw = _interface_ioctl(_SIOCGIFFLAGS, device, b"")
    (flags,) = struct.unpack_from("=H", raw, 16)
    _interface_ioctl(_SIOCSIFFLAGS, device, struct.pack("=H", flags | _IFF_UP))


def _interface_ioctl(request: int, device: str, value: bytes) -> bytes:
    """One request of netdevice(7); `struct ifreq` is 40 bytes where pointers have eight."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        return fcntl.ioctl(control.fileno(), request, struct.pack("16s24s", device.encode(), value))
