"""What the state machine needs of a run's configuration, in whole numbers."""

from __future__ import annotations

from dataclasses import dataclass

from psyche_p2p.config import ModelConfig, RunConfig, ScheduleConfig, run_id
from psyche_p2p.ids import ParamRoot, PeerId, RoundIndex, RunId, Tier


@dataclass(frozen=True, slots=True)
class Rules:
    """A run's rules; the same on every peer of the run."""

    run_id: RunId
    total_rounds: int
    first_round: RoundIndex
    first_sample: int
    first_param_root: ParamRoot | None
    """None for the model that the run's seed draws."""
    owner: PeerId | None
    init_min_members: int
    min_members: int
    max_members: int
    waiting_extra_ms: int
    max_missed_rounds: int
    allow: frozenset[PeerId]
    block: frozenset[PeerId]
    pipeline_depth: int
    epoch_ms: int
    warmup_ms: int
    cooldown_ms: int
    max_round_ms: int
    batch_size_start: int
    batch_size_end: int
    batch_size_warmup_tokens: int
    has_equal_batches: bool
    sequence_length: int
    witness_nodes: int
    authorities: tuple[PeerId, ...]
    verification_percent: int
    has_teachers: bool
    active_parameters: tuple[int, ...]
    max_blob_bytes: int
    schedule: ScheduleConfig

    @property
    def max_tier(self) -> Tier:
        return Tier(len(self.active_parameters) - 1)


def rules_of(config: RunConfig) -> Rules:
    """The rules that a configuration stands for."""
    members, rounds = config.members, config.rounds
    return Rules(
        run_id=run_id(config),
        total_rounds=config.run.total_rounds,
        first_round=RoundIndex(config.beginning.round),
        first_sample=config.beginning.sample,
        first_param_root=_first_param_root(config),
        owner=PeerId(config.run.owner) if config.run.owner else None,
        init_min_members=members.init_min_members,
        min_members=members.min_members,
        max_members=members.max_members,
        waiting_extra_ms=_milliseconds(members.waiting_for_members_extra_s),
        max_missed_rounds=members.max_missed_rounds,
        allow=frozenset(map(PeerId, members.allow)),
        block=frozenset(map(PeerId, members.block)),
        pipeline_depth=rounds.pipeline_depth,
        epoch_ms=_milliseconds(rounds.epoch_s),
        warmup_ms=_milliseconds(rounds.warmup_s),
        cooldown_ms=_milliseconds(rounds.cooldown_s),
        max_round_ms=_milliseconds(rounds.max_round_train_s),
        batch_size_start=rounds.global_batch_size_start,
        batch_size_end=rounds.global_batch_size_end,
        batch_size_warmup_tokens=rounds.global_batch_size_warmup_tokens,
        has_equal_batches=rounds.equal_batches,
        sequence_length=config.data.sequence_length,
        witness_nodes=config.committee.witness_nodes,
        authorities=tuple(map(PeerId, config.committee.authorities)),
        verification_percent=config.verification.verification_percent,
        has_teachers=config.distillation.enabled,
        active_parameters=_active_parameters(config.model),
        max_blob_bytes=config.network.max_blob_bytes,
        schedule=config.schedule,
    )


def _first_param_root(config: RunConfig) -> ParamRoot | None:
    text = config.beginning.param_root
    return ParamRoot(bytes.fromhex(text)) if text else None


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _active_parameters(model: ModelConfig) -> tuple[int, ...]:
    """By tier: the entries of the weight matrices that a trainer of this tier works with."""
    width = model.hidden_size
    key_value_width = width // model.num_attention_heads * model.num_key_value_heads
    attention = 2 * width * (width + key_value_width)
    embedding = model.vocab_size * width * (1 if model.tie_word_embeddings else 2)
    return tuple(
        embedding + model.num_layers * (attention + 3 * width * (model.intermediate_size >> tier))
        for tier in range(model.max_tier + 1)
    )
