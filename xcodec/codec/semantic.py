"""The semantic branch (paper §3.1 and 3.2): the frozen teacher, and the convolution stacks around the quantiser.

Every teacher takes a waveform and gives hidden states at its own frame rate. :class:`Teacher` makes them the codec's:
it resamples the audio, averages over layers, resamples to the codec's frames, and works in windows if the config has
them.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xcodec.codec.config import ConfigError, TeacherConfig
from xcodec.codec.receptive_field import context_frames
from xcodec.utils.spectra import mel_filters, stft


class Teacher(nn.Module):
    """A pre-trained speech encoder from ``transformers`` that stays frozen.

    Its parameters take no gradient, and it stays in evaluation mode when the codec around it goes into training mode
    (in the release, ``.train()`` switches the teacher's dropout on).
    """

    def __init__(self, config: TeacherConfig, codec_rate: int) -> None:
        super().__init__()
        self.config = config
        self.resample: nn.Module = nn.Identity()
        if codec_rate != config.sample_rate:
            from julius.resample import ResampleFrac

            self.resample = ResampleFrac(codec_rate, config.sample_rate)
        network = WhisperStates(config) if config.kind == "whisper" else WaveformStates(config)
        self.network: nn.Module = network
        self.width = network.width
        """Channels of the features."""
        self.hop_length = network.hop_length
        """Samples per frame, at the teacher's rate."""
        self.max_seconds = network.max_seconds
        """The longest input that it takes at a time; None: any."""
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> Teacher:
        """Stay in evaluation mode, whatever ``mode`` says."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, wav: Tensor, frames: int, windowed: bool = True) -> Tensor:
        """Features of a waveform.

        Args:
            wav: [B, 1, T], at the codec's rate.
            frames: of the codec, to which the teacher's are resampled.
            windowed: in the config's windows; False takes all at once, for a caller that cuts long audio itself.

        Returns:
            [B, D, frames].
        """
        wav = self.resample(wav.squeeze(1))  # (B, 1, T) -> (B, T)
        own_frames = -(-wav.shape[1] // self.hop_length)
        wav = F.pad(wav, (0, own_frames * self.hop_length - wav.shape[1]))
        windows = self._windows(own_frames) if windowed else [(0, own_frames)]
        features = torch.cat([self._features(wav, *window) for window in windows], dim=2)
        return features if features.shape[2] == frames else F.interpolate(features, size=frames, mode="linear")

    def _windows(self, frames: int) -> list[tuple[int, int]]:
        """(start, end) of each window, in the teacher's frames."""
        if self.config.window is None:
            return [(0, frames)]
        step = round(self.config.window * self.config.sample_rate / self.hop_length)
        return [(start, min(start + step, frames)) for start in range(0, frames, step)]

    def _features(self, wav: Tensor, start: int, end: int) -> Tensor:
        """Features [B, D, end - start] of the frames from ``start`` to ``end`` of [B, T], with context around them."""
        hop, padding = self.hop_length, self.config.padding
        context = round(self.config.context * self.config.sample_rate / hop)
        first, last = max(start - context, 0), min(end + context, wav.shape[1] // hop)
        piece = F.pad(wav[:, first * hop : last * hop], (padding, padding))
        states = [state.to(wav.dtype) for state in self.network(piece)]
        layers = self.config.layers
        features = torch.stack(states).mean(0) if layers == "mean" else states[int(layers)]
        return features[:, start - first : end - first].transpose(1, 2)  # (B, F, D) -> (B, D, F)


class WaveformStates(nn.Module):
    """HuBERT, WavLM and wav2vec 2.0: a convolution stack on the waveform, then a transformer."""

    max_seconds: float | None = None

    def __init__(self, config: TeacherConfig) -> None:
        super().__init__()
        from transformers import AutoModel

        self.model = AutoModel.from_config(teacher_architecture(config))
        self.width = int(self.model.config.hidden_size)
        self.hop_length = math.prod(self.model.config.conv_stride)

    def forward(self, wav: Tensor) -> tuple[Tensor, ...]:
        """[B, T] -> every hidden state [B, F, D], the input embedding first."""
        return self.model(wav, output_hidden_states=True).hidden_states


class WhisperStates(nn.Module):
    """The encoder of Whisper behind its log-mel spectrogram, for input of any length up to 30 s.

    ``transformers`` pads every input to 30 s. Here the learned positions are cut to the input's length instead, which
    for short clips is many times cheaper.
    """

    hop_length = 320  # 160 from frame to frame of the spectrogram, halved once by the second convolution

    def __init__(self, config: TeacherConfig) -> None:
        super().__init__()
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        architecture = teacher_architecture(config)
        self.encoder = WhisperEncoder(architecture)
        self.width = int(architecture.d_model)
        self.max_seconds: float | None = architecture.max_source_positions * self.hop_length / config.sample_rate
        every, wanted = int(architecture.encoder_layers), config.layers
        self.needed = wanted if isinstance(wanted, int) and 0 <= wanted <= every else every
        """Layers that are run: none above the one whose states are wanted."""
        if config.window is None or config.window + 2 * config.context > self.max_seconds:
            raise ConfigError(
                f"Whisper takes at most {self.max_seconds:g} s at a time: teacher.window + 2 × teacher.context must "
                f"not exceed that, but they are {config.window} and {config.context}"
            )
        filters = mel_filters(400, architecture.num_mel_bins, 16000)
        self.window: Tensor
        self.filters: Tensor
        self.register_buffer("window", torch.hann_window(400), persistent=False)
        self.register_buffer("filters", filters.T.float(), persistent=False)  # [mels, 201]

    def forward(self, wav: Tensor) -> tuple[Tensor, ...]:
        """[B, T] -> the hidden states [B, F, D] up to the last that is needed, the input embedding first."""
        spectrum = stft(wav, self.window, 160)[:, :-1].abs().square().transpose(1, 2)  # (B, N, bins) -> (B, bins, N)
        return self.states(self.log_mel(spectrum, self.filters))

    def states(self, log_mel: Tensor) -> tuple[Tensor, ...]:
        """The same of a log-mel spectrogram [B, mels, 2 F]. That of the encoder's last layer is normalised."""
        encoder = self.encoder
        hidden = F.gelu(encoder.conv2(F.gelu(encoder.conv1(log_mel))))
        hidden = hidden.transpose(1, 2)  # (B, D, F) -> (B, F, D)
        hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
        states = [hidden]
        for layer in encoder.layers[: self.needed]:
            states.append(layer(states[-1], None))
        if self.needed == len(encoder.layers):
            states[-1] = encoder.layer_norm(states[-1])
        return tuple(states)

    @staticmethod
    def log_mel(power: Tensor, filters: Tensor) -> Tensor:
        """Power of bins [B, bins, N], with filters [mels, bins] -> [B, mels, N], scaled as Whisper was trained.

        That is: 8 decades below the loudest band, and no more.
        """
        with torch.autocast(power.device.type, enabled=False):  # eight decades need the digits
            log_mel = (filters @ power).clamp(min=1e-10).log10()
        log_mel = torch.maximum(log_mel, log_mel.amax(dim=(1, 2), keepdim=True) - 8)
        return (log_mel + 4) / 4


def teacher_architecture(config: TeacherConfig) -> Any:
    """The ``transformers`` config object that the teacher's dict describes."""
    from transformers import AutoConfig

    values = dict(config.architecture)
    return AutoConfig.for_model(values.pop("model_type"), **values)


class SemanticUnit(nn.Module):
    """Two convolutions behind ELUs, added to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(width, width, 3, padding=1, bias=False)
        self.conv2 = nn.Conv1d(width, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, D, F] -> [B, D, F]."""
        return x + self.conv2(F.elu(self.conv1(F.elu(x))))


class SemanticEncoder(nn.Module):
    """Teacher features [B, D, F] -> semantic features [B, width, F], to be quantised with the acoustic ones."""

    def __init__(self, teacher_width: int, width: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(teacher_width, width, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(SemanticUnit(width), SemanticUnit(width), nn.Conv1d(width, width, 3, padding=1))
                for _ in range(blocks)
            )
        )
        self.context_frames = context_frames(self)
        """Frames of teacher features on either side of a frame that its own depend on."""

    def forward(self, features: Tensor) -> Tensor:
        """[B, D, F] -> [B, width, F]."""
        return self.blocks(self.first(features))


class SemanticDecoder(nn.Module):
    """Quantised features [B, width, F] -> the teacher's features [B, D, F], as predicted from the codes."""

    def __init__(self, width: int, teacher_width: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(width, width, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(nn.Conv1d(width, width, 3, padding=1), SemanticUnit(width), SemanticUnit(width))
                for _ in range(blocks)
            )
        )
        self.last = nn.Conv1d(width, teacher_width, 3, padding=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """[B, width, F] -> [B, D, F]."""
        return self.last(self.blocks(self.first(features)))
