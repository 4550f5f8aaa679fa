"""Text that is told frame by frame: which symbol is being said, and what stands around it.

VALL-E puts the text before the codes and lets attention find out what is being said; a small model on a few hours of
speech does not find it. With aligned text (`TextConfig.aligned`) it is told: clips are aligned with their texts before
training (`align.py`), every frame is given the states of its own symbol, and how long symbols last is learnt beside.
That is the length regulator of FastSpeech (arXiv 1905.09263, section 3.2) in front of VALL-E's two stages; ELLA-V
(arXiv 2401.07333) and RALL-E (arXiv 2404.03204) bring phonemes and codes together for the same reason.

Shapes: B rows, T symbols (with what stands for silence before and after), F frames, L positions, D channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from xcodec.lm.config import LMConfig
from xcodec.lm.layout import END, NOTHING, PAD, TEXT, Vocabulary
from xcodec.lm.transformer import RMSNorm

KERNEL = 5
"""Symbols that a layer looks at."""
LAYERS = 2
SMALL = 1e-3
"""Of the first weights: what the layers add begins as small as the embeddings are."""
USUAL = 4.0
"""Frames that a symbol is taken to last before anything is learnt."""


@dataclass(frozen=True)
class Script:
    """What is said when."""

    text: Tensor
    """int64 [T]: TEXT for the silence before, symbols, END for the silence after; integers of the vocabulary."""
    place: Tensor
    """float [F + 1]: which of ``text`` a frame says, and how much of it is over: 4.25 is a quarter of the fifth. The
    last is the frame that is not there any more."""
    lasts: Tensor
    """float [T]: frames of each."""

    @property
    def frames(self) -> int:
        """How many are to be said."""
        return len(self.place) - 1

    def without_text(self) -> Script:
        """The same for a model that must do without, as guidance compares with."""
        return Script(torch.full_like(self.text, NOTHING), self.place, self.lasts)

    def at(self, frames: Tensor) -> Tensor:
        """Places of frames, which may lie beyond the end."""
        return self.place[frames.clamp(max=self.frames)]


def write_script(vocabulary: Vocabulary, text: Sequence[int], lasts: NDArray[np.integer]) -> Script:
    """A script for a text of which the durations are known.

    Args:
        vocabulary: of the model.
        text: indices of symbols.
        lasts: [len(text) + 2], whole frames of each symbol, with the silence before and after.
    """
    symbols = vocabulary.text(torch.tensor(list(text), dtype=torch.int64))
    tokens = torch.cat([torch.tensor([TEXT]), symbols, torch.tensor([END])])
    durations = torch.from_numpy(np.asarray(lasts, dtype=np.int64))
    begins = durations.cumsum(0) - durations
    which = torch.arange(len(tokens)).repeat_interleave(durations)
    over = (torch.arange(len(which)) - begins[which]) / durations[which]
    return Script(tokens, torch.cat([which + over, torch.tensor([len(tokens) - 1.0])]), durations.float())


def grid_places(script: Script, before: int, positions: int, period: int) -> Tensor:
    """Of each position of a model that says frame after frame, what comes next: float [L].

    Args:
        script: what is said.
        before: positions up to and with AUDIO, of which only that says something of the text next.
        positions: L.
        period: positions per frame.
    """
    place = torch.full((positions,), -1.0)
    place[before - 1 :] = script.at(torch.arange(positions - before + 1) // period)
    return place


def frame_places(script: Script, before: int, positions: int) -> Tensor:
    """Of each position of a model that refines, what it says: float [L].

    Args:
        script: what is said.
        before: positions up to and with AUDIO.
        positions: L.
    """
    place = torch.full((positions,), -1.0)
    place[before:] = script.at(torch.arange(positions - before))
    return place


class Reader(nn.Module):
    """A text to the states of its symbols.

    Args:
        config: of a model of aligned text.
    """

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        width = config.transformer.width
        self.embedding = nn.Embedding(Vocabulary.of(config).first_code(0), width, padding_idx=PAD)
        nn.init.normal_(self.embedding.weight, std=0.02)
        with torch.no_grad():
            self.embedding.weight[PAD].zero_()
        self.norms = nn.ModuleList(RMSNorm(width) for _ in range(LAYERS))
        layers = [nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2) for _ in range(LAYERS)]
        for layer in layers:
            nn.init.normal_(layer.weight, std=SMALL)
            nn.init.constant_(layer.bias, 0.0)  # type: ignore[arg-type]
        self.layers = nn.ModuleList(layers)
        self.progress = nn.Parameter(torch.zeros(width))

    def forward(self, text: Tensor) -> Tensor:
        """States of symbols: int64 [B, T] -> [B, T, D]. What is padding changes nothing."""
        there = (text != PAD)[:, :, None]
        x = self.embedding(text)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = (x + F.gelu(layer(norm(x).transpose(1, 2)).transpose(1, 2))) * there
        return x

    def said(self, states: Tensor, place: Tensor) -> Tensor:
        """What each position says.

        Args:
            states: [B, T, D], of symbols.
            place: float [B, L], as in :class:`Script`; negative where nothing of the text is said.

        Returns:
            [B, L, D], 0 where nothing is said.
        """
        which = place.long().clamp(min=0)
        own = states.gather(1, which[:, :, None].expand(-1, -1, states.shape[2]))
        over = (place - which)[:, :, None] * self.progress
        return (own + over) * (place >= 0)[:, :, None]


class Timing(nn.Module):
    """States of symbols to how long they last."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = RMSNorm(width)
        self.out = nn.Linear(width, 1)
        nn.init.normal_(self.out.weight, std=0.02)
        nn.init.constant_(self.out.bias, np.log(np.expm1(USUAL)))

    def forward(self, states: Tensor) -> Tensor:
        """[B, T, D] -> frames [B, T], positive."""
        return F.softplus(self.out(self.norm(states))[:, :, 0])

    def loss(self, states: Tensor, text: Tensor, lasts: Tensor) -> Tensor:
        """How badly durations are told, as counts drawn from Poisson's distribution: in nats, per symbol.

        Args:
            states: [B, T, D].
            text: int64 [B, T].
            lasts: [B, T].
        """
        asked = (text != PAD) & (text != NOTHING)
        if not bool(asked.any()):
            return self(states).sum() * 0  # every process of a training has to ask every weight
        return F.poisson_nll_loss(self(states)[asked], lasts[asked], log_input=False, full=True)


def whole_frames(durations: Tensor) -> NDArray[np.int64]:
    """Durations [T] in whole frames, at least one in all: what rounding takes from one symbol goes to the next."""
    ends = durations.double().cumsum(0).round().long()
    ends[-1].clamp_(min=1)
    return torch.diff(ends, prepend=ends.new_zeros(1)).numpy()
