from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from xcodec.train.losses import PQMF


@pytest.mark.parametrize("bands", [4, 6])
def test_bands_add_up_to_the_waveform(bands: int) -> None:
    wav = torch.randn(2, 1, 960, generator=torch.Generator().manual_seed(0))
    bank = PQMF(bands)
    subbands = bank(wav)
    assert subbands.shape == (2, bands, 960 // bands)
    inside = slice(bank.taps, -bank.taps)
    back = F.conv_transpose1d(bands * subbands, bank.analysis, stride=bands, padding=bank.taps // 2)
    error = F.pad(back, (0, wav.shape[-1] - back.shape[-1])).sub(wav)[..., inside].square().mean().sqrt()
    assert float(error) < 2e-3


@pytest.mark.parametrize("band", range(6))
def test_a_tone_lands_in_its_band(band: int) -> None:
    frequency = (band + 0.5) / 12  # in cycles per sample: the middle of the band
    wav = torch.sin(2 * math.pi * frequency * torch.arange(2400))[None, None]
    energy = PQMF(6)(wav).square().sum(2)[0]
    assert int(energy.argmax()) == band
    assert float(energy[band] / energy.sum()) > 0.999
