"""One further device of a trainer: `python -m psyche_p2p.train.worker PARENT IN OUT`.

It computes the gradients of its share of every step and keeps nothing from one to the next: the
parameters come with the step, and only the trainer has an optimizer.
"""

from __future__ import annotations

import math
import os
import signal
import sys

import torch
from torch import Tensor

from psyche_p2p.config import RunConfig, decode_run_config
from psyche_p2p.distill.gating import compute_gate
from psyche_p2p.distill.schedule import compute_beta
from psyche_p2p.distill.student import StudentLoss, plan_for_mass
from psyche_p2p.distill.targets import TeacherTargets
from psyche_p2p.errors import PsycheError
from psyche_p2p.ids import Tier
from psyche_p2p.model.gradients import best_precision
from psyche_p2p.model.transformer import Transformer, empty_model
from psyche_p2p.train.device import choose_device, set_threads
from psyche_p2p.train.gradient_maker import GradientMaker, compile_blocks
from psyche_p2p.train.memory import largest_micro_batch, require_memory
from psyche_p2p.train.messages import Failed
from psyche_p2p.train.parent import die_with_parent, is_child_of
from psyche_p2p.train.pipe import MessagePipe
from psyche_p2p.train.process_group import ProcessGroup
from psyche_p2p.train.team import gradients_of, share_of, tensors_of
from psyche_p2p.train.worker_messages import Step, StepDone, WorkerReady, WorkerSetup


class Worker:
    """The model on this device, and its share of every step."""

    def __init__(
        self,
        setup: WorkerSetup,
        config: RunConfig,
        model: Transformer,
        maker: GradientMaker,
        group: ProcessGroup,
    ) -> None:
        self._setup = setup
        self._config = config
        self._model = model
        self._device = next(model.parameters()).device
        self._maker = maker
        self._group = group

    def step(self, step: Step) -> StepDone:
        """Gradients for parameters, samples and targets that come through the group."""
        tokens_bt, targets = self._receive(step)
        own = share_of(step.samples, self._setup.rank, self._setup.ranks)
        if own.start == own.stop:
            self._model.zero_grad(set_to_none=True)
            return StepDone(loss=0.0, samples=0)
        self._model.suffix_gate = compute_gate(
            self._config.distillation, self._config.model, step.round
        )
        value, loss = self._maker.compute(
            tokens_bt[own], step.predicted, lambda: self._loss_of(step, targets, own)
        )
        return StepDone(
            loss=value if math.isfinite(value) else None,
            samples=own.stop - own.start,
            distillation=None if loss is None else loss.statistics(),
        )

    def sum_gradients(self) -> None:
        self._group.sum_onto_first(gradients_of(self._model))

    def _receive(self, step: Step) -> tuple[Tensor, TeacherTargets | None]:
        self._group.broadcast(self._model.parameters())
        tokens_bt = torch.empty(step.samples, step.length, dtype=torch.int64, device=self._device)
        targets = self._empty_targets(step) if step.positions else None
        self._group.broadcast((tokens_bt, *tensors_of(targets)))
        return tokens_bt, targets

    def _empty_targets(self, step: Step) -> TeacherTargets:
        shape = (step.samples, step.positions, step.kept)
        return TeacherTargets(
            torch.empty(shape, dtype=torch.int64, device=self._device),
            torch.empty(shape, device=self._device),
            torch.empty(shape[:2], device=self._device),
        )

    def _loss_of(
        self, step: Step, targets: TeacherTargets | None, own: slice
    ) -> StudentLoss | None:
        if targets is None:
            return None
        settings = self._config.distillation
        plan = plan_for_mass(settings, compute_beta(settings, step.round), step.top_mass)
        return StudentLoss(plan, targets.samples(own))


def main() -> int:
    """Serve one trainer until it closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    parent, incoming, outgoing = (int(argument) for argument in sys.argv[1:4])
    if not is_child_of(parent):
        return 0
    with os.fdopen(incoming, "rb") as commands, os.fdopen(outgoing, "wb") as events:
        pipe = MessagePipe(commands, events)
        setup = pipe.receive()
        if setup is None:
            return 0
        try:
            config, model, maker = _prepare(setup, pipe)
        except PsycheError as error:
            pipe.send(_failed("WorkerSetup", error))
            pipe.receive()  # the trainer ends us once it has read why
            return 1
        pipe.send(WorkerReady())
        device = choose_device(setup.device)
        with ProcessGroup(setup.rank, setup.ranks, setup.backend, setup.meeting, device) as group:
            _serve(pipe, Worker(setup, config, model, maker, group))
    return 0


def _prepare(setup: WorkerSetup, pipe: MessagePipe) -> tuple[RunConfig, Transformer, GradientMaker]:
    """The model without its parameters' values, which come with every step."""
    config, tier = decode_run_config(setup.config.encode(), "the run's configuration"), setup.tier
    device = choose_device(setup.device)
    set_threads(setup.threads, setup.cpu_processes)
    require_memory(config, Tier(tier), device, trainers=0, workers=1)
    model = empty_model(config.model, Tier(tier)).to_empty(device=device)
    if setup.compile:
        compile_blocks(model)
    share = math.ceil(config.rounds.global_batch_size_end / setup.ranks)
    micro_batch = setup.micro_batch or largest_micro_batch(
        config, Tier(tier), device, share, setup.sharing
    )
    precision = best_precision(model)
    return (
        config,
        model,
        GradientMaker(model, Tier(tier), device, precision, micro_batch, pipe.send),
    )


def _serve(pipe: MessagePipe, worker: Worker) -> None:
    while (command := pipe.receive()) is not None:
        if isinstance(command, Step):
            try:
                pipe.send(worker.step(command))
            except PsycheError as error:
                pipe.send(_failed("Step", error))
        else:
            worker.sum_gradients()


def _failed(command: str, error: PsycheError) -> Failed:
    return Failed(command, error.cause, error.cure, int(error.exit_code))


if __name__ == "__main__":
    exit_code = main()
    sys.stderr.flush()
    os._exit(exit_code)
