"""Whether the same sound gets the same tokens when it comes a little later, quieter or noisier.

A language model meets each of these as a different text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float32]
Encode = Callable[[Audio], NDArray[np.int64]]
"""`[T]` to codes `[K, F]`."""


@dataclass(frozen=True)
class Stability:
    """What a change does to the codes of the same sound."""

    kept_first: float
    """Share of the frames whose first code stays, in percent; higher is better."""
    kept_all: float
    """The same, over all codebooks."""
    edit_distance: float
    """Of the sequences of first codes, per frame, in percent: insertions cost what they cost a language model."""
    frames: int


def changes(hop_length: int) -> dict[str, tuple[Callable[[Audio, int], Audio], int]]:
    """By name: what is done to a clip (given its number, for the noise), and by how many frames codes move."""
    return {
        "one frame later": (lambda wav, _: np.pad(wav, (hop_length, 0)), 1),
        "half a frame later": (lambda wav, _: np.pad(wav, (hop_length // 2, 0)), 0),
        "6 dB quieter": (lambda wav, _: wav * np.float32(10 ** (-6 / 20)), 0),
        "noise 30 dB below": (lambda wav, number: with_noise(wav, 30.0, number), 0),
    }


def with_noise(wav: Audio, ratio: float, seed: int) -> Audio:
    """White noise that lies `ratio` dB below the clip."""
    level = np.sqrt(np.mean(np.square(wav, dtype=np.float64))) * 10 ** (-ratio / 20)
    return wav + (level * np.random.default_rng(seed).standard_normal(len(wav))).astype(np.float32)


def stability(encode: Encode, clips: Sequence[Audio], hop_length: int) -> dict[str, Stability]:
    """Compare the codes of clips `[T]` with those after each change.

    Raises:
        ValueError: no clips.
    """
    if not clips:
        raise ValueError("there are no clips to change")
    plain = [encode(clip) for clip in clips]
    result = {}
    for name, (change, moved) in changes(hop_length).items():
        changed = [encode(change(clip, number))[:, moved:] for number, clip in enumerate(clips)]
        result[name] = compare(plain, changed)
    return result


def compare(before: Sequence[NDArray[np.int64]], after: Sequence[NDArray[np.int64]]) -> Stability:
    """Codes `[K, F]` by clip, of which the shorter of each two sets the length."""
    from rapidfuzz.distance import Levenshtein

    first, every, edits, frames = 0, 0.0, 0, 0
    for one, other in zip(before, after, strict=True):
        length = min(one.shape[1], other.shape[1])
        same = one[:, :length] == other[:, :length]
        first += int(same[0].sum())
        every += float(same.mean(0).sum())
        edits += Levenshtein.distance(one[0, :length].tolist(), other[0, :length].tolist())
        frames += length
    return Stability(100 * first / frames, 100 * every / frames, 100 * edits / frames, frames)
