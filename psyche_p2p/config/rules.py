"""The rules between keys: what no single key can check alone."""

from __future__ import annotations

from collections.abc import Iterator

from psyche_p2p.config.data_rules import find_data_contradictions
from psyche_p2p.config.problems import Problem
from psyche_p2p.config.schema import ModelConfig, RunConfig


def find_contradictions(config: RunConfig) -> list[Problem]:
    """Every rule that the configuration breaks, in the order of its sections."""
    return [
        *_beginning(config),
        *_members(config),
        *_rounds(config),
        *_committee(config),
        *find_model_contradictions(config.model),
        *_tiers(config),
        *find_data_contradictions(config.data, config.model),
        *_optimizer(config),
        *_schedule(config),
        *_distillation(config),
    ]


def _members(config: RunConfig) -> Iterator[Problem]:
    members = config.members
    if members.init_min_members < members.min_members:
        yield Problem(
            "members.init_min_members",
            members.init_min_members,
            f"must be at least members.min_members ({members.min_members})",
        )
    if members.max_members < members.init_min_members:
        yield Problem(
            "members.max_members",
            members.max_members,
            f"must be at least members.init_min_members ({members.init_min_members})",
        )
    both = sorted(set(members.allow) & set(members.block))
    if both:
        yield Problem("members.block", both[0], "must not also be in members.allow")
    for key, peers in (("allow", members.allow), ("block", members.block)):
        yield from _repeated(f"members.{key}", peers)


def _beginning(config: RunConfig) -> Iterator[Problem]:
    beginning, total = config.beginning, config.run.total_rounds
    if beginning.round >= total:
        allowed = f"must be below run.total_rounds ({total})"
        yield Problem("beginning.round", beginning.round, allowed)
    for key in ("round", "sample"):
        value = getattr(beginning, key)
        if value and not beginning.param_root:
            yield Problem(f"beginning.{key}", value, "must be 0 unless beginning.param_root is set")


def _rounds(config: RunConfig) -> Iterator[Problem]:
    rounds = config.rounds
    if rounds.global_batch_size_end < rounds.global_batch_size_start:
        yield Problem(
            "rounds.global_batch_size_end",
            rounds.global_batch_size_end,
            f"must be at least rounds.global_batch_size_start ({rounds.global_batch_size_start})",
        )
    for key in ("warmup_s", "max_round_train_s"):
        value = getattr(rounds, key)
        if value >= rounds.epoch_s:
            allowed = f"must be below rounds.epoch_s ({rounds.epoch_s})"
            yield Problem(f"rounds.{key}", value, allowed)


def _committee(config: RunConfig) -> Iterator[Problem]:
    committee, members = config.committee, config.members
    if committee.witness_nodes > members.min_members:
        yield Problem(
            "committee.witness_nodes",
            committee.witness_nodes,
            f"must be at most members.min_members ({members.min_members}), or 0 for all",
        )
    yield from _repeated("committee.authorities", committee.authorities)
    blocked = sorted(set(committee.authorities) & set(members.block))
    if blocked:
        yield Problem("committee.authorities", blocked[0], "must not be in members.block")


