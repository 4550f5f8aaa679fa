"""The clips of a corpus read and encoded: what each process or actor that tokenises one does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import numpy as np
import torch
from numpy.typing import NDArray

from xcodec.data.manifest import AudioItem, read_header, stream_item
from xcodec.data.token_table import Origin, TokenItem
from xcodec.engine.engine import Codec, Engine, load
from xcodec.inference.corpus_rows import Clip, Skipped, content_hash, file_stamp
from xcodec.inference.streaming import StreamingEncoder
from xcodec.utils.errors import one_line
from xcodec.utils.signals import signals_deferred


class ClipReader:
    """Reads clips: gives their samples to whoever takes them, and says afterwards from which audio they came."""

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._hashed: dict[tuple[str, str], str] = {}  # of one file: its clips mostly follow each other

    def __call__(self, clip: Clip, take: Callable[[NDArray[np.float32]], None]) -> tuple[Clip, Origin] | Skipped:
        """Hand the blocks [1, t] of a clip to ``take``; of what is skipped, they are void."""
        path = clip.item.path
        try:
            stamp = file_stamp(path)
            if (clip.path, stamp) not in self._hashed:
                self._hashed.clear()
                self._hashed[clip.path, stamp] = content_hash(clip.item)
            samples = 0
            with closing(stream_item(clip.item, self._sample_rate, clip.file_samples)) as blocks:
                while True:
                    with signals_deferred():
                        block = next(blocks, None)
                    if block is None:
                        break
                    samples += block.shape[1]
                    take(block)
            if clip.item.samples == clip.file_samples and samples != _resampled(clip.item, self._sample_rate):
                clip = clip.lasting(read_header(path, exact=True)[1])
            if file_stamp(path) != stamp:
                return clip.skipped(f"{path}: was changed while it was read")
        except OSError as error:
            return clip.skipped(one_line(error))
        return clip, clip.origin(self._hashed[clip.path, stamp], stamp)


class ClipEncoder:
    """Clips to rows, with the codes that `xcodec encode` gives of the same samples."""

    def __init__(self, codec: Codec, bandwidth: float | None) -> None:
        self._codec, self._bandwidth = codec, bandwidth
        self._read = ClipReader(codec.sample_rate)

    @classmethod
    def load(cls, model: str | None, device: str, engine: Engine, bandwidth: float | None) -> ClipEncoder:
        """With a codec of its own, as a process needs."""
        return cls(load(model, device=device, engine=engine), bandwidth)

    def __call__(self, clip: Clip) -> TokenItem | Skipped:
        """Read a clip of any length, in constant memory, and encode it."""
        encoder = StreamingEncoder(self._codec, self._bandwidth)
        made: list[torch.Tensor] = []
        found = self._read(clip, lambda block: made.append(encoder.encode(block[0])))
        if isinstance(found, Skipped):
            return found
        clip, origin = found
        return clip.row(_joined([*made, encoder.finish()]), origin)

    def encode(self, samples: NDArray[np.float32]) -> NDArray[np.uint16]:
        """Codes [K, F] of a clip [T] that is read already."""
        encoder = StreamingEncoder(self._codec, self._bandwidth)
        return _joined([encoder.encode(samples), encoder.finish()])


def _joined(pieces: list[torch.Tensor]) -> NDArray[np.uint16]:
    """Codes [1, K, f] one after another: [K, F]."""
    return torch.cat(pieces, dim=2)[0].cpu().numpy().astype(np.uint16)


def _resampled(item: AudioItem, sample_rate: int) -> int:
    """Samples of an item at another rate; see `xcodec.audio`."""
    return max(1, (2 * item.samples * sample_rate + item.sample_rate) // (2 * item.sample_rate))
