"""Pitch and pulses, from magnitudes alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from xcodec.codec.config import SpectralConfig
from xcodec.codec.pulse_train import PulseTrain
from xcodec.codec.spectral import SpectralDecoder
from xcodec.codec.spectrogram import Spectrogram

RATE, HOP = 16000, 160
CONFIG = SpectralConfig(width=8, mel_bands=4, encoder_width=8, encoder_layers=1, decoder_width=16, decoder_layers=2)


def voice() -> PulseTrain:
    return PulseTrain(RATE, HOP, 4 * HOP).double()


def buzz(pitch: Tensor) -> Tensor:
    """Harmonics 1/h of a pitch in Hz for every sample [T], below 4 kHz: [1, 1, T]."""
    angle = 2 * math.pi * (pitch.double() / RATE).cumsum(0)
    harmonics = [torch.cos(h * angle) / h for h in range(1, int(4000 / float(pitch.max())) + 1)]
    return 0.05 * torch.stack(harmonics).sum(0)[None, None]


def magnitudes(wav: Tensor) -> Tensor:
    spectrogram = Spectrogram(HOP).double()
    return spectrogram.expand(spectrogram.analyse(wav))


@pytest.mark.parametrize("pitch", [70.0, 111.3, 180.0, 260.5, 390.0])
def test_the_period_of_a_steady_voice_is_found(pitch: float) -> None:
    period, strength = voice().periods(magnitudes(buzz(torch.full((8000,), pitch))))
    torch.testing.assert_close(RATE / period[0, 5:-5], torch.full((40,), pitch).double(), rtol=0.02, atol=0)
    assert (strength[0, 5:-5] > 0.5).all()


def test_a_voice_is_voiced_and_noise_is_not() -> None:
    glide = magnitudes(buzz(torch.linspace(100, 160, 16000)))
    noise = magnitudes(0.1 * torch.randn(1, 1, 16000, dtype=torch.float64))
    model = voice()
    assert model(glide)[1][0, 5:-5].all()
    assert model(noise)[1].double().mean() < 0.05
    assert not model(magnitudes(torch.zeros(1, 1, 16000).double()))[1].any()


def test_pulses_follow_the_pitch_without_a_break() -> None:
    """0.37 s of 100 Hz, then 200 Hz: in every stretch as many pulses as periods, evenly, across the seams too."""
    period = torch.cat([torch.full((1, 37), 160.0), torch.full((1, 163), 80.0)], dim=1).double()
    pulses = voice().pulses(period)[0, 0]
    assert len(pulses) == 200 * HOP
    assert abs(float(pulses.sum()) - (37 + 163 * 2)) <= 2
    times = pulses.nonzero().squeeze(1)
    times = times[torch.cat([torch.tensor([True]), times.diff() > 1])]  # the first of the two samples that share one
    gaps = times.diff()
    assert set(gaps[times[1:] < 36 * HOP].tolist()) <= {158, 159, 160, 161, 162}
    assert set(gaps[times[:-1] > 52 * HOP].tolist()) <= {79, 80, 81}
    assert gaps.min() >= 78


def test_voiced_windows_sound_like_pulses() -> None:
    """Where a search leaves the harmonics at odds, a voice is all in one place: its crests stand out."""
    spectrogram = Spectrogram(HOP).double()
    target = magnitudes(buzz(torch.linspace(105, 125, 16000)))
    pulses, voiced = voice()(target)
    searched = spectrogram.synthesise(target, 6)[0, 0, 2000:-2000]
    spoken = spectrogram.synthesise(target, 6, pulses, voiced)[0, 0, 2000:-2000]
    crest = [float(each.abs().max() / each.square().mean().sqrt()) for each in (searched, spoken)]
    assert crest[1] > 1.3 * crest[0]
    found = spectrogram.expand(spectrogram.analyse(spoken[None, None]))
    there = target[:, 12 : 12 + found.shape[1]]
    assert float((found - target[:, 13 : 13 + found.shape[1]]).abs().sum() / there.sum()) < 0.5


def test_low_bins_are_refined_and_the_crests_stay() -> None:
    """Pulses a little off the true pitch disagree with the magnitudes; one round mends that, and keeps the pulses."""
    spectrogram, found = Spectrogram(HOP).double(), voice()
    target = magnitudes(buzz(torch.linspace(105, 125, 16000)))
    period, strength = found.periods(target)
    pulses, voiced = found.pulses(period * 1.01), found.voiced(strength)

    def made(refined_bins: int) -> tuple[float, float]:
        wav = spectrogram.synthesise(target, 6, pulses, voiced, refined_bins)
        low = slice(0, found.refined_bins)
        error = spectrogram.transform(wav[:, 0])[..., low].abs() - target[..., low]
        inner = wav[0, 0, 2000:-2000]
        return float(error[:, 12:-12].abs().sum()), float(inner.abs().max() / inner.square().mean().sqrt())

    searched = spectrogram.synthesise(target, 6)[0, 0, 2000:-2000]
    (disagreement, _), (refined, crest) = made(0), made(found.refined_bins)
    assert refined < 0.95 * disagreement
    assert crest > 1.2 * float(searched.abs().max() / searched.square().mean().sqrt())


def test_aligned_pieces_with_context_are_the_whole() -> None:
    """Of a voice, where pulses bind whole blocks together, whatever the size of the pieces."""
    from xcodec.inference.streaming import ChunkedNetwork, ChunkPlan

    torch.manual_seed(0)
    decoder = SpectralDecoder(CONFIG, 2 * HOP, RATE).double()
    spectra = decoder.spectrogram.analyse(buzz(100 + 40 * torch.linspace(0, 9, 64000).sin()))
    decoder.spectra = lambda features: features.transpose(1, 2).reshape(1, -1, 321)  # type: ignore[method-assign]
    features = spectra.reshape(1, -1, 2 * 321).transpose(1, 2)
    whole = decoder(features)
    assert decoder.pulse_train is not None
    assert decoder.pulse_train(decoder.spectrogram.expand(spectra))[1].double().mean() > 0.8
    for frames in (1, 7, 25, 60):
        chunks = ChunkPlan(decoder.context_frames, decoder.context_frames, frames, frames, align=decoder.align_frames)
        chunked = ChunkedNetwork(decoder, chunks, samples_out=2 * HOP)
        pieces = torch.cat([*chunked.push(features), *chunked.finish()], dim=2)
        torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-9)
