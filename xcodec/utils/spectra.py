"""The one short-time Fourier transform and the one mel filter bank of the project."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def stft(wav: Tensor, window: Tensor, hop: int, margin: int | None = None, reflect: bool = True) -> Tensor:
    """Short-time Fourier transform, frame by frame; with the defaults that of :func:`torch.stft`.

    Args:
        wav: float [..., T].
        window: [size] on the same device, as long as the FFT; even.
        hop: samples from one frame to the next.
        margin: samples added at either end; by default size / 2, so that frame 0 is centred on sample 0.
        reflect: fill the margins with the signal's reflection, if it is long enough for that; otherwise with zeros.

    Returns:
        complex [..., F, bins] with F = (T + 2 · margin - size) // hop + 1 and bins = size / 2 + 1.

    >>> stft(torch.zeros(2, 160), torch.hann_window(64), 16).shape
    torch.Size([2, 11, 33])
    """
    size, samples = len(window), wav.shape[-1]
    margin = size // 2 if margin is None else margin
    mode = "reflect" if reflect and samples > margin else "constant"
    padded = F.pad(wav.reshape(-1, 1, samples), (margin, margin), mode=mode)
    spectrum = torch.fft.rfft(padded.unfold(2, size, hop) * window)  # [N, 1, F, bins]
    return spectrum.view(*wav.shape[:-1], *spectrum.shape[2:])


class Stft(nn.Module):
    """:func:`stft` with a Hann window as long as the FFT."""

    def __init__(self, fft_size: int, hop: int) -> None:
        super().__init__()
        self.fft_size, self.hop = fft_size, hop
        self.window: Tensor
        self.register_buffer("window", torch.hann_window(fft_size), persistent=False)

    def forward(self, wav: Tensor) -> Tensor:
        """[..., T] -> [..., T / hop + 1, bins, 2], real and imaginary parts."""
        return torch.view_as_real(stft(wav, self.window, self.hop))


def mel_filters(size: int, bands: int, sample_rate: int) -> Tensor:
    """Triangular filters of equal area on Slaney's mel scale, 0 Hz to half the sample rate, as Whisper has them.

    Args:
        size: of the FFT.
        bands: how many filters.
        sample_rate: in Hz.

    Returns:
        float64 [size / 2 + 1, bands].
    """
    from transformers.audio_utils import mel_filter_bank

    bins = size // 2 + 1
    return torch.from_numpy(
        mel_filter_bank(bins, bands, 0, sample_rate / 2, sample_rate, norm="slaney", mel_scale="slaney")
    )
