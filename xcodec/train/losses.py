"""What the codec is trained to make small. Every distance takes the output first and the target second.

Means, never sums: over clips, frames, bins and resolutions. So a weight keeps its meaning when the batch, the
crop or the list of resolutions changes, and two ranks of half a batch have the gradient of one whole batch.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xcodec.codec.config import ConfigError, TeacherConfig
from xcodec.codec.model import CodecOutput
from xcodec.codec.semantic import Teacher, WhisperStates
from xcodec.codec.spectrogram import Spectrogram
from xcodec.codec.vocoder import Spectra
from xcodec.train.config import LossWeights, SpectraConfig
from xcodec.train.discriminators import Verdict
from xcodec.train.init import load_teacher

# An ear for what is decoded, so that the decoder learns which differences make words.
#
# Between two spectra that are equally far from the true one, a loss on magnitudes sees no difference; a speech
# recogniser
# does. So decoded and true spectra are both shown to the encoder of a frozen Whisper, and its hidden states are
# compared
# (deep feature losses: Germain, Chen and Koltun, arXiv 1806.10522).
#
# It reads the decoder's magnitudes directly: to make audio of them, and spectra of that, would take most of a training
# step. Whisper's own spectrogram has as many frames, of shorter windows and half a hop away. What it makes of this
# one is
# therefore not quite what it makes of sound, for the true spectra as for the decoded ones.

WINDOW = 400
"""Samples in Whisper's own windows."""
HOP = 160
"""And from one to the next."""


class Ear(nn.Module):
    """How differently a frozen Whisper hears two spectra."""

    def __init__(self, config: TeacherConfig, spectrogram: Spectrogram, sample_rate: int) -> None:
        super().__init__()
        from transformers.audio_utils import mel_filter_bank

        self.teacher = Teacher(config, sample_rate)
        if not isinstance(self.teacher.network, WhisperStates):
            raise ConfigError(f"losses.heard: the ear must be a Whisper, not {config.kind}")
        if (spectrogram.hop, sample_rate) != (HOP, config.sample_rate):
            raise ConfigError(
                f"losses.heard: Whisper hears {HOP} samples a frame at {config.sample_rate} Hz, but the decoder's"
                f" spectra have {spectrogram.hop} at {sample_rate} Hz"
            )
        load_teacher(self.teacher, "ear.source")
        self.network = self.teacher.network
        self.spectrogram = spectrogram
        bands = mel_filter_bank(
            spectrogram.bins, self.network.filters.shape[0], 0, sample_rate / 2, sample_rate, norm="slaney",
            mel_scale="slaney",
        )  # fmt: skip
        # Longer windows have more power in each bin, and more bins in each band.
        loudness = (WINDOW / spectrogram.size) ** 2
        self.filters: Tensor
        self.register_buffer("filters", torch.from_numpy(bands.T).float() * loudness, persistent=False)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Compressed magnitudes [B, N, bins] of both -> the mean over Whisper's hidden states of their distance.

        Each distance is L1 over the spread of that state among the clips, which makes layers comparable: 0 is alike, 1
        as far away as the mean of all clips. So there must be several.
        """
        with torch.no_grad():
            theirs = self._states(target)
        ours = self._states(output.float())
        return torch.stack([_distance(our, their) for our, their in zip(ours, theirs, strict=True)]).mean()

    def _states(self, compressed: Tensor) -> tuple[Tensor, ...]:
        power = self.spectrogram.expand(compressed).square().transpose(1, 2)  # (B, N, bins) -> (B, bins, N)
        return self.network.states(self.network.log_mel(power, self.filters))


def _distance(ours: Tensor, theirs: Tensor) -> Tensor:
    """L1 between states [B, F, D] over that between the true ones and their mean over clips at the same place.

    Where in its input a frame lies, Whisper says in every frame; that is the same for all clips and tells nothing.
    """
    spread = (theirs - theirs.mean(0, keepdim=True)).abs().mean()
    return (ours - theirs).abs().mean() / spread.clamp(min=1e-3)


# A pseudo-quadrature mirror filter bank: a waveform cut into equally wide sub-bands at a lower rate (Nguyen, 1994).
#
# The prototype is a Kaiser-windowed sinc; its cutoff is searched for once so that analysis and synthesis together are
# nearly the identity, which is what makes no part of the spectrum count twice or not at all.


class PQMF(nn.Module):
    """Waveform [B, 1, T] to sub-bands [B, N, T / N] and back."""

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
        self.synthesis: Tensor
        # [N, 1, taps + 1]
        self.register_buffer("analysis", (2 * prototype * torch.cos(angle + shift))[:, None].float(), persistent=False)
        self.register_buffer("synthesis", (2 * prototype * torch.cos(angle - shift))[:, None].float(), persistent=False)

    def forward(self, wav: Tensor) -> Tensor:
        """[B, 1, T] -> [B, N, ceil(T / N)]."""
        return F.conv1d(wav, self.analysis, stride=self.bands, padding=self.taps // 2)

    def inverse(self, subbands: Tensor) -> Tensor:
        """[B, N, T / N] -> [B, 1, T]."""
        upsampled = subbands.new_zeros(*subbands.shape[:2], subbands.shape[2], self.bands)
        upsampled[..., 0] = subbands * self.bands
        # Each band is filtered by its own row, and the bands are added: a convolution from N channels to one.
        filters = self.synthesis.transpose(0, 1)  # (N, 1, taps) -> (1, N, taps)
        return F.conv1d(upsampled.flatten(2), filters, padding=self.taps // 2)


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


MAGNITUDE_FLOOR = 1e-7
"""Added to squared magnitudes, so that the square root has a gradient at zero."""
LOG_FLOOR = 1e-4
"""Magnitudes and mel energies below it are silence, and all silence is the same."""
COMPRESSION = 0.5
"""Exponent of the magnitudes in the complex loss."""
SUBBANDS = 6
PHASE_WEIGHT_LIMIT = 1.4
"""Largest weight of a bin's phase, before weights are scaled to a mean of one."""


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


