"""Trainers without torch that live only so long: `brief_trainer.py FATES IN OUT`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from psyche_p2p.errors import ExitCode
from psyche_p2p.train.messages import Evaluated, Failed, Ready, Warned
from psyche_p2p.train.pipe import MessagePipe


def main() -> int:
    path = Path(sys.argv[1])
    fate, *later = path.read_text().splitlines()
    path.write_text("\n".join(later or [fate]))
    with os.fdopen(int(sys.argv[2]), "rb") as commands, os.fdopen(int(sys.argv[3]), "wb") as events:
        pipe = MessagePipe(commands, events)
        pipe.receive()
        if fate == "dies before it is ready":
            return 3
        if fate == "has too little memory":
            code = int(ExitCode.RESOURCES)
            pipe.send(Failed("Setup", "tier 0 needs about 2 GB", "use --tier 1", code))
            return 1
        pipe.send(Ready("cpu", "float32", 1, "", "", (), 1, 0.0))
        if fate == "says why and dies":
            pipe.send(Warned("a process of it is gone"))
            return 5
        while pipe.receive() is not None:
            if fate == "dies when asked":
                return 4
            pipe.send(Evaluated((), ()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
