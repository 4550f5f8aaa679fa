"""Clips of a token table as examples for a language model. Example `n` of a run depends on the seed and `n` alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from xcodec.data.manifest import DataError
from xcodec.data.token_table import TokenItem
from xcodec.lm.captions import CaptionEncoder
from xcodec.lm.config import LMConfig
from xcodec.lm.pace import expected_frames, measure_durations
from xcodec.lm.sequences import example, refinement
from xcodec.lm.text import TextError, read
from xcodec.lm.vocabulary import IGNORED, PAD, Vocabulary, pattern_of

from .lm_config import TokenDataConfig


@dataclass(frozen=True)
class LMBatch:
    """What one pass learns from. B rows, S streams, L positions."""

    ids: Tensor
    """int64 [B, S, L]."""
    labels: Tensor
    """int64 [B, S, L], what comes next, or ``IGNORED``; of a model that refines, [B, L], codes of each row's level."""
    clips: list[str]
    """Their ids in the table."""
    level: Tensor | None = None
    """int64 [B], for a model that refines: the codebook asked for."""
    condition: Tensor | None = None
    """[B, P, C]: embeddings of captions."""
    conditioned: Tensor | None = None
    """bool [B, P]: which of them count."""
    pace: Tensor | None = None
    """[B], for a model that reads text and says one code after the other: times the usual durations."""

    def to(self, device: torch.device) -> LMBatch:
        """The same elsewhere."""

        def moved(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.to(device)

        return LMBatch(
            self.ids.to(device),
            self.labels.to(device),
            self.clips,
            moved(self.level),
            moved(self.condition),
            moved(self.conditioned),
            moved(self.pace),
        )


@dataclass(frozen=True)
class Clip:
    """A clip of which examples are made."""

    item: TokenItem
    text: list[int]
    """Indices of symbols; empty where the task has none."""


class Examples:
    """All usable clips of a table.

    Args:
        items: clips.
        model: who is to learn.
        data: how.
        captions: for sounds.

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
        self.most, self.prompt = round(data.max_seconds * rate), [round(s * rate) for s in data.prompt_seconds]
        self.is_music = model.text is None and model.captions is None
        kept = [
            item
            for item in items
            if item.frames >= data.min_seconds * rate and (self.is_music or item.frames <= self.most)
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

    def _clip(self, item: TokenItem) -> Clip | None:
        if self.is_music:
            return Clip(item, [])
        if self.model.captions is not None:
            return Clip(item, []) if item.text and any(char.isalnum() for char in item.text) else None
        try:
            assert self.model.text is not None
            return Clip(item, read(item.text or "", self.model.text))
        except TextError:
            return None

    def _embed(self, captions: CaptionEncoder) -> dict[str, tuple[Tensor, Tensor]]:
        texts = sorted({clip.item.text for clip in self.clips if clip.item.text})
        found: dict[str, tuple[Tensor, Tensor]] = {}
        for start in range(0, len(texts), 64):
            some = texts[start : start + 64]
            found |= dict(zip(some, zip(*captions(some), strict=True), strict=True))
        return found

    def measure(self) -> LMConfig:
        """The model, with the durations of symbols in these clips, by which examples are paced from now on."""
        if self.model.text is not None:
            items = [clip.item for clip in self.clips]
            durations = measure_durations(
                [clip.text for clip in self.clips],
                [item.frames for item in items],
                [item.speaker for item in items],
                self.model.text,
            )
            self.model = replace(self.model, durations=durations)
        return self.model

    @property
    def lengths(self) -> list[int]:
        """Positions that each clip takes at most."""
        model = self.model
        voice = 0
        if model.text is not None:
            frames = self.prompt[1]
            voice = 1 + (frames if model.refines else self.pattern.length(frames))
        before = voice + 2 + (max(1, model.captions.tokens) if model.captions is not None else 0)
        said = [min(clip.item.frames, self.most) for clip in self.clips]
        positions = [frames if model.refines else self.pattern.length(frames) for frames in said]
        return [before + len(clip.text) + length for clip, length in zip(self.clips, positions, strict=True)]

    def batch(self, indices: Sequence[int], number: int, seed: int) -> LMBatch:
        """Batch ``number`` of the stream, of these clips."""
        rows = [self._refinement if self.model.refines else self._example for _ in indices]
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
        """A prompt [K, F]: of another clip of the same speaker, if chance wants one and there is one."""
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
            first = int(rng.integers(max(0, codes.shape[1] - self.most) + 1))
            made = example(self.vocabulary, self.pattern, codes[:, first : first + self.most], ends=False)
            return LMBatch(made.ids, made.labels, [])
        if self.model.captions is not None:
            condition, there = self.embedded[clip.item.text or ""]
            made = example(self.vocabulary, self.pattern, codes)
            return LMBatch(made.ids, made.labels, [], None, condition, there & (not bare))
        prompt = self._voice(index, rng)
        made = example(self.vocabulary, self.pattern, codes, clip.text, prompt, without_text=bare)
        pace = codes.shape[1] / expected_frames(clip.text, self.model)
        return LMBatch(made.ids, made.labels, [], pace=torch.tensor(pace))

    def _refinement(self, index: int, rng: np.random.Generator) -> LMBatch:
        clip, codes = self.clips[index], self._codes(index)
        level = int(rng.integers(1, self.model.codebooks))
        prompt, given = self._voice(index, rng), 0
        if prompt is None:  # as when a recording is continued
            longest = min(self.prompt[1], codes.shape[1] // 2)
            given = int(rng.integers(0, longest + 1))
        made = refinement(self.vocabulary, clip.text, prompt, codes, level, given)
        labels = torch.full((made.ids.shape[1],), IGNORED)
        labels[made.asked] = codes[level, given:]
        return LMBatch(made.ids, labels, [], torch.tensor(level))


def _stack(rows: Sequence[LMBatch], names: list[str]) -> LMBatch:
    """Rows to a batch, padded at the end."""
    length = max(row.ids.shape[-1] for row in rows)

    def padded(x: Tensor, value: int) -> Tensor:
        return torch.nn.functional.pad(x, (0, length - x.shape[-1]), value=value)

    def stacked(name: str) -> Tensor | None:
        values = [getattr(row, name) for row in rows]
        return None if values[0] is None else torch.stack(values)

    return LMBatch(
        torch.stack([padded(row.ids, PAD) for row in rows]),
        torch.stack([padded(row.labels, IGNORED) for row in rows]),
        names,
        stacked("level"),
        stacked("condition"),
        stacked("conditioned"),
        stacked("pace"),
    )
