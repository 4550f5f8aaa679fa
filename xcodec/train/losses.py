"""The losses of the codec. Every distance takes the output first and the target second.

Means, never sums: over clips, frames, bins and resolutions. So a weight keeps its meaning when the batch, the
crop or the list of resolutions changes, and two ranks of half a batch have the gradient of one whole batch.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xcodec.codec.config import ConfigError, TeacherConfig
from xcodec.codec.model import CodecOutput
from xcodec.codec.semantic import Teacher, WhisperStates
from xcodec.codec.spectrogram import Spectrogram
from xcodec.codec.vocoder import Spectra
from xcodec.train.config import LossWeights, SpectraConfig
from xcodec.train.discriminators import DiscriminatorOutput
from xcodec.train.init import load_teacher
from xcodec.utils.spectra import Stft, mel_filters

MAGNITUDE_FLOOR = 1e-7
"""Added to squared magnitudes, so that the square root has a gradient at zero."""
LOG_FLOOR = 1e-4
"""Magnitudes and mel energies below it are silence, and all silence is the same."""
SUBBANDS = 6
SUBBAND_RESOLUTIONS = ((128, 30), (256, 60), (512, 60))
"""FFT size and hop of the STFT losses on sub-bands, in samples of a sub-band (the release's)."""
PHASE_WEIGHT_LIMIT = 1.4
"""Largest weight of a bin's phase, before weights are scaled to a mean of one."""
WHISPER_WINDOW, WHISPER_HOP = 400, 160
"""Of Whisper's own spectrogram, in samples."""


class CodecLosses(nn.Module):
    """All losses of the codec that need no discriminator, each under the name of its weight."""

    def __init__(
        self,
        weights: LossWeights,
        spectra: SpectraConfig,
        sample_rate: int,
        perceptual: PerceptualLoss | None = None,
        vocoder: VocoderLosses | None = None,
    ) -> None:
        super().__init__()
        self.weights = weights
        self.perceptual = perceptual
        self.vocoder = vocoder
        self.reconstruction = ReconstructionLosses(weights, spectra, sample_rate)

    @property
    def needs_audio(self) -> bool:
        """Whether any of them compares waveforms."""
        weights = self.weights
        of_vocoder = (weights.amplitude, weights.phase, weights.consistency)
        return any((weights.mel, weights.stft, weights.subband_stft, *of_vocoder))

    def forward(self, output: CodecOutput, clips: Tensor) -> dict[str, Tensor]:
        """One scalar for each loss that has a weight and applies, of a pass over clips [B, 1, T]."""
        weights = self.weights
        losses: dict[str, Tensor] = {}
        if output.audio is not None:
            losses |= self.reconstruction(output.audio.float(), clips)
            if self.vocoder is not None and output.complex_spectra is not None:
                losses |= self.vocoder(output.complex_spectra, output.audio.float(), clips)
        if output.spectra is not None and output.true_spectra is not None:
            if weights.spectra:
                losses["spectra"] = F.l1_loss(output.spectra.float(), output.true_spectra)
            if self.perceptual is not None:
                losses["perceptual"] = self.perceptual(output.spectra, output.true_spectra)
        if output.semantic is not None and output.teacher is not None and weights.semantic:
            losses["semantic"] = F.mse_loss(output.semantic.float(), output.teacher.float())
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
        resolutions = spectra.resolutions if weights.mel or weights.stft else ()
        self.transforms = nn.ModuleList(Magnitudes(fft, hop) for fft, hop, _ in resolutions)
        self.mel_filters = [f"mel_filters_{fft}" for fft, _, _ in resolutions]
        if weights.mel:
            for name, (fft, _, mels) in zip(self.mel_filters, resolutions, strict=True):
                self.register_buffer(name, mel_filters(fft, mels, sample_rate).float(), persistent=False)
        if weights.subband_stft:
            self.pqmf = PQMF(SUBBANDS)
            self.subband_transforms = nn.ModuleList(Magnitudes(fft, hop) for fft, hop in SUBBAND_RESOLUTIONS)

    def forward(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Waveforms [B, 1, T] -> one scalar for each loss that has a weight, under the weight's name."""
        weights = self.weights
        losses: dict[str, list[Tensor]] = defaultdict(list)
        for transform, filters in zip(self.transforms, self.mel_filters, strict=True):
            magnitudes = _of_both(transform, output.squeeze(1), target.squeeze(1))
            if weights.mel:
                mel = getattr(self, filters)
                losses["mel"].append(log_distance(*(each @ mel for each in magnitudes)))
            if weights.stft:
                losses["stft"].append(stft_distance(*magnitudes))
        if weights.subband_stft:
            bands = _of_both(self.pqmf, output, target)
            for transform in self.subband_transforms:
                magnitudes = _of_both(transform, *(each.flatten(0, 1) for each in bands))  # (B, N, T) -> (B·N, T)
                losses["subband_stft"].append(stft_distance(*magnitudes))
        return {name: torch.stack(values).mean() for name, values in losses.items()}


def _of_both(transform: nn.Module, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """A transform of the output, and of the target, through which no gradient is wanted."""
    with torch.no_grad():
        transformed_target = transform(target)
    return transform(output), transformed_target


class Magnitudes(Stft):
    """Magnitudes of the short-time Fourier transform."""

    def forward(self, wav: Tensor) -> Tensor:
        """[B, T] -> [B, T / hop + 1, bins], never quite zero."""
        return (super().forward(wav).square().sum(3) + MAGNITUDE_FLOOR).sqrt()


def stft_distance(output: Tensor, target: Tensor) -> Tensor:
    """Spectral convergence + log distance of magnitudes [B, F, bins] (Parallel WaveGAN; the release)."""
    return spectral_convergence(output, target) + log_distance(output, target)


def spectral_convergence(output: Tensor, target: Tensor) -> Tensor:
    """‖target − output‖ / ‖target‖ of magnitudes [B, F, bins], clip by clip (Parallel WaveGAN, arXiv 1910.11480).

    The release takes the norms over the whole batch, where one loud clip hides the others.
    """
    error = torch.linalg.vector_norm(target - output, dim=(1, 2))  # its gradient at zero is zero, not NaN
    # A clip of silence has no norm to compare with; the floor bounds its loss.
    return (error / torch.linalg.vector_norm(target, dim=(1, 2)).clamp(min=1.0)).mean()


def log_distance(output: Tensor, target: Tensor) -> Tensor:
    """L1 between logarithms of magnitudes or mel energies of any one shape."""
    return (output.clamp(min=LOG_FLOOR).log() - target.clamp(min=LOG_FLOOR).log()).abs().mean()


# Adversarial losses: least-squares GAN (arXiv 1611.04076) and feature matching (MelGAN, arXiv 1910.06711).


def adversarial_losses(
    weights: LossWeights, real: Sequence[DiscriminatorOutput], fake: Sequence[DiscriminatorOutput]
) -> dict[str, Tensor]:
    """The codec's losses that come from discriminators: one scalar for each that has a weight."""
    losses = {}
    if weights.adversarial:
        losses["adversarial"] = generator_loss(fake)
    if weights.feature_matching:
        losses["feature_matching"] = feature_matching_distance(fake, real)
    return losses


def generator_loss(fake: Sequence[DiscriminatorOutput]) -> Tensor:
    """Of the codec: every discriminator's score of its output should be that of real audio, 1."""
    return torch.stack([(1 - output.score).square().mean() for output in fake]).mean()


def discriminator_loss(real: Sequence[DiscriminatorOutput], fake: Sequence[DiscriminatorOutput]) -> Tensor:
    """Of the discriminators: the score of real audio should be 1, that of the codec's 0."""
    errors = [
        (1 - on_real.score).square().mean() + on_fake.score.square().mean()
        for on_real, on_fake in zip(real, fake, strict=True)
    ]
    return torch.stack(errors).mean()


def feature_matching_distance(output: Sequence[DiscriminatorOutput], target: Sequence[DiscriminatorOutput]) -> Tensor:
    """L1 between the features of every layer of every discriminator, averaged."""
    distances = [
        (ours - theirs).abs().mean()
        for our_output, their_output in zip(output, target, strict=True)
        for ours, theirs in zip(our_output.features, their_output.features, strict=True)
    ]
    return torch.stack(distances).mean()


# Losses on a vocoder's complex spectra.


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
    return (spectra.real.square() + spectra.imaginary.square()).clamp(min=LOG_FLOOR**2)


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


class PerceptualLoss(nn.Module):
    """Deep feature loss: how far apart the hidden states of a frozen Whisper are for two spectra.

    Between two spectra that are equally far from the true one, a loss on magnitudes sees no difference; a speech
    recogniser does (Germain, Chen and Koltun, arXiv 1806.10522). Whisper is given the decoder's magnitudes directly:
    to make audio of them, and spectra of that, would take most of a training step. Its own spectrogram has as many
    frames, of shorter windows and half a hop away, so its states are not quite those for the audio, for the true
    spectra as for the decoded ones.
    """

    def __init__(self, config: TeacherConfig, spectrogram: Spectrogram, sample_rate: int) -> None:
        super().__init__()
        self.teacher = Teacher(config, sample_rate)
        if not isinstance(self.teacher.network, WhisperStates):
            raise ConfigError(f"losses.perceptual: the perceptual_model must be a Whisper, not {config.kind}")
        if (spectrogram.hop, sample_rate) != (WHISPER_HOP, config.sample_rate):
            raise ConfigError(
                f"losses.perceptual: Whisper takes {WHISPER_HOP} samples a frame at {config.sample_rate} Hz, but the"
                f" decoder's spectra have {spectrogram.hop} at {sample_rate} Hz"
            )
        load_teacher(self.teacher, "perceptual_model.source")
        self.network = self.teacher.network
        self.spectrogram = spectrogram
        filters = mel_filters(spectrogram.size, self.network.filters.shape[0], sample_rate).T.float()
        # Longer windows have more power in each bin, and more bins in each band.
        self.filters: Tensor
        self.register_buffer("filters", filters * (WHISPER_WINDOW / spectrogram.size) ** 2, persistent=False)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Compressed magnitudes [B, N, bins] of both -> the mean over Whisper's hidden states of their distance.

        Each distance is L1 over the spread of that state among the clips, which makes layers comparable: 0 is equal, 1
        as far away as the mean of all clips. So there must be several.
        """
        with torch.no_grad():
            theirs = self._states(target)
        ours = self._states(output.float())
        return torch.stack([_state_distance(our, their) for our, their in zip(ours, theirs, strict=True)]).mean()

    def _states(self, compressed: Tensor) -> tuple[Tensor, ...]:
        power = self.spectrogram.expand(compressed).square().transpose(1, 2)  # (B, N, bins) -> (B, bins, N)
        return self.network.states(self.network.log_mel(power, self.filters))


def _state_distance(ours: Tensor, theirs: Tensor) -> Tensor:
    """L1 between states [B, F, D] over that between the true ones and their mean over clips at the same position.

    Every state of Whisper carries the position of its frame; that is the same for all clips and says nothing of them.
    """
    spread = (theirs - theirs.mean(0, keepdim=True)).abs().mean()
    return (ours - theirs).abs().mean() / spread.clamp(min=1e-3)


class PQMF(nn.Module):
    """Pseudo-quadrature mirror filter bank: a waveform to equally wide sub-bands at a lower rate (Nguyen, 1994).

    The prototype is a Kaiser-windowed sinc; its cutoff is searched for so that the bank's transpose nearly inverts it,
    and so no part of the spectrum counts twice or not at all.
    """

    def __init__(self, bands: int, taps: int = 96, beta: float = 9.0) -> None:
        """``taps`` must be even: the filters have one more."""
        super().__init__()
        self.bands = bands
        self.taps = taps
        prototype = _prototype(bands, taps, beta)
        time = torch.arange(taps + 1, dtype=torch.float64) - taps / 2
        band = torch.arange(bands, dtype=torch.float64)[:, None]
        angle = (2 * band + 1) * math.pi / (2 * bands) * time
        shift = (-1.0) ** band * math.pi / 4
        self.analysis: Tensor
        # [N, 1, taps + 1]
        self.register_buffer("analysis", (2 * prototype * torch.cos(angle + shift))[:, None].float(), persistent=False)

    def forward(self, wav: Tensor) -> Tensor:
        """[B, 1, T] -> [B, N, ceil(T / N)]."""
        return F.conv1d(wav, self.analysis, stride=self.bands, padding=self.taps // 2)


def _prototype(bands: int, taps: int, beta: float) -> Tensor:
    """Low-pass filter [taps + 1] whose squared response crosses 1/2 where two bands meet."""
    window = torch.kaiser_window(taps + 1, periodic=False, beta=beta, dtype=torch.float64)
    time = torch.arange(taps + 1, dtype=torch.float64) - taps / 2
    crossing = math.pi / (2 * bands)

    def lowpass(cutoff: float) -> Tensor:
        return torch.sinc(cutoff * time / math.pi) * cutoff / math.pi * window

    # The response at the crossing rises with the cutoff, so bisection finds it.
    low, high = 0.5 * crossing, 2 * crossing
    for _ in range(60):
        middle = (low + high) / 2
        response = (lowpass(middle) * torch.cos(crossing * time)).sum()
        low, high = (middle, high) if response < math.sqrt(0.5) else (low, middle)
    return lowpass((low + high) / 2)
