"""Neural vocoder: complex spectra from magnitudes. A network corrects the phases of a pulse-and-noise excitation.

In voiced speech the phases of a pulse train at the pitch are nearly right (see pulse_train.py); what they lack are
those of the vocal tract, and of a pitch that moves. In unvoiced windows random phases suffice. So the network receives
the magnitudes and the excitation's phases, and predicts a phase correction and a log gain for each bin. Both start at
zero, which is a working vocoder already. (FreeV, arXiv 2406.08196, starts from the amplitudes that a mel spectrogram
implies; APNet, arXiv 2211.15974, predicts phases without an excitation.)

    compressed magnitudes ─┬─ pitch ── pulses and noise ── phases ─┬───────────────────────────┬─ × ── waveform
                           └─ mel bands, low bins ─────────────────┴─ ConvNeXt ── phase, gain ─┘

No iterative phase retrieval: the graph has no loop. The network runs once per frame of codes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xcodec.codec.config import VocoderConfig
from xcodec.codec.convnext import Backbone
from xcodec.codec.pulse_train import SMOOTHED, SURELY_VOICED, VOICED, PulseTrain
from xcodec.codec.receptive_field import context_frames
from xcodec.codec.spectrogram import OVERLAP, TINY, Spectrogram

LOW_HERTZ = 2000.0
"""Bins below it are inputs one by one, beside the mel bands: they resolve harmonics, and so the exact pitch."""
EXCITATION_HERTZ = 4000.0
"""The excitation's phases are inputs below it; above, the correction follows from magnitudes alone."""
NOISE_SEED = 0
VOICING_LOOKAHEAD = 1
"""Future windows that the voicing decision considers; of past ones, many more."""
FADE_SECONDS = 0.05
"""Cross-fade from the pulses of one block to those of the next."""


class Spectra(NamedTuple):
    """Complex spectra as real and imaginary parts, which any export format knows."""

    real: Tensor
    """[B, N, bins]."""
    imaginary: Tensor
    """[B, N, bins]."""


