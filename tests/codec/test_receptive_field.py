"""Every half looks as far as it says: found by disturbing one frame and seeing what changes.

Never further, and at most a frame less: a dilated convolution leaves gaps, and what is stated is the reach around them.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from xcodec.codec.config import DacConfig, SpectralConfig
from xcodec.codec.dac import DacDecoder, DacEncoder
from xcodec.codec.semantic import SemanticEncoder
from xcodec.codec.spectral import SpectralDecoder, SpectralEncoder

STRIDES = [(8, 5, 4, 2), (2, 3), (5,), (2, 8)]
DAC = DacConfig(width=4, encoder_width=2, decoder_width=32)
SPECTRALS = [
    SpectralConfig(
        width=4,
        spectra_per_frame=per_frame,
        mel_bands=2,
        phase_iterations=rounds,
        pulses=False,  # which depend on a whole block, where there is a voice: see test_pulse_train.py
        encoder_width=8,
        encoder_layers=layers,
        decoder_width=8,
        decoder_layers=layers,
        expansion=2,
    )
    for layers, rounds, per_frame in ((1, 1, 2), (3, 4, 2), (1, 5, 1))
]


def reach(half: nn.Module, disturbed: Tensor, channels: int, per_frame_in: int, per_frame_out: int) -> tuple[int, int]:
    """Frames of output that change before and after a frame of input."""
    for parameter in half.parameters():
        nn.init.normal_(parameter, std=0.3)  # some start at zero, and would hide what lies behind them
    half.double()
    frames, at = 81, 40
    before = torch.randn(1, channels, frames * per_frame_in, dtype=torch.float64)
    after = before.clone()
    after[..., at * per_frame_in : (at + 1) * per_frame_in] += disturbed
    with torch.no_grad():
        changed = (half(before) != half(after)).any(dim=1)[0].view(frames, per_frame_out).any(dim=1).nonzero()
    return at - int(changed.min()), int(changed.max()) - at


@pytest.mark.parametrize("strides", STRIDES)
def test_dac(strides: tuple[int, ...]) -> None:
    hop = int(torch.tensor(strides).prod())
    noise = torch.randn(hop, dtype=torch.float64)
    encoder, decoder = DacEncoder(DAC, strides), DacDecoder(DAC, strides)
    assert encoder.context_frames - max(reach(encoder, noise, 1, hop, 1)) in (0, 1)
    assert decoder.context_frames - max(reach(decoder, noise[:1], 4, 1, hop)) in (0, 1)


@pytest.mark.parametrize("decoder_strides", [(2, 4, 5, 8), (5, 8, 2, 4)])
def test_dac_decoder_with_strides_of_its_own(decoder_strides: tuple[int, ...]) -> None:
    decoder = DacDecoder(DacConfig(width=4, decoder_width=32, decoder_strides=decoder_strides), (8, 5, 4, 2))
    assert decoder.context_frames - max(reach(decoder, torch.ones(1).double(), 4, 1, 320)) in (0, 1)


@pytest.mark.parametrize("config", SPECTRALS)
@pytest.mark.parametrize("hop", [320, 480, 8])
def test_spectral(config: SpectralConfig, hop: int) -> None:
    encoder, decoder = SpectralEncoder(config, hop, 50 * hop), SpectralDecoder(config, hop, 50 * hop)
    assert encoder.context_frames - max(reach(encoder, torch.randn(hop).double(), 1, hop, 1)) in (0, 1)
    assert decoder.context_frames - max(reach(decoder, torch.ones(1).double(), 4, 1, hop)) in (0, 1)


@pytest.mark.parametrize("blocks", [1, 3])
def test_semantic(blocks: int) -> None:
    encoder = SemanticEncoder(6, 5, blocks)
    assert encoder.context_frames - max(reach(encoder, torch.ones(1).double(), 6, 1, 1)) in (0, 1)
