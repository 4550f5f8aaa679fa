"""The two language models. START HERE.

    AutoregressiveLM   says frame after frame, each code drawn given all before it: VALL-E's first stage (text → first
                       codebook), music continuation, text-to-sound
    RefiningLM         is given the first codebook of all frames and adds the others, level by level, each level of all
                       frames at once: VALL-E's second stage (arXiv 2301.02111, section 4.2)

Both read a grid of integers [B, S, L] (see `vocabulary.py`): S streams are embedded each by its own table and summed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xcodec.lm.alignment import Aligner
from xcodec.lm.config import LMConfig
from xcodec.lm.layout import IGNORED, PAD, Vocabulary, pattern_of
from xcodec.lm.text_encoder import Reader, Timing
from xcodec.lm.transformer import KVCache, Transformer


class Embedding(nn.Module):
    """One table per stream; what stands at one position is summed."""

    def __init__(self, streams: int, size: int, width: int) -> None:
        super().__init__()
        tables = [nn.Embedding(size, width, padding_idx=PAD) for _ in range(streams)]
        for table in tables:
            nn.init.normal_(table.weight, std=0.02)
            with torch.no_grad():
                table.weight[PAD].zero_()
        self.tables = nn.ModuleList(tables)

    def forward(self, ids: Tensor) -> Tensor:
        """Int64 [B, S, L] -> [B, L, D]."""
        return torch.stack([table(ids[:, stream]) for stream, table in enumerate(self.tables)]).sum(0)


class AutoregressiveLM(nn.Module):
    """Frame after frame."""

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = Vocabulary.of(config)
        self.pattern = pattern_of(config)
        width = config.transformer.width
        self.embedding = Embedding(self.pattern.width, self.vocabulary.size, width)
        self.transformer = Transformer(config.transformer, causal=True)
        heads = [nn.Linear(width, self.vocabulary.size, bias=False) for _ in range(self.pattern.width)]
        for head in heads:
            nn.init.normal_(head.weight, std=0.02)
        self.heads = nn.ModuleList(heads)
        self.reader = self.timing = self.aligner = None
        if is_aligned(config):
            self.reader, self.timing, self.aligner = Reader(config), Timing(width), Aligner(config)
        if config.captions is not None:
            self.from_condition = nn.Linear(config.captions.width, width)
            self.no_condition = nn.Parameter(torch.zeros(width))

    def forward(
        self,
        ids: Tensor,
        condition: Tensor | None = None,
        conditioned: Tensor | None = None,
        cache: KVCache | None = None,
        said: Tensor | None = None,
    ) -> Tensor:
        """States of the positions of a grid, each of which tells what comes next.

        Args:
            ids: int64 [B, S, L].
            condition: [B, P, C], embeddings of a caption, which are put before the first position.
            conditioned: bool [B, P], where there is one; elsewhere a learnt vector stands instead. All by default.
            cache: of what came before; it is extended.
            said: [B, L, D], of aligned text: what is said next at each position (see :meth:`Reader.said`).

        Returns:
            [B, L, D].
        """
        x = self.embedding(ids)
        if said is not None:
            x = x + said
        if condition is not None:
            given = self.from_condition(condition)
            if conditioned is not None:
                given = torch.where(conditioned[:, :, None], given, self.no_condition)
            x = torch.cat([given, x], dim=1)
        return self.transformer(x, cache)[:, x.shape[1] - ids.shape[2] :]

    def logits(self, states: Tensor, stream: int) -> Tensor:
        """[..., D] -> [..., vocabulary]."""
        return self.heads[stream](states)

    def losses(
        self,
        ids: Tensor,
        labels: Tensor,
        condition: Tensor | None = None,
        conditioned: Tensor | None = None,
        said: Tensor | None = None,
    ) -> list[Prediction]:
        """What each codebook's predictions were worth.

        Args:
            ids: int64 [B, S, L].
            labels: int64 [B, S, L]: what should come next at each position of each stream, or ``IGNORED``.
            condition: see :meth:`forward`.
            conditioned: likewise.
            said: likewise.
        """
        states = self(ids, condition, conditioned, said=said)
        found = []
        for stream in range(ids.shape[1]):
            asked = labels[:, stream] != IGNORED
            found.append(Prediction(self.logits(states[asked], stream), labels[:, stream][asked]))
        return found


class RefiningLM(nn.Module):
    """Level after level. One network for all levels, told which by the gains of its norms."""

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = Vocabulary.of(config)
        width, levels = config.transformer.width, config.codebooks - 1
        self.embedding = Embedding(config.codebooks, self.vocabulary.size, width)
        self.transformer = Transformer(config.transformer, causal=False, levels=levels)
        self.heads = nn.Parameter(torch.randn(levels, config.codec.codebook_size, width) * 0.02)
        self.reader = Reader(config) if is_aligned(config) else None

    def forward(self, ids: Tensor, asked: Tensor, level: Tensor, said: Tensor | None = None) -> Tensor:
        """Logits of codebook ``level`` (1 … K-1) at some positions.

        Args:
            ids: int64 [B, K, L]; where a frame's higher codebooks are not known yet, they are ``PAD``. A position
                where all streams are is padding.
            asked: bool [B, L], n of them true.
            level: int64 [B].
            said: [B, L, D], of aligned text: what each position says (see :meth:`Reader.said`).

        Returns:
            [n, codebook size], row after row.
        """
        present = (ids != PAD).any(dim=1)
        x = self.embedding(ids)
        if said is not None:
            x = x + said
        states = self.transformer(x, present=present, level=level - 1)
        of_row = level[:, None].expand_as(asked)[asked] - 1
        wanted = states[asked]
        logits = wanted.new_zeros(len(wanted), self.heads.shape[1])
        for each in of_row.unique():
            chosen = of_row == each
            # In mixed precision the product is narrower than the states.
            logits[chosen] = (wanted[chosen] @ self.heads[each].T).to(logits.dtype)
        return logits


class Prediction:
    """Logits [n, V] beside what was right, int64 [n]."""

    def __init__(self, logits: Tensor, right: Tensor) -> None:
        self.logits = logits
        self.right = right

    @property
    def loss(self) -> Tensor:
        """Mean cross entropy, in nats; 0 where nothing was asked."""
        if not len(self.right):
            return self.logits.sum() * 0
        return F.cross_entropy(self.logits.float(), self.right)

    @property
    def accuracy(self) -> Tensor:
        """Share of the tokens that were thought the likeliest."""
        return (self.logits.argmax(-1) == self.right).float().mean()


CodeLM = AutoregressiveLM | RefiningLM


def is_aligned(config: LMConfig) -> bool:
    """Whether the text is told frame by frame; see `TextConfig.aligned`."""
    return config.text is not None and config.text.aligned


def build_model(config: LMConfig) -> CodeLM:
    """The network of a config, with random weights."""
    return RefiningLM(config) if config.refines else AutoregressiveLM(config)
