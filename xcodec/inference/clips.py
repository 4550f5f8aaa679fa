"""Many short clips at once: a core for each, instead of all cores for one.

A clip of seconds is too little work to share: layers are small, and cores wait for each other after every one. Whole
clips on single cores need not wait. Each still passes through the network by itself, as in `codec.encode`, so its codes
depend on no neighbour (docs/batching.md says why that matters).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from xcodec.codec.model import XCodec


def encode_clips(
    codec: XCodec, clips: Sequence[Tensor], bandwidth: float | None = None, threads: int | None = None
) -> list[Tensor]:
    """Codes of every clip, in the order of the clips.

    Args:
        codec: the model, on a CPU.
        clips: float [T] or [1, 1, T] each, of any lengths.
        bandwidth: as in ``codec.encode``.
        threads: clips that are encoded at a time; by default, as many as PyTorch uses for one.

    Returns:
        int64 [K, F] each: what ``codec.encode`` gives on one thread.

    Raises:
        ValueError: as ``codec.encode`` does.
    """
    before = torch.get_num_threads()
    count = max(1, min(threads or before, len(clips)))
    # The longest first: so no core has to do a long one while the others have nothing left.
    order = sorted(range(len(clips)), key=lambda index: -clips[index].shape[-1])
    codes: dict[int, Tensor] = {}

    def encode(index: int) -> None:
        codes[index] = codec.encode(clips[index], bandwidth)[0]

    # PyTorch's number of threads is that of the thread that sets it, and of those that begin after it.
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(encode, order))
    finally:
        torch.set_num_threads(before)
    return [codes[index] for index in range(len(clips))]
