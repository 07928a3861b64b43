"""Peers of all tiers that train together in one process and must stay one model.

Every peer has its own sliced model, optimizer and masters; contributions go through their bytes,
and at the end all peers must hold the same parameters. Teachers speak from their masters, as in a
network, and from before the round in which their students hear them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from psyche_p2p.codec import decode_coefficients, encode_coefficients
from psyche_p2p.config import (
    DataConfig,
    DistillationConfig,
    ModelConfig,
    OptimizerConfig,
    ScheduleConfig,
)
from psyche_p2p.data.samples import TokenSamples, load_builtin_samples
from psyche_p2p.distill.gating import compute_gate
from psyche_p2p.distill.schedule import compute_beta
from psyche_p2p.distill.stats import DistillationStats
from psyche_p2p.distill.student import StudentLoss, plan_distillation
from psyche_p2p.distill.targets import TeacherTargets, make_targets
from psyche_p2p.errors import LocalError
from psyche_p2p.ids import BatchInterval, Tier
from psyche_p2p.model.gradients import accumulate_gradients, compute_loss
from psyche_p2p.model.initial import initial_model
from psyche_p2p.model.param_root import param_root
from psyche_p2p.model.tiers import slice_state, tier_width
from psyche_p2p.model.transformer import Transformer, model_from_state
from psyche_p2p.optim.grids import make_grids
from psyche_p2p.optim.interface import Contribution, Optimizer, Tensors
from psyche_p2p.optim.make import make_optimizer
from psyche_p2p.optim.schedule import compute_learning_rate, learning_rate_to_bits

_EVALUATED_AT_ONCE = 128
_STATS_EVERY_ROUNDS = 50


@dataclass(frozen=True, slots=True)
class Teaching:
    """How a simulated teacher teaches, beside what a run's configuration says."""

    average: float = 0.0
    """Teach from a running mean of the masters with this decay; 0 for the masters themselves."""
    shared_batches: bool = False
    """Students train on the teacher's own batches."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One simulated run."""

    model: ModelConfig
    data: DataConfig
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    tiers: tuple[int, ...]
    steps: int
    delay: int
    seed: int
    samples_per_step: int
    heldout_samples: int = 128
    batches_a_step: int = 0
    """Leave room for so many peers' batches in every step; 0 for those there are."""
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    teaching: Teaching = field(default_factory=Teaching)

    @property
    def rounds(self) -> int:
        is_local = self.optimizer.kind == "sparse_loco"
        return self.steps // (self.optimizer.sparse_loco.inner_steps if is_local else 1)


@dataclass(slots=True)
class Peer:
    """One peer: a model of its tier whose parameters are its optimizer's working copy."""

    number: int
    tier: Tier
    model: Transformer
    optimizer: Optimizer
    average: dict[str, Tensor]
    sent_bytes: int = 0
    losses: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Simulation:
    """A run between two rounds."""

    setting: Setting
    samples: TokenSamples
    peers: list[Peer]
    pending: deque[tuple[list[Contribution], int]] = field(default_factory=deque)
    last_round: list[Contribution] = field(default_factory=list)
    stats: list[tuple[int, DistillationStats]] = field(default_factory=list)


def simulate(
    setting: Setting, rounds: Iterable[int] | None = None
) -> tuple[dict[str, Any], Simulation]:
    """Train, and say how well it went."""
    torch.manual_seed(setting.seed)
    peers = [_make_peer(setting, number, Tier(tier)) for number, tier in enumerate(setting.tiers)]
    simulation = Simulation(setting, load_builtin_samples(setting.data), peers)
    began = time.monotonic()
    for index in rounds if rounds is not None else range(setting.rounds):
        _run_round(simulation, index)
    while simulation.pending:
        _apply_oldest(simulation)
    _require_one_model(setting, peers)
    outcome = {
        "heldout": _evaluate(simulation),
        "train_loss": _mean([loss for peer in peers for loss in peer.losses[-16:]]),
        "kilobytes_per_peer": round(sum(p.sent_bytes for p in peers) / len(peers) / 1e3, 1),
        "rounds": setting.rounds,
        "seconds": round(time.monotonic() - began, 1),
    }
    return outcome, simulation


def _make_peer(setting: Setting, number: int, tier: Tier) -> Peer:
    model = initial_model(setting.model, setting.seed, tier)
    optimizer = make_optimizer(
        setting.model, setting.optimizer, dict(model.named_parameters()), held_tier=tier
    )
    has_average = tier == 0 and setting.teaching.average > 0
    average = _copies(optimizer.masters) if has_average else {}
    return Peer(number, tier, model, optimizer, average)


def _run_round(simulation: Simulation, index: int) -> None:
    setting, peers = simulation.setting, simulation.peers
    rate = compute_learning_rate(setting.schedule, setting.rounds, index)
    gate = compute_gate(setting.distillation, setting.model, index)
    for peer in peers:
        peer.model.suffix_gate = gate
    targets = _teach(simulation, index)
    simulation.last_round = [_train(simulation, peer, index, rate, targets) for peer in peers]
    simulation.pending.append((simulation.last_round, learning_rate_to_bits(rate)))
    if len(simulation.pending) > setting.delay:
        _apply_oldest(simulation)


