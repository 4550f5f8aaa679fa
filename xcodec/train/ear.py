"""An ear for what is decoded, so that the decoder learns which differences make words.

Between two spectra that are equally far from the true one, a loss on magnitudes sees no difference; a speech recogniser
does. So decoded and true spectra are both shown to the encoder of a frozen Whisper, and its hidden states are compared
(deep feature losses: Germain, Chen and Koltun, arXiv 1806.10522).

It reads the decoder's magnitudes directly: to make audio of them, and spectra of that, would take most of a training
step. Whisper's own spectrogram has as many frames, of shorter windows and half a hop away. What it makes of this one is
therefore not quite what it makes of sound, for the true spectra as for the decoded ones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xcodec.codec.config import ConfigError, TeacherConfig
from xcodec.codec.spectrogram import Spectrogram
from xcodec.codec.teacher import Teacher, WhisperStates

from .start import load_teacher

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
