"""One transformer for every task, laid out as Llama's so that its weights can be exported as such.

Why not ``transformers``' own: here the same forty lines are causal or bidirectional, take their norm's gains from a
level (VALL-E's adaptive norm), and keep their cache in tensors of fixed size, without which a small model on a CPU
spends more time in Python than in matrix products. What a standard model is good for, other programs that serve it,
is kept: see `llama.py`.

Shapes: B batch, L positions, H heads, D channels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xcodec.lm.config import TransformerConfig

NORM_EPS = 1e-5
ROPE_THETA = 10_000.0
"""Longest wavelength of the rotary positions."""


class KVCache:
    """Keys and values of the positions so far, so that each new one costs only itself."""

    def __init__(self, config: TransformerConfig, batch: int, capacity: int, like: Tensor) -> None:
        shape = (config.layers, batch, config.heads, capacity, config.width // config.heads)
        self.keys = like.new_zeros(shape)
        self.values = like.new_zeros(shape)
        self.length = 0
        """Positions that are in it."""

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Put those of new positions [B, H, l, D/H] of one layer behind the old ones; gives all of them.

        The length changes when :meth:`advance` is called, after the last layer.
        """
        end = self.length + keys.shape[2]
        if end > self.keys.shape[3]:
            raise IndexError(f"the cache has room for {self.keys.shape[3]} positions, not for {end}")
        self.keys[layer, :, :, self.length : end] = keys
        self.values[layer, :, :, self.length : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def advance(self, positions: int) -> None:
        """Count new positions."""
        self.length += positions


class RMSNorm(nn.Module):
    """Scale to unit mean square, times a gain per channel, which may depend on a level."""

    def __init__(self, width: int, levels: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(levels, width))

    def forward(self, x: Tensor, level: Tensor | None = None) -> Tensor:
        """[B, L, D] and int64 [B] -> [B, L, D]."""
        gain = self.weight[0] if level is None else self.weight[level][:, None]
        return F.rms_norm(x, x.shape[-1:], eps=NORM_EPS) * gain


class Attention(nn.Module):
    """Multi-head self-attention with rotary positions, causal or bidirectional."""

    def __init__(self, config: TransformerConfig, causal: bool) -> None:
        super().__init__()
        self.heads = config.heads
        self.causal = causal
        self.query = nn.Linear(config.width, config.width, bias=False)
        self.key = nn.Linear(config.width, config.width, bias=False)
        self.value = nn.Linear(config.width, config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(
        self, x: Tensor, angles: tuple[Tensor, Tensor], mask: Tensor | None, cache: KVCache | None, layer: int
    ) -> Tensor:
        """[B, L, D] -> [B, L, D]."""
        # (B, L, D) -> (B, L, H, D/H) -> (B, H, L, D/H)
        query, key, value = (
            project(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for project in (self.query, self.key, self.value)
        )
        query, key = _rotate(query, *angles), _rotate(key, *angles)
        if cache is not None:
            key, value = cache.extend(layer, key, value)
        first = key.shape[2] == query.shape[2]
        if self.causal and not first and query.shape[2] > 1:
            length, total = query.shape[2], key.shape[2]
            mask = torch.ones(length, total, dtype=torch.bool, device=x.device).tril(total - length)
        attended = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=self.causal and first and query.shape[2] > 1
        )
        return self.out(attended.transpose(1, 2).flatten(2))  # (B, H, L, D/H) -> (B, L, D)


class Layer(nn.Module):
    """Pre-norm residual layer: attention, then gated feed-forward (SwiGLU)."""

    def __init__(self, config: TransformerConfig, causal: bool, levels: int) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width, levels)
        self.attention = Attention(config, causal)
        self.feed_norm = RMSNorm(config.width, levels)
        self.gate = nn.Linear(config.width, config.inner, bias=False)
        self.up = nn.Linear(config.width, config.inner, bias=False)
        self.down = nn.Linear(config.inner, config.width, bias=False)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x: Tensor,
        level: Tensor | None,
        angles: tuple[Tensor, Tensor],
        mask: Tensor | None,
        cache: KVCache | None,
        number: int,
    ) -> Tensor:
        """[B, L, D] -> [B, L, D]."""
        x = x + self.dropout(self.attention(self.attention_norm(x, level), angles, mask, cache, number))
        normed = self.feed_norm(x, level)
        return x + self.dropout(self.down(F.silu(self.gate(normed)) * self.up(normed)))


class Transformer(nn.Module):
    """Embeddings in, states out.

    Args:
        config: sizes.
        causal: each position attends only to those before it, or to all.
        levels: how many sets of gains the norms have; one of them is chosen for each row.
    """

    def __init__(self, config: TransformerConfig, causal: bool, levels: int = 1) -> None:
        super().__init__()
        self.config = config
        self.causal = causal
        self.layers = nn.ModuleList(Layer(config, causal, levels) for _ in range(config.layers))
        self.norm = RMSNorm(config.width, levels)
        half = config.width // config.heads // 2
        frequencies = ROPE_THETA ** (-torch.arange(half) / half)
        self.register_buffer("frequencies", frequencies, persistent=False)
        for name, weight in self.named_parameters():
            if weight.dim() == 2 and "norm" not in name:
                # What is added up over the layers starts smaller, so that the sum keeps its size (GPT-2).
                scale = math.sqrt(2 * config.layers) if name.endswith(("out.weight", "down.weight")) else 1.0
                nn.init.normal_(weight, std=0.02 / scale)

    def forward(
        self,
        x: Tensor,
        cache: KVCache | None = None,
        present: Tensor | None = None,
        level: Tensor | None = None,
    ) -> Tensor:
        """Args:
            x: [B, L, D]; with a cache, the positions after those that are in it.
            cache: for a causal one; it is extended.
            present: bool [B, L], False at padding, which a bidirectional one masks.
            level: int64 [B], whose gains the norms of a row use.

        Returns:
            [B, L, D].
        """
        start = cache.length if cache is not None else 0
        positions = torch.arange(start, start + x.shape[1], device=x.device)
        phases = positions[:, None].float() * self.frequencies  # type: ignore[operator]
        angles = (phases.cos().to(x.dtype), phases.sin().to(x.dtype))  # [L, D/H/2] each
        mask = None if present is None else present[:, None, None, :]  # (B, L) -> (B, H, L, L) by broadcast
        for number, layer in enumerate(self.layers):
            x = layer(x, level, angles, mask, cache, number)
        if cache is not None:
            cache.advance(x.shape[1])
        return self.norm(x, level)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the pairs (i, i + half) of [B, H, L, D/H] by the angles of their positions."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