def spectra_of(spectrogram: Spectrogram, wav: Tensor) -> Spectra:
    """Of a waveform [B, 1, T]: [B, N, bins]."""
    spectrum = spectrogram.transform(wav[:, 0])
    return Spectra(spectrum.real, spectrum.imag)


def log_amplitude_distance(output: Spectra, target: Spectra) -> Tensor:
    """L1 between log magnitudes of complex spectra [B, N, bins]."""
    return (_power(output).log() - _power(target).log()).abs().mean() / 2


def phase_distance(output: Spectra, target: Spectra) -> Tensor:
    """How differently phases turn from window to window, and how they differ once each window is shifted to fit.

    APNet (arXiv 2211.15974) compares the phases themselves. But magnitudes do not tell when a voice's pulses fall: a
    vocoder's may be those of the voice a little earlier or later, which is as good, and has phases that differ by a
    slope over frequency. So each window is given the shift at which it correlates best with the target. Angles are
    compared as points on the unit circle, 2 |sin(Δ/2)| in place of |Δ|: no unwrapping. Loud bins count more.
    """
    ours, theirs = _direction(output), _direction(target)
    weight = _power(target).pow(0.15).clamp(max=PHASE_WEIGHT_LIMIT)
    weight = weight / weight.mean()
    turning = (weight[:, 1:] * _apart(_turn(ours), _turn(theirs))).mean()
    return turning + (weight * _apart(_shifted_to_fit(ours, theirs, weight), theirs)).mean()


def consistency_distance(output: Spectra, audio_spectra: Spectra) -> Tensor:
    """L1 between spectra and those of the waveform that was made of them: windows that overlap should agree."""
    return (output.real - audio_spectra.real).abs().mean() + (output.imaginary - audio_spectra.imaginary).abs().mean()


def _power(spectra: Spectra) -> Tensor:
    return (spectra.real.square() + spectra.imaginary.square()).clamp(min=LOG_FLOOR**2)


