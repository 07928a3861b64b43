"""Becomes another program that the kernel kills when our process dies.

Run by the interpreter, not imported: `launch.py PARENT PROGRAM [ARGUMENT ...]`. A `preexec_fn`
would do the same in the forked child, but forking a process with threads (gRPC's, torch's) and
running Python there can deadlock, so a fresh interpreter asks for the signal and then replaces
itself.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the request took effect
            sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
