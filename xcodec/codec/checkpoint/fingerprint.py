"""Which codes a codec makes, and which weights it has, in eight bytes each."""

from __future__ import annotations

import hashlib
from typing import NamedTuple
from weakref import WeakKeyDictionary

from ..model import XCodec
from .names import STATISTICS

AFTER_TOKENS = ("acoustic_decoder.", "to_acoustic.")
"""How the names of the weights begin that make audio of codes, and have no say in which codes they are."""
TRAINING_ONLY_MODULES = ("semantic_decoder.", "to_semantic.")
TRAINING_ONLY_TENSORS = (*STATISTICS, "codebook.updates")


class Fingerprint(NamedTuple):
    """Two hashes, as hexadecimal."""

    tokens: str
    """Of what makes the codes: codecs that share it make, and understand, the same ones."""
    weights: str
    """Of all of it: codecs that share it also make the same audio of them."""


# Of each codec, where its tensors were and how often they had been written to, and the hashes at that moment.
_remembered: WeakKeyDictionary[XCodec, tuple[list[tuple[int, int]], Fingerprint]] = WeakKeyDictionary()


def tokens_hash(codec: XCodec) -> str:
    """Eight bytes, as hexadecimal, that tell whether two codecs give the same codes.

    SHA-256 over name, shape and float32 values of every tensor on the way from audio to codes. Decoders are left out:
    one that has been trained on decodes what its predecessor's codes say, and language models need not learn them anew.
    """
    return fingerprint(codec).tokens


def weights_hash(codec: XCodec) -> str:
    """The same of every tensor on the way from audio to codes and back: whether two codecs also give the same audio.

    The semantic decoder and the codebooks' statistics do not count; only training uses them.
    """
    return fingerprint(codec).weights


def fingerprint(codec: XCodec) -> Fingerprint:
    """Both hashes. Remembered until a tensor changes."""
    if codec.loaded_as is not None:
        return codec.loaded_as
    tensors = {
        name: tensor
        for name, tensor in sorted(codec.state_dict().items())
        if not name.startswith(TRAINING_ONLY_MODULES) and not name.endswith(TRAINING_ONLY_TENSORS)
    }
    state = [(tensor.data_ptr(), tensor._version) for tensor in tensors.values()]
    known, found = _remembered.get(codec, (None, Fingerprint("", "")))
    if known != state:
        digest = hashlib.sha256()
        for after in (False, True):  # the hash of the tokens is that of all, half way
            for name, tensor in tensors.items():
                if name.startswith(AFTER_TOKENS) == after:
                    digest.update(f"{name} {list(tensor.shape)}\n".encode())
                    digest.update(tensor.cpu().float().contiguous().numpy().data)
            if not after:
                tokens = digest.hexdigest()[:16]
        found = Fingerprint(tokens, digest.hexdigest()[:16])
        _remembered[codec] = state, found
    return found
