"""The two language models on codes. START HERE.

    AutoregressiveLM      predicts frame after frame, each code given all before it: VALL-E's AR model (text → first
                          codebook), music continuation, text-to-sound
    NonAutoregressiveLM   is given the first codebook of all frames and predicts the others, level by level, all frames
                          of a level at once: VALL-E's NAR model (arXiv 2301.02111, section 4.2)

Both take a grid of token ids [B, S, L] (see `layout.py`): S streams are embedded each by its own table and summed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xcodec.lm.alignment import HMMAligner
from xcodec.lm.config import LMConfig
from xcodec.lm.layout import IGNORED, PAD, Vocabulary, pattern_of
from xcodec.lm.text_encoder import DurationModel, TextEncoder
from xcodec.lm.transformer import KVCache, Transformer


class Embedding(nn.Module):
    """One table per stream; the embeddings of one position are summed."""

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
    """A causal transformer with one output head per stream."""

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
        self.text_encoder = self.duration_model = self.aligner = None
        if is_aligned(config):
            self.text_encoder, self.duration_model = TextEncoder(config), DurationModel(width)
            self.aligner = HMMAligner(config)
        if config.captions is not None:
            self.from_condition = nn.Linear(config.captions.width, width)
            self.no_condition = nn.Parameter(torch.zeros(width))

    def forward(
        self,
        ids: Tensor,
        condition: Tensor | None = None,
        conditioned: Tensor | None = None,
        cache: KVCache | None = None,
        text_states: Tensor | None = None,
    ) -> Tensor:
        """States of the positions of a grid, from which the next tokens are predicted.

        Args:
            ids: int64 [B, S, L].
            condition: [B, P, C], embeddings of a caption, which are put before the first position.
            conditioned: bool [B, P], where there is one; elsewhere a learnt vector stands instead. All by default.
            cache: of what came before; it is extended.
            text_states: [B, L, D], of aligned text: states of the next symbols (see :meth:`TextEncoder.upsample`).

        Returns:
            [B, L, D].
        """
        x = self.embedding(ids)
        if text_states is not None:
            x = x + text_states
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
        text_states: Tensor | None = None,
    ) -> list[Prediction]:
        """Predictions of each stream, with their labels.

        Args:
            ids: int64 [B, S, L].
            labels: int64 [B, S, L]: the next token at each position of each stream, or ``IGNORED``.
            condition: see :meth:`forward`.
            conditioned: likewise.
            text_states: likewise.
        """
        states = self(ids, condition, conditioned, text_states=text_states)
        found = []
        for stream in range(ids.shape[1]):
            labelled = labels[:, stream] != IGNORED
            found.append(Prediction(self.logits(states[labelled], stream), labels[:, stream][labelled]))
        return found


class NonAutoregressiveLM(nn.Module):
    """A bidirectional transformer: one for all levels, with gains of the norms for each (adaptive layer norm)."""

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = Vocabulary.of(config)
        width, levels = config.transformer.width, config.codebooks - 1
        self.embedding = Embedding(config.codebooks, self.vocabulary.size, width)
        self.transformer = Transformer(config.transformer, causal=False, levels=levels)
        self.heads = nn.Parameter(torch.randn(levels, config.codec.codebook_size, width) * 0.02)
        self.text_encoder = TextEncoder(config) if is_aligned(config) else None

    def forward(self, ids: Tensor, targets: Tensor, level: Tensor, text_states: Tensor | None = None) -> Tensor:
        """Logits of codebook ``level`` (1 … K-1) at some positions.

        Args:
            ids: int64 [B, K, L]; codebooks of a frame that are not known yet are ``PAD``. A position
                where all streams are is padding.
            targets: bool [B, L], n of them true.
            level: int64 [B].
            text_states: [B, L, D], of aligned text (see :meth:`TextEncoder.upsample`).

        Returns:
            [n, codebook size], row after row.
        """
        present = (ids != PAD).any(dim=1)
        x = self.embedding(ids)
        if text_states is not None:
            x = x + text_states
        states = self.transformer(x, present=present, level=level - 1)
        levels = level[:, None].expand_as(targets)[targets] - 1
        states = states[targets]
        logits = states.new_zeros(len(states), self.heads.shape[1])
        for each in levels.unique():
            rows = levels == each
            # In mixed precision the product is narrower than the states.
            logits[rows] = (states[rows] @ self.heads[each].T).to(logits.dtype)
        return logits


class Prediction:
    """Logits [n, V] and labels, int64 [n]."""

    def __init__(self, logits: Tensor, labels: Tensor) -> None:
        self.logits = logits
        self.labels = labels

    @property
    def loss(self) -> Tensor:
        """Mean cross entropy, in nats; 0 without labels."""
        if not len(self.labels):
            return self.logits.sum() * 0
        return F.cross_entropy(self.logits.float(), self.labels)

    @property
    def accuracy(self) -> Tensor:
        """Share of the labels that were the likeliest token."""
        return (self.logits.argmax(-1) == self.labels).float().mean()


CodeLM = AutoregressiveLM | NonAutoregressiveLM


def is_aligned(config: LMConfig) -> bool:
    """Whether the text is aligned with the frames; see `TextConfig.aligned`."""
    return config.text is not None and config.text.aligned


def build_model(config: LMConfig) -> CodeLM:
    """The network of a config, with random weights."""
    return NonAutoregressiveLM(config) if config.non_autoregressive else AutoregressiveLM(config)
