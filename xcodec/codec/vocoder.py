"""Complex spectra from magnitudes: a network that corrects the phases of pulses and noise.

Where there is a voice, the phases of a pulse train at its pitch are nearly right (voice.py says why); what is missing
is what the mouth does to them, and how the voice moves. Elsewhere those of noise will do. So a network is shown both
the magnitudes and the phases of such an excitation, and says by how much to turn each bin, and by how much to change
its level. It starts by changing nothing, which is a vocoder already. (FreeV, arXiv 2406.08196, lets a network begin
with the magnitudes that a mel spectrogram implies; APNet, arXiv 2211.15974, lets one predict phases.)

    compressed magnitudes ─┬─ pitch ── pulses and noise ── phases ─┬─────────────────────────┬─ × ── waveform
                           └─ mel bands, low bins ─────────────────┴─ ConvNeXt ── turn, gain ─┘

There is no search and no loop: everything is computed once, and a frame of codes at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xcodec.codec.config import VocoderConfig
from xcodec.codec.convnext import Backbone
from xcodec.codec.receptive_field import context_frames
from xcodec.codec.spectrogram import OVERLAP, TINY, Spectrogram
from xcodec.codec.voice import SMOOTHED, SURELY_VOICED, VOICED, Voice

LOW_HERTZ = 2000.0
"""Bins below it are shown to the network one by one: they resolve harmonics, which tell the pitch exactly."""
EXCITED_HERTZ = 4000.0
"""Bins below which the network is shown the excitation's phases. Above, it turns by what magnitudes ask for."""
NOISE_SEED = 0
VOICING_LOOKAHEAD = 3
"""Windows to come whose periodicity makes a weakly periodic one voiced; far fewer than of those past."""
FADE_SECONDS = 0.05
"""From the pulses of one block to those of the next."""


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
        self.low = min(bins, round(LOW_HERTZ / hertz))
        self.excited = min(bins, round(EXCITED_HERTZ / hertz))
        self.bands: Tensor
        self.register_buffer("bands", bands, persistent=False)
        self.voice = Voice(rate, spectrogram.hop, spectrogram.size)
        self.noise: Tensor
        generator = torch.Generator().manual_seed(NOISE_SEED)
        # As long as a block of pulses, so that audio decoded in pieces that begin with a block has the same.
        block = self.voice.block * spectrogram.hop
        self.register_buffer("noise", torch.randn(block, generator=generator), persistent=False)
        self.fade = round(FADE_SECONDS * rate)
        rising = torch.arange(1, self.fade + 1) / (self.fade + 1)
        self.fading: Tensor
        fading = torch.cat([rising, torch.ones(block - self.fade), rising.flip(0)])
        self.register_buffer("fading", fading, persistent=False)
        shown = bands.shape[1] + self.low + 2 * (self.excited if config.excitation else 0)
        self.backbone = Backbone(
            per_frame * shown, config.width, config.layers, config.expansion, per_frame * 3 * bins, config.lookahead
        )
        # A sample is made of windows up to two hops away, each turned by frames around it, which are shown an
        # excitation whose windows reach as far, and whose pitch and voicing depend on more.
        reach = OVERLAP // 2 + per_frame * context_frames(self.backbone)
        ahead = OVERLAP // 2 + per_frame * self.backbone.lookahead
        self.align_windows = per_frame
        """Where audio is made in pieces, each must begin with a multiple of so many windows."""
        if config.excitation:
            reach += OVERLAP - 1 + SMOOTHED + self.voice.neighbourhood + self.voice.block
            ahead += OVERLAP - 1 + SMOOTHED + VOICING_LOOKAHEAD + 1
            self.align_windows = self.voice.block
        self.context_windows = reach
        """Windows before one that its audio depends on; after it, no more than ``lookahead_windows``."""
        self.lookahead_windows = ahead

    def forward(self, compressed: Tensor) -> Spectra:
        """[B, N, bins], N a multiple of ``per_frame`` -> spectra of the same shape."""
        batch, windows, bins = compressed.shape
        shown = [compressed @ self.bands, compressed[..., : self.low]]
        start = self.excite(compressed)
        if self.config.excitation:
            shown += [part[..., : self.excited] for part in start]
        frames = torch.cat(shown, 2).reshape(batch, windows // self.per_frame, -1)
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
        """Phases to start from, as spectra of magnitude one: pulses where there is a voice, elsewhere noise."""
        if not self.config.excitation:
            ones = torch.ones_like(compressed)
            ones[..., 1::2] = -1  # an impulse in the middle of each window
            return Spectra(ones, torch.zeros_like(ones))
        period, strength = self.voice.periods(self.spectrogram.expand(compressed))
        period, voiced = (self._per_sample(each) for each in (period, self._voiced(strength).to(compressed.dtype)))
        noise = self.noise[torch.arange(period.shape[1], device=self.noise.device) % len(self.noise)]
        # A pulse of height √period has the power of noise of variance one.
        excitation = voiced * self._pulses(1 / period) * period.sqrt() + (1 - voiced) * noise
        spectrum = self.spectrogram.transform(excitation)
        size = (spectrum.real.square() + spectrum.imag.square() + TINY).sqrt()
        return Spectra(spectrum.real / size, spectrum.imag / size)

    def _per_sample(self, values: Tensor) -> Tensor:
        """[B, N] -> [B, N × hop]."""
        return F.interpolate(values[:, None], scale_factor=float(self.spectrogram.hop), mode="linear").squeeze(1)

    def _voiced(self, strength: Tensor) -> Tensor:
        """Correlations at the period [B, N] -> bool [B, N]. Little of what is to come is looked at."""
        before = self.voice.neighbourhood
        padded = F.pad(strength[:, None, None], (before, VOICING_LOOKAHEAD))
        near = F.max_pool2d(padded, (1, before + 1 + VOICING_LOOKAHEAD), 1).squeeze(1).squeeze(1)
        return (strength > VOICED) & (near > SURELY_VOICED)

    def _pulses(self, step: Tensor) -> Tensor:
        """Periods per sample [B, T] -> [B, T], a pulse at the end of every period.

        Each pulse depends on all before it. To let audio be made in pieces, they are counted anew from every block on,
        and one count fades into the next: no block needs to know what comes after it.
        """
        samples, fade = step.shape[1], self.fade
        block = self.voice.block * self.spectrogram.hop
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
