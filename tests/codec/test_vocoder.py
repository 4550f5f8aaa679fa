"""The vocoder: what it is before it has learnt anything, and that audio made in pieces is that of the whole."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from xcodec.codec.config import ConfigError, SpectralConfig, VocoderConfig, XCodecConfig
from xcodec.codec.spectral import SpectralDecoder, mel_bands
from xcodec.codec.spectrogram import Spectrogram
from xcodec.codec.vocoder import Vocoder

RATE, HOP = 16000, 160
CONFIG = VocoderConfig(width=16, layers=2, expansion=2)


def vocoder(config: VocoderConfig = CONFIG, trained: bool = False) -> Vocoder:
    torch.manual_seed(0)
    spectrogram = Spectrogram(HOP)
    network = Vocoder(config, spectrogram, mel_bands(20, spectrogram.bins, RATE), 2, RATE)
    if trained:
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.1)
    return network.double()


def glide(samples: int) -> Tensor:
    """Harmonics of a pitch that rises from 100 to 160 Hz, then noise: [1, 1, samples]."""
    pitch = torch.linspace(100, 160, samples // 2, dtype=torch.float64)
    angle = 2 * math.pi * (pitch / RATE).cumsum(0)
    voiced = torch.stack([torch.cos(h * angle) / h for h in range(1, 24)]).sum(0)
    return 0.05 * torch.cat([voiced, torch.randn(samples - samples // 2, dtype=torch.float64)])[None, None]


@pytest.mark.parametrize("excitation", [True, False])
def test_before_training_magnitudes_are_left_alone(excitation: bool) -> None:
    network = vocoder(VocoderConfig(width=16, layers=1, excitation=excitation))
    compressed = network.spectrogram.analyse(glide(16000))
    spectra = network(compressed)
    size = (spectra.real.square() + spectra.imaginary.square()).sqrt()
    torch.testing.assert_close(size, network.spectrogram.expand(compressed), rtol=1e-4, atol=1e-4)


def test_a_voice_is_excited_by_pulses_and_all_else_by_noise() -> None:
    network = vocoder()
    wav = glide(32000)
    with torch.no_grad():
        audio = network.to_audio(network(network.spectrogram.analyse(wav)))
    assert audio.shape == wav.shape
    crest = [
        float(part.abs().max() / part.square().mean().sqrt()) for part in (audio[..., 4000:14000], wav[..., 4000:14000])
    ]
    assert crest[0] > 0.7 * crest[1], "harmonics stand in step, as in a voice"
    noise = audio[0, 0, 20000:30000]
    assert float(noise.abs().max() / noise.square().mean().sqrt()) < 5, "and not where there is none"


@pytest.mark.parametrize("lookahead", [0, 3])
def test_a_piece_is_made_as_the_whole_is(lookahead: int) -> None:
    network = vocoder(VocoderConfig(width=16, layers=2, lookahead=lookahead), trained=True)
    compressed = network.spectrogram.analyse(glide(64000))
    whole = network.to_audio(network(compressed))
    align, context = network.align_windows, network.context_windows
    start = -(-context // align) * align
    piece = compressed[:, start - context // align * align - align :]
    made = network.to_audio(network(piece))
    first = start * HOP
    torch.testing.assert_close(made[..., -(whole.shape[2] - first) :], whole[..., first:])


@pytest.mark.parametrize(("lookahead", "excitation"), [(0, True), (2, True), (1, False)])
def test_audio_waits_for_no_more_than_is_said(lookahead: int, excitation: bool) -> None:
    network = vocoder(VocoderConfig(width=16, layers=2, lookahead=lookahead, excitation=excitation), trained=True)
    compressed = network.spectrogram.analyse(glide(32000))
    changed = compressed.clone()
    changed[:, 100:] = compressed[:, 100:].flip(1) + 1
    with torch.no_grad():
        different = (network.to_audio(network(compressed)) != network.to_audio(network(changed)))[0, 0].nonzero()
    first = int(different.min()) // HOP  # the first window that is heard
    assert 0 <= first - (100 - network.lookahead_windows) <= 6, "what is said, and little more than is true"


def test_a_block_looks_ahead_only_as_far_as_it_may() -> None:
    network = vocoder(VocoderConfig(width=16, layers=3, lookahead=1), trained=True)
    frames = torch.randn(1, 60, network.backbone.embed.in_channels, dtype=torch.float64)
    changed = frames.clone()
    changed[:, 30] += 1
    before = (network.backbone(frames) != network.backbone(changed)).any(2)[0].nonzero()
    assert int(before.min()) == 30 - 3 * 1
    assert int(before.max()) == 30 + 3 * 5


def test_the_decoder_has_one_when_its_config_says_so() -> None:
    config = XCodecConfig(acoustic=SpectralConfig(width=8, mel_bands=4, vocoder=CONFIG))
    assert XCodecConfig.from_dict(config.to_dict()) == config
    assert isinstance(config.acoustic, SpectralConfig)
    decoder = SpectralDecoder(config.acoustic, 320, RATE)
    audio = decoder(torch.randn(2, 8, 30))
    assert audio.shape == (2, 1, 30 * 320)
    audio.square().mean().backward()
    assert decoder.vocoder is not None
    assert decoder.vocoder.backbone.project.weight.grad is not None
    assert decoder.context_frames * 2 >= decoder.vocoder.context_windows
    with pytest.raises(ConfigError, match=r"acoustic\.vocoder\.lookahead"):
        VocoderConfig(lookahead=7)
