"""The committed protobuf code is what proto/ generates."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHOW = "import json, _generate_proto; print('@' + json.dumps(_generate_proto.generate()))"


def test_generating_again_gives_the_same_files() -> None:
    result = subprocess.run(
        [sys.executable, "-c", SHOW], cwd=ROOT / "tools", capture_output=True, text=True, check=True
    )
    generated = json.loads(result.stdout.partition("@")[2])
    folder = ROOT / "psyche_p2p" / "wire" / "generated"
    committed = {path.name: path.read_text() for path in folder.glob("*.py*")}
    assert committed == generated, "run tools/generate-proto"
