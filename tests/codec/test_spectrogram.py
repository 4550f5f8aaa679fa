"""Phase retrieval for inference gives what the differentiable one gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from xcodec.codec.spectrogram import Spectrogram


def spectrogram() -> Spectrogram:
    return Spectrogram(16).double()


def given(batch: int, frames: int, held_share: float) -> tuple[Tensor, Tensor, Tensor]:
    """Magnitudes [B, N, bins], a waveform [B, 1, N × hop], and which windows are to keep its phases [B, N]."""
    generator = torch.Generator().manual_seed(batch * frames)
    magnitudes = torch.rand(batch, frames, 33, generator=generator, dtype=torch.float64)
    model = torch.randn(batch, 1, 16 * frames, generator=generator, dtype=torch.float64)
    return magnitudes, model, torch.rand(batch, frames, generator=generator) < held_share


@pytest.mark.parametrize("held_share", [0.0, 0.4, 1.1])
@pytest.mark.parametrize(("batch", "frames"), [(1, 1), (1, 40), (3, 17)])
@pytest.mark.parametrize(("iterations", "refined_bins"), [(0, 0), (1, 20), (4, 0), (4, 9)])
@torch.inference_mode()
def test_it_is_the_plain_one(batch: int, frames: int, iterations: int, refined_bins: int, held_share: float) -> None:
    magnitudes, model, held = given(batch, frames, held_share)
    expected = spectrogram().retrieve_phases(magnitudes, iterations, model, held, refined_bins)
    found = spectrogram().synthesise(magnitudes, iterations, model, held, refined_bins)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@torch.inference_mode()
def test_without_a_voice() -> None:
    magnitudes, _, _ = given(2, 30, 0.0)
    expected = spectrogram().retrieve_phases(magnitudes, 3, None, None, 0)
    torch.testing.assert_close(spectrogram().synthesise(magnitudes, 3), expected, rtol=1e-6, atol=1e-6)
    other = spectrogram().synthesise(magnitudes, 2)
    assert not torch.allclose(other, expected, rtol=1e-3, atol=1e-3)


def test_it_can_be_trained_through() -> None:
    magnitudes, model, held = given(1, 20, 0.5)
    magnitudes[:, 3:6] = 0  # silence has no slope, but must not have an infinite one
    magnitudes.requires_grad_()
    spectrogram().synthesise(magnitudes, 3, model, held).square().sum().backward()
    assert magnitudes.grad is not None
    assert magnitudes.grad.isfinite().all()
    assert magnitudes.grad.any()
