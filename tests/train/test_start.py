"""What a trainer loads before it trains."""

from __future__ import annotations

import subprocess
import sys


def test_making_a_model_does_not_load_the_compiler() -> None:
    code = (
        "import sys\n"
        "from psyche_p2p.model.transformer import empty_model\n"
        "from tests.model.configs import tiny_config\n"
        "empty_model(tiny_config())\n"
        "print('torch._dynamo' in sys.modules)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"
