"""One seed, one PeerId: our code, the go daemon with our key file, and py-libp2p agree."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from psyche_p2p.identity import Identity
from psyche_p2p.keyfile import save_key

# The daemon's own parser makes the key; we only tell py-libp2p which part of Data is the seed.
PY_LIBP2P = """
import sys
from pathlib import Path
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.keys import PrivateKey
from libp2p.peer.id import ID
parsed = PrivateKey.deserialize_from_protobuf(Path(sys.argv[1]).read_bytes())
pair = create_new_key_pair(parsed.data[:32])
assert pair.public_key.to_bytes() == parsed.data[32:]
print(ID.from_pubkey(pair.public_key))
"""


@pytest.fixture(params=[0, 1, 2])
def key(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Identity, Path]:
    identity = Identity.from_seed(bytes([request.param]) * 32)
    path = tmp_path / "peer.key"
    save_key(identity, path)
    return identity, path


def test_the_go_daemon_has_our_peer_id(key: tuple[Identity, Path]) -> None:
    identity, path = key
    command = [
        str(_daemon()),
        f"-listen=/unix/{path.parent}/control.sock",
        "-hostAddrs=/ip4/127.0.0.1/tcp/0",
        f"-id={path}",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as daemon:
        try:
            assert daemon.stdout is not None
            lines = (line.decode() for line in daemon.stdout)
            seen = next(line for line in lines if line.startswith("Peer ID:"))
        finally:
            daemon.terminate()
    assert seen.split()[-1] == identity.peer_id


def test_py_libp2p_has_our_peer_id(key: tuple[Identity, Path]) -> None:
    if importlib.util.find_spec("libp2p") is None:
        pytest.skip("the observer extra is not installed")
    identity, path = key
    command = [sys.executable, "-c", PY_LIBP2P, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == identity.peer_id


def _daemon() -> Path:
    """p2pd in hivemind's wheel, found without importing hivemind (which imports torch)."""
    spec = importlib.util.find_spec("hivemind")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / "hivemind_cli" / "p2pd"
