"""Checkpoints: where a codec is kept and how it comes back.

A checkpoint of ours is a folder of two files: ``config.json`` says how to build the network, ``model.safetensors`` has
its weights, the teacher's included. Those of the release (:mod:`release`) and of ``transformers`` (:mod:`interchange`)
load too; :mod:`names` is the table of what they call things. Nothing is ever unpickled beyond ``weights_only=True``.
"""

from xcodec.storage import CheckpointError

from .fingerprint import Fingerprint, fingerprint, tokens_hash, weights_hash
from .interchange import to_transformers
from .loading import load
from .saving import save

__all__ = [
    "CheckpointError",
    "Fingerprint",
    "fingerprint",
    "load",
    "save",
    "to_transformers",
    "tokens_hash",
    "weights_hash",
]
