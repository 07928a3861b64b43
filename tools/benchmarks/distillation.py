"""What teaching costs: a teacher's pass, a student's step with and without it, and its bytes.

Default model: configs/nanogpt-20m.toml, 32,000 words, with its first parameters. The steps run turn
by turn; ratios are medians of runs that stood side by side.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.report import median_ratio, report, time_in_turns
from psyche_p2p.blobs import Expectation, Origin, seal_teacher_targets, validate_blob
from psyche_p2p.blobs.teacher import seal_compact_targets
from psyche_p2p.codec import TopLogits, decode_top_logits, encode_top_logits, index_bound_bits
from psyche_p2p.config import DistillationConfig, load_run_config
from psyche_p2p.distill.student import StudentLoss, plan_distillation
from psyche_p2p.distill.targets import TeacherTargets, make_targets
from psyche_p2p.identity import Identity
from psyche_p2p.ids import BatchInterval, EpochIndex, RoundIndex, RunId, SchemaHash, Tier
from psyche_p2p.model.gradients import accumulate_gradients, best_precision
from psyche_p2p.model.initial import initial_model

_ROOT = Path(__file__).resolve().parents[2]
_PLAIN_ENTRY_BYTES, _LOGSUMEXP_BYTES = 4, 4


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tools/bench distillation", description=__doc__)
    parser.add_argument("--config", type=Path, default=_ROOT / "configs" / "nanogpt-20m.toml")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    model = load_run_config(options.config).model
    config = DistillationConfig(enabled=True)
    generator = torch.Generator().manual_seed(0)
    shape = (options.samples, options.length + 1)
    tokens_bt = torch.randint(model.vocab_size, shape, generator=generator)
    teacher, student = (initial_model(model, 0, Tier(tier)) for tier in (0, 1))
    precision = best_precision(teacher)
    targets = make_targets(teacher, tokens_bt, config, precision=precision)
    plan = plan_distillation(config, config.beta_max, targets)

    def step(is_taught: bool) -> None:
        student.zero_grad(set_to_none=True)
        loss = StudentLoss(plan, targets) if is_taught else None
        accumulate_gradients(student, tokens_bt, precision=precision, batch_loss=loss)

    contenders: dict[str, Callable[[], object]] = {
        "student": lambda: step(False),
        "taught_student": lambda: step(True),
        "teacher": lambda: make_targets(teacher, tokens_bt, config, precision=precision),
    }
    seconds = time_in_turns(contenders, options.repeats)
    for name, times in seconds.items():
        per_kilotoken = statistics.median(times) * 1e6 / (options.samples * options.length)
        report(f"distillation.{name}", round(per_kilotoken, 1), "ms per 1k tokens")
    for name in ("taught_student", "teacher"):
        ratio = median_ratio(seconds[name], seconds["student"])
        report(f"distillation.{name}_of_student", round(ratio, 3), "times a plain step")
    _measure_bytes(targets, model.vocab_size, options.repeats)
    _measure_checks(targets, model.vocab_size, options.repeats)
    return 0


def _measure_bytes(targets: TeacherTargets, vocab_size: int, repeats: int) -> None:
    indices, logits, logsumexp = targets.to_arrays()
    tokens, top_k = logsumexp.size, indices.shape[2]
    top = TopLogits(indices.reshape(-1, top_k), logits.reshape(-1, top_k), logsumexp.reshape(-1))
    sections = encode_top_logits(top, vocab_size)
    compact = sum(map(len, sections.values())) / tokens
    plain = _PLAIN_ENTRY_BYTES * top_k + _LOGSUMEXP_BYTES
    details = {"vocabulary": vocab_size, "top_k": top_k}
    report("distillation.plain", plain, "bytes a token", **details)
    report("distillation.compact", round(compact, 2), "bytes a token", **details)
    report("distillation.compact_of_plain", round(compact / plain, 4), **details)
    bits = 8 * (len(sections["low"]) + len(sections["unary"])) / (tokens * top_k)
    bound = index_bound_bits(top_k, vocab_size) / top_k
    report("distillation.index_of_bound", round(bits / bound, 4), "times", **details)
    coders: dict[str, Callable[[], object]] = {
        "encode": lambda: encode_top_logits(top, vocab_size),
        "decode": lambda: decode_top_logits(sections, tokens, top_k, vocab_size),
    }
    for name, times in time_in_turns(coders, repeats).items():
        report(
            f"distillation.{name}", round(statistics.median(times) * 1e3, 2), "ms", tokens=tokens
        )


def _measure_checks(targets: TeacherTargets, vocab_size: int, repeats: int) -> None:
    """What a witness does with a blob of targets that it has fetched."""
    indices, logits, logsumexp = targets.to_arrays()
    tokens = logsumexp.size
    origin = Origin(
        run_id=RunId(bytes(32)),
        epoch=EpochIndex(0),
        round=RoundIndex(0),
        tier=Tier(0),
        schema_hash=SchemaHash(bytes(32)),
        batch=BatchInterval(0, len(indices)),
        producer=Identity.from_seed(bytes(32)).peer_id,
    )
    forms = {
        "compact": seal_compact_targets(
            origin, indices, logits, logsumexp, vocab_size=vocab_size, tokens=tokens, loss=0.0
        ),
        "plain": seal_teacher_targets(
            origin,
            indices.astype(np.uint16),
            logits.astype(np.float16),
            logsumexp.astype(np.float32),
            tokens=tokens,
            loss=0.0,
        ),
    }
    expected = replace(Expectation.of_anything(1 << 30), vocab_size=vocab_size)
    blobs = {name: sealed.to_bytes() for name, sealed in forms.items()}
    checks: dict[str, Callable[[], object]] = {
        name: partial(validate_blob, blob, expected) for name, blob in blobs.items()
    }
    if any(check() for check in checks.values()):
        raise SystemExit("the benchmark's own targets are refused")
    for name, times in time_in_turns(checks, repeats).items():
        per_token_us = statistics.median(times) * 1e6 / tokens
        report(f"distillation.check_{name}", round(per_token_us, 2), "us a token", tokens=tokens)
