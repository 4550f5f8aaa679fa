"""Losses on a vocoder's complex spectra. Every distance takes the output first and the target second."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xcodec.codec.spectrogram import Spectrogram
from xcodec.codec.vocoder import Spectra
from xcodec.train.config import LossWeights

MAGNITUDE_FLOOR = 1e-7
"""Added to squared magnitudes, so that the square root has a gradient at zero."""
QUIETEST = 1e-4
"""Magnitudes below it are silence, and all silence is the same."""
PHASE_WEIGHT_LIMIT = 1.4
"""Largest weight of a bin's phase, before weights are scaled to a mean of one."""


class VocoderLosses(nn.Module):
    """The losses of complex spectra, of which those with a weight are computed."""

    def __init__(self, weights: LossWeights, spectrogram: Spectrogram) -> None:
        super().__init__()
        self.weights = weights
        self.spectrogram = spectrogram

    def forward(self, spectra: Spectra, audio: Tensor, clips: Tensor) -> dict[str, Tensor]:
        """Spectra [B, N, bins], the audio made of them and the true one [B, 1, T] -> one scalar for each loss."""
        losses, target = {}, spectra_of(self.spectrogram, clips)
        if self.weights.amplitude:
            losses["amplitude"] = log_amplitude_distance(spectra, target)
        if self.weights.phase:
            losses["phase"] = phase_distance(spectra, target)
        if self.weights.consistency:
            losses["consistency"] = consistency_distance(spectra, spectra_of(self.spectrogram, audio))
        return losses


def spectra_of(spectrogram: Spectrogram, wav: Tensor) -> Spectra:
    """Of a waveform [B, 1, T]: [B, N, bins]."""
    spectrum = spectrogram.transform(wav[:, 0])
    return Spectra(spectrum.real, spectrum.imag)


def log_amplitude_distance(output: Spectra, target: Spectra) -> Tensor:
    """L1 between log magnitudes of complex spectra [B, N, bins]."""
    return (_power(output).log() - _power(target).log()).abs().mean() / 2


def phase_distance(output: Spectra, target: Spectra) -> Tensor:
    """Distance of instantaneous frequencies, plus that of phases after time alignment of each window.

    APNet (arXiv 2211.15974) compares phases as they are. But magnitudes do not determine when the pulses of a voice
    occur: the vocoder's may come a little earlier or later, which is as good, and adds a phase that is linear in
    frequency. So each window is first shifted to the maximum of its cross-correlation with the target. Angles are
    compared by the chord between them on the unit circle, 2 |sin(Δ/2)|, which needs no unwrapping; bins are weighted
    by magnitude.
    """
    ours, theirs = _unit(output), _unit(target)
    weight = _power(target).pow(0.15).clamp(max=PHASE_WEIGHT_LIMIT)
    weight = weight / weight.mean()
    frequency = (weight[:, 1:] * _chord(_instantaneous_frequency(ours), _instantaneous_frequency(theirs))).mean()
    return frequency + (weight * _chord(_time_aligned(ours, theirs, weight), theirs)).mean()


def consistency_distance(output: Spectra, audio_spectra: Spectra) -> Tensor:
    """L1 between spectra and those of the waveform synthesised from them (STFT consistency)."""
    return (output.real - audio_spectra.real).abs().mean() + (output.imaginary - audio_spectra.imaginary).abs().mean()


def _power(spectra: Spectra) -> Tensor:
    return (spectra.real.square() + spectra.imaginary.square()).clamp(min=QUIETEST**2)


def _unit(spectra: Spectra) -> Spectra:
    size = (spectra.real.square() + spectra.imaginary.square() + MAGNITUDE_FLOOR).sqrt()
    return Spectra(spectra.real / size, spectra.imaginary / size)


def _instantaneous_frequency(direction: Spectra) -> Spectra:
    """The phase difference from each window to the next, as a point on the unit circle: [B, N - 1, bins]."""
    real, imaginary = direction
    return Spectra(
        real[:, 1:] * real[:, :-1] + imaginary[:, 1:] * imaginary[:, :-1],
        imaginary[:, 1:] * real[:, :-1] - real[:, 1:] * imaginary[:, :-1],
    )


def _time_aligned(ours: Spectra, theirs: Spectra, weight: Tensor) -> Spectra:
    """Ours, each window shifted to the maximum of its cross-correlation with theirs, by a quarter window at most."""
    bins = weight.shape[2]
    size = 2 * (bins - 1)
    with torch.no_grad():
        product = weight * torch.complex(*theirs) * torch.complex(*ours).conj()
        correlation = torch.fft.irfft(product, n=size)
        farthest = size // 4
        correlation[..., farthest + 1 : size - farthest] = -torch.inf
        shift = correlation.argmax(2)  # [B, N] samples
        # Modulo a full circle, because float32 has no digits for the angles of large products.
        angle = 2 * torch.pi / size * (shift[..., None] * torch.arange(bins, device=shift.device) % size)
        cosine, sine = angle.cos(), angle.sin()
    return Spectra(ours.real * cosine + ours.imaginary * sine, ours.imaginary * cosine - ours.real * sine)


def _chord(ours: Spectra, theirs: Spectra) -> Tensor:
    square = (ours.real - theirs.real).square() + (ours.imaginary - theirs.imaginary).square()
    return (square + MAGNITUDE_FLOOR).sqrt()
