"""The codecs of `transformers` as tokenizers: EnCodec, DAC, Mimi, X-Codec."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

KINDS = ("encodec", "dac", "mimi", "xcodec")


class HubTokenizer:
    """A codec of `transformers`, by its name on the hub or its folder, as an `AudioTokenizer`.

    A clip is coded by itself, without padding, so that it has the same codes alone and in a batch.

    Raises:
        ValueError: nothing there, or no codec of a kind that is known here.
    """

    def __init__(self, name: str) -> None:
        from transformers import AutoConfig, AutoModel

        try:
            config = AutoConfig.from_pretrained(name)
            if config.model_type not in KINDS:
                raise ValueError(f"{name} is of type {config.model_type}; known are {', '.join(KINDS)}")
            self.model: Any = AutoModel.from_pretrained(name).eval()
        except OSError as error:
            raise ValueError(
                f"{name} is neither a folder nor in the hub's cache, and could not be fetched; "
                f"get it with: hf download {name}"
            ) from error
        self.kind = str(config.model_type)
        if self.kind == "encodec" and (config.normalize or config.chunk_length_s):
            raise ValueError(f"{name} sends a volume beside its codes, so codes alone do not decode; take a 24 kHz one")
        self.sample_rate = int(config.sample_rate if self.kind == "xcodec" else config.sampling_rate)
        self.codebook_size = int(config.codebook_size)
        self.hop_length = _hop(self.kind, config)
        self.codebooks = _codebooks(self.kind, self.model)
        if self.kind in ("encodec", "xcodec"):
            self.bandwidths = tuple(float(each) for each in config.target_bandwidths)
        else:
            self.bandwidths = tuple(round(count * self._step, 6) for count in range(1, self.codebooks + 1))

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_length

    @property
    def _step(self) -> float:
        """kbps of one codebook."""
        return self.frame_rate * math.log2(self.codebook_size) / 1000

    @torch.inference_mode()
    def encode(self, wav: Tensor, bandwidth: float | None = None, lengths: Sequence[int] | None = None) -> Tensor:
        """See `AudioTokenizer`; frames after the end of a clip are zeros.

        Raises:
            ValueError: a bandwidth the model lacks.
        """
        bandwidth = self.bandwidths[-1] if bandwidth is None else bandwidth
        matching = [each for each in self.bandwidths if abs(each - bandwidth) < 0.005]
        if not matching:
            offered = ", ".join(f"{each:g}" for each in self.bandwidths)
            raise ValueError(f"this {self.kind} has {offered} kbps, not {bandwidth:g}")
        samples = [wav.shape[-1]] * len(wav) if lengths is None else [int(each) for each in lengths]
        frames = -(-wav.shape[-1] // self.hop_length)
        rows = []
        for clip, length in zip(wav, samples, strict=True):
            codes = self._encode(self._whole_frames(clip[None, :, :length]), matching[0])
            rows.append(torch.nn.functional.pad(codes, (0, frames - codes.shape[-1])))
        return torch.cat(rows)

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> Tensor:
        """See `AudioTokenizer`."""
        if self.kind == "encodec":
            audio = self.model.decode(codes[None], [None]).audio_values
        elif self.kind == "dac":
            audio = self.model.decode(audio_codes=codes).audio_values
        else:
            audio = self.model.decode(codes).audio_values
        audio = audio.reshape(len(codes), 1, -1)  # DAC leaves the channel out
        wanted = codes.shape[-1] * self.hop_length
        return torch.nn.functional.pad(audio, (0, max(0, wanted - audio.shape[-1])))[..., :wanted]

    def code_vectors(self, codes: Tensor) -> list[Tensor]:
        """Codes `[1, K, F]` to what each codebook says, `K` times `[F, D]`, as the model adds them up."""
        total, before = [], None
        for count in range(1, codes.shape[1] + 1):
            vectors = self._dequantise(codes[:, :count])[0].T  # (D, F) -> (F, D)
            total.append(vectors if before is None else vectors - before)
            before = vectors
        return total

    def _whole_frames(self, clip: Tensor) -> Tensor:
        return torch.nn.functional.pad(clip, (0, -clip.shape[-1] % self.hop_length))

    def _encode(self, clip: Tensor, bandwidth: float) -> Tensor:
        """[1, 1, T] -> [1, K, F]."""
        if self.kind == "encodec":
            return self.model.encode(clip, bandwidth=bandwidth).audio_codes[0]
        if self.kind == "xcodec":
            return self.model.encode(clip, bandwidth=bandwidth).audio_codes
        count = round(bandwidth / self._step)
        if self.kind == "dac":
            return self.model.encode(clip, n_quantizers=count).audio_codes
        return self.model.encode(clip, num_quantizers=count).audio_codes

    @torch.inference_mode()
    def _dequantise(self, codes: Tensor) -> Tensor:
        """[1, K, F] -> [1, D, F]."""
        if self.kind == "dac":
            return self.model.quantizer.from_codes(codes)[0]
        if self.kind == "mimi":
            return self.model.quantizer.decode(codes)
        return self.model.quantizer.decode(codes.transpose(0, 1))  # (1, K, F) -> (K, 1, F)


def _hop(kind: str, config: Any) -> int:
    if kind == "mimi":
        return round(config.sampling_rate / config.frame_rate)
    return int(config.hop_length)


def _codebooks(kind: str, model: Any) -> int:
    if kind == "dac":
        return int(model.config.n_codebooks)
    return int(model.config.num_quantizers)
