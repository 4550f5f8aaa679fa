"""Fast Griffin-Lim phase retrieval, as in `spectrogram.py`, optimised for inference.

The plain one keeps to differentiable operations that can be exported. Decoding alone saves three things. Voiced windows
keep the phases of the pulse train, so they are synthesised once, and each iteration computes the unvoiced ones alone;
in speech, those are few. The overlap-add reuses its memory from iteration to iteration. And the sum of the overlapping
windows is the same nearly everywhere, so it is computed once.

The operations and their order are the same for every window, so the results are, but for rounding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from xcodec.codec.spectrogram import MOMENTUM, OVERLAP, SOFTNESS, TINY, Spectrogram


class InferenceSpectrogram(Spectrogram):
    """A spectrogram whose phase retrieval is optimised for inference."""

    def synthesise(
        self,
        magnitudes: Tensor,
        iterations: int,
        pulses: Tensor | None = None,
        voiced: Tensor | None = None,
        refined_bins: int = 0,
    ) -> Tensor:
        """See :meth:`Spectrogram.synthesise`, which is what runs where gradients are enabled."""
        if torch.is_grad_enabled():
            return super().synthesise(magnitudes, iterations, pulses, voiced, refined_bins)
        batch, frames, _ = magnitudes.shape
        pieces = magnitudes.new_empty(batch, frames, self.size)
        windows = torch.arange(batch * frames, device=magnitudes.device)  # those whose phases are retrieved
        rows = windows[:0]  # voiced: they have the phases of the pulses
        if pulses is not None and voiced is not None:
            rows = voiced.flatten().nonzero().squeeze(1)
            windows = (~voiced.flatten()).nonzero().squeeze(1)
            if len(rows):  # of no windows at all, there is no transform
                given = self._of_windows(self._padded(pulses.view(batch, -1)), rows, frames)
                given = _given(given, magnitudes.flatten(0, 1)[rows])
                pieces.view(-1, self.size)[rows] = self._sound(given)
        wanted = magnitudes.flatten(0, 1)[windows]  # [M, bins]
        phases = torch.ones_like(wanted)
        phases[:, 1::2] = -1
        spectrum = torch.complex(wanted * phases, torch.zeros_like(wanted))
        shares = self._shares(frames)
        before: Tensor | None = None
        for _ in range(iterations if len(windows) else 0):
            pieces.view(-1, self.size)[windows] = self._sound(spectrum)
            consistent = self._of_windows(self._joined(pieces, shares), windows, frames)
            step = MOMENTUM / (1 + MOMENTUM)
            direction = consistent.clone() if before is None else consistent.sub(before, alpha=step)
            spectrum, before = _given(direction, wanted), consistent
        if len(windows):
            pieces.view(-1, self.size)[windows] = self._sound(spectrum)
        if len(rows) and refined_bins:
            agreed = self._of_windows(self._joined(pieces, shares), rows, frames)[:, :refined_bins]
            given[:, :refined_bins] = _given(agreed, magnitudes.flatten(0, 1)[rows, :refined_bins])
            pieces.view(-1, self.size)[rows] = self._sound(given)
        hops = self._joined(pieces, shares).view(batch, -1)
        return hops[:, None, self.margin : self.margin + frames * self.hop]

    def _padded(self, wav: Tensor) -> Tensor:
        """[B, N × hop] -> with silence into which windows reach, [B, N + OVERLAP - 1, hop]."""
        return F.pad(wav, (self.margin, self.margin)).view(len(wav), -1, self.hop)

    def _of_windows(self, hops: Tensor, windows: Tensor, frames: int) -> Tensor:
        """The spectra complex [M, bins] of some windows of a padded waveform [B, N + OVERLAP - 1, hop]."""
        every = hops.view(-1).unfold(0, self.size, self.hop)  # over the seams between clips too
        first = windows if len(hops) == 1 else windows + windows // frames * (OVERLAP - 1)
        return torch.fft.rfft(every.index_select(0, first).mul_(self.window))

    def _sound(self, spectra: Tensor) -> Tensor:
        """Complex [M, bins] -> [M, size], as they are to be added up."""
        return torch.fft.irfft(spectra, n=self.size).mul_(self.window)

    def _joined(self, pieces: Tensor, shares: Tensor) -> Tensor:
        """Windows [B, N, size] -> the waveform, padded: [B, N + OVERLAP - 1, hop]."""
        batch, frames, _ = pieces.shape
        quarters = pieces.view(batch, frames, OVERLAP, self.hop)
        hops = pieces.new_zeros(batch, frames + OVERLAP - 1, self.hop)
        for i in range(OVERLAP):
            hops[:, i : i + frames] += quarters[:, :, i]
        return hops.mul_(shares)

    def _shares(self, frames: int) -> Tensor:
        """One over the windows that overlap at every sample, [N + OVERLAP - 1, hop]; zero in the padding."""
        weights = self.window.square().view(OVERLAP, self.hop)
        total = weights.new_zeros(frames + OVERLAP - 1, self.hop)
        for i in range(OVERLAP):
            total[i : i + frames] += weights[i]
        shares = total.clamp_(min=TINY).reciprocal_()
        shares.view(-1)[: self.margin] = 0
        shares.view(-1)[-self.margin :] = 0
        return shares


def _given(spectrum: Tensor, magnitudes: Tensor) -> Tensor:
    """The phases of a spectrum complex [M, bins], which is overwritten, with magnitudes [M, bins]."""
    # What abs() computes, in a third of its time.
    size = spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag).sqrt_()
    return spectrum.mul_(magnitudes / size.add_(magnitudes, alpha=SOFTNESS).add_(TINY))
