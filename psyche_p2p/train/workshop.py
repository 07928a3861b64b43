"""Everything a trainer works with, made from the peer's first command."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from psyche_p2p.blobs import BlobStore
from psyche_p2p.config import RunConfig, decode_run_config, run_id
from psyche_p2p.data.load import load_samples
from psyche_p2p.data.samples import SampleSource
from psyche_p2p.errors import ModelError
from psyche_p2p.ids import ParamRoot, PeerId, RunId, SchemaHash, Tier
from psyche_p2p.model.checkpoint import Checkpoint, open_checkpoint
from psyche_p2p.model.gradients import Precision, best_precision
from psyche_p2p.model.initial import initial_model
from psyche_p2p.model.load import load_model, plan_load
from psyche_p2p.model.param_root import ParamTree
from psyche_p2p.model.schema import model_schema, schema_hash
from psyche_p2p.model.transformer import Transformer
from psyche_p2p.optim.interface import Optimizer
from psyche_p2p.optim.make import make_optimizer
from psyche_p2p.train.device import choose_devices, count_on_cpu, set_threads
from psyche_p2p.train.gradient_maker import compile_blocks
from psyche_p2p.train.memory import largest_micro_batch, require_memory
from psyche_p2p.train.messages import Setup


@dataclass(frozen=True)
class Workshop:
    """A trainer's model, optimizer, data and store. The model's parameters are the working copy."""

    config: RunConfig
    run_id: RunId
    peer: PeerId
    tier: Tier
    schema_hash: SchemaHash
    device: torch.device
    devices: tuple[torch.device, ...]
    """Of all processes of this trainer; the first is `device`."""
    precision: Precision
    model: Transformer
    optimizer: Optimizer
    tree: ParamTree
    samples: SampleSource
    store: BlobStore
    micro_batch: int
    first_roots: tuple[ParamRoot, ...]
    """Of all tiers, the smallest first, of the checkpoint that this began with, if any."""


def open_workshop(setup: Setup) -> Workshop:
    """Load the model and the data; an error that names the cause if this machine cannot."""
    config = decode_run_config(setup.config.encode(), "the run's configuration")
    tier = Tier(setup.tier)
    devices = choose_devices(setup.device)
    device, sharing = devices[0], devices.count(devices[0])
    set_threads(setup.threads, count_on_cpu(devices))
    require_memory(config, tier, device, workers=sharing - 1)
    checkpoint = _open_checkpoint(config, setup.checkpoint)
    model = _load(config, tier, checkpoint).to(device)
    if setup.compile:
        compile_blocks(model)
    optimizer = make_optimizer(
        config.model, config.optimizer, dict(model.named_parameters()), held_tier=tier
    )
    tree = ParamTree(config.model, tier)
    tree.update(optimizer.masters)
    share = math.ceil(config.rounds.global_batch_size_end / len(devices))
    return Workshop(
        config=config,
        run_id=run_id(config),
        peer=PeerId(setup.peer),
        tier=tier,
        schema_hash=schema_hash(model_schema(config.model)),
        device=device,
        devices=devices,
        precision=best_precision(model),
        model=model,
        optimizer=optimizer,
        tree=tree,
        samples=load_samples(config, Path(setup.data_dir) if setup.data_dir else None),
        store=BlobStore.open(Path(setup.store), setup.store_bytes),
        micro_batch=setup.micro_batch or largest_micro_batch(config, tier, device, share, sharing),
        first_roots=() if checkpoint is None else checkpoint.compute_roots(config.model),
    )


def _load(config: RunConfig, tier: Tier, checkpoint: Checkpoint | None) -> Transformer:
    if checkpoint is None:
        return initial_model(config.model, config.run.seed, tier)
    return load_model(plan_load(checkpoint, tier))


def _open_checkpoint(config: RunConfig, folder: str) -> Checkpoint | None:
    """The checkpoint to begin with, if it is of a model like the run's; ModelError if not."""
    if not folder:
        return None
    checkpoint = open_checkpoint(Path(folder), base_width=config.model.intermediate_size)
    if checkpoint.config.model_copy(update={"max_tier": config.model.max_tier}) != config.model:
        stored = schema_hash(checkpoint.schema).hex()
        wanted = schema_hash(model_schema(config.model)).hex()
        if stored != wanted:
            raise ModelError(
                f"{folder!r} has schema {stored}, the run has {wanted}",
                "psyche-peer schema-diff shows which field differs",
            )
    return checkpoint
