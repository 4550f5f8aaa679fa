"""What can be judged: a thing that sends audio through few bits and back, and can say what that cost."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xcodec.tokens import AudioTokenizer

Audio = NDArray[np.float32]
"""One channel `[T]`, in [-1, 1]."""


@dataclass(frozen=True)
class Coded:
    """What became of one clip."""

    audio: Audio
    """`[T]` at the codec's rate, exactly as long as what went in."""
    bits: int | None
    """What was sent, without any file's header; None for the untouched original."""
    codes: NDArray[np.int64] | None
    """`[K, F]`, of a codec that has tokens."""
    encode_seconds: float
    decode_seconds: float


class Contender(Protocol):
    """A codec at one bandwidth."""

    @property
    def label(self) -> str:
        """`NAME@KBPS`: what tells it from the others."""

    @property
    def identity(self) -> str:
        """What it is, exactly: name and version, or a hash of the weights. Results of another one are not reused."""

    @property
    def kbps(self) -> float | None:
        """Nominal bitrate."""

    @property
    def sample_rate(self) -> int:
        """Of the audio in and out, in Hz."""

    def __call__(self, wav: Audio) -> Coded:
        """Send a clip `[T]` at `sample_rate` through the codec and back."""


@dataclass(frozen=True)
class Tokenizer:
    """Any `AudioTokenizer` as a contender."""

    label: str
    identity: str
    tokenizer: AudioTokenizer
    kbps: float

    @property
    def sample_rate(self) -> int:
        """The tokenizer's."""
        return self.tokenizer.sample_rate

    @property
    def codebook_size(self) -> int:
        """The tokenizer's."""
        return self.tokenizer.codebook_size

    def encode(self, wav: Audio) -> NDArray[np.int64]:
        """`[T]` to codes `[K, F]`."""
        import torch

        return self.tokenizer.encode(torch.from_numpy(wav)[None, None], self.kbps)[0].cpu().numpy()

    def __call__(self, wav: Audio) -> Coded:
        """See `Contender`."""
        import torch

        start = time.perf_counter()
        codes = self.encode(wav)
        middle = time.perf_counter()
        decoded = self.tokenizer.decode(torch.from_numpy(codes)[None])[0, 0].cpu().numpy()
        end = time.perf_counter()
        bits = codes.size * (self.tokenizer.codebook_size - 1).bit_length()
        return Coded(of_length(decoded, len(wav)), bits, codes, middle - start, end - middle)


@dataclass(frozen=True)
class Original:
    """The untouched clip: what no codec can be better than."""

    label: str = "original"
    identity: str = "original"
    kbps: float | None = None
    sample_rate: int = 16_000

    def __call__(self, wav: Audio) -> Coded:
        """See `Contender`."""
        return Coded(wav, None, None, 0.0, 0.0)


def of_length(audio: Any, samples: int) -> Audio:
    """Cut off the end, or fill it up with zeros: codecs give whole frames, and some a little less than they got."""
    audio = np.asarray(audio, dtype=np.float32)[:samples]
    return np.pad(audio, (0, samples - len(audio)))