class Vocoder(nn.Module):
    """Compressed magnitudes [B, N, bins] -> complex spectra, and a waveform."""

    def __init__(
        self, config: VocoderConfig, spectrogram: Spectrogram, bands: Tensor, per_frame: int, rate: int
    ) -> None:
        """For ``per_frame`` windows of the spectrogram at a time; ``bands`` are mel filters [bins, bands]."""
        super().__init__()
        self.config = config
        self.spectrogram = spectrogram
        self.per_frame = per_frame
        bins, hertz = spectrogram.bins, rate / spectrogram.size
        self.low_bins = min(bins, round(LOW_HERTZ / hertz))
        self.excitation_bins = min(bins, round(EXCITATION_HERTZ / hertz))
        self.bands: Tensor
        self.register_buffer("bands", bands, persistent=False)
        self.pulse_train = PulseTrain(rate, spectrogram.hop, spectrogram.size)
        self.noise: Tensor
        generator = torch.Generator().manual_seed(NOISE_SEED)
        # As long as a block of pulses, so that audio decoded in pieces that begin with a block has the same.
        block = self.pulse_train.block * spectrogram.hop
        self.register_buffer("noise", torch.randn(block, generator=generator), persistent=False)
        self.fade = round(FADE_SECONDS * rate)
        rising = torch.arange(1, self.fade + 1) / (self.fade + 1)
        self.fading: Tensor
        fading = torch.cat([rising, torch.ones(block - self.fade), rising.flip(0)])
        self.register_buffer("fading", fading, persistent=False)
        place = (torch.arange(spectrogram.hop) + 0.5) / spectrogram.hop - 0.5
        before, after = (-place).clamp(min=0), place.clamp(min=0)
        self.interpolation: Tensor
        self.register_buffer("interpolation", torch.stack([before, 1 - before - after, after]), persistent=False)
        channels = bands.shape[1] + self.low_bins + 2 * (self.excitation_bins if config.excitation else 0)
        # Most weights of a wider first kernel would be spent on the many inputs; the blocks see neighbours anyway.
        self.backbone = Backbone(
            per_frame * channels,
            config.width,
            config.layers,
            config.expansion,
            per_frame * 3 * bins,
            config.lookahead,
            kernel=1,
        )
        # A sample is the sum of windows up to two hops away; each has the receptive field of the network, and that of
        # the excitation, whose pitch and voicing decision depend on further windows.
        reach = OVERLAP // 2 + per_frame * context_frames(self.backbone)
        ahead = OVERLAP // 2 + per_frame * self.backbone.lookahead
        self.align_windows = per_frame
        """Where audio is made in pieces, each must begin with a multiple of so many windows."""
        if config.excitation:
            reach += OVERLAP - 1 + SMOOTHED + self.pulse_train.neighbourhood + self.pulse_train.block
            ahead += OVERLAP - 1 + SMOOTHED + VOICING_LOOKAHEAD + 1
            self.align_windows = self.pulse_train.block
        self.context_windows = reach
        """Windows before one that its audio depends on; after it, no more than ``lookahead_windows``."""
        self.lookahead_windows = ahead

    def forward(self, compressed: Tensor) -> Spectra:
        """[B, N, bins], N a multiple of ``per_frame`` -> spectra of the same shape."""
        batch, windows, bins = compressed.shape
        inputs = [compressed @ self.bands, compressed[..., : self.low_bins]]
        start = self.excite(compressed)
        if self.config.excitation:
            inputs += [part[..., : self.excitation_bins] for part in start]
        frames = torch.cat(inputs, 2).reshape(batch, windows // self.per_frame, -1)
        gain, real, imaginary = self.backbone(frames).reshape(batch, windows, 3, bins).unbind(2)
        real = real + 1
        scale = self.spectrogram.expand(compressed) * gain.clamp(max=3).exp()
        scale = scale / (real.square() + imaginary.square() + TINY).sqrt()
        return Spectra(
            scale * (start.real * real - start.imaginary * imaginary),
            scale * (start.real * imaginary + start.imaginary * real),
        )

    @torch.no_grad()
    def excite(self, compressed: Tensor) -> Spectra:
        """The excitation's phases, as spectra of magnitude one: pulses in voiced windows, noise in unvoiced ones."""
        if not self.config.excitation:
            ones = torch.ones_like(compressed)
            ones[..., 1::2] = -1  # an impulse in the middle of each window
            return Spectra(ones, torch.zeros_like(ones))
        period, strength = self.pulse_train.periods(self.spectrogram.expand(compressed))
        period, voiced = (self._per_sample(each) for each in (period, self._voiced(strength).to(compressed.dtype)))
        noise = self.noise[torch.arange(period.shape[1], device=self.noise.device) % len(self.noise)]
        # A pulse of height √period has the power of noise of variance one.
        excitation = voiced * self._pulses(1 / period) * period.sqrt() + (1 - voiced) * noise
        spectrum = self.spectrogram.transform(excitation)
        size = (spectrum.real.square() + spectrum.imag.square() + TINY).sqrt()
        return Spectra(spectrum.real / size, spectrum.imag / size)

    def _per_sample(self, values: Tensor) -> Tensor:
        """[B, N] -> [B, N × hop], by linear interpolation between the middles of the hops."""
        # One small product; F.interpolate takes as long for it as for an eighth of the whole vocoder.
        around = F.pad(values[:, None], (1, 1), mode="replicate").squeeze(1).unfold(1, 3, 1)  # [B, N, 3]
        return (around @ self.interpolation).flatten(1)

    def _voiced(self, strength: Tensor) -> Tensor:
        """Correlations at the period [B, N] -> the voicing decision, bool [B, N], with little lookahead."""
        before = self.pulse_train.neighbourhood
        padded = F.pad(strength[:, None, None], (before, VOICING_LOOKAHEAD))
        near = F.max_pool2d(padded, (1, before + 1 + VOICING_LOOKAHEAD), 1).squeeze(1).squeeze(1)
        return (strength > VOICED) & (near > SURELY_VOICED)

    def _pulses(self, step: Tensor) -> Tensor:
        """Periods per sample [B, T] -> [B, T], a pulse at the end of every period.

        The phase is an integral, so each pulse depends on all before it. To decode audio in chunks, it starts anew with
        every block, and blocks cross-fade, which needs no lookahead.
        """
        samples, fade = step.shape[1], self.fade
        block = self.pulse_train.block * self.spectrogram.hop
        padded = torch.cat([step, step[:, -1:].expand(-1, -samples % block + fade)], 1)
        blocks = padded.unfold(1, block + fade, block)  # [B, blocks, block + fade]
        position = blocks.cumsum(2)
        phase = position - position.floor()
        ends = phase < F.pad(phase[..., :-1], (1, 0), value=-1.0)
        late = torch.where(ends, phase / blocks, torch.zeros_like(phase)).clamp(max=1)  # samples since the period ended
        # Between two samples, a pulse is shared by them.
        pulses = (torch.where(ends, 1 - late, late) + F.pad(late[..., 1:], (0, 1))) * self.fading
        overlapping = F.pad(pulses[:, :-1, block:], (0, block - fade, 1, 0))
        return (pulses[..., :block] + overlapping).flatten(1)[:, :samples]

    def to_audio(self, spectra: Spectra) -> Tensor:
        """-> [B, 1, N × hop]."""
        return self.spectrogram.invert(torch.complex(*spectra))[:, None]
