"""Residual vector quantisation (paper §3.2): each level codes what the levels before it left over.

The codebooks are not trained by gradients. Each entry is the running mean of the vectors that chose it (an exponential
moving average, VQ-VAE appendix A.1), started by k-means, and an entry that nothing chooses any more is drawn anew from
the batch. One training forward is one update; nothing else ever changes a codebook.

Under several processes the statistics are summed over all of them, and every random draw comes from a generator seeded
by the codebook's own counter. So all ranks hold bit-identical codebooks without broadcasting them, and a resumed run
repeats an uninterrupted one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from xcodec.codec.config import QuantizerConfig

SMOOTHING = 1e-5  # Laplace smoothing of the cluster sizes, so that an unused entry is never divided by zero
SPLIT_OFFSET = 0.01  # of an entry, by which another is placed beside it


@dataclass
class Quantized:
    """What the quantiser makes of its input."""

    values: Tensor
    """[B, D, F]: the sum over the levels in use; gradients pass straight through to the input."""
    codes: Tensor | None
    """int64 [B, K, F]; None when the quantiser was skipped."""
    commitment: Tensor
    """Scalar: mean squared distance of each level's input from its code, averaged over levels."""


class Codebook(nn.Module):
    """A codebook whose entries are exponential moving averages."""

    def __init__(self, config: QuantizerConfig, width: int, seed: int) -> None:
        super().__init__()
        self.config = config
        self.seed = seed
        size = config.codebook_size
        self.vectors: Tensor
        self.usage: Tensor
        self.sums: Tensor
        self.updates: Tensor
        self.register_buffer("vectors", torch.zeros(size, width))  # [N, D]
        self.register_buffer("usage", torch.zeros(size))  # [N]: uses per step, moving average
        self.register_buffer("sums", torch.zeros(size, width))  # [N, D]: sum of the choosers, moving average
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))  # 0: not initialised yet

    @torch.no_grad()
    def nearest(self, points: Tensor) -> Tensor:
        """[M, D] -> int64 [M]: the entry at the smallest Euclidean distance."""
        # |x - e|² without |x|², which is the same for every entry
        return (self.vectors.square().sum(1) - 2 * points @ self.vectors.T).argmin(1)

    @torch.no_grad()
    def update(self, points: Tensor, codes: Tensor) -> None:
        """One step of the moving averages on the points [M, D] and the entries [M] they chose, of all ranks."""
        uses = points.new_zeros(len(self.usage)).index_add_(0, codes, points.new_ones(len(codes)))
        sums = torch.zeros_like(self.sums).index_add_(0, codes, points)
        _sum_over_ranks(uses)
        _sum_over_ranks(sums)
        self.usage.lerp_(uses, 1 - self.config.decay)
        self.sums.lerp_(sums, 1 - self.config.decay)
        total = self.usage.sum()
        smoothed = (self.usage + SMOOTHING) / (total + len(self.usage) * SMOOTHING) * total
        self.vectors.copy_(self.sums / smoothed[:, None])
        self.updates += 1
        self._revive(points, codes)

    def _split(self, vectors: Tensor, usage: Tensor, points: Tensor, codes: Tensor) -> Tensor:
        """Move entries that are hardly used to where those used most are, in place; returns which were changed, int64.

        Where a random vector of the batch lies, mostly far from everything, an entry is chosen by that vector alone and
        dies again. One that chose a crowded entry splits the crowd (Linde, Buzo and Gray, 1980), and each gets half of
        its usage.

        Args:
            vectors: the entries [N, D].
            usage: [N].
            points: [M, D] of all ranks.
            codes: int64 [M], the entries they chose.
        """
        dead = (usage < self.config.revive_below * usage.mean()).nonzero().squeeze(1)[: len(usage) // 2]
        if len(dead) == 0:
            return dead
        crowded = usage.topk(len(dead)).indices
        order = torch.randperm(len(points), generator=self._generator()).to(points.device)
        member = torch.full_like(usage, -1, dtype=torch.int64).scatter_reduce_(0, codes[order], order, "amax")[crowded]
        # None of this batch chose some of them: then beside it, by next to nothing.
        vectors[dead] = torch.where((member >= 0)[:, None], points[member], (1 + SPLIT_OFFSET) * vectors[crowded])
        usage[crowded] /= 2
        usage[dead] = usage[crowded]
        return torch.cat([dead, crowded])

    def _revive(self, points: Tensor, codes: Tensor) -> None:
        """Move entries that have fallen out of use to where they are needed."""
        if not (self.usage < self.config.revive_below * self.usage.mean()).any():
            return
        changed = self._split(self.vectors, self.usage, _gather_from_ranks(points), _gather_from_ranks(codes))
        # The averages are set too. The release replaces the vectors alone, and the next update, which recomputes
        # them from the old averages, undoes it.
        self.sums[changed] = self.vectors[changed] * self.usage[changed, None]

    @torch.no_grad()
    def initialise(self, points: Tensor) -> None:
        """Place the entries by k-means on the points [M, D] of all ranks."""
        points = _gather_from_ranks(points)
        size, generator = len(self.vectors), self._generator()
        order = torch.randperm(len(points), generator=generator).to(points.device)
        centres = points[order.repeat(-(-size // len(points)))[:size]].clone()
        last = self.config.kmeans_iterations - 1
        for iteration in range(last + 1):
            nearest = (centres.square().sum(1) - 2 * points @ centres.T).argmin(1)
            counts = points.new_zeros(size).index_add_(0, nearest, points.new_ones(len(points)))
            sums = torch.zeros_like(centres).index_add_(0, nearest, points)
            centres = sums / counts[:, None].clamp(min=1)
            # Centres that started in the same place (in silence, mostly) have left all but one with nothing, and those
            # on an outlier have nothing but it.
            if iteration < last:
                self._split(centres, counts, points, nearest)
        self.vectors.copy_(centres)
        self.usage.copy_(counts)
        self.sums.copy_(sums)
        self.updates += 1

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed * 1_000_003 + int(self.updates))


class QuantizerLevel(nn.Module):
    """One codebook, and its training pass."""

    def __init__(self, config: QuantizerConfig, seed: int) -> None:
        super().__init__()
        self.codebook = Codebook(config, config.width, seed)

    def encode(self, residual: Tensor) -> Tensor:
        """[M, D] -> int64 [M]."""
        return self.codebook.nearest(residual)

    def decode(self, codes: Tensor) -> Tensor:
        """int64 [...] -> [..., D]."""
        return F.embedding(codes, self.codebook.vectors)

    def forward(self, residual: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Training pass on [M, D]: (quantised [M, D], codes [M], commitment [M]); updates the codebook once."""
        if self.training and self.codebook.updates == 0:
            self.codebook.initialise(residual.detach())
        codes = self.codebook.nearest(residual)
        # embedding() copies, so the update below cannot reach into this step's values
        chosen = F.embedding(codes, self.codebook.vectors)
        if self.training:
            self.codebook.update(residual.detach(), codes)
        commitment = (residual - chosen).square().mean(1)
        return chosen, codes, commitment


class ResidualVectorQuantizer(nn.Module):
    """The levels in a row; the first ``n`` of them are a codec of ``n`` codebooks."""

    def __init__(self, config: QuantizerConfig) -> None:
        super().__init__()
        self.config = config
        self.levels = nn.ModuleList(QuantizerLevel(config, seed) for seed in range(config.codebooks))

    def first(self, count: int) -> list[QuantizerLevel]:
        """The first ``count`` levels."""
        return [cast(QuantizerLevel, level) for level in self.levels[:count]]

    def encode(self, latents: Tensor, codebooks: int) -> Tensor:
        """[B, D, F] -> int64 [B, codebooks, F]."""
        batch, _, frames = latents.shape
        residual = latents.transpose(1, 2).flatten(0, 1)  # (B, D, F) -> (B·F, D)
        codes = []
        for level in self.first(codebooks):
            codes.append(level.encode(residual))
            residual = residual - level.decode(codes[-1])
        return torch.stack([each.view(batch, frames) for each in codes], dim=1)

    def decode(self, codes: Tensor, codebooks: Tensor | None = None) -> Tensor:
        """int64 [B, K, F] -> [B, D, F]: the sum of the chosen vectors.

        Args:
            codes: of every level up to K.
            codebooks: int64 [B], how many of them each clip uses; all by default.
        """
        chosen = torch.stack([level.decode(codes[:, k]) for k, level in enumerate(self.first(codes.shape[1]))])
        if codebooks is not None:
            used = torch.arange(len(chosen), device=codes.device)[:, None] < codebooks  # [K, B]
            chosen = chosen * used[:, :, None, None]
        return chosen.sum(0).transpose(1, 2)  # (B, F, D) -> (B, D, F)

    def forward(self, latents: Tensor, codebooks: Tensor) -> Quantized:
        """Training pass.

        Args:
            latents: [B, D, F].
            codebooks: int64 [B], how many levels each clip uses. All levels up to the largest see, and learn from,
                every clip; a clip's output and commitment count only its own.
        """
        batch, _, frames = latents.shape
        residual = points = latents.transpose(1, 2).flatten(0, 1)  # (B, D, F) -> (B·F, D)
        used = codebooks.to(latents.device).repeat_interleave(frames)  # [B·F]
        total = torch.zeros_like(residual)
        commitment = residual.new_zeros(())
        codes = []
        for k, level in enumerate(self.first(_largest_of_ranks(codebooks))):
            values, indices, distances = level(residual)
            in_use = (k < used).to(values.dtype)
            total = total + values * in_use[:, None]
            commitment = commitment + (distances * in_use / used).mean()
            residual = residual - values
            codes.append(indices)
        total = points + (total - points).detach()  # straight through, once for all levels
        return Quantized(
            values=total.view(batch, frames, -1).transpose(1, 2),  # (B, F, D) -> (B, D, F)
            codes=torch.stack([each.view(batch, frames) for each in codes], dim=1),
            commitment=commitment,
        )


def _many_ranks() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _largest_of_ranks(codebooks: Tensor) -> int:
    """Every rank must run the same levels, or their sums would wait for each other forever."""
    largest = codebooks.max()
    if _many_ranks():
        dist.all_reduce(largest, dist.ReduceOp.MAX)
    return int(largest)


def _sum_over_ranks(values: Tensor) -> None:
    if _many_ranks():
        dist.all_reduce(values)


def _gather_from_ranks(points: Tensor) -> Tensor:
    """[M, …] of every rank, in rank order; all ranks must hold equally many."""
    if not _many_ranks():
        return points
    gathered = [torch.empty_like(points) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, points.contiguous())
    return torch.cat(gathered)
