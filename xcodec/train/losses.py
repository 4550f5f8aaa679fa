"""What the codec is trained to make small. Every distance takes the output first and the target second.

Means, never sums: over clips, frames, bins and resolutions. So a weight keeps its meaning when the batch, the
crop or the list of resolutions changes, and two ranks of half a batch have the gradient of one whole batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xcodec.codec.model import CodecOutput

from .config import LossWeights, SpectraConfig
from .discriminators import Verdict
from .ear import Ear
from .pqmf import PQMF

MAGNITUDE_FLOOR = 1e-7
"""Added to squared magnitudes, so that the square root has a gradient at zero."""
LOG_FLOOR = 1e-4
"""Magnitudes and mel energies below it are silence, and all silence is the same."""
COMPRESSION = 0.5
"""Exponent of the magnitudes in the complex loss."""
SUBBANDS = 6


@dataclass
class Spectrum:
    """A short-time Fourier transform and its magnitudes."""

    real: Tensor
    """[B, F, bins]."""
    imaginary: Tensor
    """[B, F, bins]."""
    power: Tensor
    """[B, F, bins]: squared magnitudes, never quite zero."""
    magnitude: Tensor
    """[B, F, bins]."""


class Stft(nn.Module):
    """Short-time Fourier transform with a Hann window as long as the FFT."""

    def __init__(self, fft_size: int, hop: int) -> None:
        super().__init__()
        self.fft_size = fft_size
        self.hop = hop
        self.window: Tensor
        self.register_buffer("window", torch.hann_window(fft_size), persistent=False)

    def forward(self, wav: Tensor) -> Spectrum:
        """[B, T] -> Spectrum of T / hop + 1 frames."""
        margin = self.fft_size // 2
        padded = F.pad(wav[:, None], (margin, margin), mode="reflect").squeeze(1)
        frames = padded.unfold(1, self.fft_size, self.hop) * self.window  # [B, F, fft_size]
        real, imaginary = torch.view_as_real(torch.fft.rfft(frames)).unbind(3)
        power = real.square() + imaginary.square() + MAGNITUDE_FLOOR
        return Spectrum(real, imaginary, power, power.sqrt())


def waveform_distance(output: Tensor, target: Tensor) -> Tensor:
    """L1 between waveforms of the same shape."""
    return (output - target).abs().mean()


def spectral_convergence(output: Tensor, target: Tensor) -> Tensor:
    """‖target − output‖ / ‖target‖ of magnitudes [B, F, bins], clip by clip (Parallel WaveGAN, arXiv 1910.11480).

    The release takes the norms over the whole batch, where one loud clip hides the others.
    """
    error = torch.linalg.vector_norm(target - output, dim=(1, 2))  # its gradient at zero is zero, not NaN
    # A clip of silence has no norm to compare with; the floor keeps it from shouting.
    return (error / torch.linalg.vector_norm(target, dim=(1, 2)).clamp(min=1.0)).mean()


def log_distance(output: Tensor, target: Tensor) -> Tensor:
    """L1 between logarithms of magnitudes or mel energies of any one shape."""
    return (output.clamp(min=LOG_FLOOR).log() - target.clamp(min=LOG_FLOOR).log()).abs().mean()


def compressed_complex_distance(output: Spectrum, target: Spectrum) -> Tensor:
    """L1 between |X|^0.5 · e^{iφ} of two spectra, real and imaginary parts (Braun and Tashev, arXiv 2009.12286)."""
    output_gain = output.power.pow((COMPRESSION - 1) / 2)
    target_gain = target.power.pow((COMPRESSION - 1) / 2)
    real = (output.real * output_gain - target.real * target_gain).abs().mean()
    imaginary = (output.imaginary * output_gain - target.imaginary * target_gain).abs().mean()
    return real + imaginary


def semantic_cosine_distance(output: Tensor, target: Tensor) -> Tensor:
    """1 − cosine similarity of features [B, D, F], frame by frame."""
    return 1 - F.cosine_similarity(output, target, dim=1).mean()


def feature_matching_distance(output: Sequence[Verdict], target: Sequence[Verdict]) -> Tensor:
    """L1 between the features of every layer of every discriminator, averaged (MelGAN, arXiv 1910.06711)."""
    distances = [
        (ours - theirs).abs().mean()
        for our_verdict, their_verdict in zip(output, target, strict=True)
        for ours, theirs in zip(our_verdict.features, their_verdict.features, strict=True)
    ]
    return torch.stack(distances).mean()


def generator_loss(fake: Sequence[Verdict]) -> Tensor:
    """What the codec wants: that every discriminator takes its output for real, 1 (LSGAN, arXiv 1611.04076)."""
    return torch.stack([(1 - verdict.score).square().mean() for verdict in fake]).mean()


def discriminator_loss(real: Sequence[Verdict], fake: Sequence[Verdict]) -> Tensor:
    """What the discriminators want: to call real audio 1 and the codec's 0 (LSGAN, arXiv 1611.04076)."""
    mistakes = [
        (1 - on_real.score).square().mean() + on_fake.score.square().mean()
        for on_real, on_fake in zip(real, fake, strict=True)
    ]
    return torch.stack(mistakes).mean()


