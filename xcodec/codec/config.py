"""What a codec is made of, as frozen dataclasses that check themselves.

The config travels inside every checkpoint, so a folder of weights always knows how to rebuild its network.
Everything the paper fixes (16 kHz, strides 8·5·4·2, 8 codebooks of 1024) is a default here, not a constant in the
code: a 24 kHz or a 25 Hz codec is another config.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from xcodec.tokens.xc_file import MAX_NAME_BYTES
from xcodec.utils.config import ConfigError as ConfigError  # a part of this module's interface
from xcodec.utils.config import build as _build
from xcodec.utils.config import require as _require

TEACHER_KINDS = ("hubert", "wavlm", "wav2vec2", "whisper")


@dataclass(frozen=True)
class DacConfig:
    """The paper's acoustic networks: DAC's convolutional encoder and decoder, which run at sample rate."""

    width: int = 256
    """Channels of the acoustic features, out of the encoder and into the decoder (the release's ``D``)."""
    encoder_width: int = 64
    """Channels of the encoder's first layer; each stride doubles them."""
    decoder_width: int = 1024
    """Channels of the decoder's first layer; each stride halves them."""
    decoder_strides: tuple[int, ...] | None = None
    """Of the decoder, first layer first; ``None``: the encoder's in the encoder's order, as in the release."""
    kind: str = "dac"

    def __post_init__(self) -> None:
        if self.decoder_strides is not None:
            object.__setattr__(self, "decoder_strides", tuple(self.decoder_strides))
        for name in ("width", "encoder_width", "decoder_width"):
            _require(getattr(self, name) > 0, f"acoustic.{name} must be positive, not {getattr(self, name)}")


@dataclass(frozen=True)
class VocoderConfig:
    """The neural vocoder, which predicts the phases of decoded magnitudes (vocoder.py)."""

    width: int = 256
    """Channels inside its blocks."""
    layers: int = 6
    expansion: int = 3
    """Inner width of a block over its outer width."""
    lookahead: int = 3
    """Future frames among the seven of each block's kernel; 3 is symmetric."""
    excitation: bool = True
    """Correct the phases of pulses and noise; without, predict them from magnitudes alone."""

    def __post_init__(self) -> None:
        _require_counts(self, "acoustic.vocoder.", except_for=("excitation", "lookahead"))
        _require_lookahead(self.lookahead, "acoustic.vocoder.lookahead")


@dataclass(frozen=True)
class SpectralConfig:
    """Acoustic networks that run at frame rate: ConvNeXt on spectrograms, tens of times cheaper on a CPU."""

    width: int = 200
    """Channels of the acoustic features, out of the encoder and into the decoder; ``spectra_per_frame`` times
    ``mel_bands``, to begin as a filter bank and its inverse."""
    spectra_per_frame: int = 2
    """Frames of the spectrogram in one frame of codes. A window is four hops of the spectrogram."""
    mel_bands: int = 100
    pulses: bool = True
    """Voiced windows get the phases of a pulse train at their pitch instead of those that Griffin-Lim finds."""
    phase_iterations: int = 6
    """Griffin-Lim iterations at decoding."""
    encoder_width: int = 256
    """Channels inside the encoder's blocks."""
    encoder_layers: int = 4
    decoder_width: int = 320
    """Channels inside the decoder's blocks."""
    decoder_layers: int = 6
    decoder_lookahead: int = 3
    """Future frames among the seven of each decoder block's kernel; 3 is symmetric."""
    expansion: int = 3
    """Inner width of a block over its outer width."""
    vocoder: VocoderConfig | None = None
    """A neural vocoder for the phases; ``None``: those of pulses and of fast Griffin-Lim."""
    kind: str = "spectral"

    def __post_init__(self) -> None:
        _require_counts(self, "acoustic.", except_for=("kind", "pulses", "vocoder", "decoder_lookahead"))
        _require_lookahead(self.decoder_lookahead, "acoustic.decoder_lookahead")


AcousticConfig = DacConfig | SpectralConfig


def _require_counts(config: Any, where: str, except_for: tuple[str, ...]) -> None:
    for each in dataclasses.fields(config):
        value = getattr(config, each.name)
        _require(each.name in except_for or value > 0, f"{where}{each.name} must be positive, not {value}")


def _require_lookahead(frames: int, where: str) -> None:
    _require(0 <= frames <= 6, f"{where} must lie in 0 … 6, the frames of a block but one, not {frames}")


@dataclass(frozen=True)
class TeacherConfig:
    """The frozen pre-trained encoder whose features the codec must carry (paper §3.1)."""

    architecture: dict[str, Any] = field(default_factory=lambda: {"model_type": "hubert"})
    """The ``transformers`` config of the network: ``model_type`` and whatever differs from that type's defaults."""
    source: str | None = None
    """Where the pre-trained weights come from when training starts: a hub name or a folder. A checkpoint carries
    its teacher, so loading one never reads this."""
    sample_rate: int = 16000
    """Of the teacher's input, in Hz; the waveform is resampled to it."""
    padding: int = 160
    """Zeros before and after the waveform, in the teacher's samples. 160 makes the frames of a wav2vec-style
    stack (window 400, hop 320) as many as the codec's, and centres them."""
    layers: str | int = "mean"
    """``mean`` of all hidden states, the input embedding included (the paper), or the index of one of them."""

    window: float | None = None
    """Seconds the teacher is given at a time, on a grid that starts with the clip. ``None``: the whole clip at once, as
    the paper does. With windows the cost is linear in the clip's length, and a frame's features depend on nothing
    beyond its window and ``context``, so hours can be encoded piece by piece to exactly the same codes."""
    context: float = 1.0
    """Seconds of context on either side of a window, whose features are thrown away."""

    def __post_init__(self) -> None:
        _require(
            self.kind in TEACHER_KINDS,
            f"teacher.architecture.model_type is {self.kind!r}; known: {', '.join(TEACHER_KINDS)}",
        )
        _require(self.sample_rate > 0, f"teacher.sample_rate must be positive, not {self.sample_rate}")
        _require(self.padding >= 0, f"teacher.padding must not be negative, not {self.padding}")
        _require(self.window is None or self.window > 0, f"teacher.window must be positive, not {self.window}")
        _require(self.context >= 0, f"teacher.context must not be negative, not {self.context}")
        _require(
            self.layers == "mean" or (isinstance(self.layers, int) and not isinstance(self.layers, bool)),
            f"teacher.layers must be 'mean' or the index of a hidden state, not {self.layers!r}",
        )

    @property
    def kind(self) -> str:
        """The ``transformers`` model type."""
        return str(self.architecture.get("model_type"))

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str = "teacher.") -> TeacherConfig:
        """Of fields as JSON and YAML have them; missing ones take their defaults.

        Raises:
            ConfigError: an unknown field, or a value that cannot be.
        """
        return _build(cls, values, where)


