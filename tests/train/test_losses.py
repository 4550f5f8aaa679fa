from __future__ import annotations

import math

import pytest
import torch

from xcodec.codec.vocoder import Spectra
from xcodec.train import losses as module
from xcodec.train.config import LossWeights, SpectraConfig
from xcodec.train.discriminators import Verdict
from xcodec.train.losses import (
    LOG_FLOOR,
    ReconstructionLosses,
    Stft,
    adversarial_losses,
    compressed_complex_distance,
    consistency_distance,
    discriminator_loss,
    feature_matching_distance,
    generator_loss,
    log_amplitude_distance,
    log_distance,
    mel_filters,
    phase_distance,
    semantic_cosine_distance,
    spectral_convergence,
    waveform_distance,
)

NONE = {"waveform": 0.0, "mel": 0.0, "complex": 0.0, "stft": 0.0, "subband_stft": 0.0}
SPECTRA = SpectraConfig(
    resolutions=((64, 16, 8), (256, 64, 20)), complex_fft=(64,), subband_resolutions=((32, 8), (64, 16))
)


def noise(*shape: int, seed: int = 0, scale: float = 0.1) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def all_losses(**weights: float) -> ReconstructionLosses:
    return ReconstructionLosses(LossWeights(**{**NONE, **weights}), SPECTRA, 8000)


EVERYTHING = dict.fromkeys(NONE, 1.0)


def test_stft_is_torch_stft() -> None:
    wav = noise(2, 1000)
    ours = Stft(64, 16)(wav)
    theirs = torch.stft(wav, 64, 16, window=torch.hann_window(64), return_complex=True).transpose(1, 2)
    torch.testing.assert_close(torch.complex(ours.real, ours.imaginary), theirs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.magnitude, (theirs.abs().square() + module.MAGNITUDE_FLOOR).sqrt())


def test_a_tone_peaks_at_its_bin_with_half_its_amplitude_times_the_window() -> None:
    time = torch.arange(8000) / 8000
    spectrum = Stft(256, 64)(0.5 * torch.sin(2 * math.pi * 1000 * time)[None])
    inside = spectrum.magnitude[0, 10:-10]
    assert (inside.argmax(1) == 256 * 1000 // 8000).all()
    torch.testing.assert_close(inside.amax(1), torch.full((len(inside),), 0.5 / 2 * 128), rtol=1e-3, atol=0)


def test_losses_of_the_target_itself_are_zero() -> None:
    wav = noise(2, 1, 1600)
    found = all_losses(**EVERYTHING)(wav, wav)
    assert set(found) == set(NONE)
    assert all(float(value) == 0 for value in found.values())


def test_distances_by_hand() -> None:
    target = torch.full((2, 3, 4), 2.0)
    assert float(waveform_distance(target + 0.25, target)) == pytest.approx(0.25)
    assert float(spectral_convergence(torch.zeros_like(target), target)) == pytest.approx(1)
    assert float(spectral_convergence(target / 4, target)) == pytest.approx(0.75)
    assert float(log_distance(3 * target, target)) == pytest.approx(math.log(3))
    assert float(log_distance(torch.zeros_like(target), target)) == pytest.approx(math.log(2 / LOG_FLOOR))
    assert float(semantic_cosine_distance(-target, target)) == pytest.approx(2)
    assert float(semantic_cosine_distance(5 * target, target)) == pytest.approx(0, abs=1e-6)


def test_complex_distance_is_of_compressed_magnitudes_and_hears_phase() -> None:
    def spectrum(real: float, imaginary: float) -> module.Spectrum:
        parts = torch.full((1, 1, 1), real), torch.full((1, 1, 1), imaginary)
        power = parts[0] ** 2 + parts[1] ** 2
        return module.Spectrum(*parts, power, power.sqrt())

    loud = 8.0**module.COMPRESSION
    assert float(compressed_complex_distance(spectrum(8, 0), spectrum(1, 0))) == pytest.approx(loud - 1)
    assert float(compressed_complex_distance(spectrum(0, 8), spectrum(8, 0))) == pytest.approx(2 * loud)
    assert float(compressed_complex_distance(spectrum(-8, 0), spectrum(8, 0))) == pytest.approx(2 * loud)


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
    for name in ("log_distance", "spectral_convergence", "compressed_complex_distance", "waveform_distance"):
        monkeypatch.setattr(module, name, forbidden)
    monkeypatch.setattr(Stft, "forward", forbidden)
    nothing(noise(1, 1, 800), noise(1, 1, 800))

    monkeypatch.setattr(module, "generator_loss", forbidden)
    monkeypatch.setattr(module, "feature_matching_distance", forbidden)
    assert adversarial_losses(LossWeights(adversarial=0, feature_matching=0), [], []) == {}


def test_complex_loss_listens_at_its_own_resolution_only() -> None:
    assert [transform.fft_size for transform in all_losses(complex=1.0).transforms] == [64]


def test_mel_filters_cover_the_spectrum() -> None:
    filters = mel_filters(256, 20, 8000)
    assert filters.shape == (129, 20)
    assert (filters.sum(0) > 0).all()
    centres = (filters * torch.arange(129)[:, None]).sum(0) / filters.sum(0)
    assert (centres.diff() > 0).all()


def verdict(score: float, feature: float) -> Verdict:
    return Verdict(torch.full((2, 5), score), [torch.full((2, 3, 4), feature), torch.full((2, 7), 2 * feature)])


def test_gan_losses_by_hand() -> None:
    real, fake = [verdict(0.75, 1.0), verdict(1.0, 0.0)], [verdict(0.5, 3.0), verdict(0.0, 0.0)]
    assert float(generator_loss(fake)) == pytest.approx((0.25 + 1) / 2)
    assert float(discriminator_loss(real, fake)) == pytest.approx((0.0625 + 0.25 + 0 + 0) / 2)
    assert float(feature_matching_distance(fake, real)) == pytest.approx((2 + 4 + 0 + 0) / 4)


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
