from __future__ import annotations

import math

import pytest
import torch

from xcodec.train import losses as module
from xcodec.train.config import LossWeights, SpectraConfig
from xcodec.train.discriminators import DiscriminatorOutput
from xcodec.train.losses import (
    LOG_FLOOR,
    Magnitudes,
    ReconstructionLosses,
    adversarial_losses,
    discriminator_loss,
    feature_matching_distance,
    generator_loss,
    log_distance,
    spectral_convergence,
)

NONE = {"mel": 0.0, "stft": 0.0, "subband_stft": 0.0}
SPECTRA = SpectraConfig(resolutions=((64, 16, 8), (256, 64, 20)))


def noise(*shape: int, seed: int = 0, scale: float = 0.1) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def all_losses(**weights: float) -> ReconstructionLosses:
    return ReconstructionLosses(LossWeights(**{**NONE, **weights}), SPECTRA, 8000)


EVERYTHING = dict.fromkeys(NONE, 1.0)


def test_a_tone_peaks_at_its_bin_with_half_its_amplitude_times_the_window() -> None:
    time = torch.arange(8000) / 8000
    magnitude = Magnitudes(256, 64)(0.5 * torch.sin(2 * math.pi * 1000 * time)[None])
    inside = magnitude[0, 10:-10]
    assert (inside.argmax(1) == 256 * 1000 // 8000).all()
    torch.testing.assert_close(inside.amax(1), torch.full((len(inside),), 0.5 / 2 * 128), rtol=1e-3, atol=0)


def test_losses_of_the_target_itself_are_zero() -> None:
    wav = noise(2, 1, 1600)
    found = all_losses(**EVERYTHING)(wav, wav)
    assert set(found) == set(NONE)
    assert all(float(value) == 0 for value in found.values())


def test_distances_by_hand() -> None:
    target = torch.full((2, 3, 4), 2.0)
    assert float(spectral_convergence(torch.zeros_like(target), target)) == pytest.approx(1)
    assert float(spectral_convergence(target / 4, target)) == pytest.approx(0.75)
    assert float(log_distance(3 * target, target)) == pytest.approx(math.log(3))
    assert float(log_distance(torch.zeros_like(target), target)) == pytest.approx(math.log(2 / LOG_FLOOR))


def test_a_loud_clip_does_not_hide_a_quiet_one() -> None:
    target = torch.stack([torch.full((3, 4), 100.0), torch.full((3, 4), 1.0)])
    output = target.clone()
    output[1] = 0  # the quiet clip is lost altogether
    assert float(spectral_convergence(output, target)) == pytest.approx(0.5)


@pytest.mark.parametrize("name", sorted(NONE))
def test_two_halves_of_a_batch_average_to_the_whole(name: str) -> None:
    measure = all_losses(**{name: 1.0})
    output, target = noise(4, 1, 1600), noise(4, 1, 1600, seed=1)
    whole = measure(output, target)[name]
    halves = [measure(output[part], target[part])[name] for part in (slice(2), slice(2, 4))]
    torch.testing.assert_close(whole, torch.stack(halves).mean(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", sorted(NONE))
def test_each_loss_falls_when_followed(name: str) -> None:
    measure, target = all_losses(**{name: 1.0}), noise(2, 1, 1600)
    output = noise(2, 1, 1600, seed=1).requires_grad_()
    optimizer = torch.optim.Adam([output], 0.01)
    first = float(measure(output, target)[name])
    for _ in range(20):
        optimizer.zero_grad()
        measure(output, target)[name].backward()
        optimizer.step()
    assert float(measure(output, target)[name]) < 0.9 * first


def test_silence_has_finite_gradients() -> None:
    output = torch.zeros(2, 1, 1600, requires_grad=True)
    found = all_losses(**EVERYTHING)(output, torch.zeros(2, 1, 1600))
    torch.stack(list(found.values())).sum().backward()
    assert output.grad is not None
    assert output.grad.isfinite().all()


def test_a_loss_without_a_weight_is_neither_built_nor_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> torch.Tensor:
        raise AssertionError("a loss of weight 0 was computed")

    nothing = all_losses()
    assert not list(nothing.buffers())
    assert nothing(noise(1, 1, 800), noise(1, 1, 800)) == {}
    for name in ("log_distance", "spectral_convergence"):
        monkeypatch.setattr(module, name, forbidden)
    monkeypatch.setattr(Magnitudes, "forward", forbidden)
    nothing(noise(1, 1, 800), noise(1, 1, 800))

    monkeypatch.setattr(module, "generator_loss", forbidden)
    monkeypatch.setattr(module, "feature_matching_distance", forbidden)
    assert adversarial_losses(LossWeights(adversarial=0, feature_matching=0), [], []) == {}


def output(score: float, feature: float) -> DiscriminatorOutput:
    return DiscriminatorOutput(
        torch.full((2, 5), score), [torch.full((2, 3, 4), feature), torch.full((2, 7), 2 * feature)]
    )


def test_gan_losses_by_hand() -> None:
    real, fake = [output(0.75, 1.0), output(1.0, 0.0)], [output(0.5, 3.0), output(0.0, 0.0)]
    assert float(generator_loss(fake)) == pytest.approx((0.25 + 1) / 2)
    assert float(discriminator_loss(real, fake)) == pytest.approx((0.0625 + 0.25 + 0 + 0) / 2)
    assert float(feature_matching_distance(fake, real)) == pytest.approx((2 + 4 + 0 + 0) / 4)
