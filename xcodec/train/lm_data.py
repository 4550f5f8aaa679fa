"""Clips of a token table as examples for a language model. Example `n` of a run depends on the seed and `n` alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xcodec.data.manifest import DataError
from xcodec.data.token_table import TokenItem
from xcodec.lm.alignment import MAX_TRAINING_CLIPS, HMMAligner, estimate_durations
from xcodec.lm.config import LMConfig
from xcodec.lm.layout import IGNORED, PAD, Vocabulary, example, nar_input, pattern_of
from xcodec.lm.model import is_aligned
from xcodec.lm.text import CaptionEncoder, TextError, text_to_symbols
from xcodec.lm.text_encoder import AlignedText
from xcodec.train.config import TokenDataConfig


@dataclass(frozen=True)
class LMBatch:
    """What one pass learns from. B rows, S streams, L positions."""

    ids: Tensor
    """int64 [B, S, L]."""
    labels: Tensor
    """int64 [B, S, L], the next tokens, or ``IGNORED``; of a non-autoregressive model [B, L], the row's level."""
    clips: list[str]
    """Their ids in the table."""
    level: Tensor | None = None
    """int64 [B], for a non-autoregressive model: the codebook to be predicted."""
    condition: Tensor | None = None
    """[B, P, C]: embeddings of captions."""
    conditioned: Tensor | None = None
    """bool [B, P]: which of them count."""
    text: Tensor | None = None
    """int64 [B, T], for a model of aligned text: the symbols, as in :class:`AlignedText`."""
    text_positions: Tensor | None = None
    """[B, L], of aligned text: the position in the text of each position's symbol; negative where none."""
    durations: Tensor | None = None
    """[B, T], of aligned text: frames of each symbol."""

    def to(self, device: torch.device) -> LMBatch:
        """The same elsewhere."""
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


@dataclass(frozen=True)
class Clip:
    """A clip of which examples are made."""

    item: TokenItem
    text: list[int]
    """Indices of symbols; empty where the task has none."""


