"""A codec at work: what :func:`xcodec.load` gives."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from xcodec.codec.checkpoint import Fingerprint
from xcodec.codec.config import CodecProperties
from xcodec.codec.inputs import full_precision
from xcodec.codec.model import Latents, XCodec
from xcodec.engine.exact import exact
from xcodec.engine.fast import fast

Engine = Literal["exact", "fast"]
ENGINES: dict[str, Callable[[XCodec], XCodec]] = {"exact": exact, "fast": fast}


def load(
    source: str | os.PathLike[str] | None = None,
    *,
    device: str | torch.device = "cpu",
    engine: Engine = "exact",
) -> Codec:
    """A codec, ready to encode and decode.

    Args:
        source: one of

            - ``None``: the model inside this package; needs no network;
            - a name on the Hugging Face hub: one of the five official models (``"xcodec-hubert-librispeech"``) or any
              ``"organisation/repository"``; downloaded once, then found in the cache;
            - a folder: one that :meth:`XCodec.save_pretrained` wrote, or an ``XcodecModel`` of ``transformers``, or one
              that holds an official ``.pth`` and its YAML config;
            - an official ``.pth`` whose YAML config is beside it.
        device: where to put it.
        engine: how to run it.

            - ``"exact"``: in float32, with the codes of the plain network, and its audio but for float32's rounding;
            - ``"fast"``: as fast as this processor can, with nearly those (docs/performance.md says how nearly).

    Raises:
        CheckpointError: nothing there, or nothing that fits: every missing, misshapen or unknown tensor is named.
        ValueError: there is no such engine or device.
    """
    _check_engine(engine)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"cannot compute on device {device}: {str(error).splitlines()[0]}") from error
    return Codec(XCodec.from_pretrained(source, device=device), engine)


class Codec(CodecProperties):
    """An :class:`XCodec` on an engine: the same codes and audio, sooner. For inference.

    Args:
        model: is held, and stays what it is. Where it is trained on, moved or loaded anew, the engine follows.
        engine: as in :func:`load`.
    """

    def __init__(self, model: XCodec, engine: Engine = "exact") -> None:
        _check_engine(engine)
        self.model, self.config, self.engine = model, model.config, engine
        self._accelerate()

    def _accelerate(self) -> None:
        with full_precision(self.model.device), torch.no_grad():
            self._network = ENGINES[self.engine](self.model)
            self._fingerprint: Fingerprint | None = None
            self._versions, self._samples = _versions(self.model), _samples(self.model)
            self._values = torch.cat(self._samples)

    @property
    def network(self) -> XCodec:
        """The model, with those parts replaced that the engine computes in another way: what streams run on."""
        # What is written through `.data` counts as no new version, so some values are compared, too.
        if self._versions != _versions(self.model) or not torch.equal(self._values, torch.cat(self._samples)):
            self._accelerate()
        return self._network

    @property
    def fingerprint(self) -> Fingerprint:
        """Hashes of the model's weights: codecs that share them make the same codes, or the same codes and audio."""
        _ = self.network  # which notices new weights
        self._fingerprint = self._fingerprint or self.model.fingerprint
        return self._fingerprint

    def encode(self, wav: Any, bandwidth: float | None = None, lengths: Sequence[int] | Tensor | None = None) -> Tensor:
        """Audio float [B, 1, T] or [T] in [-1, 1] to codes int64 [B, K, F]; see :meth:`XCodec.encode`."""
        return self.network.encode(wav, bandwidth, lengths)

    def decode(self, codes: Any) -> Tensor:
        """Codes int64 [B, K, F] or [K, F] to audio float [B, 1, F × hop_length]; see :meth:`XCodec.decode`."""
        return self.network.decode(codes)

    def latents(self, wav: Tensor) -> Latents:
        """The quantiser's input, of whole frames [B, 1, F × hop_length]; see :meth:`XCodec.latents`."""
        with full_precision(self.device), torch.no_grad():
            return self.network.latents(wav)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.model.device

    def __repr__(self) -> str:
        return f"<xcodec.Codec {self.config.name}, engine {self.engine}, on {self.device}>"


def _check_engine(engine: str) -> None:
    if engine not in get_args(Engine):
        raise ValueError(f"there is no engine {engine!r}; choose 'exact' or 'fast'")


def _versions(model: XCodec) -> list[tuple[object, ...]]:
    """What changes when a weight is written to, replaced or moved."""
    return [
        (tensor.data_ptr(), tensor.dtype, 0 if tensor.is_inference() else tensor._version)
        for tensor in (*model.parameters(), *model.buffers())
    ]


def _samples(model: XCodec) -> list[Tensor]:
    """Views of some of the values of every weight."""
    return [parameter.detach().flatten()[:: max(1, parameter.numel() // 4)] for parameter in model.parameters()]
