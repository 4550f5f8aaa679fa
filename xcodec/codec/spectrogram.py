"""Short-time spectra whose magnitudes are coded and whose phases are made anew.

Where nothing better is known, phases that fit the magnitudes are searched for by the fast Griffin-Lim algorithm
(Perraudin, Balazs and Søndergaard, WASPAA 2013): windows overlap fourfold, so magnitudes leave the phases little
choice. But decoded magnitudes are only nearly those of a sound, and then the phases found are a little metallic.
voice.py knows better ones for voices.
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
"""Of the search for phases, over 1 + momentum: the best of those its authors tried."""
SOFTNESS = 1e-3
"""Of a target magnitude: a coefficient weaker than that has no phase to speak of, and is not blown up to full size. It
keeps the search from magnifying rounding."""
TINY = 1e-9


class Spectrogram(nn.Module):
    """Waveform to compressed magnitudes, and the way back.

    Compression is the cube root, about how loudness grows with pressure. The root of small magnitudes is not the
    logarithm: it tends to zero, so that what is too quiet to be heard does not count.
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
        model: Tensor | None = None,
        held: Tensor | None = None,
        settled: int = 0,
    ) -> Tensor:
        """Plain magnitudes [B, N, bins] -> [B, 1, N × hop], with phases that were searched for.

        The search begins with every window's sound in its middle, so it depends on what it is given alone.

        Args:
            magnitudes: of every window.
            iterations: rounds of the search.
            model: a waveform [B, 1, N × hop] whose phases some windows take over, and keep.
            held: bool [B, N], which.
            settled: the lowest bins of these, which in the end give in to what overlapping windows agree on.
        """
        phases = torch.ones_like(magnitudes)
        phases[..., 1::2] = -1
        kept: Tensor | float = 0.0
        sought = magnitudes
        if model is not None and held is not None:
            sought = magnitudes.masked_fill(held[..., None], 0)
            kept = self._with_phases_of(self.transform(model.squeeze(1)), magnitudes - sought)
        spectrum = torch.complex(sought * phases, torch.zeros_like(magnitudes)) + kept
        before: Tensor | None = None
        for _ in range(iterations):
            consistent = self.transform(self.invert(spectrum))
            direction = consistent if before is None else consistent - MOMENTUM / (1 + MOMENTUM) * before
            spectrum = self._with_phases_of(direction, sought) + kept
            before = consistent
        if held is not None and settled:
            low = torch.arange(self.bins, device=magnitudes.device) < settled
            agreed = self._with_phases_of(self.transform(self.invert(spectrum)), magnitudes)
            spectrum = spectrum + (agreed - spectrum) * (held[..., None] & low).to(magnitudes.dtype)
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
