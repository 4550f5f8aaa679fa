"""Codebook patterns: each code in a cell of its own."""

from __future__ import annotations

import pytest
import torch

from xcodec.lm.config import CodecSpec, LMConfig
from xcodec.lm.layout import Pattern, delay, flat
from xcodec.utils.config import ConfigError


@pytest.mark.parametrize("pattern", [flat(1), flat(4), delay(4), Pattern((0, 1, 1), (0, 1, 2), 2)])
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_codes_are_arranged_as_they_are_predicted(pattern: Pattern, frames: int) -> None:
    codes = torch.arange(pattern.codebooks * frames).reshape(1, pattern.codebooks, frames) + 5
    grid = pattern.arrange(codes, fill=0)
    assert grid.shape == (1, pattern.width, pattern.length(frames))
    assert int((grid > 0).sum()) == codes.numel()
    assert pattern.complete_frames(grid.shape[-1]) == frames
    assert pattern.complete_frames(grid.shape[-1] - 1) == frames - 1, "a step less, and the last frame is not complete"
    again = torch.zeros_like(grid)
    for step in range(grid.shape[-1]):
        for stream, codebook, frame in pattern.codes_at(step):
            if frame < frames:
                again[0, stream, step] = codes[0, codebook, frame]
    assert torch.equal(again, grid)


def test_the_picture_in_the_docstring() -> None:
    codes = torch.tensor([[10, 11, 12], [20, 21, 22], [30, 31, 32]])
    assert delay(3).arrange(codes, 0).tolist() == [[10, 11, 12, 0, 0], [0, 20, 21, 22, 0], [0, 0, 30, 31, 32]]
    assert flat(3).arrange(codes, 0).tolist() == [[10, 20, 30, 11, 21, 31, 12, 22, 32]]


def test_no_frames() -> None:
    assert delay(3).arrange(torch.zeros(3, 0, dtype=torch.int64), 0).shape == (3, 0)


@pytest.mark.parametrize(
    ("streams", "offsets", "period", "complaint"),
    [
        ((0, 0), (0, 2), 2, "share a cell"),
        ((0, 0, 0), (0, 1, 3), 2, "share a cell"),
        ((0, 2), (0, 1), 1, "without gaps"),
        ((0, 1), (1, 2), 1, "step 0"),
        ((0, 1), (0, 0), 1, "later than the one below"),
        ((0,), (0,), 0, "positive period"),
        ((0, 1), (0,), 1, "an offset for each"),
    ],
)
def test_what_cannot_be_is_refused_when_built(
    streams: tuple[int, ...], offsets: tuple[int, ...], period: int, complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Pattern(streams, offsets, period)


def test_unknown_name_and_wrong_number_of_codebooks() -> None:
    with pytest.raises(ConfigError, match="known: flat, delay"):
        LMConfig(CodecSpec("mine", "0" * 16), pattern="parallel")
    with pytest.raises(ValueError, match="4 codebooks"):
        flat(4).arrange(torch.zeros(3, 2, dtype=torch.int64), 0)
