"""Real encoded files for the tests of xcodec.audio."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


def make_tone(seconds: float = 1.0, sample_rate: int = 44_100, channels: int = 1) -> NDArray[np.float32]:
    """Sines [C, T] of another pitch in each channel, with a slow swell so that a shift in time is seen."""
    time = np.arange(max(1, round(seconds * sample_rate))) / sample_rate
    pitches = 300 + 110 * np.arange(channels)[:, np.newaxis]
    return (0.4 * np.sin(2 * np.pi * pitches * time) * (0.6 + 0.4 * np.sin(3 * time))).astype(np.float32)


def ffmpeg_encode(path: Path, audio: NDArray[np.float32], sample_rate: int, codec: str, **muxer_options: str) -> Path:
    """Encode audio [C, T] with FFmpeg; the container follows from the suffix."""
    container_format = {".g722": "g722", ".aac": "adts"}.get(path.suffix)
    with av.open(path, "w", format=container_format, options=muxer_options) as container:
        layout = LAYOUTS[len(audio)]
        track = container.add_stream(codec, rate=sample_rate, layout=layout)
        source = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio), format="fltp", layout=layout)
        source.sample_rate, source.pts, source.time_base = sample_rate, 0, Fraction(1, sample_rate)
        for frame in (source, None):
            for packet in track.encode(frame):
                container.mux(packet)
    return path


@pytest.fixture
def tone() -> Callable[..., NDArray[np.float32]]:
    return make_tone


@pytest.fixture
def encode() -> Callable[..., Path]:
    return ffmpeg_encode
