"""How near one way of running a codec comes to another: codes that are equal, and the noise in the audio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.engines.codecs import Candidate
from benchmarks.engines.measure import noise
from xcodec import audio
from xcodec.engine.engine import Codec
from xcodec.inference.streaming import LIVE_FRAMES, StreamingEncoder

_CLIP_SECONDS = 20.0


@dataclass(frozen=True)
class Agreement:
    """Of one way with another, over some clips."""

    name: str
    reference: str
    equal_codes: list[float]
    """The share of equal codes, of each codebook."""
    codes: int
    """That were compared, of all codebooks."""
    different: int
    """Of them."""
    snr: float | None
    """In dB, of audio decoded from the same codes; None where it is bit for bit the same, or was not compared."""


def clips(sample_rate: int, source: Path | None) -> list[Tensor]:
    """Clips of 20 s [1, 1, T], a minute at most, of the recordings below ``source``, joined; noise if there is none.

    Raises:
        OSError: there are none, or they cannot be read.
        AudioError: one of them is no audio.
    """
    if source is None:
        return [noise(sample_rate, 4.0)]
    size, most, recordings, samples = round(_CLIP_SECONDS * sample_rate), 3, [], 0
    for path in audio.find_audio(source):
        recordings.append(torch.from_numpy(audio.read(path, sample_rate)[0])[None])
        samples += recordings[-1].shape[2]
        if samples >= most * size:
            break
    if not recordings:
        raise OSError(f"{source}: holds no audio")
    return [clip for clip in torch.cat(recordings, dim=2).split(size, dim=2)[:most] if clip.shape[2] > size / 4]


@torch.inference_mode()
def agreement(first: Candidate, second: Candidate, wavs: Sequence[Tensor]) -> Agreement:
    """Of two whose codes are int64 [B, K, F]."""
    equal, noise_power, power = [], 0.0, 0.0
    for wav in wavs:
        codes, others = second.encode(wav), first.encode(wav)
        equal.append((codes == others)[0].numpy())  # (1, K, F) -> (K, F)
        sound, other = second.decode(codes), first.decode(codes)
        noise_power += float((sound - other).square().sum())
        power += float(sound.square().sum())
    snr = 10 * float(np.log10(power / noise_power)) if noise_power else None
    return _agreement(first.name, second.name, equal, snr)


@torch.inference_mode()
def windows(codec: Codec, wavs: Sequence[Tensor], choices: Sequence[tuple[float, float]]) -> list[Agreement]:
    """Codes with the teacher in windows of so many seconds and so much context, against those with whole clips."""
    teacher = codec.network.teacher
    assert teacher is not None
    own, found = teacher.config, []
    try:
        teacher.config = replace(own, window=_CLIP_SECONDS, context=0.0)
        whole = [codec.encode(wav) for wav in wavs]
        for window, context in choices:
            teacher.config = replace(own, window=window, context=context)
            equal = [(codec.encode(wav) == codes)[0].numpy() for wav, codes in zip(wavs, whole, strict=True)]
            found.append(_agreement(f"{window:g} s, {context:g} s", "at once", equal))
    finally:
        teacher.config = own
    return found


@torch.inference_mode()
def look_aheads(codec: Codec, wavs: Sequence[Tensor], seconds: Sequence[float | None]) -> list[Agreement]:
    """Codes of streaming encoders with so much look-ahead, against those of whole clips."""
    whole = [codec.encode(wav) for wav in wavs]
    found = []
    for ahead in seconds:
        equal = []
        for wav, codes in zip(wavs, whole, strict=True):
            encoder = StreamingEncoder(codec, look_ahead=ahead, min_frames=LIVE_FRAMES)
            streamed = torch.cat([encoder.encode(wav), encoder.finish()], dim=2)
            equal.append((streamed == codes)[0].numpy())
        name = f"{'whole windows' if ahead is None else f'{ahead:g} s'}, latency {encoder.latency:.2f} s"
        found.append(_agreement(name, "whole clips", equal))
    return found


def _agreement(name: str, reference: str, equal: list[np.ndarray], snr: float | None = None) -> Agreement:
    """From whether codes are equal, bool [K, F] of each clip."""
    every = np.concatenate(equal, axis=1)
    shares = [round(float(share), 5) for share in every.mean(axis=1)]
    return Agreement(name, reference, shares, every.size, int((~every).sum()), snr)
