"""Load a codec to work with: :func:`xcodec.load`."""

from __future__ import annotations

import os
from typing import Literal

import torch

from xcodec.codec import checkpoint
from xcodec.codec.model import XCodec
from xcodec.engine.engine import accelerate, exact

Engine = Literal["exact", "fast"]


def load(
    source: str | os.PathLike[str] | None = None,
    *,
    device: str | torch.device = "cpu",
    engine: Engine = "exact",
) -> XCodec:
    """A codec, ready to encode and decode.

    Args:
        source: one of

            - ``None``: the model inside this package; needs no network;
            - a name on the Hugging Face hub: one of the five official models (``"xcodec-hubert-librispeech"``) or any
              ``"organisation/repository"``; downloaded once, then found in the cache;
            - a folder: one that :func:`save` wrote, or an ``XcodecModel`` of ``transformers``, or one that holds an
              official ``.pth`` and its YAML config;
            - an official ``.pth`` whose YAML config is beside it.
        device: where to put it.
        engine: how to run it.

            - ``"exact"``: in float32, with the codes of the plain network, and its audio but for float32's rounding;
              can be trained and saved;
            - ``"fast"``: as fast as this processor can, with nearly those (docs/performance.md says how nearly); for
              inference only.

    Raises:
        CheckpointError: nothing there, or nothing that fits: every missing, misshapen or unknown tensor is named.
        ValueError: there is no such engine.
    """
    if engine not in ("exact", "fast"):
        raise ValueError(f"there is no engine {engine!r}; choose 'exact' or 'fast'")
    codec = checkpoint.load(source, device=device)
    return accelerate(codec) if engine == "fast" else exact(codec)
