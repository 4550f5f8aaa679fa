"""Both kinds of acoustic halves: F frames are F × hop samples, whatever the strides."""

from __future__ import annotations

import pytest
import torch

from xcodec.codec.acoustic import DacDecoder, DacEncoder, Snake
from xcodec.codec.config import DacConfig, SpectralConfig
from xcodec.codec.spectral import FourierFrames, SpectralDecoder, SpectralEncoder

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
@pytest.mark.parametrize("window_hops", [2, 4])
def test_spectral_frames_and_samples_correspond(hop: int, frames: int, window_hops: int) -> None:
    config = SpectralConfig(**{**SPECTRAL.__dict__, "window_hops": window_hops})
    features = SpectralEncoder(config, hop)(torch.randn(2, 1, frames * hop))
    assert features.shape == (2, 6, frames)
    assert SpectralDecoder(config, hop)(features).shape == (2, 1, frames * hop)


def test_snake_is_its_formula() -> None:
    snake = Snake(1)
    with torch.no_grad():
        snake.alpha.fill_(2.0)
    x = torch.linspace(-3, 3, 50)[None, None]
    torch.testing.assert_close(snake(x), x + torch.sin(2 * x) ** 2 / 2)


@pytest.mark.parametrize("window_hops", [2, 4])
def test_fourier_frames_reconstruct_all_but_the_edges(window_hops: int) -> None:
    frames = FourierFrames(320, window_hops)
    wav = torch.randn(2, 1, 3200)
    edge = 320 * window_hops
    rebuilt = frames.synthesise(frames.analyse(wav))
    torch.testing.assert_close(rebuilt[..., edge:-edge], wav[..., edge:-edge], atol=1e-5, rtol=0)


def test_fourier_frames_are_the_transform_of_torch() -> None:
    frames = FourierFrames(320, 2)
    wav = torch.randn(1, 1, 3200)
    window = torch.sin(torch.pi * (torch.arange(640) + 0.5) / 640)
    padded = torch.nn.functional.pad(wav[:, 0], (160, 160))
    expected = torch.stft(padded, 640, 320, window=window, center=False, return_complex=True)
    real, imaginary = frames.analyse(wav).chunk(2, dim=2)
    torch.testing.assert_close(torch.complex(real, imaginary).transpose(1, 2), expected, atol=1e-3, rtol=1e-4)
