"""An audio file that is encoded while it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xcodec import audio
from xcodec.codec.model import XCodec
from xcodec.runtime.signals import signals_deferred
from xcodec.runtime.streaming import StreamingEncoder

Channels = Literal["mix", "keep"]
Progress = Callable[[float], None]
"""Is told, again and again, what share of a file is done, from 0 to 1."""


class Recording:
    """Codes of a file of any length, in constant memory.

    Args:
        codec: the model.
        path: of the audio.
        bandwidth: of the codes, in kbps per channel.
        channels: `mix` codes the mean of all channels, `keep` codes each channel as a clip of its own.
        progress: is told how far the file has been read, if it states its length.
    """

    def __init__(
        self,
        codec: XCodec,
        path: Path,
        bandwidth: float | None = None,
        channels: Channels = "mix",
        progress: Progress | None = None,
    ) -> None:
        self._codec, self._path, self._bandwidth = codec, path, bandwidth
        self._mono = channels == "mix"
        self._progress = progress
        self.samples = 0
        """Read so far, per channel, at the codec's rate."""

    def codes(self) -> Iterator[Tensor]:
        """Pieces int64 [C, K, f], once.

        Raises:
            OSError: the file cannot be read.
            AudioError: it is not sound audio; if it is damaged deep inside, that shows only there.
        """
        device = self._codec.prior.weight.device
        expected = audio.stated_seconds(self._path) if self._progress is not None else None
        encoders: list[StreamingEncoder] = []
        for block in self._blocks():
            # Each channel by itself, so that it gets the codes it gets alone.
            encoders = encoders or [StreamingEncoder(self._codec, self._bandwidth) for _ in block]
            self.samples += block.shape[1]
            channels = (torch.from_numpy(channel).to(device) for channel in block)
            yield torch.cat([encoder.push(channel) for encoder, channel in zip(encoders, channels, strict=True)])
            if self._progress is not None and expected is not None:
                self._progress(min(self.samples / self._codec.sample_rate / expected, 1.0))
        yield torch.cat([encoder.finish() for encoder in encoders])

    def _blocks(self) -> Iterator[NDArray[np.float32]]:
        blocks = audio.stream(self._path, self._codec.sample_rate, mono=self._mono)
        with closing(blocks):
            while True:
                with signals_deferred():
                    block = next(blocks, None)
                if block is None:
                    return
                yield block