@dataclass(frozen=True)
class SemanticConfig:
    """The semantic branch: a teacher, an encoder before the quantiser and a decoder after it (paper §3.2)."""

    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    blocks: int = 2
    """Blocks of the semantic encoder and of the decoder; each has two residual units."""
    width: int | None = None
    """Channels of the semantic features; ``None`` takes the teacher's, as the paper does."""

    def __post_init__(self) -> None:
        _require(self.width is None or self.width > 0, f"semantic.width must be positive or null, not {self.width}")
        _require(self.blocks > 0, f"semantic.blocks must be positive, not {self.blocks}")


@dataclass(frozen=True)
class QuantizerConfig:
    """Residual vector quantisation with codebooks that follow the data by exponential moving averages."""

    GONE: ClassVar[dict[str, Any]] = {"code_width": None}

    codebooks: int = 8
    codebook_size: int = 1024
    width: int = 1024
    """Channels of what is quantised (the release: acoustic 256 + semantic 768)."""
    decay: float = 0.99
    """Of the moving averages, per training step."""
    revive_below: float = 0.05
    """A code used less than this fraction of an even share is put beside one that is used much. (The release's
    threshold is 2 uses per step, which is above the even share of its own batches.)"""
    kmeans_iterations: int = 50
    """Of the initialisation on the first training batch."""

    def __post_init__(self) -> None:
        for name in ("codebooks", "width", "kmeans_iterations"):
            _require(getattr(self, name) > 0, f"quantizer.{name} must be positive, not {getattr(self, name)}")
        _require(self.codebook_size > 1, f"quantizer.codebook_size must exceed 1, not {self.codebook_size}")
        _require(0 < self.decay < 1, f"quantizer.decay must lie between 0 and 1, not {self.decay}")
        _require(0 <= self.revive_below < 1, f"quantizer.revive_below must lie in [0, 1), not {self.revive_below}")


