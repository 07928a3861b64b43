"""Causal self-attention with grouped key and value heads and rotary positions.

Shape suffixes: b batch, t position, d hidden, h head, k width of a head.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from psyche_p2p.config import ModelConfig


class RotaryTable(NamedTuple):
    """Cosines and sines of every position, repeated for both halves of a head."""

    cos_tk: Tensor
    sin_tk: Tensor


def rotary_table(config: ModelConfig, length: int, device: torch.device) -> RotaryTable:
    """The rotations of the first `length` positions (RoFormer, arXiv 2104.09864), in float32."""
    width = config.hidden_size // config.num_attention_heads
    exponents = torch.arange(0, width, 2, dtype=torch.float32, device=device) / width
    frequencies = 1.0 / (config.rope_theta**exponents)
    positions = torch.arange(length, dtype=torch.float32, device=device)
    angles_tk = torch.outer(positions, frequencies).repeat(1, 2)
    return RotaryTable(angles_tk.cos(), angles_tk.sin())


def rotate(x_bhtk: Tensor, table: RotaryTable) -> Tensor:
    """Rotate each pair (i, i + k/2) of a head by its position's angle, as Llama pairs them."""
    first, second = x_bhtk.chunk(2, dim=-1)
    turned_bhtk = torch.cat((-second, first), dim=-1)
    cos_tk, sin_tk = table.cos_tk.to(x_bhtk.dtype), table.sin_tk.to(x_bhtk.dtype)
    return x_bhtk * cos_tk + turned_bhtk * sin_tk


class Attention(nn.Module):
    """Grouped-query attention (arXiv 2305.13245) with Llama's parameter names."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.kv_heads = config.num_key_value_heads
        self.head_width = config.hidden_size // self.heads
        hidden, bias = config.hidden_size, config.bias
        self.q_proj = nn.Linear(hidden, self.heads * self.head_width, bias=bias)
        self.k_proj = nn.Linear(hidden, self.kv_heads * self.head_width, bias=bias)
        self.v_proj = nn.Linear(hidden, self.kv_heads * self.head_width, bias=bias)
        self.o_proj = nn.Linear(self.heads * self.head_width, hidden, bias=bias)

    def forward(self, x_btd: Tensor, table: RotaryTable) -> Tensor:
        q_bhtk = rotate(self._split(self.q_proj(x_btd), self.heads), table)
        k_bhtk = rotate(self._split(self.k_proj(x_btd), self.kv_heads), table)
        v_bhtk = self._split(self.v_proj(x_btd), self.kv_heads)
        mixed_bhtk = F.scaled_dot_product_attention(
            q_bhtk,
            self._widen(k_bhtk),
            self._widen(v_bhtk),
            is_causal=True,
        )
        out_btd: Tensor = self.o_proj(mixed_bhtk.transpose(1, 2).flatten(2))
        return out_btd

    def _split(self, x_btd: Tensor, heads: int) -> Tensor:
        return x_btd.view(*x_btd.shape[:2], heads, self.head_width).transpose(1, 2)

    def _widen(self, x_bhtk: Tensor) -> Tensor:
        """One key or value head per query head: kernels for CPUs know no groups."""
        group = self.heads // self.kv_heads
        return x_bhtk if group == 1 else x_bhtk.repeat_interleave(group, dim=1)
