"""tools/inspect-blob: the command `psyche-peer inspect-blob` without an installed package."""

from __future__ import annotations

import sys

from psyche_p2p.cli.inspect_blob import inspect_blob
from psyche_p2p.cli.main import run_command

if __name__ == "__main__":
    sys.argv[0] = "tools/inspect-blob"  # how --help and usage errors call it
    run_command(inspect_blob)