@dataclass(frozen=True)
class XCodecConfig:
    """A whole codec. ``XCodecConfig()`` is the paper's X-Codec with HuBERT-base."""

    name: str = "xcodec"
    """Written into every ``.xc`` file, so that a wrong model is noticed at decoding."""
    sample_rate: int = 16000
    """Of the audio in and out, in Hz."""
    strides: tuple[int, ...] = (8, 5, 4, 2)
    """Of the acoustic networks; their product is the hop, in samples per frame."""
    acoustic: AcousticConfig = field(default_factory=DacConfig)
    semantic: SemanticConfig | None = field(default_factory=SemanticConfig)
    """``None`` is the paper's acoustic baseline: no teacher, no semantic loss."""
    quantizer: QuantizerConfig = field(default_factory=QuantizerConfig)
    bandwidth_codebooks: tuple[int, ...] = (1, 2, 3, 4, 8)
    """The numbers of codebooks that are trained for; each is one bandwidth."""
    nominal_bandwidths: tuple[float, ...] | None = None
    """What the bandwidths are called, in kbit/s, where that is not their exact bitrate: a codec of ``transformers`` may
    call two codebooks of 0.3 kbit/s a bandwidth of 0.7."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "strides", tuple(self.strides))
        object.__setattr__(self, "bandwidth_codebooks", tuple(self.bandwidth_codebooks))
        if self.nominal_bandwidths is not None:
            object.__setattr__(self, "nominal_bandwidths", tuple(self.nominal_bandwidths))
        _require(
            self.name.isprintable() and 1 <= len(self.name.encode()) <= MAX_NAME_BYTES,
            f"name must be 1 to {MAX_NAME_BYTES} printable bytes, the room for it in an .xc file, not {self.name!r}",
        )
        _require(self.sample_rate > 0, f"sample_rate must be positive, not {self.sample_rate}")
        _require(
            len(self.strides) > 0 and all(stride > 0 for stride in self.strides),
            f"strides must be one or more positive numbers, not {list(self.strides)}",
        )
        _require(
            isinstance(self.acoustic, DacConfig) or self.hop_length % (2 * self.acoustic.spectra_per_frame) == 0,
            f"spectral networks need a hop that acoustic.spectra_per_frame divides into even parts; strides"
            f" {list(self.strides)} make {self.hop_length}",
        )
        counts = self.bandwidth_codebooks
        _require(
            len(counts) > 0 and counts[0] >= 1 and counts == tuple(sorted(counts)),
            f"bandwidth_codebooks must rise from at least 1, not {list(counts)}",
        )
        _require(
            counts[-1] <= self.quantizer.codebooks,
            f"bandwidth_codebooks asks for {counts[-1]} codebooks; quantizer.codebooks is {self.quantizer.codebooks}",
        )

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return math.prod(self.strides)

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_length

    @property
    def bandwidths(self) -> tuple[float, ...]:
        """Bitrates in kbit/s, lowest first: codebooks × bits per code × frames per second.

        >>> XCodecConfig().bandwidths
        (0.5, 1.0, 1.5, 2.0, 4.0)
        """
        if self.nominal_bandwidths is not None:
            return self.nominal_bandwidths
        per_codebook = math.log2(self.quantizer.codebook_size) * self.frame_rate / 1000
        return tuple(round(count * per_codebook, 4) for count in self.bandwidth_codebooks)

    def codebooks_for(self, bandwidth: float | None) -> int:
        """Number of codebooks at a bandwidth in kbit/s; ``None`` means the highest.

        Raises:
            ValueError: the model has no such bandwidth; the message lists those it has.

        >>> XCodecConfig().codebooks_for(2)
        4
        """
        if bandwidth is None:
            return self.bandwidth_codebooks[-1]
        for count, available in zip(self.bandwidth_codebooks, self.bandwidths, strict=True):
            if not isinstance(bandwidth, str) and math.isclose(bandwidth, available, rel_tol=1e-3):
                return count
        choices = ", ".join(f"{available:g}" for available in self.bandwidths)
        raise ValueError(f"{self.name} has no bandwidth of {bandwidth!r} kbps; it has {choices}")

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> XCodecConfig:
        """The inverse of :meth:`to_dict`; missing fields take their defaults.

        Raises:
            ConfigError: an unknown field, or a value that cannot be.

        >>> XCodecConfig.from_dict(XCodecConfig().to_dict()) == XCodecConfig()
        True
        """
        return _build(cls, values)


class CodecProperties:
    """What a codec says of itself, by its config: the plain network and the one on an engine alike."""

    config: XCodecConfig

    @property
    def sample_rate(self) -> int:
        """Of the audio in and out, in Hz."""
        return self.config.sample_rate

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return self.config.hop_length

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.config.frame_rate

    @property
    def bandwidths(self) -> tuple[float, ...]:
        """What ``encode`` offers, in kbit/s, lowest first."""
        return self.config.bandwidths

    @property
    def codebook_size(self) -> int:
        """Entries per codebook; codes lie in [0, codebook_size)."""
        return self.config.quantizer.codebook_size
