"""Acoustic encoder and decoder at frame rate: ConvNeXt blocks between spectrogram and codes; phases are not coded.

DAC works at sample rate, where most of its time goes. Here everything learnt happens once per frame, as in Vocos
(arXiv 2306.00814), which makes both tens of times cheaper on a CPU. Only the magnitudes of a short-time
Fourier transform are coded: phases matter little to perception and to a language model, and would cost bits. The
decoder predicts magnitudes, and reconstructs the phases: those of a pulse train in voiced windows (pulse_train.py),
elsewhere by Griffin-Lim (spectrogram.py); or a neural vocoder predicts them (vocoder.py).

At initialisation they are a working codec: the encoder a mel filter bank, the decoder the interpolation from mel bands
back to bins; the backbones add to that and start at zero. With codebooks initialised by k-means it is intelligible
before the first training step (docs/xcodec-mini.md has the measure), and training goes on from there.

One frame of codes stands for two frames of the spectrogram. With a hop of 320:

    samples          0         320         640         960
    codes            ├────0─────┼────1──────┼────2──────┤
    spectrogram      ├─0──┼─1───┼─2───┼─3───┼─4───┼─5───┤   each the middle 160 of the window of 640
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xcodec.codec.config import SpectralConfig
from xcodec.codec.convnext import Backbone
from xcodec.codec.pulse_train import PulseTrain
from xcodec.codec.receptive_field import context_frames
from xcodec.codec.spectrogram import OVERLAP, TINY, Spectrogram
from xcodec.codec.vocoder import Vocoder
from xcodec.utils.spectra import mel_filters


def mel_bands(bands: int, bins: int, sample_rate: int) -> Tensor:
    """Triangular filters [bins, bands] on Slaney's mel scale, 0 Hz to the Nyquist frequency; each sums to 1.

    Where bands are narrower than bins, some hold none, and stay empty.
    """
    filters = mel_filters(2 * (bins - 1), bands, sample_rate)
    return (filters / filters.sum(0).clamp(min=TINY)).float()


def _interpolation(filters: Tensor) -> Tensor:
    """From bands back to bins, [bins, bands]: each bin is the mean of the bands that cover it, weighted by response."""
    shares = filters / filters.amax(0).clamp(min=TINY)
    covered = shares.sum(1) > 0
    # Bins that no band covers, those at 0 Hz and the Nyquist frequency, take the weights of the nearest covered bin.
    bins = torch.arange(len(filters), dtype=torch.float32)
    nearest = covered.nonzero().squeeze(1)[(bins[:, None] - bins[covered]).abs().argmin(1)]
    return shares[nearest] / shares[nearest].sum(1, keepdim=True)


class SpectralEncoder(nn.Module):
    """Waveform [B, 1, F × hop] -> acoustic features [B, D, F]."""

    def __init__(self, config: SpectralConfig, hop_length: int, sample_rate: int) -> None:
        super().__init__()
        self.per_frame = config.spectra_per_frame
        self.spectrogram = Spectrogram(hop_length // self.per_frame)
        self.filters: Tensor
        self.register_buffer(
            "filters", mel_bands(config.mel_bands, self.spectrogram.bins, sample_rate), persistent=False
        )
        self.skip = nn.Linear(self.per_frame * config.mel_bands, config.width, bias=False)
        nn.init.eye_(self.skip.weight)
        self.backbone = Backbone(
            self.per_frame * self.spectrogram.bins,
            config.encoder_width,
            config.encoder_layers,
            config.expansion,
            config.width,
        )
        window = -(-self.spectrogram.margin // hop_length)  # frames into which a window reaches
        self.context_frames = context_frames(self.backbone) + window
        """Frames of audio on either side of a frame that its features depend on."""

    def forward(self, wav: Tensor) -> Tensor:
        """[B, 1, F × hop] -> [B, D, F]."""
        spectra = self.spectrogram.analyse(wav)
        bands = spectra @ self.filters
        batch, frames = wav.shape[0], spectra.shape[1] // self.per_frame
        features = self.skip(bands.reshape(batch, frames, -1)) + self.backbone(spectra.reshape(batch, frames, -1))
        return features.transpose(1, 2)  # (B, F, D) -> (B, D, F)


class SpectralDecoder(nn.Module):
    """Acoustic features [B, D, F] -> spectra -> waveform [B, 1, F × hop]."""

    def __init__(self, config: SpectralConfig, hop_length: int, sample_rate: int) -> None:
        super().__init__()
        self.per_frame = config.spectra_per_frame
        self.iterations = config.phase_iterations
        self.spectrogram = Spectrogram(hop_length // self.per_frame)
        bands, bins = config.mel_bands, self.spectrogram.bins
        self.skip = nn.Linear(config.width, self.per_frame * bins, bias=False)
        with torch.no_grad():
            to_bins = torch.block_diag(*[_interpolation(mel_bands(bands, bins, sample_rate))] * self.per_frame)
            shared = min(config.width, to_bins.shape[1])
            self.skip.weight.zero_()[:, :shared] = to_bins[:, :shared]
        self.backbone = Backbone(
            config.width,
            config.decoder_width,
            config.decoder_layers,
            config.expansion,
            self.per_frame * bins,
            config.decoder_lookahead,
        )
        # A hop of audio is made of windows up to two hops away; each Griffin-Lim iteration widens the receptive field
        # by as many as windows overlap: three.
        spectra = OVERLAP // 2 + self.iterations * (OVERLAP - 1)
        self.pulse_train: PulseTrain | None = None
        self.vocoder: Vocoder | None = None
        self.align_frames = 1
        """Where audio is decoded in pieces, each must begin with a multiple of so many frames to sound as the whole."""
        if config.vocoder is not None:
            mel = mel_bands(bands, bins, sample_rate)
            self.vocoder = Vocoder(config.vocoder, self.spectrogram, mel, self.per_frame, sample_rate)
            spectra = self.vocoder.context_windows
            self.align_frames = self.vocoder.align_windows // self.per_frame
        elif config.pulses:
            self.pulse_train = PulseTrain(sample_rate, self.spectrogram.hop, self.spectrogram.size)
            spectra += OVERLAP - 1 + OVERLAP // 2 + self.pulse_train.context
            self.align_frames = self.pulse_train.block // self.per_frame
        self.context_frames = context_frames(self.backbone) + -(-spectra // self.per_frame)
        """Frames of features on either side of a frame that its audio depends on."""
        self.lookahead_frames = self.context_frames
        """Those after it: fewer, where the blocks' look-ahead is limited and a vocoder predicts the phases."""
        if self.vocoder is not None:
            self.lookahead_frames = self.backbone.lookahead + -(-self.vocoder.lookahead_windows // self.per_frame)

    def spectra(self, features: Tensor) -> Tensor:
        """[B, D, F] -> compressed magnitudes [B, F × spectra_per_frame, bins], what the decoder learns."""
        frames = features.transpose(1, 2)  # (B, D, F) -> (B, F, D)
        spectra = self.skip(frames) + self.backbone(frames)
        return spectra.reshape(features.shape[0], -1, self.spectrogram.bins)

    def to_audio(self, spectra: Tensor) -> Tensor:
        """Compressed magnitudes -> [B, 1, F × hop]."""
        # At least float32, also under mixed precision: FFTs support nothing shorter, and phases need its precision.
        if self.vocoder is not None:
            return self.vocoder.to_audio(self.vocoder(spectra if spectra.dtype == torch.float64 else spectra.float()))
        magnitudes = self.spectrogram.expand(spectra if spectra.dtype == torch.float64 else spectra.float())
        if self.pulse_train is None:
            return self.spectrogram.synthesise(magnitudes, self.iterations)
        with torch.no_grad():
            pulses, voiced = self.pulse_train(magnitudes)
        return self.spectrogram.synthesise(magnitudes, self.iterations, pulses, voiced, self.pulse_train.refined_bins)

    def forward(self, features: Tensor) -> Tensor:
        """[B, D, F] -> [B, 1, F × hop]."""
        return self.to_audio(self.spectra(features))
