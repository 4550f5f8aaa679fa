"""The points inside a codec at which its features are examined."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from xcodec.codec.model import XCodec
from xcodec.evaluate.abx import FrameDistance
from xcodec.evaluate.codecs import Audio, Tokenizer
from xcodec.evaluate.codecs.hub import HubTokenizer

STAGES = ("teacher", "before RVQ", "codebook 1", "all codebooks", "semantic decoder")


@dataclass(frozen=True)
class Stage:
    """Features of one clip at one point."""

    features: NDArray[np.float32]
    """`[F, D]`, at the codec's frame rate."""
    distance: FrameDistance
    """With which its frames are compared."""


@torch.inference_mode()
def stages(codec: Tokenizer, wav: Audio) -> tuple[NDArray[np.int64], dict[str, Stage]]:
    """Codes `[K, F]` of a clip, and its features at those of `STAGES` that the codec has.

    Our own codecs have all five (the acoustic baseline neither teacher nor semantic decoder), those of `transformers`
    the two of the codes. Of any other tokenizer nothing is known but its codes, which are then compared as such.
    """
    codes = codec.encode(wav)
    tokenizer = codec.tokenizer
    if isinstance(tokenizer, XCodec):
        return codes, _of_xcodec(tokenizer, wav, codes)
    if isinstance(tokenizer, HubTokenizer):
        vectors = [each.numpy() for each in tokenizer.code_vectors(torch.from_numpy(codes)[None])]
        return codes, {
            "codebook 1": Stage(vectors[0], "euclidean"),
            "all codebooks": Stage(np.sum(vectors, axis=0), "euclidean"),
        }
    by_frame = codes.T.astype(np.float32)  # (K, F) -> (F, K)
    return codes, {"codebook 1": Stage(by_frame[:, :1], "codes"), "all codebooks": Stage(by_frame, "codes")}


def _of_xcodec(model: XCodec, wav: Audio, codes: NDArray[np.int64]) -> dict[str, Stage]:
    latents = model.latents(model.pad_to_frames(torch.from_numpy(wav)[None, None]))
    batch = torch.from_numpy(codes)[None]
    quantised = model.quantizer.decode(batch)
    found = {
        "before RVQ": Stage(_by_frame(latents.values), "cosine"),
        "codebook 1": Stage(_by_frame(model.quantizer.decode(batch[:, :1])), "euclidean"),
        "all codebooks": Stage(_by_frame(quantised), "euclidean"),
    }
    if latents.teacher is not None:
        found["teacher"] = Stage(_by_frame(latents.teacher), "cosine")
        found["semantic decoder"] = Stage(_by_frame(model.reconstruct_semantics(quantised)), "cosine")
    return {name: found[name] for name in STAGES if name in found}


def _by_frame(features: torch.Tensor) -> NDArray[np.float32]:
    return features[0].T.numpy()  # (D, F) -> (F, D)
