"""The decoder that a run trains: Llama's structure and names, at any tier.

Modules are made without memory (on the meta device) and filled by `model_from_state`: first weights
come from `initial.py` or a checkpoint, never from a library's generator. With silu and no bias the
`nanogpt` architecture computes what `llama` does; it also allows squared ReLU and biases.

Shape suffixes: b batch, t position, d hidden, v vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from psyche_p2p.config import ModelConfig
from psyche_p2p.errors import ModelError
from psyche_p2p.ids import Tier
from psyche_p2p.model.attention import Attention, RotaryTable, rotary_table
from psyche_p2p.model.feed_forward import FeedForward, FfnView, PrefixView
from psyche_p2p.model.suffix_gate import GatedView, SuffixGate, gated_view
from psyche_p2p.model.tiers import UNIVERSAL, tier_width


class RmsNorm(nn.Module):
    """Division by the root mean square, in float32, then a learned scale (arXiv 1910.07467)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x_btd: Tensor) -> Tensor:
        return F.rms_norm(x_btd.float(), self.weight.shape, self.weight, self.eps)


class Block(nn.Module):
    """Attention and feed-forward, each behind a norm and around the residual stream."""

    def __init__(self, config: ModelConfig, width: int) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = FeedForward(config, width)
        self.input_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x_btd: Tensor, table: RotaryTable, view: FfnView, layer: int) -> Tensor:
        x_btd = x_btd + self.self_attn(self.input_layernorm(x_btd), table)
        return x_btd + view.run(self.mlp, self.post_attention_layernorm(x_btd), layer)


class Decoder(nn.Module):
    """Embedding, blocks and final norm: everything before the output layer."""

    def __init__(self, config: ModelConfig, width: int) -> None:
        super().__init__()
        shape = (config.vocab_size, config.hidden_size)
        # given, because drawing normal numbers without memory imports torch's compiler, for seconds
        self.embed_tokens = nn.Embedding(*shape, _weight=torch.empty(shape))
        self.layers = nn.ModuleList(Block(config, width) for _ in range(config.num_layers))
        self.norm = RmsNorm(config.hidden_size, config.rms_norm_eps)


class Transformer(nn.Module):
    """A language model that holds the FFN units of `held_tier` and runs at it or any smaller one.

    `config` is always the tier-0 form. `recompute_activations` trades a second forward pass of each
    block for the memory of its activations. `suffix_gate` is part of every view made by `view_at`.
    """

    def __init__(self, config: ModelConfig, held_tier: Tier = UNIVERSAL) -> None:
        super().__init__()
        width = tier_width(config, held_tier)
        self.config = config
        self.held_tier = held_tier
        self.recompute_activations = False
        self.suffix_gate: SuffixGate | None = None
        self.model = Decoder(config, width)
        self.lm_head = (
            None
            if config.tie_word_embeddings
            else nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        )

    @property
    def output_weight(self) -> Tensor:
        """The matrix that turns hidden states into logits."""
        layer = self.model.embed_tokens if self.lm_head is None else self.lm_head
        return layer.weight

    def view_at(self, tier: Tier) -> PrefixView | GatedView:
        """The view that runs this model at a tier it holds, behind its suffix gate if any."""
        if tier < self.held_tier:
            raise ModelError(
                f"this model holds only tier {self.held_tier} and cannot run at tier {tier}",
                f"load the universal checkpoint, or run at tier {self.held_tier} or above",
            )
        return gated_view(tier_width(self.config, tier), self.suffix_gate)

    def forward(self, tokens_bt: Tensor, view: FfnView | None = None) -> Tensor:
        """Logits of every position; without a view, at the tier this model holds."""
        return F.linear(self.hidden(tokens_bt, view), self.output_weight)

    def hidden(self, tokens_bt: Tensor, view: FfnView | None = None) -> Tensor:
        """The final hidden states, which the output layer turns into logits."""
        length = tokens_bt.shape[1]
        if length > self.config.max_seq_len:
            raise ModelError(
                f"{length} tokens are more than this model's {self.config.max_seq_len} positions",
                "cut the input, or make a model with a larger model.max_seq_len",
            )
        used = view if view is not None else self.view_at(self.held_tier)
        table = rotary_table(self.config, length, tokens_bt.device)
        x_btd: Tensor = self.model.embed_tokens(tokens_bt)
        for index, block in enumerate(self.model.layers):
            x_btd = self._run_block(block, x_btd, table, used, index)
        normed_btd: Tensor = self.model.norm(x_btd)
        return normed_btd

    def _run_block(
        self, block: nn.Module, x_btd: Tensor, table: RotaryTable, view: FfnView, layer: int
    ) -> Tensor:
        if self.recompute_activations and torch.is_grad_enabled():
            out_btd: Tensor = checkpoint(block, x_btd, table, view, layer, use_reentrant=False)
        else:
            out_btd = block(x_btd, table, view, layer)
        return out_btd


def empty_model(config: ModelConfig, held_tier: Tier = UNIVERSAL) -> Transformer:
    """The model's structure without memory behind its parameters."""
    with torch.device("meta"):
        return Transformer(config, held_tier)


def model_from_state(
    config: ModelConfig, state: Mapping[str, Tensor], held_tier: Tier = UNIVERSAL
) -> Transformer:
    """A model around these tensors, which it then owns; each must have its name and shape."""
    model = empty_model(config, held_tier)
    require_state(model, state)
    model.load_state_dict(dict(state), strict=True, assign=True)
    return model.requires_grad_(True)


def require_state(model: Transformer, state: Mapping[str, Tensor]) -> None:
    """ModelError for the first tensor that is missing, superfluous or of another shape."""
    expected = dict(model.named_parameters())
    for name in sorted(expected.keys() | state.keys()):
        if name not in state:
            raise ModelError(f"tensor {name!r} is missing", "the checkpoint is incomplete")
        if name not in expected:
            raise ModelError(f"tensor {name!r} is not part of this model", "check its config")
        if state[name].shape != expected[name].shape:
            raise ModelError(
                f"tensor {name!r} has shape {list(state[name].shape)} instead of "
                f"{list(expected[name].shape)}",
                "the checkpoint belongs to another model or tier",
            )
