"""How predictable tokens are: the perplexity of a small language model, the same for every codec, trained briefly.

The model reads frame by frame, and within a frame codebook by codebook: the chain rule without approximation, so that
the bits per frame of codecs can be compared. It is no model to generate with, but a yardstick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

WIDTH = 128
DROPOUT = 0.3
"""A corpus for evaluation is small, and a model that learned it by heart would tell of its size, not of the codec."""


@dataclass(frozen=True)
class Budget:
    """What the model is trained with; fixed, so that only the tokens differ."""

    steps: int = 300
    batch: int = 8
    seconds: float = 2.0
    """Of each crop: the same time for every codec, whatever its frame rate."""
    lr: float = 3e-3


@dataclass(frozen=True)
class Predictability:
    """On clips that the model was not trained on; lower is better."""

    perplexity: list[float]
    """Per codebook, coarsest first, given all frames before and the coarser codes of the same frame."""
    bits_per_second: float
    """What the whole of the tokens costs this model, per second of audio."""
    frames: int


class SmallLanguageModel(nn.Module):
    """A recurrent network over frames, and a linear head per codebook that also sees the coarser codes."""

    def __init__(self, codebooks: int, codebook_size: int) -> None:
        super().__init__()
        self.embed = nn.ModuleList(nn.Embedding(codebook_size, WIDTH) for _ in range(codebooks))
        self.start = nn.Parameter(torch.zeros(WIDTH))
        self.network = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.forget = nn.Dropout(DROPOUT)
        self.heads = nn.ModuleList(nn.Linear(WIDTH, codebook_size) for _ in range(codebooks))

    def forward(self, codes: Tensor) -> Tensor:
        """Codes `[B, K, F]` to the surprise at each, in nats, `[B, K, F]`."""
        embedded = [embed(codes[:, k]) for k, embed in enumerate(self.embed)]  # K × [B, F, D]
        frames = torch.stack(embedded).sum(0)
        start = self.start.expand(len(codes), 1, -1)
        context, _ = self.network(self.forget(torch.cat([start, frames[:, :-1]], dim=1)))
        context = self.forget(context)
        losses = []
        for k, head in enumerate(self.heads):
            logits = head(context).transpose(1, 2)  # (B, F, N) -> (B, N, F)
            losses.append(nn.functional.cross_entropy(logits, codes[:, k], reduction="none"))
            context = context + embedded[k]
        return torch.stack(losses, dim=1)


def predictability(
    clips: Sequence[NDArray[Any]], codebook_size: int, frame_rate: float, budget: Budget | None = None
) -> Predictability:
    """Train on three quarters of the clips `[K, F]`, measure on every fourth.

    Raises:
        ValueError: fewer than four clips.
    """
    budget = budget or Budget()
    if len(clips) < 4:
        raise ValueError(f"a language model needs four clips, three to learn and one to be tested, not {len(clips)}")
    held = [clip for index, clip in enumerate(clips) if index % 4 == 3]
    train = np.concatenate([clip for index, clip in enumerate(clips) if index % 4 != 3], axis=1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SmallLanguageModel(len(train), codebook_size)
        _train(model, torch.from_numpy(train).long(), budget, max(2, round(budget.seconds * frame_rate)))
    model.eval()
    surprise, frames = torch.zeros(len(train), dtype=torch.float64), 0
    with torch.inference_mode():
        for clip in held:
            surprise += model(torch.from_numpy(clip).long()[None])[0].double().sum(1)
            frames += clip.shape[1]
    nats = surprise / frames
    return Predictability(nats.exp().tolist(), float(nats.sum() / np.log(2)) * frame_rate, frames)


def _train(model: SmallLanguageModel, codes: Tensor, budget: Budget, length: int) -> None:
    """On random crops of the codes `[K, F]` of all clips in a row."""
    length = min(length, codes.shape[1])
    optimiser = torch.optim.AdamW(model.parameters(), lr=budget.lr, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, budget.steps)
    for _ in range(budget.steps):
        starts = torch.randint(codes.shape[1] - length + 1, (budget.batch,))
        batch = torch.stack([codes[:, start : start + length] for start in starts.tolist()])
        optimiser.zero_grad()
        model(batch).mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
