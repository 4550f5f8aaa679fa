"""`xcodec.read_audio` and `xcodec.write_audio`: files as the tensors that a codec takes and gives."""

from __future__ import annotations

from pathlib import Path

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from xcodec.audio.reading import read
from xcodec.audio.writing import write


def read_audio(path: str | Path, sample_rate: int, mono: bool = True) -> Tensor:
    """An audio file, resampled: float32 [T], or with ``mono=False`` a batch of its channels [C, 1, T].

    Args:
        path: WAV, FLAC, OGG, Opus, MP3, M4A, G.722, …
        sample_rate: of the result, in Hz: ``codec.sample_rate``.
        mono: mix the channels into one.

    Raises:
        OSError: the file is missing or may not be read.
        AudioError: it is not audio, or is damaged.
    """
    samples, _ = read(path, sample_rate, mono=mono)  # [C, T]
    wav = torch.from_numpy(samples)
    return wav[0] if mono else wav[:, None]


def write_audio(path: str | Path, audio: Tensor | ArrayLike, sample_rate: int) -> None:
    """Write a file that appears whole or not at all.

    Args:
        path: ``.wav``, ``.flac``, ``.ogg`` or ``.opus``.
        audio: floating point in [-1, 1]: [T], [C, T], or [C, 1, T] as ``codec.decode`` gives a batch of channels.
        sample_rate: in Hz.

    Raises:
        OSError: the file cannot be written.
        AudioError: the suffix, the rate or the shape cannot be written.
    """
    samples = torch.as_tensor(audio).detach().float().cpu()
    write(path, samples[:, 0].numpy() if samples.dim() == 3 and samples.shape[1] == 1 else samples.numpy(), sample_rate)
