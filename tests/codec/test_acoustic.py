"""Both kinds of acoustic halves: F frames are F × hop samples, whatever the strides."""

from __future__ import annotations

import math

import pytest
import torch

from xcodec.codec.acoustic import DacDecoder, DacEncoder, Snake
from xcodec.codec.config import DacConfig, SpectralConfig
from xcodec.codec.spectral import Mdct, SpectralDecoder, SpectralEncoder

DAC = DacConfig(width=6, encoder_width=2, decoder_width=32)
SPECTRAL = SpectralConfig(width=6, encoder_width=8, encoder_layers=1, decoder_width=8, decoder_layers=1)


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
    features = SpectralEncoder(SPECTRAL, hop)(torch.randn(2, 1, frames * hop))
    assert features.shape == (2, 6, frames)
    assert SpectralDecoder(SPECTRAL, hop)(features).shape == (2, 1, frames * hop)


def test_snake_is_its_formula() -> None:
    snake = Snake(1)
    with torch.no_grad():
        snake.alpha.fill_(2.0)
    x = torch.linspace(-3, 3, 50)[None, None]
    torch.testing.assert_close(snake(x), x + torch.sin(2 * x) ** 2 / 2)


@pytest.mark.parametrize("hop", [8, 320, 480])
@pytest.mark.parametrize("frames", [1, 2, 9])
def test_the_mdct_inverts_exactly_to_the_very_ends(hop: int, frames: int) -> None:
    mdct = Mdct(hop).double()
    wav = torch.randn(2, 1, frames * hop, dtype=torch.float64)
    coefficients = mdct.analyse(wav)
    assert coefficients.shape == (2, frames, hop)
    torch.testing.assert_close(mdct.synthesise(coefficients), wav, atol=1e-3, rtol=0)


def test_the_mdct_is_its_formula() -> None:
    hop = 16
    wav = torch.randn(1, 1, 5 * hop, dtype=torch.float64)
    coefficients = Mdct(hop).double().analyse(wav)[0, 2]  # frame 2 starts half a hop early
    samples = wav[0, 0, 2 * hop - hop // 2 : 4 * hop - hop // 2]
    for k in (0, 3, hop - 1):
        terms = [
            float(samples[n])
            * math.sin(math.pi * (n + 0.5) / (2 * hop))
            * math.cos(math.pi / hop * (n + 0.5 + hop / 2) * (k + 0.5))
            for n in range(2 * hop)
        ]
        plain = 3.0 * math.sqrt(2 / hop) * sum(terms)
        assert abs(float(coefficients[k]) - math.copysign(math.sqrt(abs(plain)), plain)) < 1e-2


def test_untrained_spectral_halves_are_transparent() -> None:
    """As wide as the hop, they pass everything: training starts from a transform codec, not from noise."""
    config = SpectralConfig(width=320, encoder_width=8, encoder_layers=1, decoder_width=8, decoder_layers=1)
    wav = torch.randn(1, 1, 3200)
    rebuilt = SpectralDecoder(config, 320)(SpectralEncoder(config, 320)(wav))
    torch.testing.assert_close(rebuilt, wav, atol=1e-3, rtol=0)
