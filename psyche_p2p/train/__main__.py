"""The trainer process: `python -m psyche_p2p.train IN OUT` with two inherited file descriptors.

It reads commands and writes events until the peer closes its end, and dies with the peer. Ctrl-C is
the peer's to handle: it reaches the whole group of processes, and a round may yet be finished.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack

from psyche_p2p.errors import LocalError, PsycheError
from psyche_p2p.train.messages import (
    Apply,
    Evaluate,
    Failed,
    Load,
    MakeTargets,
    Save,
    Setup,
    Snapshot,
    Train,
    Warned,
)
from psyche_p2p.train.parent import die_with_parent
from psyche_p2p.train.pipe import MessagePipe
from psyche_p2p.train.team import start_team
from psyche_p2p.train.trainer import Trainer
from psyche_p2p.train.workshop import open_workshop

_WITHOUT_A_WORKER = 1


def main() -> int:
    """Serve one peer; 0 when it has closed the pipe, else the exit code of what went wrong."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    incoming, outgoing = (int(argument) for argument in sys.argv[1:3])
    try:
        with os.fdopen(incoming, "rb") as commands, os.fdopen(outgoing, "wb") as events:
            return _serve(MessagePipe(commands, events))
    except BrokenPipeError:
        return 0  # it no longer wants what we had to say


def _serve(pipe: MessagePipe) -> int:
    setup = pipe.receive()
    if setup is None:
        return 0
    with ExitStack() as stack:
        trainer = _begin(pipe, setup, stack)
        if trainer is None:
            return 1
        while (command := pipe.receive()) is not None:
            pipe.send(_carry_out(trainer, command))
    return 0


def _begin(pipe: MessagePipe, setup: Setup, stack: ExitStack) -> Trainer | None:
    began = time.monotonic()
    try:
        team = start_team(setup, stack, pipe.send, _end_with(pipe))  # they load while we do
        shop = open_workshop(setup)
        team.join(shop.model, stack)
        trainer = Trainer(shop, pipe.send, team)
    except PsycheError as error:
        pipe.send(_failed("Setup", error))
        return None
    pipe.send(trainer.ready(time.monotonic() - began))
    return trainer


def _carry_out(trainer: Trainer, command: object) -> object:
    try:
        match command:
            case Train():
                return trainer.train(command)
            case MakeTargets():
                return trainer.make_targets(command)
            case Apply():
                return trainer.apply(command)
            case Evaluate():
                return trainer.evaluate(command)
            case Save():
                return trainer.save(command)
            case Snapshot():
                return trainer.snapshot(command)
            case Load():
                return trainer.load(command)
            case _:
                raise LocalError(f"{type(command).__name__} is not a command here")
    except PsycheError as error:
        return _failed(type(command).__name__, error)


def _failed(command: str, error: PsycheError) -> Failed:
    return Failed(command, error.cause, error.cure, int(error.exit_code))


def _end_with(pipe: MessagePipe) -> Callable[[str], None]:
    """What ends this process when a worker died: the peer starts all of them again."""

    def end(reason: str) -> None:
        pipe.send(Warned(reason))
        os._exit(_WITHOUT_A_WORKER)

    return end


if __name__ == "__main__":
    exit_code = main()
    sys.stderr.flush()
    os._exit(exit_code)  # torch takes seconds to take itself apart, and the peer waits for us