def _direction(spectra: Spectra) -> Spectra:
    size = (spectra.real.square() + spectra.imaginary.square() + MAGNITUDE_FLOOR).sqrt()
    return Spectra(spectra.real / size, spectra.imaginary / size)


def _turn(direction: Spectra) -> Spectra:
    """From one window to the next, as a point on the unit circle."""
    real, imaginary = direction
    return Spectra(
        real[:, 1:] * real[:, :-1] + imaginary[:, 1:] * imaginary[:, :-1],
        imaginary[:, 1:] * real[:, :-1] - real[:, 1:] * imaginary[:, :-1],
    )


def _shifted_to_fit(ours: Spectra, theirs: Spectra, weight: Tensor) -> Spectra:
    """Each window of the first by so many samples that it correlates best with the second, a quarter window at most."""
    bins = weight.shape[2]
    size = 2 * (bins - 1)
    with torch.no_grad():
        product = weight * torch.complex(*theirs) * torch.complex(*ours).conj()
        correlation = torch.fft.irfft(product, n=size)
        farthest = size // 4
        correlation[..., farthest + 1 : size - farthest] = -torch.inf
        shift = correlation.argmax(2)  # [B, N]: samples by which ours is early
        # Whole turns taken away, because float32 has no digits for the angles of large products.
        angle = 2 * torch.pi / size * (shift[..., None] * torch.arange(bins, device=shift.device) % size)
        cosine, sine = angle.cos(), angle.sin()
    return Spectra(ours.real * cosine + ours.imaginary * sine, ours.imaginary * cosine - ours.real * sine)


def _apart(ours: Spectra, theirs: Spectra) -> Tensor:
    square = (ours.real - theirs.real).square() + (ours.imaginary - theirs.imaginary).square()
    return (square + MAGNITUDE_FLOOR).sqrt()


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

    def __init__(
        self,
        weights: LossWeights,
        spectra: SpectraConfig,
        sample_rate: int,
        ear: Ear | None = None,
        spectrogram: Spectrogram | None = None,
    ) -> None:
        super().__init__()
        self.weights = weights
        self.spectrogram = spectrogram
        """That of a spectral decoder, whose complex spectra are judged."""
        self.ear = ear
        """Of the loss ``heard``."""
        self.reconstruction = ReconstructionLosses(weights, spectra, sample_rate)

    @property
    def hear_audio(self) -> bool:
        """Whether any of them listens to the waveform."""
        weights = self.weights
        of_waveforms = (weights.waveform, weights.mel, weights.complex, weights.stft, weights.subband_stft)
        return any((*of_waveforms, weights.phase, weights.amplitude, weights.consistency))

    def forward(self, output: CodecOutput, clips: Tensor) -> dict[str, Tensor]:
        """One scalar for each loss that has a weight and applies, of a pass over clips [B, 1, T]."""
        weights = self.weights
        losses: dict[str, Tensor] = {}
        if output.audio is not None:
            losses |= self.reconstruction(output.audio.float(), clips)
        if weights.spectra and output.spectra is not None and output.true_spectra is not None:
            losses["spectra"] = F.l1_loss(output.spectra.float(), output.true_spectra)
        if output.complex_spectra is not None and output.audio is not None and self.spectrogram is not None:
            losses |= self._complex_losses(output.complex_spectra, output.audio.float(), clips)
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

    def _complex_losses(self, spectra: Spectra, audio: Tensor, clips: Tensor) -> dict[str, Tensor]:
        assert self.spectrogram is not None
        weights, losses = self.weights, {}
        target = spectra_of(self.spectrogram, clips)
        if weights.amplitude:
            losses["amplitude"] = log_amplitude_distance(spectra, target)
        if weights.phase:
            losses["phase"] = phase_distance(spectra, target)
        if weights.consistency:
            losses["consistency"] = consistency_distance(spectra, spectra_of(self.spectrogram, audio))
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
