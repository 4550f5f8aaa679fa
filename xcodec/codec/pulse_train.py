"""Pulse-train excitation for voiced windows: pitch, voicing and phases from magnitudes alone.

Voiced speech is a train of glottal pulses, filtered by the vocal tract (the source-filter model). So where a window is
voiced, the phases of a pulse train at its pitch suit the magnitudes far better than any that Griffin-Lim finds: all
harmonics are in phase, as they are in speech. Vocoders from Dudley's to Codec 2 use the same excitation; here the
codec's own spectra take the place of the filter.

    magnitudes ── autocorrelation ─┬─ period of every window ── pulses
                                   └─ periodicity ───────────── voiced or not

The pulses' phase is continuous, so each depends on all before it. To let audio be decoded in chunks, the phase restarts
with every block of 0.5 s, and the pitch within a block is scaled slightly (by at most 1 % at 100 Hz), so that an
integer number of pulses fills it and there is no discontinuity.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LOWEST, HIGHEST = 60.0, 400.0
"""Range of the pitch, in Hz."""
BLOCK_SECONDS = 0.5
SMOOTHED = 2
"""Windows on either side whose autocorrelation is averaged: pitch moves slowly."""
OCTAVE_COST = 0.02
"""Penalty on the correlation for each octave below the highest pitch: twice a period is a period too."""
VOICED = 0.12
"""Correlation at the period, of a window that may be voiced."""
SURELY_VOICED = 0.35
"""Correlation that a nearby window must have. Chords are weakly periodic for long, speech only at vowels' edges."""
NEIGHBOURHOOD_SECONDS = 0.25
REFINED_HERTZ = 2500.0
"""Hz below which a window resolves harmonics: one Griffin-Lim iteration, from the pulses' phases on, makes overlapping
windows consistent there. Above, and with more iterations, it would lose the pulses' phases."""
MIN_WINDOW = 0.05
"""Autocorrelation of the window itself, below which dividing by it would magnify noise."""
TINY = 1e-9


class PulseTrain(nn.Module):
    """Estimates pitch and voicing from magnitudes, and synthesises the pulse train.

    Args:
        sample_rate: in Hz.
        hop: samples from window to window.
        size: samples of a Hann window.
    """

    def __init__(self, sample_rate: int, hop: int, size: int) -> None:
        super().__init__()
        self.sample_rate, self.hop, self.size = sample_rate, hop, size
        rate = sample_rate / hop
        self.block = 2 * round(BLOCK_SECONDS * rate / 2)
        """Windows in a block."""
        self.neighbourhood = round(NEIGHBOURHOOD_SECONDS * rate)
        self.context = SMOOTHED + max(self.neighbourhood, self.block)
        """Windows on either side of one that its pulses and its voicing depend on."""
        self.refined_bins = round(REFINED_HERTZ / sample_rate * size)
        """Bins below `REFINED_HERTZ`."""
        self.shortest = max(2, int(sample_rate / HIGHEST))
        self.longest = max(self.shortest + 1, min(size // 2, int(sample_rate / LOWEST)))
        window = torch.hann_window(size)
        own = torch.fft.irfft(torch.fft.rfft(window, n=2 * size).abs().square())[: size // 2 + 1]
        lags = torch.arange(self.shortest, self.longest)
        self.own: Tensor
        self.cost: Tensor
        self.register_buffer("own", (own / own[0]).clamp(min=MIN_WINDOW), persistent=False)
        self.register_buffer("cost", OCTAVE_COST * torch.log2(lags / self.shortest), persistent=False)

    def forward(self, magnitudes: Tensor) -> tuple[Tensor, Tensor]:
        """Plain magnitudes [B, N, bins] -> pulses [B, 1, N × hop], and which windows are voiced: bool [B, N]."""
        period, strength = self.periods(magnitudes)
        return self.pulses(period), self.voiced(strength)

    def periods(self, magnitudes: Tensor) -> tuple[Tensor, Tensor]:
        """Samples from pulse to pulse, and the correlation at that distance: [B, N] each.

        The autocorrelation is that of the magnitudes rather than of their squares, which lets the weak harmonics count
        too (Tolonen and Karjalainen, IEEE Trans. Speech and Audio 2000).
        """
        correlation = torch.fft.irfft(magnitudes, n=self.size)[..., : self.size // 2 + 1]
        correlation = correlation / (correlation[..., :1].clamp(min=TINY) * self.own)
        width = 2 * SMOOTHED + 1
        around = F.avg_pool1d(correlation.transpose(1, 2), width, 1, SMOOTHED, count_include_pad=False)
        correlation = around.transpose(1, 2)  # (B, lags, N) -> (B, N, lags)
        best = (correlation[..., self.shortest : self.longest] - self.cost).argmax(2, keepdim=True) + self.shortest
        before, here, after = (correlation.gather(2, best + step) for step in (-1, 0, 1))
        # The top of the parabola through the three.
        bend = (2 * here - before - after).clamp(min=TINY)
        period = best + (0.5 * (after - before) / bend).clamp(-0.5, 0.5)
        return period.squeeze(2), here.squeeze(2)

    def voiced(self, strength: Tensor) -> Tensor:
        """Correlations [B, N] -> bool [B, N]."""
        width = 2 * self.neighbourhood + 1
        # Of an image of one line, because torch.export takes the length of max_pool1d for a constant.
        near = F.max_pool2d(strength[:, None], (1, width), 1, (0, self.neighbourhood)).squeeze(1)
        return (strength > VOICED) & (near > SURELY_VOICED)

    def pulses(self, period: Tensor) -> Tensor:
        """Periods of N windows [B, N] -> [B, 1, N × hop], a pulse at the end of every period."""
        samples, block = period.shape[1] * self.hop, self.block * self.hop
        step = F.interpolate(1 / period[:, None], scale_factor=float(self.hop), mode="linear").squeeze(1)
        missing = -samples % block
        steps = torch.cat([step, step[:, -1:].expand(-1, missing)], dim=1).unflatten(1, (-1, block))
        cycles = steps.sum(2, keepdim=True)
        steps = steps * (cycles.round() / cycles)  # [B, blocks, samples]: periods that each sample adds
        position = steps.cumsum(2).flatten(1)
        steps, phase = steps.flatten(1), position - position.floor()
        ends = phase < F.pad(phase[:, :-1], (1, 0), value=-1.0)
        late = torch.where(ends, phase / steps, torch.zeros_like(phase)).clamp(max=1)  # samples since the period ended
        # Between two samples, a pulse is shared by them.
        pulses = torch.where(ends, 1 - late, late) + F.pad(late[:, 1:], (0, 1))
        return pulses[:, None, :samples]