class Examples:
    """All usable clips of a table.

    Args:
        items: rows of the table.
        model: config of the language model: whether there is text, aligned or not, or captions, and in which pattern
            codes are laid out.
        data: which lengths are used, and how often with a prompt and without text.
        captions: embeds the captions of sounds.

    Raises:
        DataError: nothing is usable.
    """

    def __init__(
        self,
        items: Sequence[TokenItem],
        model: LMConfig,
        data: TokenDataConfig,
        captions: CaptionEncoder | None = None,
    ) -> None:
        self.model, self.data = model, data
        self.vocabulary, self.pattern = Vocabulary.of(model), pattern_of(model)
        rate = model.codec.frame_rate
        self.max_frames, self.prompt = round(data.max_seconds * rate), [round(s * rate) for s in data.prompt_seconds]
        self.is_music = model.text is None and model.captions is None
        kept = [
            item
            for item in items
            if item.frames >= data.min_seconds * rate and (self.is_music or item.frames <= self.max_frames)
        ]
        self.clips = [clip for item in kept if (clip := self._clip(item)) is not None]
        if not self.clips:
            raise DataError(f"none of {len(items)} clips is usable: check their lengths, and that they have texts")
        self.unreadable = len(kept) - len(self.clips)
        """Clips without a text, or with one that the front end cannot read."""
        self.of_speaker: dict[str, list[int]] = defaultdict(list)
        for index, clip in enumerate(self.clips):
            if clip.item.speaker:
                self.of_speaker[clip.item.speaker].append(index)
        self.embedded = self._embed(captions) if captions is not None else {}
        self.aligned_texts: list[AlignedText] = []
        """Of each clip, once it is aligned."""

    def _clip(self, item: TokenItem) -> Clip | None:
        if self.is_music:
            return Clip(item, [])
        if self.model.captions is not None:
            return Clip(item, []) if item.text and any(char.isalnum() for char in item.text) else None
        try:
            assert self.model.text is not None
            return Clip(item, text_to_symbols(item.text or "", self.model.text))
        except TextError:
            return None

    def _embed(self, captions: CaptionEncoder) -> dict[str, tuple[Tensor, Tensor]]:
        texts = sorted({clip.item.text for clip in self.clips if clip.item.text})
        found: dict[str, tuple[Tensor, Tensor]] = {}
        for start in range(0, len(texts), 64):
            some = texts[start : start + 64]
            found |= dict(zip(some, zip(*captions(some), strict=True), strict=True))
        return found

    def with_durations(self) -> LMConfig:
        """The model's config, with the mean durations of symbols in these clips, if its text is not aligned."""
        if self.model.text is not None and not is_aligned(self.model):
            items = [clip.item for clip in self.clips]
            durations = estimate_durations(
                [clip.text for clip in self.clips],
                [item.frames for item in items],
                [item.speaker for item in items],
                self.model.text,
            )
            self.model = replace(self.model, durations=durations)
        return self.model

    def learn_alignment(self) -> HMMAligner:
        """An aligner, fitted to these clips."""
        aligner = HMMAligner(self.model)
        some = self.clips[:: -(-len(self.clips) // MAX_TRAINING_CLIPS)]
        aligner.fit([clip.text for clip in some], [clip.item.codes for clip in some])
        return aligner

    def align(self, aligner: HMMAligner) -> None:
        """Align the clips with their texts. Examples of aligned text need it."""
        texts = [clip.text for clip in self.clips]
        durations = aligner(texts, [clip.item.codes for clip in self.clips])
        self.aligned_texts = [
            AlignedText.from_durations(self.vocabulary, *each) for each in zip(texts, durations, strict=True)
        ]

    @property
    def lengths(self) -> list[int]:
        """Positions that each clip takes at most."""
        model = self.model
        prompt = 0
        if model.text is not None:
            frames = self.prompt[1]
            prompt = 1 + (frames if model.non_autoregressive else self.pattern.length(frames))
        before = prompt + 2 + (max(1, model.captions.tokens) if model.captions is not None else 0)
        lengths = [min(clip.item.frames, self.max_frames) for clip in self.clips]
        positions = [frames if model.non_autoregressive else self.pattern.length(frames) for frames in lengths]
        texts = [0 if is_aligned(model) else len(clip.text) for clip in self.clips]
        return [before + text + length for text, length in zip(texts, positions, strict=True)]

    def batch(self, indices: Sequence[int], number: int, seed: int) -> LMBatch:
        """Batch ``number`` of the stream, of these clips."""
        rows = [self._nar_row if self.model.non_autoregressive else self._example for _ in indices]
        made = [
            row(index, np.random.default_rng((seed, number, place)))
            for place, (row, index) in enumerate(zip(rows, indices, strict=True))
        ]
        names = [self.clips[index].item.id for index in indices]
        return _stack(made, names)

    def _codes(self, index: int) -> Tensor:
        """[K, F] of the model's codebooks."""
        codes = self.clips[index].item.codes[: self.model.codebooks]
        return torch.from_numpy(codes.astype(np.int64))

    def _voice(self, index: int, rng: np.random.Generator) -> Tensor | None:
        """A prompt [K, F] from another clip of the same speaker, in `prompt_share` of the cases and if there is one."""
        if rng.random() >= self.data.prompt_share:
            return None
        others = self.of_speaker.get(self.clips[index].item.speaker or "", [])
        if len(others) < 2:
            return None
        place = int(rng.integers(len(others) - 1))
        other = others[place] if others[place] != index else others[-1]
        codes = self._codes(other)
        frames = min(codes.shape[1], int(rng.integers(self.prompt[0], self.prompt[1] + 1)))
        first = int(rng.integers(codes.shape[1] - frames + 1))
        return codes[:, first : first + frames]

    def _example(self, index: int, rng: np.random.Generator) -> LMBatch:
        clip, codes = self.clips[index], self._codes(index)
        bare = bool(rng.random() < self.data.unconditional_share)
        if self.is_music:
            first = int(rng.integers(max(0, codes.shape[1] - self.max_frames) + 1))
            made = example(self.vocabulary, self.pattern, codes[:, first : first + self.max_frames], ends=False)
            return LMBatch(made.ids, made.labels, [])
        if self.model.captions is not None:
            condition, there = self.embedded[clip.item.text or ""]
            made = example(self.vocabulary, self.pattern, codes)
            return LMBatch(made.ids, made.labels, [], None, condition, there & (not bare))
        prompt = self._voice(index, rng)
        if is_aligned(self.model):
            aligned_text = self.aligned_texts[index].without_text() if bare else self.aligned_texts[index]
            made = example(self.vocabulary, self.pattern, codes, None, prompt)
            before = int((made.labels != IGNORED).any(0).int().argmax()) + 1
            positions = aligned_text.autoregressive_positions(before, made.ids.shape[1], self.pattern.period)
            return LMBatch(
                made.ids,
                made.labels,
                [],
                text=aligned_text.text,
                text_positions=positions,
                durations=aligned_text.durations,
            )
        made = example(self.vocabulary, self.pattern, codes, clip.text, prompt, without_text=bare)
        return LMBatch(made.ids, made.labels, [])

    def _nar_row(self, index: int, rng: np.random.Generator) -> LMBatch:
        clip, codes = self.clips[index], self._codes(index)
        # Lower levels matter more to the audio, so they are drawn more often.
        share = 1 / np.arange(1, self.model.codebooks)
        level = int(rng.choice(np.arange(1, self.model.codebooks), p=share / share.sum()))
        prompt, given = self._voice(index, rng), 0
        if prompt is None:  # as when a recording is continued
            longest = min(self.prompt[1], codes.shape[1] // 2)
            given = int(rng.integers(0, longest + 1))
        aligned = is_aligned(self.model)
        made = nar_input(self.vocabulary, None if aligned else clip.text, prompt, codes, level, given)
        labels = torch.full((made.ids.shape[1],), IGNORED)
        labels[made.targets] = codes[level, given:]
        batch = LMBatch(made.ids, labels, [], torch.tensor(level))
        if not aligned:
            return batch
        aligned_text, positions = self.aligned_texts[index], made.ids.shape[1]
        return replace(
            batch,
            text=aligned_text.text,
            text_positions=aligned_text.nar_positions(positions - codes.shape[1], positions),
        )


PADDING = {"ids": PAD, "labels": IGNORED, "text": PAD, "text_positions": -1.0, "durations": 0.0}
"""Of the fields of a batch whose rows differ in length."""


def _stack(rows: Sequence[LMBatch], names: list[str]) -> LMBatch:
    """Rows to a batch, padded at the end."""
    stacked: dict[str, Any] = {}
    for field, first in vars(rows[0]).items():
        if isinstance(first, Tensor):
            values = [getattr(row, field) for row in rows]
            if field in PADDING:
                length = max(each.shape[-1] for each in values)
                values = [F.pad(each, (0, length - each.shape[-1]), value=PADDING[field]) for each in values]
            stacked[field] = torch.stack(values)
    return replace(rows[0], clips=names, **stacked)


# Batches of clips of about the same length, in an endless stream in which batch `i` depends on the seed and `i` alone.
#
#     stream index of the batch of rank r at step s  =  s · ranks + r
#
# so that, as with crops, a run resumes by knowing an integer.


class LengthBuckets:
    """Batches of clip indices, bucketed by length; every clip comes once per epoch.

    Args:
        lengths: positions that each clip takes.
        budget: positions of a batch, padding included.
        seed: of the order.
        jitter: how much lengths are blurred before clips are put side by side, so that epochs differ.

    Raises:
        DataError: no clips, or one that alone exceeds the budget.
    """

    def __init__(self, lengths: Sequence[int], budget: int, seed: int, jitter: float = 0.1) -> None:
        if not lengths:
            raise DataError("no clips to make batches of")
        if max(lengths) > budget:
            raise DataError(
                f"the longest clip takes {max(lengths)} positions, more than the {budget} of a batch; raise"
                " data.batch_positions or lower data.max_seconds"
            )
        self.lengths = np.asarray(lengths)
        self.budget, self.seed, self.jitter = budget, seed, jitter
        self.ends = [0]
        """Of each epoch that was looked at, the number of the batch after its last."""
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)

    def __getitem__(self, number: int) -> list[int]:
        """The clips of batch ``number``, counted from 0 without end."""
        while number >= self.ends[-1]:
            self.ends.append(self.ends[-1] + len(self._epoch(len(self.ends) - 1)))
        epoch = int(np.searchsorted(self.ends, number, side="right")) - 1
        return self._epoch(epoch)[number - self.ends[epoch]]

    @property
    def first_epoch(self) -> list[list[int]]:
        """The batches in which every clip comes once, for the first time."""
        return self._epoch(0)

    def _make_epoch(self, epoch: int) -> list[list[int]]:
        rng = np.random.default_rng((self.seed, epoch))
        blurred = self.lengths * (1 + self.jitter * rng.uniform(-1, 1, len(self.lengths)))
        batches: list[list[int]] = [[]]
        longest = 0
        for index in np.argsort(blurred, kind="stable").tolist():
            longest = max(longest, int(self.lengths[index]))
            if batches[-1] and longest * (len(batches[-1]) + 1) > self.budget:
                batches.append([])
                longest = int(self.lengths[index])
            batches[-1].append(index)
        rng.shuffle(batches)
        return batches