def adversarial_losses(weights: LossWeights, real: Sequence[Verdict], fake: Sequence[Verdict]) -> dict[str, Tensor]:
    """The codec's losses that come from discriminators: one scalar for each that has a weight."""
    losses = {}
    if weights.adversarial:
        losses["adversarial"] = generator_loss(fake)
    if weights.feature_matching:
        losses["feature_matching"] = feature_matching_distance(fake, real)
    return losses


class CodecLosses(nn.Module):
    """All losses of the codec that need no discriminator, each under the name of its weight."""

    def __init__(self, weights: LossWeights, spectra: SpectraConfig, sample_rate: int, ear: Ear | None = None) -> None:
        super().__init__()
        self.weights = weights
        self.ear = ear
        """Of the loss ``heard``."""
        self.reconstruction = ReconstructionLosses(weights, spectra, sample_rate)

    @property
    def hear_audio(self) -> bool:
        """Whether any of them listens to the waveform."""
        weights = self.weights
        return any((weights.waveform, weights.mel, weights.complex, weights.stft, weights.subband_stft))

    def forward(self, output: CodecOutput, clips: Tensor) -> dict[str, Tensor]:
        """One scalar for each loss that has a weight and applies, of a pass over clips [B, 1, T]."""
        weights = self.weights
        losses: dict[str, Tensor] = {}
        if output.audio is not None:
            losses |= self.reconstruction(output.audio.float(), clips)
        if weights.spectra and output.spectra is not None and output.true_spectra is not None:
            losses["spectra"] = F.l1_loss(output.spectra.float(), output.true_spectra)
        if self.ear is not None and output.spectra is not None and output.true_spectra is not None:
            losses["heard"] = self.ear(output.spectra, output.true_spectra)
        if output.semantic is not None and output.teacher is not None:
            if weights.semantic:
                losses["semantic"] = F.mse_loss(output.semantic.float(), output.teacher.float())
            if weights.semantic_cosine:
                losses["semantic_cosine"] = semantic_cosine_distance(output.semantic.float(), output.teacher)
        if output.codes is not None and weights.commitment:
            losses["commitment"] = output.commitment
        return losses

    def weighted(self, losses: dict[str, Tensor]) -> Tensor:
        """Their sum, each with its weight."""
        return torch.stack([getattr(self.weights, name) * value for name, value in losses.items()]).sum()


class ReconstructionLosses(nn.Module):
    """The losses between waveforms, of which those with a weight are computed."""

    def __init__(self, weights: LossWeights, spectra: SpectraConfig, sample_rate: int) -> None:
        super().__init__()
        self.weights = weights
        self.complex_fft = spectra.complex_fft
        needed = [
            (fft, hop, mels)
            for fft, hop, mels in spectra.resolutions
            if weights.mel or weights.stft or (weights.complex and fft in spectra.complex_fft)
        ]
        self.transforms = nn.ModuleList(Stft(fft, hop) for fft, hop, _ in needed)
        self.mel_filters = [f"mel_filters_{fft}" for fft, _, _ in needed]
        if weights.mel:
            for name, (fft, _, mels) in zip(self.mel_filters, needed, strict=True):
                self.register_buffer(name, mel_filters(fft, mels, sample_rate), persistent=False)
        if weights.subband_stft:
            self.pqmf = PQMF(SUBBANDS)
            self.subband_transforms = nn.ModuleList(Stft(fft, hop) for fft, hop in spectra.subband_resolutions)

    def forward(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Waveforms [B, 1, T] -> one scalar for each loss that has a weight, under the weight's name."""
        weights = self.weights
        losses: dict[str, list[Tensor]] = defaultdict(list)
        if weights.waveform:
            losses["waveform"].append(waveform_distance(output, target))
        for transform, filters in zip(self.transforms, self.mel_filters, strict=True):
            ours = transform(output.squeeze(1))
            with torch.no_grad():
                theirs = transform(target.squeeze(1))
            if weights.mel:
                mel = getattr(self, filters)
                losses["mel"].append(log_distance(ours.magnitude @ mel, theirs.magnitude @ mel))
            if weights.complex and transform.fft_size in self.complex_fft:
                losses["complex"].append(compressed_complex_distance(ours, theirs))
            if weights.stft:
                losses["stft"].append(_stft_distance(ours, theirs))
        if weights.subband_stft:
            our_bands = self.pqmf(output).flatten(0, 1)  # (B, N, T) -> (B·N, T)
            with torch.no_grad():
                their_bands = self.pqmf(target).flatten(0, 1)
            for transform in self.subband_transforms:
                ours = transform(our_bands)
                with torch.no_grad():
                    theirs = transform(their_bands)
                losses["subband_stft"].append(_stft_distance(ours, theirs))
        return {name: torch.stack(values).mean() for name, values in losses.items()}


def _stft_distance(output: Spectrum, target: Spectrum) -> Tensor:
    convergence = spectral_convergence(output.magnitude, target.magnitude)
    return convergence + log_distance(output.magnitude, target.magnitude)


def mel_filters(fft_size: int, bands: int, sample_rate: int) -> Tensor:
    """Slaney's triangular filters [bins, bands] from 0 Hz to half the sample rate."""
    from transformers.audio_utils import mel_filter_bank

    filters = mel_filter_bank(
        fft_size // 2 + 1, bands, 0, sample_rate / 2, sample_rate, norm="slaney", mel_scale="slaney"
    )
    return torch.from_numpy(filters).float()
