"""Which weights a codec has, in eight bytes."""

from __future__ import annotations

import hashlib
from weakref import WeakKeyDictionary

from ..model import XCodec
from .names import STATISTICS

TRAINING_ONLY_MODULES = ("semantic_decoder.", "to_semantic.")
TRAINING_ONLY_TENSORS = (*STATISTICS, "codebook.updates")

# Of each codec, where its tensors were and how often they had been written to, and the hash at that moment.
_remembered: WeakKeyDictionary[XCodec, tuple[list[tuple[int, int]], str]] = WeakKeyDictionary()


def weights_hash(codec: XCodec) -> str:
    """Eight bytes, as hexadecimal, that tell whether two codecs give the same codes and the same audio.

    SHA-256 over name, shape and float32 values of every tensor on the way from audio to codes and back: all but the
    semantic decoder and the codebooks' statistics, which only training uses. Remembered until a tensor changes.
    """
    if codec.weights_id is not None:
        return codec.weights_id
    tensors = {
        name: tensor
        for name, tensor in codec.state_dict().items()
        if not name.startswith(TRAINING_ONLY_MODULES) and not name.endswith(TRAINING_ONLY_TENSORS)
    }
    state = [(tensor.data_ptr(), tensor._version) for tensor in tensors.values()]
    known, value = _remembered.get(codec, (None, ""))
    if known != state:
        digest = hashlib.sha256()
        for name, tensor in sorted(tensors.items()):
            digest.update(f"{name} {list(tensor.shape)}\n".encode())
            digest.update(tensor.cpu().float().contiguous().numpy().data)
        value = digest.hexdigest()[:16]
        _remembered[codec] = state, value
    return value
