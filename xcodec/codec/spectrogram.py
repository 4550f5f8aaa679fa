"""Short-time spectra whose magnitudes are coded and whose phases are reconstructed.

Phase retrieval is by the fast Griffin-Lim algorithm (Perraudin, Balazs and Søndergaard, WASPAA 2013): windows overlap
fourfold, so magnitudes nearly determine the phases. But decoded magnitudes are only approximately those of a waveform,
and then the result sounds a little metallic. Voiced windows get better phases from pulse_train.py.

It is written twice, with the same operations in the same order for every window, and so the same results but for
rounding. One keeps to differentiable operations that can be exported. The other, for decoding alone, saves three
things: voiced windows keep the phases of the pulse train, so they are synthesised once, and each iteration computes the
unvoiced ones alone (in speech, those are few); the overlap-add reuses its memory from iteration to iteration; and the
sum of the overlapping windows is the same nearly everywhere, so it is computed once.
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
        plain = torch.is_grad_enabled() or torch.compiler.is_compiling()  # which torch.export counts as
        retrieve = self.retrieve_phases if plain else self.retrieve_phases_in_place
        return retrieve(magnitudes, iterations, pulses, voiced, refined_bins)

    def retrieve_phases(
        self, magnitudes: Tensor, iterations: int, pulses: Tensor | None, voiced: Tensor | None, refined_bins: int
    ) -> Tensor:
        """See :meth:`synthesise`: differentiable, and can be exported."""
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

    def retrieve_phases_in_place(
        self, magnitudes: Tensor, iterations: int, pulses: Tensor | None, voiced: Tensor | None, refined_bins: int
    ) -> Tensor:
        """See :meth:`synthesise`: without gradients, and many times faster."""
        batch, frames, _ = magnitudes.shape
        pieces = magnitudes.new_empty(batch, frames, self.size)
        windows = torch.arange(batch * frames, device=magnitudes.device)  # those whose phases are retrieved
        rows = windows[:0]  # voiced: they have the phases of the pulses
        if pulses is not None and voiced is not None:
            rows = voiced.flatten().nonzero().squeeze(1)
            windows = (~voiced.flatten()).nonzero().squeeze(1)
            if len(rows):  # of no windows at all, there is no transform
                given = self._of_windows(self._padded(pulses.view(batch, -1)), rows, frames)
                given = _with_phases_in_place(given, magnitudes.flatten(0, 1)[rows])
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
            spectrum, before = _with_phases_in_place(direction, wanted), consistent
        if len(windows):
            pieces.view(-1, self.size)[windows] = self._sound(spectrum)
        if len(rows) and refined_bins:
            agreed = self._of_windows(self._joined(pieces, shares), rows, frames)[:, :refined_bins]
            given[:, :refined_bins] = _with_phases_in_place(agreed, magnitudes.flatten(0, 1)[rows, :refined_bins])
            pieces.view(-1, self.size)[rows] = self._sound(given)
        hops = self._joined(pieces, shares).view(batch, -1)
        return hops[:, None, self.margin : self.margin + frames * self.hop]

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


def _with_phases_in_place(spectrum: Tensor, magnitudes: Tensor) -> Tensor:
    """The phases of a spectrum complex [M, bins], which is overwritten, with magnitudes [M, bins]."""
    # What abs() computes, in a third of its time.
    size = spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag).sqrt_()
    return spectrum.mul_(magnitudes / size.add_(magnitudes, alpha=SOFTNESS).add_(TINY))
