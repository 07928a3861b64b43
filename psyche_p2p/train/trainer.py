"""One peer's training, command by command: gradients, contributions, exact application.

Nothing here waits for anyone: the peer decides what comes next, and a command either succeeds or
leaves the parameters as they were.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from psyche_p2p.blobs import Origin, read_layout, read_update, seal_update
from psyche_p2p.data.manifest import encode_manifest
from psyche_p2p.distill.gating import compute_gate
from psyche_p2p.distill.targets import make_targets
from psyche_p2p.errors import ModelError
from psyche_p2p.ids import BatchInterval, BlobHash, EpochIndex, RoundIndex, Tier
from psyche_p2p.model.checkpoint_writer import WriteOptions, write_checkpoint
from psyche_p2p.model.evaluation import evaluate
from psyche_p2p.model.suffix_gate import SuffixGate
from psyche_p2p.optim.grids import make_grids
from psyche_p2p.optim.interface import Contribution
from psyche_p2p.optim.schedule import learning_rate_from_bits
from psyche_p2p.train.device import describe_devices
from psyche_p2p.train.gradient_maker import Emit, GradientMaker
from psyche_p2p.train.memory import estimate_bytes, estimate_worker_bytes
from psyche_p2p.train.messages import (
    Applied,
    Apply,
    Evaluate,
    Evaluated,
    Load,
    Loaded,
    MakeTargets,
    Progress,
    Ready,
    Save,
    Saved,
    Snapshot,
    Snapshotted,
    TargetsMade,
    Train,
    Trained,
)
from psyche_p2p.train.parameters import seal_parameters, take_parameters
from psyche_p2p.train.teaching import Lesson, make_step, seal_targets
from psyche_p2p.train.team import Team
from psyche_p2p.train.update_format import chunk_size_of, transform_of
from psyche_p2p.train.workshop import Workshop

_EVALUATED_AT_ONCE = 8


class Trainer:
    """Carries out a peer's commands on a workshop; `emit` takes progress and warnings.

    A team has joined the workshop's model, or is of nobody but this process.
    """

    def __init__(self, workshop: Workshop, emit: Emit, team: Team | None = None) -> None:
        self._shop = workshop
        self._emit = emit
        self._team = team or Team()
        self._gradients_of = GradientMaker(
            workshop.model,
            workshop.tier,
            workshop.device,
            workshop.precision,
            workshop.micro_batch,
            emit,
        )
        self._param_round = 0  # how many rounds the agreed parameters have had

    def ready(self, seconds: float) -> Ready:
        shop = self._shop
        return Ready(
            device=describe_devices(shop.devices),
            precision=shop.precision.value,
            parameters=sum(master.numel() for master in shop.optimizer.masters.values()),
            schema_hash=shop.schema_hash.hex(),
            data_manifest=shop.samples.manifest.digest.hex(),
            roots=self._roots(),
            memory_bytes=self._memory_bytes(),
            seconds=seconds,
            data_files=encode_manifest(shop.samples.manifest).decode(),
            first_roots=tuple(root.hex() for root in shop.first_roots),
        )

    def train(self, command: Train) -> Trained:
        """The contribution for a batch, put into the store."""
        began = time.monotonic()
        batch = BatchInterval(command.batch_start, command.batch_end)
        self._shop.model.suffix_gate = self._gate_of(command.round)
        lesson = Lesson(self._shop, command)
        loss, tokens = self._run_batch(command, batch, lesson)
        stats = lesson.statistics()
        loss = loss if stats is None else stats.ce
        contribution = self._shop.optimizer.contribution()
        origin = self._origin(command, batch)
        sealed = seal_update(
            origin,
            make_grids(self._shop.config.model, self._shop.config.optimizer, self._shop.tier).own,
            contribution.coefficients,
            transform_of(self._shop.config),
            chunk_size=chunk_size_of(self._shop.config),
            tokens=tokens,
            loss=loss,
        )
        blob = self._shop.store.add(sealed)
        return Trained(
            round=command.round,
            blob=blob.hex(),
            payload=sealed.header.payload_hash.hex(),
            size_bytes=sealed.manifest.size_bytes,
            loss=loss,
            tokens=tokens,
            seconds=time.monotonic() - began,
            distillation=stats,
        )

    def make_targets(self, command: MakeTargets) -> TargetsMade:
        """What the agreed parameters say about a student's batch, put into the store."""
        began, shop = time.monotonic(), self._shop
        batch = BatchInterval(command.batch_start, command.batch_end)
        tokens_bt = self._tensor(shop.samples.train_samples(batch))
        self._load_working(shop.optimizer.masters)
        shop.model.suffix_gate = self._gate_of(command.round)
        targets = make_targets(
            shop.model,
            tokens_bt,
            shop.config.distillation,
            micro_batch=self._gradients_of.micro_batch,
            precision=shop.precision,
        )
        sealed = seal_targets(shop, command, targets)
        return TargetsMade(
            round=command.round,
            batch_start=batch.start,
            batch_end=batch.end,
            blob=shop.store.add(sealed).hex(),
            payload=sealed.header.payload_hash.hex(),
            size_bytes=sealed.manifest.size_bytes,
            top_mass=targets.mean_top_mass(),
            seconds=time.monotonic() - began,
        )

    def apply(self, command: Apply) -> Applied:
        """Move the parameters by a round's accepted contributions."""
        began = time.monotonic()
        contributions = [self._read(BlobHash(bytes.fromhex(blob))) for blob in command.blobs]
        self._shop.optimizer.apply(contributions, command.learning_rate_bits)
        self._shop.tree.update(self._shop.optimizer.masters)
        self._param_round = command.round + 1
        return Applied(command.round, self._roots(), time.monotonic() - began)

    def evaluate(self, command: Evaluate) -> Evaluated:
        """The held-out loss of the agreed parameters, not of the working copy."""
        count = min(command.samples, self._shop.samples.heldout_count)
        batches = (
            self._tensor(
                self._shop.samples.heldout_samples(start, min(_EVALUATED_AT_ONCE, count - start))
            )
            for start in range(0, count, _EVALUATED_AT_ONCE)
        )
        self._load_working(self._shop.optimizer.masters)
        self._shop.model.suffix_gate = self._gate_of(self._param_round)
        found = evaluate(self._shop.model, batches, self._shop.precision)
        return Evaluated(tuple(one.tier for one in found), tuple(one.loss for one in found))

    def save(self, command: Save) -> Saved:
        options = WriteOptions(replace=True, suffix_gate=self._gate_of(self._param_round))
        write_checkpoint(
            Path(command.folder),
            self._shop.config.model,
            self._shop.optimizer.masters,
            self._shop.tier,
            options,
        )
        return Saved(command.folder, self._roots()[-1])

    def snapshot(self, command: Snapshot) -> Snapshotted:
        """Put the parameters at a tier into the store; the same bytes on every peer."""
        began = time.monotonic()
        sealed = seal_parameters(self._shop, RoundIndex(command.param_round), Tier(command.tier))
        blob = self._shop.store.add(sealed)
        return Snapshotted(
            param_round=command.param_round,
            tier=command.tier,
            blob=blob.hex(),
            size_bytes=sealed.manifest.size_bytes,
            seconds=time.monotonic() - began,
        )

    def load(self, command: Load) -> Loaded:
        """Take the parameters of a blob; what the optimizer remembers of earlier rounds stays."""
        blob = BlobHash(bytes.fromhex(command.blob))
        self._param_round = take_parameters(self._shop, blob)
        return Loaded(self._param_round, self._roots())

    def _memory_bytes(self) -> int:
        shop, micro_batch = self._shop, self._gradients_of.micro_batch
        worker = estimate_worker_bytes(shop.config, shop.tier, micro_batch)
        own = estimate_bytes(shop.config, shop.tier, micro_batch)
        return own + self._team.workers * worker

    def _run_batch(self, command: Train, batch: BatchInterval, lesson: Lesson) -> tuple[float, int]:
        """Give the optimizer the batch's gradients, in as many steps as it wants."""
        optimizer = self._shop.optimizer
        tokens_bt = self._tensor(self._shop.samples.train_samples(batch))
        optimizer.begin_round(float(learning_rate_from_bits(command.learning_rate_bits)))
        done, total = 0, 0.0
        for part_bt in torch.tensor_split(tokens_bt, min(optimizer.inner_steps, len(tokens_bt))):
            loss = self._step(command.round, part_bt, lesson, done)
            if not math.isfinite(loss):
                # before the gradient can reach the momentum, and with it every later round
                raise ModelError(f"the loss of batch {batch} is {loss}", "lower the learning rate")
            total += loss * len(part_bt)
            optimizer.accumulate(self._gradients())
            done += len(part_bt)
            self._emit(Progress(command.round, done, len(tokens_bt)))
        return total / len(tokens_bt), tokens_bt[:, 1:].numel()

    def _step(self, round_index: int, part_bt: Tensor, lesson: Lesson, first: int) -> float:
        """The gradients of some samples, the first of which is the batch's `first`."""
        end = first + len(part_bt)
        step = make_step(round_index, part_bt, lesson, slice(first, end))
        own = self._team.share_out(step, part_bt, lesson.targets_of(slice(first, end)))
        own_in_batch = slice(first + own.start, first + own.stop)
        value, loss = self._gradients_of.compute(
            part_bt[own], step.predicted, lambda: lesson.loss_of(own_in_batch)
        )
        lesson.note(None if loss is None else loss.statistics(), own.stop - own.start)
        for done in self._team.collect():
            lesson.note(done.distillation, done.samples)
            value += math.nan if done.loss is None else done.loss
        self._team.sum_gradients()
        return value

    def _gate_of(self, round_index: int) -> SuffixGate | None:
        config = self._shop.config
        return compute_gate(config.distillation, config.model, round_index)

    def _gradients(self) -> Mapping[str, Tensor]:
        return {
            name: parameter.grad
            for name, parameter in self._shop.model.named_parameters()
            if parameter.grad is not None
        }

    def _read(self, blob: BlobHash) -> Contribution:
        update = read_update(read_layout(self._shop.store.read(blob)))
        return Contribution(Tier(update.header.tier), update.coefficients)

    def _roots(self) -> tuple[str, ...]:
        """The param roots from the smallest tier's, which everyone has, to this peer's own."""
        tiers = range(self._shop.config.model.max_tier, self._shop.tier - 1, -1)
        return tuple(self._shop.tree.root(Tier(tier)).hex() for tier in tiers)

    def _origin(self, command: Train, batch: BatchInterval) -> Origin:
        return Origin(
            run_id=self._shop.run_id,
            epoch=EpochIndex(command.epoch),
            round=RoundIndex(command.round),
            tier=self._shop.tier,
            schema_hash=self._shop.schema_hash,
            batch=batch,
            producer=self._shop.peer,
        )

    @torch.no_grad()
    def _load_working(self, masters: Mapping[str, Tensor]) -> None:
        for name, parameter in self._shop.model.named_parameters():
            parameter.copy_(masters[name])

    def _tensor(self, samples: object) -> Tensor:
        return torch.as_tensor(samples).to(self._shop.device)
