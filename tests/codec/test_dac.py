"""Both kinds of acoustic halves: F frames are F × hop samples, whatever the strides."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from xcodec.codec.config import DacConfig, SpectralConfig
from xcodec.codec.dac import DacDecoder, DacEncoder, Snake
from xcodec.codec.spectral import SpectralDecoder, SpectralEncoder, _interpolation, mel_bands
from xcodec.codec.spectrogram import GAIN, Spectrogram

DAC = DacConfig(width=6, encoder_width=2, decoder_width=32)
SPECTRAL = SpectralConfig(width=6, mel_bands=10, encoder_width=8, encoder_layers=1, decoder_width=8, decoder_layers=1)


@pytest.mark.parametrize("strides", [(8, 5, 4, 2), (8, 5, 4, 3), (5, 3), (2,), (7, 5, 4, 4)])
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_dac_frames_and_samples_correspond(strides: tuple[int, ...], frames: int) -> None:
    hop = int(torch.tensor(strides).prod())
    features = DacEncoder(DAC, strides)(torch.randn(2, 1, frames * hop))
    assert features.shape == (2, 6, frames)
    assert DacDecoder(DAC, strides)(features).shape == (2, 1, frames * hop)


@pytest.mark.parametrize("hop", [320, 480, 640])
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_spectral_frames_and_samples_correspond(hop: int, frames: int) -> None:
    features = SpectralEncoder(SPECTRAL, hop, 50 * hop)(torch.randn(2, 1, frames * hop))
    assert features.shape == (2, 6, frames)
    assert SpectralDecoder(SPECTRAL, hop, 50 * hop)(features).shape == (2, 1, frames * hop)


def test_snake_is_its_formula() -> None:
    snake = Snake(1)
    with torch.no_grad():
        snake.alpha.fill_(2.0)
    x = torch.linspace(-3, 3, 50)[None, None]
    torch.testing.assert_close(snake(x), x + torch.sin(2 * x) ** 2 / 2)


def tone(frequency: float, samples: int = 16000) -> torch.Tensor:
    return 0.5 * torch.sin(2 * math.pi * frequency / 16000 * torch.arange(samples))[None, None]


def test_a_tone_is_compressed_at_its_bin() -> None:
    spectrogram = Spectrogram(160)  # windows of 640 samples: bins are 25 Hz apart
    compressed = spectrogram.analyse(tone(1000))
    assert compressed.shape == (1, 100, 321)
    inside = compressed[0, 5:-5]
    assert (inside.argmax(1) == 40).all()
    # A sine of amplitude 0.5 has half of that at its bin, times the mean of the window, over half its length.
    torch.testing.assert_close(inside.amax(1), torch.full((90,), GAIN * (0.5 / 2) ** (1 / 3)), rtol=1e-3, atol=0)


@pytest.mark.parametrize("hop", [20, 160])
@pytest.mark.parametrize("frames", [1, 2, 9])
def test_true_phases_invert_exactly_to_the_very_ends(hop: int, frames: int) -> None:
    spectrogram = Spectrogram(hop).double()
    wav = torch.randn(2, frames * hop, dtype=torch.float64)
    spectrum = spectrogram.transform(wav)
    assert spectrum.shape == (2, frames, spectrogram.bins)
    torch.testing.assert_close(spectrogram.invert(spectrum), wav)


def test_the_search_finds_phases_that_fit_ever_better() -> None:
    spectrogram = Spectrogram(160)
    torch.manual_seed(0)
    wav = tone(440) + tone(1234) + 0.02 * torch.randn(1, 1, 16000)
    target = spectrogram.analyse(wav)
    errors = []
    for iterations in (0, 4, 16):
        found = spectrogram.analyse(spectrogram.synthesise(spectrogram.expand(target), iterations))
        errors.append(float((found - target).abs().mean() / target.mean()))
    assert errors[0] > 2 * errors[1] > 2.2 * errors[2]
    assert errors[2] < 0.1


def test_silence_stays_silent_and_finite() -> None:
    spectrogram = Spectrogram(160)
    compressed = spectrogram.analyse(torch.zeros(1, 1, 1600))
    assert float(spectrogram.synthesise(spectrogram.expand(compressed), 16).abs().max()) < 1e-5
    assert spectrogram.synthesise(torch.zeros_like(spectrogram.expand(compressed)), 16).isfinite().all()


def test_mel_bands_are_means_and_interpolate_back() -> None:
    filters = mel_bands(20, 321, 16000)
    torch.testing.assert_close(filters.sum(0), torch.ones(20))
    back = _interpolation(filters)
    torch.testing.assert_close(back.sum(1), torch.ones(321))
    slope = torch.linspace(1, 2, 321)
    # Within the slope over a band: the widest, at the top, is a tenth of the range.
    assert (back @ (slope @ filters) - slope).abs().max() < 0.15
    assert (back @ (slope @ filters) - slope).abs().mean() < 0.03


def test_untrained_spectral_halves_pass_the_envelope() -> None:
    """With one channel for each band, training starts from a filter bank and its inverse, not from noise."""
    config = SpectralConfig(width=160, mel_bands=80, encoder_width=8, encoder_layers=1, decoder_width=8)
    decoder = SpectralDecoder(config, 320, 16000)
    torch.manual_seed(0)
    wav = torch.randn(1, 1, 32000) * torch.linspace(0.01, 0.2, 32000)
    target = decoder.spectrogram.analyse(wav)
    spectra = decoder.spectra(SpectralEncoder(config, 320, 16000)(wav))
    assert spectra.shape == target.shape
    envelope, rebuilt = (F.avg_pool2d(each[None], 20)[0] for each in (target, spectra))
    assert ((envelope - rebuilt).abs() / envelope).mean() < 0.05
