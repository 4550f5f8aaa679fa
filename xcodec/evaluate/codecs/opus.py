"""Opus (RFC 6716), the anchor everyone knows: libopus inside PyAV, which pip installs whole."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np

from .base import Audio, Coded, of_length

RATE = 48_000
"""Opus decodes at this rate, whatever it was given."""
LOWEST, HIGHEST = 6.0, 256.0
"""kbps that libopus takes for one channel."""


@dataclass(frozen=True)
class Opus:
    """Variable bitrate, frames of 20 ms, full complexity. `Coded.bits` are those of the packets, without the container.

    Raises:
        ValueError: a bitrate that libopus does not take.
    """

    kbps: float

    def __post_init__(self) -> None:
        if not LOWEST <= self.kbps <= HIGHEST:
            raise ValueError(f"opus takes {LOWEST:g} to {HIGHEST:g} kbps, not {self.kbps:g}")

    @property
    def label(self) -> str:
        """See `Contender`."""
        return f"opus@{self.kbps:g}"

    @property
    def identity(self) -> str:
        """See `Contender`."""
        return f"{self.label}, libopus of PyAV {version('av')}"

    @property
    def sample_rate(self) -> int:
        """See `Contender`."""
        return RATE

    def __call__(self, wav: Audio) -> Coded:
        """See `Contender`."""
        import av

        start = time.perf_counter()
        file = io.BytesIO()
        bits = 0
        with av.open(file, "w", format="ogg") as container:
            stream = container.add_stream("libopus", rate=RATE, layout="mono")
            stream.bit_rate = round(self.kbps * 1000)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wav[np.newaxis]), format="flt", layout="mono")
            frame.sample_rate = RATE
            for each in (frame, None):
                for packet in stream.encode(each):
                    bits += 8 * packet.size
                    container.mux(packet)
        middle = time.perf_counter()
        file.seek(0)
        with av.open(file, "r") as source:
            # The container says what the encoder added in front, and FFmpeg leaves it out.
            blocks = [frame.to_ndarray().reshape(-1) for frame in source.decode(audio=0)]
        end = time.perf_counter()
        return Coded(of_length(np.concatenate(blocks), len(wav)), bits, None, middle - start, end - middle)
