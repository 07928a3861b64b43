"""What a peer's process loads before it does anything."""

from __future__ import annotations

import subprocess
import sys


def test_a_peer_runs_without_torch_and_leaves_hivemind_whole_for_others() -> None:
    code = (
        "import sys, psyche_p2p.node.peer\n"
        "print([name for name in ('torch', 'scipy', 'hivemind') if name in sys.modules])\n"
        "from psyche_p2p.net.dht import DHTNode\n"
        "import hivemind\n"
        "print(hivemind.DHT.__module__, hivemind.dht.DHTNode is DHTNode)\n"
    )
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines() == ["[]", "hivemind.dht.dht True"]
