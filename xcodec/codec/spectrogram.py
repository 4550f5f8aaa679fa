"""Short-time spectra whose magnitudes are coded and whose phases are reconstructed.

Phase retrieval is by the fast Griffin-Lim algorithm (Perraudin, Balazs and Søndergaard, WASPAA 2013): windows overlap
fourfold, so magnitudes nearly determine the phases. But decoded magnitudes are only approximately those of a waveform,
and then the result sounds a little metallic. Voiced windows get better phases from pulse_train.py.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xcodec.utils.spectra import stft

OVERLAP = 4
"""Hops of the spectrogram in one window."""
GAIN = 10.0
"""Brings compressed magnitudes of speech to a spread of about 0.6."""
MOMENTUM = 0.99
"""Of fast Griffin-Lim, over 1 + momentum: the best of those its authors tried."""
SOFTNESS = 1e-3
"""Of a target magnitude: the phase of a coefficient weaker than that is ill-defined, so it is not scaled to full size,
which would amplify rounding errors."""
TINY = 1e-9


class Spectrogram(nn.Module):
    """Waveform to compressed magnitudes, and the way back.

    Compression is the cube root, about how loudness grows with pressure. The root of small magnitudes is not the
    logarithm: it tends to zero, so that inaudible bins do not count.
    """

    def __init__(self, hop: int) -> None:
        super().__init__()
        self.hop = hop
        self.size = OVERLAP * hop
        self.bins = self.size // 2 + 1
        self.margin = (self.size - hop) // 2
        self.window: Tensor
        self.register_buffer("window", torch.hann_window(self.size), persistent=False)

    def analyse(self, wav: Tensor) -> Tensor:
        """[B, 1, N × hop] -> compressed magnitudes [B, N, bins]."""
        parts = torch.view_as_real(self.transform(wav.squeeze(1)))  # (B, 1, T) -> (B, T)
        magnitudes = parts.square().sum(3).sqrt() / (self.size / 2)
        return GAIN * (magnitudes + TINY).pow(1 / 3)  # the root has no slope at zero

    def expand(self, compressed: Tensor) -> Tensor:
        """Compressed magnitudes -> plain ones, those of `transform`, of the same shape."""
        return (compressed.clamp(min=0) / GAIN).pow(3) * (self.size / 2)

    def synthesise(
        self,
        magnitudes: Tensor,
        iterations: int,
        pulses: Tensor | None = None,
        voiced: Tensor | None = None,
        refined_bins: int = 0,
    ) -> Tensor:
        """Plain magnitudes [B, N, bins] -> [B, 1, N × hop], with reconstructed phases.

        The initial phases centre every window's energy, so the result is deterministic.

        Args:
            magnitudes: of every window.
            iterations: of Griffin-Lim.
            pulses: a pulse train [B, 1, N × hop], whose phases the voiced windows keep.
            voiced: bool [B, N], which windows are.
            refined_bins: the lowest bins of voiced windows, whose phases one last iteration refines.
        """
        phases = torch.ones_like(magnitudes)
        phases[..., 1::2] = -1
        kept: Tensor | float = 0.0
        sought = magnitudes
        if pulses is not None and voiced is not None:
            sought = magnitudes.masked_fill(voiced[..., None], 0)
            kept = self._with_phases_of(self.transform(pulses.squeeze(1)), magnitudes - sought)
        spectrum = torch.complex(sought * phases, torch.zeros_like(magnitudes)) + kept
        before: Tensor | None = None
        for _ in range(iterations):
            consistent = self.transform(self.invert(spectrum))
            direction = consistent if before is None else consistent - MOMENTUM / (1 + MOMENTUM) * before
            spectrum = self._with_phases_of(direction, sought) + kept
            before = consistent
        if voiced is not None and refined_bins:
            low = torch.arange(self.bins, device=magnitudes.device) < refined_bins
            agreed = self._with_phases_of(self.transform(self.invert(spectrum)), magnitudes)
            spectrum = spectrum + (agreed - spectrum) * (voiced[..., None] & low).to(magnitudes.dtype)
        return self.invert(spectrum)[:, None]

    @staticmethod
    def _with_phases_of(spectrum: Tensor, magnitudes: Tensor) -> Tensor:
        # What abs() computes, in a third of its time. TINY keeps the slope of the root finite where all is silent.
        size = (spectrum.real.square() + spectrum.imag.square() + TINY**2).sqrt()
        return spectrum * (magnitudes / (size + SOFTNESS * magnitudes))

    def transform(self, wav: Tensor) -> Tensor:
        """[B, N × hop] -> complex [B, N, bins]."""
        return stft(wav, self.window, self.hop, self.margin, reflect=False)

    def invert(self, spectrum: Tensor) -> Tensor:
        """Complex [B, N, bins] -> the waveform [B, N × hop] whose transform is nearest."""
        batch, frames, _ = spectrum.shape
        pieces = (torch.fft.irfft(spectrum, n=self.size) * self.window).view(batch, frames, OVERLAP, self.hop)
        weights = self.window.square().view(1, 1, OVERLAP, self.hop).expand(1, frames, OVERLAP, self.hop)
        overlapped = self._overlap(pieces) / self._overlap(weights).clamp(min=TINY)
        return overlapped[:, self.margin : self.margin + frames * self.hop]

    def _overlap(self, pieces: Tensor) -> Tensor:
        """Windows cut into hops, [B, N, OVERLAP, hop] -> their sum [B, (N + OVERLAP - 1) × hop]."""
        last = OVERLAP - 1
        return sum(F.pad(pieces[:, :, i], (0, 0, i, last - i)) for i in range(OVERLAP)).flatten(1)  # type: ignore[union-attr]
