"""Codec 2, the anchor from below: a vocoder for radio whose speech is understood and does not sound like anyone."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .base import Audio, Coded, of_length

MODES = (0.7, 1.2, 1.3, 1.4, 1.6, 2.4, 3.2)
"""kbps."""
DELAY, DELAY_700 = 0.020, 0.035
"""Seconds by which the output lags behind the input, for 0.7 kbps the second: measured by correlating the envelopes of
three voices, which say 19 to 23 ms (27 in one case), and 34 to 37 ms."""


@dataclass(frozen=True)
class Codec2:
    """Speech at 8 kHz. The decoder's lag is taken out.

    Raises:
        ValueError: no such mode, or pycodec2 is not installed.
    """

    kbps: float
    sample_rate: int = 8_000
    _module: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.kbps not in MODES:
            raise ValueError(f"codec2 has {', '.join(f'{mode:g}' for mode in MODES)} kbps, not {self.kbps:g}")
        try:
            import pycodec2
        except ImportError:
            raise ValueError("pycodec2 is not installed; get it with: pip install 'xcodec[evaluate]'") from None
        object.__setattr__(self, "_module", pycodec2)

    @property
    def label(self) -> str:
        """See `Contender`."""
        return f"codec2@{self.kbps:g}"

    @property
    def identity(self) -> str:
        """See `Contender`."""
        from importlib.metadata import version

        return f"{self.label}, pycodec2 {version('pycodec2')}"

    def __call__(self, wav: Audio) -> Coded:
        """See `Contender`."""
        # Both carry their state from frame to frame, so each clip gets new ones.
        encoder, decoder = (self._module.Codec2(round(1000 * self.kbps)) for _ in range(2))
        size = encoder.samples_per_frame()
        lag = round((DELAY_700 if self.kbps == 0.7 else DELAY) * self.sample_rate)
        pcm = np.rint(np.clip(wav, -1, 32767 / 32768) * 32768).astype(np.int16)
        pcm = np.pad(pcm, (0, lag + -(len(pcm) + lag) % size))
        start = time.perf_counter()
        frames = [encoder.encode(frame) for frame in pcm.reshape(-1, size)]
        middle = time.perf_counter()
        decoded = np.concatenate([decoder.decode(frame) for frame in frames]).astype(np.float32) / 32768
        end = time.perf_counter()
        sent = -(-len(wav) // size) * encoder.bits_per_frame()  # what the lag needs is not the clip's
        return Coded(of_length(decoded[lag:], len(wav)), sent, None, middle - start, end - middle)