def _teach(simulation: Simulation, index: int) -> dict[int, list[TeacherTargets]]:
    """The targets of every student's steps, from tier-0 peers in turn."""
    setting = simulation.setting
    if compute_beta(setting.distillation, index) == 0:
        return {}
    teachers = [peer for peer in simulation.peers if peer.tier == 0]
    students = [peer for peer in simulation.peers if peer.tier > 0]
    targets = {}
    for turn, student in enumerate(students):
        teacher = teachers[turn % len(teachers)]
        _load(teacher.model, teacher.average or teacher.optimizer.masters)
        steps = range(student.optimizer.inner_steps)
        batches = [_tokens(simulation, student, index, step) for step in steps]
        targets[student.number] = [
            make_targets(teacher.model, tokens_bt, setting.distillation) for tokens_bt in batches
        ]
    return targets


def _train(
    simulation: Simulation,
    peer: Peer,
    index: int,
    rate: float,
    targets: dict[int, list[TeacherTargets]],
) -> Contribution:
    """One round of one peer, with its contribution as the others will read it."""
    peer.optimizer.begin_round(rate)
    for step in range(peer.optimizer.inner_steps):
        tokens_bt = _tokens(simulation, peer, index, step)
        loss = _student_loss(simulation, index, targets.get(peer.number, []), step)
        peer.model.zero_grad(set_to_none=True)
        peer.losses.append(accumulate_gradients(peer.model, tokens_bt, batch_loss=loss))
        if loss is not None and index % _STATS_EVERY_ROUNDS == 0:
            simulation.stats.append((index, loss.statistics()))
        peer.optimizer.accumulate(
            {name: _gradient(value) for name, value in peer.model.named_parameters()}
        )
    return _through_bytes(peer, simulation.setting, peer.optimizer.contribution())


def _student_loss(
    simulation: Simulation, index: int, targets: list[TeacherTargets], step: int
) -> StudentLoss | None:
    if not targets:
        return None
    config = simulation.setting.distillation
    plan = plan_distillation(config, compute_beta(config, index), targets[step])
    return StudentLoss(plan, targets[step])


def _tokens(simulation: Simulation, peer: Peer, index: int, step: int) -> Tensor:
    """A step's samples. Batches are disjoint; another seed reads another part of the corpus."""
    setting, size = simulation.setting, simulation.setting.samples_per_step
    places, inner = setting.batches_a_step or len(setting.tiers), peer.optimizer.inner_steps
    place = 0 if setting.teaching.shared_batches else peer.number
    number = setting.seed * setting.steps * places + (index * places + place) * inner + step
    batch = BatchInterval(number * size, (number + 1) * size)
    return torch.from_numpy(simulation.samples.train_samples(batch))


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _through_bytes(peer: Peer, setting: Setting, contribution: Contribution) -> Contribution:
    sent = contribution.coefficients
    grid = make_grids(setting.model, setting.optimizer, peer.tier).own
    sections = encode_coefficients(grid, sent)
    peer.sent_bytes += sum(len(data) for data in sections.values())
    received = decode_coefficients(grid, sent.payload, sent.top_k, sections)
    return Contribution(contribution.tier, received)


@torch.no_grad()
def _apply_oldest(simulation: Simulation) -> None:
    contributions, rate_bits = simulation.pending.popleft()
    for peer in simulation.peers:
        peer.optimizer.apply(contributions, rate_bits)
        for name, mean in peer.average.items():
            mean.lerp_(peer.optimizer.masters[name], 1 - simulation.setting.teaching.average)


def _require_one_model(setting: Setting, peers: list[Peer]) -> None:
    """All masters must agree, bit for bit, in what the smallest peer holds."""
    smallest = Tier(max(peer.tier for peer in peers))
    width = tier_width(setting.model, smallest)
    roots = {
        param_root(setting.model, slice_state(peer.optimizer.masters, width), smallest)
        for peer in peers
    }
    if len(roots) > 1:
        raise LocalError(f"{len(peers)} peers ended with {len(roots)} different models")


@torch.no_grad()
def _evaluate(simulation: Simulation) -> dict[str, float]:
    """Held-out nats a token of the largest peer's masters, at every tier."""
    setting = simulation.setting
    peer = min(simulation.peers, key=lambda peer: peer.tier)
    state = {name: master.detach() for name, master in peer.optimizer.masters.items()}
    model = model_from_state(setting.model, state, peer.tier)
    model.suffix_gate = compute_gate(setting.distillation, setting.model, setting.rounds)
    tokens_bt = torch.from_numpy(simulation.samples.heldout_samples(0, setting.heldout_samples))
    losses = {}
    for tier in range(peer.tier, setting.model.max_tier + 1):
        view = model.view_at(Tier(tier))
        sums = [
            float(compute_loss(model, part_bt, view)) * len(part_bt)
            for part_bt in torch.split(tokens_bt, _EVALUATED_AT_ONCE)
        ]
        losses[f"tier{tier}"] = round(sum(sums) / len(tokens_bt), 4)
    return losses


@torch.no_grad()
def _load(model: Transformer, values: Tensors) -> None:
    for name, parameter in model.named_parameters():
        parameter.copy_(values[name])


def _copies(values: Tensors) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in values.items()}


def _mean(values: list[float]) -> float:
    return round(sum(values) / len(values), 4)
