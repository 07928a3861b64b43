"""A training step of our transformer against Hugging Face's Llama of the same shape and weights.

Both run forward and backward on the same tokens, turn by turn, in bfloat16 autocast (or float32
with --float32). Ours runs as training does (`accumulate_gradients`); theirs as its own users do:
`model(input_ids, labels=...)` with its default scaled-dot-product attention. Tiers are ours alone.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import median_ratio, report, time_in_turns
from psyche_p2p.config import load_run_config
from psyche_p2p.ids import Tier
from psyche_p2p.model.gradients import Precision, accumulate_gradients
from psyche_p2p.model.hf_config import to_hugging_face
from psyche_p2p.model.initial import initial_model
from psyche_p2p.model.tiers import UNIVERSAL
from psyche_p2p.model.transformer import Transformer

_ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str]) -> int:
    options = _parse(arguments)
    torch.set_num_threads(options.threads)
    config = load_run_config(options.config).model
    precision = Precision.FLOAT32 if options.float32 else Precision.BFLOAT16
    generator = torch.Generator().manual_seed(0)
    shape = (options.batch, options.length + 1)
    tokens_bt = torch.randint(config.vocab_size, shape, generator=generator)
    ours = initial_model(config, 0)
    reference = _reference(ours)
    contenders: dict[str, Callable[[], object]] = {
        "hugging_face": lambda: _their_step(reference, tokens_bt, precision),
        "tier0": lambda: _our_step(ours, tokens_bt, precision),
    }
    for tier in range(1, config.max_tier + 1):
        sliced = initial_model(config, 0, Tier(tier))
        contenders[f"tier{tier}"] = lambda sliced=sliced: _our_step(sliced, tokens_bt, precision)  # type: ignore[misc]
    seconds = time_in_turns(contenders, options.repeats, warm_up=2)
    details = {"precision": precision.value, "threads": options.threads}
    for name, times in seconds.items():
        per_kilotoken = statistics.median(times) * 1e6 / (options.batch * options.length)
        report(f"model.{name}_step", round(per_kilotoken, 1), "ms per 1k tokens", **details)
    for name in contenders:
        if name != "hugging_face":
            ratio = median_ratio(seconds["hugging_face"], seconds[name])
            report(f"model.{name}_vs_hugging_face", round(ratio, 3), "times faster", **details)
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools/bench model", description=__doc__)
    parser.add_argument("--config", type=Path, default=_ROOT / "configs" / "nanogpt-20m.toml")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--float32", action="store_true", help="instead of bfloat16")
    return parser.parse_args(arguments)


def _our_step(model: Transformer, tokens_bt: torch.Tensor, precision: Precision) -> float:
    model.zero_grad()
    return accumulate_gradients(model, tokens_bt, precision=precision)


def _their_step(model: Any, tokens_bt: torch.Tensor, precision: Precision) -> float:
    model.zero_grad()
    with precision.autocast(tokens_bt.device):
        loss = model(tokens_bt, labels=tokens_bt).loss
    loss.backward()
    return float(loss)


def _reference(ours: Transformer) -> Any:
    import transformers

    values = to_hugging_face(ours.config, UNIVERSAL, "float32")
    config = transformers.LlamaConfig(**{key: values[key] for key in values if key != "dtype"})
    reference = transformers.LlamaForCausalLM(config)
    reference.load_state_dict({k: v.clone() for k, v in ours.state_dict().items()}, strict=False)
    reference.tie_weights()
    return reference.train()
