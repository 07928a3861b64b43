"""The processes of a trainer with several devices, as the first of them sees them.

Each takes its share of the samples of a step, and the gradients are summed onto the first, which
alone has the optimizer, the data and the store.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

from psyche_p2p.distill.targets import TeacherTargets
from psyche_p2p.errors import LocalError
from psyche_p2p.model.transformer import Transformer
from psyche_p2p.train.device import choose_devices, count_on_cpu
from psyche_p2p.train.messages import Setup
from psyche_p2p.train.process_group import ProcessGroup, choose_backend, new_meeting_place
from psyche_p2p.train.worker_messages import (
    Step,
    StepDone,
    SumGradients,
    WorkerReady,
    WorkerSetup,
)
from psyche_p2p.train.worker_process import WorkerProcess

Emit = Callable[[object], None]


def share_of(samples: int, rank: int, ranks: int) -> slice:
    """Which of the samples a process computes: equal shares, the first ones longer by one."""
    each, rest = divmod(samples, ranks)
    begin = rank * each + min(rank, rest)
    return slice(begin, begin + each + (rank < rest))


def tensors_of(targets: TeacherTargets | None) -> tuple[Tensor, ...]:
    """What goes through the process group of a teacher's targets."""
    if targets is None:
        return ()
    return targets.indices_btk, targets.logits_btk, targets.logsumexp_bt


class Team:
    """A trainer's workers, none of them for a trainer with one device."""

    def __init__(
        self, workers: Sequence[WorkerProcess] = (), group: ProcessGroup | None = None
    ) -> None:
        self._workers = tuple(workers)
        self._group = group
        self._model: Transformer | None = None
        self._busy: list[WorkerProcess] = []

    @property
    def workers(self) -> int:
        return len(self._workers)

    def join(self, model: Transformer, stack: ExitStack) -> None:
        """Wait until the workers are there; the group is left with the stack."""
        self._model = model
        for worker in self._workers:
            if not isinstance(worker.receive(), WorkerReady):
                raise LocalError(f"the training process for {worker.device} is not ready")
        if self._group is not None:
            stack.enter_context(self._group)

    def share_out(self, step: Step, tokens_bt: Tensor, targets: TeacherTargets | None) -> slice:
        """Set the workers to work on their shares of a step; ours is what remains."""
        self._answers()  # to a step that failed here
        if self._group is not None and self._model is not None:
            for worker in self._workers:
                worker.send(step)
                self._busy.append(worker)
            with self._noticing_death():
                self._group.broadcast(self._model.parameters())
                self._group.broadcast((tokens_bt, *tensors_of(targets)))
        return share_of(len(tokens_bt), 0, 1 + len(self._workers))

    def collect(self) -> list[StepDone]:
        """The workers' answers, when their gradients are there; the first error, if any."""
        answers = self._answers()
        for answer in answers:
            if isinstance(answer, LocalError):
                raise answer
        return [answer for answer in answers if isinstance(answer, StepDone)]

    def sum_gradients(self) -> None:
        """Add the workers' gradients of the last step to ours."""
        if self._group is None or self._model is None:
            return
        for worker in self._workers:
            worker.send(SumGradients())
        with self._noticing_death():
            self._group.sum_onto_first(gradients_of(self._model))

    def _answers(self) -> list[StepDone | LocalError]:
        busy, self._busy = self._busy, []
        return [_answer_of(worker) for worker in busy]

    @contextmanager
    def _noticing_death(self) -> Iterator[None]:
        """The process group fails in words of its own when one of it has died: say those last."""
        try:
            yield
        except RuntimeError:
            self._workers[0].lost()
            raise


def _answer_of(worker: WorkerProcess) -> StepDone | LocalError:
    """What a worker made of a step, or why it made nothing of it."""
    try:
        done: StepDone = worker.receive()
        return done
    except LocalError as error:
        return error


def gradients_of(model: Transformer) -> list[Tensor]:
    """Every parameter's gradient; zero where a process had no samples."""
    found = []
    for parameter in model.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        found.append(parameter.grad)
    return found


def start_team(setup: Setup, stack: ExitStack, emit: Emit, on_loss: Callable[[str], None]) -> Team:
    """Start the workers of a setup's further devices; they end with the stack.

    `on_loss` is called, from a thread, when one of them dies; the others are gone by then.
    """
    devices = choose_devices(setup.device)
    if len(devices) == 1:
        return Team()
    meeting, path = new_meeting_place()
    stack.callback(os.close, meeting)
    group = ProcessGroup(0, len(devices), choose_backend(devices), path, devices[0])
    once = threading.Lock()

    def end_all(reason: str) -> None:
        if once.acquire(blocking=False):
            for worker in workers:
                worker.kill()
            on_loss(reason)

    workers: list[WorkerProcess] = []
    for rank in range(1, len(devices)):
        order = _make_setup(setup, devices, rank, path)
        workers.append(stack.enter_context(WorkerProcess(order, meeting, emit, end_all)))
    return Team(workers, group)


def _make_setup(
    setup: Setup, devices: Sequence[torch.device], rank: int, meeting: str
) -> WorkerSetup:
    return WorkerSetup(
        config=setup.config,
        tier=setup.tier,
        device=str(devices[rank]),
        rank=rank,
        ranks=len(devices),
        backend=choose_backend(devices),
        meeting=meeting,
        threads=setup.threads,
        micro_batch=setup.micro_batch,
        cpu_processes=count_on_cpu(devices),
        sharing=devices.count(devices[rank]),
        compile=setup.compile,
    )