def find_model_contradictions(model: ModelConfig) -> Iterator[Problem]:
    """The rules inside the model's section, which a checkpoint has to keep too."""
    if model.hidden_size % model.num_attention_heads:
        yield Problem(
            "model.hidden_size",
            model.hidden_size,
            f"must be a multiple of model.num_attention_heads ({model.num_attention_heads})",
        )
    elif (model.hidden_size // model.num_attention_heads) % 2:
        yield Problem(
            "model.num_attention_heads",
            model.num_attention_heads,
            "must leave each head an even width, which rotary positions need",
        )
    if model.num_attention_heads % model.num_key_value_heads:
        yield Problem(
            "model.num_key_value_heads",
            model.num_key_value_heads,
            f"must divide model.num_attention_heads ({model.num_attention_heads})",
        )
    if model.architecture == "llama" and model.activation != "silu":
        yield Problem("model.activation", model.activation, "must be silu for llama")
    if model.bias and model.architecture == "llama":
        yield Problem("model.bias", model.bias, "must be false for llama")
    if model.bias and model.max_tier > 0:
        yield Problem("model.bias", model.bias, "must be false while model.max_tier is above 0")


def _tiers(config: RunConfig) -> Iterator[Problem]:
    model, chunk = config.model, _chunk_size(config)
    unit = chunk << model.max_tier
    if model.max_tier > 0 and model.intermediate_size % unit:
        yield Problem(
            "model.intermediate_size",
            model.intermediate_size,
            f"must be a multiple of {unit}, so that the width at tier {model.max_tier} "
            f"is a multiple of the optimizer's chunk_size ({chunk})",
        )


def _optimizer(config: RunConfig) -> Iterator[Problem]:
    optimizer = config.optimizer
    for kind, settings in (("distro", optimizer.distro), ("sparse_loco", optimizer.sparse_loco)):
        if settings.top_k > settings.chunk_size**2:
            yield Problem(
                f"optimizer.{kind}.top_k",
                settings.top_k,
                f"must be at most the coefficients of a chunk ({settings.chunk_size**2})",
            )
    if optimizer.kind == "adamw" and config.members.max_members > 1:
        yield Problem(
            "optimizer.kind",
            optimizer.kind,
            "must be distro or sparse_loco unless members.max_members is 1: "
            "adamw is for a lone peer",
        )


def _schedule(config: RunConfig) -> Iterator[Problem]:
    schedule, total = config.schedule, config.run.total_rounds
    decay = schedule.decay_rounds if schedule.kind == "warmup_stable_decay" else 0
    if schedule.warmup_rounds + decay > total:
        yield Problem(
            "schedule.warmup_rounds",
            schedule.warmup_rounds,
            f"must leave warm-up and decay within run.total_rounds ({total})",
        )
    if schedule.decay_rounds and not decay:
        yield Problem(
            "schedule.decay_rounds",
            schedule.decay_rounds,
            "must be 0 unless schedule.kind is warmup_stable_decay",
        )


def _distillation(config: RunConfig) -> Iterator[Problem]:
    distillation, model = config.distillation, config.model
    synergy = distillation.synergy
    if (synergy.phase_a_rounds > 0) != (synergy.ramp_rounds > 0):
        key = "phase_a_rounds" if synergy.phase_a_rounds == 0 else "ramp_rounds"
        yield Problem(
            f"distillation.synergy.{key}", 0, "must be set too: set both synergy keys or neither"
        )
    if distillation.top_k > model.vocab_size:
        yield Problem(
            "distillation.top_k",
            distillation.top_k,
            f"must be at most model.vocab_size ({model.vocab_size})",
        )
    if distillation.combine == "mix" and distillation.beta_max > 1:
        yield Problem(
            "distillation.beta_max", distillation.beta_max, "must be at most 1 for combine = mix"
        )
    longest_s = config.rounds.max_round_train_s
    if distillation.enabled and distillation.targets_wait_s >= longest_s:
        yield Problem(
            "distillation.targets_wait_s",
            distillation.targets_wait_s,
            f"must be below rounds.max_round_train_s ({longest_s}): a student that waits longer "
            "for its targets has no time left to train; lower it or raise the other",
        )
    gate = distillation.suffix_gate
    if gate.enabled and gate.prefix_tier > model.max_tier > 0:
        yield Problem(
            "distillation.suffix_gate.prefix_tier",
            gate.prefix_tier,
            f"must be at most model.max_tier ({model.max_tier})",
        )
    if gate.learnable:
        yield Problem(
            "distillation.suffix_gate.learnable",
            True,
            "must be false: a trained scalar would be a parameter outside the model's schema and "
            "param root, and the suffix's down_proj can learn the same scale",
        )
    for key, enabled in (
        ("enabled", distillation.enabled),
        ("suffix_gate.enabled", distillation.suffix_gate.enabled),
    ):
        if enabled and model.max_tier == 0:
            yield Problem(
                f"distillation.{key}", True, "must be false while model.max_tier is 0: no students"
            )


def _chunk_size(config: RunConfig) -> int:
    if config.optimizer.kind == "sparse_loco":
        return config.optimizer.sparse_loco.chunk_size
    return config.optimizer.distro.chunk_size


def _repeated(key: str, peers: tuple[str, ...]) -> Iterator[Problem]:
    repeated = sorted({peer for peer in peers if peers.count(peer) > 1})
    if repeated:
        yield Problem(key, repeated[0], "must be named only once")
