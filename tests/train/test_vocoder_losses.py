"""What a vocoder's spectra are compared by."""

from __future__ import annotations

import math

import pytest
import torch

from xcodec.codec.vocoder import Spectra
from xcodec.train.losses import consistency_distance, log_amplitude_distance, phase_distance


def noise(*shape: int, seed: int = 0, scale: float = 0.1) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def turned(spectra: Spectra, angle: float | torch.Tensor) -> Spectra:
    rotated = torch.complex(*spectra) * torch.exp(1j * torch.as_tensor(angle))
    return Spectra(rotated.real, rotated.imag)


def test_phase_distance_counts_how_phases_turn_and_not_when_a_sound_begins() -> None:
    target = Spectra(noise(2, 6, 33, scale=3), noise(2, 6, 33, seed=1, scale=3))
    assert float(phase_distance(target, target)) == pytest.approx(0, abs=2e-3)
    assert float(log_amplitude_distance(target, target)) == 0
    assert float(consistency_distance(target, target)) == 0
    for samples in (-16, 5):  # of windows of 64: a sound a little later
        shift = 2 * math.pi / 64 * samples * torch.arange(33.0)
        assert float(phase_distance(turned(target, shift), target)) == pytest.approx(0, abs=2e-3)
    growing = 0.5 * torch.arange(6.0)[None, :, None]  # by half a radian from window to window
    alike = (2 * (growing / 2).sin().abs()).mean()
    found = float(phase_distance(turned(target, growing), target))
    assert 2 * math.sin(0.25) + 0.3 < found < 2 * math.sin(0.25) + float(alike)  # a shift undoes a part of the rotation
    louder = Spectra(target.real * 2, target.imaginary * 2)
    assert float(phase_distance(louder, target)) == pytest.approx(0, abs=1e-2)
    assert float(log_amplitude_distance(louder, target)) == pytest.approx(math.log(2), rel=0.01)


def test_phases_of_silence_have_a_gradient() -> None:
    silent = torch.zeros(1, 3, 4, requires_grad=True)
    target = Spectra(torch.zeros(1, 3, 4), torch.zeros(1, 3, 4))
    (
        phase_distance(Spectra(silent, silent), target) + log_amplitude_distance(Spectra(silent, silent), target)
    ).backward()
    assert silent.grad is not None
    assert silent.grad.isfinite().all()
