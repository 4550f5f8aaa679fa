"""Codecs under one interface: ours, those of `transformers`, Opus and Codec 2."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xcodec.engine.engine import Engine, load
from xcodec.tokens.xc_file import AudioTokenizer

Audio = NDArray[np.float32]
"""One channel `[T]`, in [-1, 1]."""


@dataclass(frozen=True)
class Coded:
    """One clip, coded and decoded."""

    audio: Audio
    """`[T]` at the codec's rate, exactly as long as what went in."""
    bits: int | None
    """Size of the coded clip, without any file's header; None for the untouched original."""
    codes: NDArray[np.int64] | None
    """`[K, F]`, of a codec that has tokens."""
    encode_seconds: float
    decode_seconds: float


class EvaluatedCodec(Protocol):
    """A codec at one bitrate."""

    @property
    def label(self) -> str:
        """`NAME@KBPS`, unique in a run."""

    @property
    def identity(self) -> str:
        """Name and version, or a hash of the weights: results of another identity are not reused."""

    @property
    def kbps(self) -> float | None:
        """Nominal bitrate."""

    @property
    def sample_rate(self) -> int:
        """Of the audio in and out, in Hz."""

    def __call__(self, wav: Audio) -> Coded:
        """Code and decode a clip `[T]` at `sample_rate`."""


@dataclass(frozen=True)
class Tokenizer:
    """Any `AudioTokenizer` at one bitrate."""

    label: str
    identity: str
    tokenizer: AudioTokenizer
    kbps: float

    @property
    def sample_rate(self) -> int:
        """The tokenizer's."""
        return self.tokenizer.sample_rate

    @property
    def codebook_size(self) -> int:
        """The tokenizer's."""
        return self.tokenizer.codebook_size

    def encode(self, wav: Audio) -> NDArray[np.int64]:
        """`[T]` to codes `[K, F]`."""
        return self.tokenizer.encode(torch.from_numpy(wav)[None, None], self.kbps)[0].cpu().numpy()

    def __call__(self, wav: Audio) -> Coded:
        """See `EvaluatedCodec`."""
        start = time.perf_counter()
        codes = self.encode(wav)
        middle = time.perf_counter()
        decoded = self.tokenizer.decode(torch.from_numpy(codes)[None])[0, 0].cpu().numpy()
        end = time.perf_counter()
        bits = codes.size * (self.tokenizer.codebook_size - 1).bit_length()
        return Coded(fix_length(decoded, len(wav)), bits, codes, middle - start, end - middle)


@dataclass(frozen=True)
class Original:
    """The untouched clip: the upper bound."""

    label: str = "original"
    identity: str = "original"
    kbps: float | None = None
    sample_rate: int = 16_000

    def __call__(self, wav: Audio) -> Coded:
        """See `EvaluatedCodec`."""
        return Coded(wav, None, None, 0.0, 0.0)


def fix_length(audio: Any, samples: int) -> Audio:
    """Cut off the end, or fill it up with zeros: codecs give whole frames, and some a little less than they got."""
    audio = np.asarray(audio, dtype=np.float32)[:samples]
    return np.pad(audio, (0, samples - len(audio)))


# Codec 2, the low anchor: a vocoder for radio, intelligible and unnatural.

MODES = (0.7, 1.2, 1.3, 1.4, 1.6, 2.4, 3.2)
"""kbps."""
DELAY, DELAY_700 = 0.020, 0.035
"""Delay of the output in seconds, for 0.7 kbps the second: measured by correlating the envelopes of three voices, 19 to
23 ms (27 in one case), and 34 to 37 ms."""


@dataclass(frozen=True)
class Codec2:
    """Speech at 8 kHz. The decoder's lag is taken out.

    Raises:
        ValueError: no such mode, or pycodec2 is not installed.
    """

    kbps: float
    sample_rate: int = 8_000
    _module: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.kbps not in MODES:
            raise ValueError(f"codec2 has {', '.join(f'{mode:g}' for mode in MODES)} kbps, not {self.kbps:g}")
        try:
            import pycodec2
        except ImportError:
            raise ValueError("pycodec2 is not installed; get it with: pip install 'xcodec[evaluate]'") from None
        object.__setattr__(self, "_module", pycodec2)

    @property
    def label(self) -> str:
        """See `EvaluatedCodec`."""
        return f"codec2@{self.kbps:g}"

    @property
    def identity(self) -> str:
        """See `EvaluatedCodec`."""
        return f"{self.label}, pycodec2 {version('pycodec2')}"

    def __call__(self, wav: Audio) -> Coded:
        """See `EvaluatedCodec`."""
        # Both carry their state from frame to frame, so each clip gets new ones.
        encoder, decoder = (self._module.Codec2(round(1000 * self.kbps)) for _ in range(2))
        size = encoder.samples_per_frame()
        lag = round((DELAY_700 if self.kbps == 0.7 else DELAY) * self.sample_rate)
        pcm = np.rint(np.clip(wav, -1, 32767 / 32768) * 32768).astype(np.int16)
        pcm = np.pad(pcm, (0, lag + -(len(pcm) + lag) % size))
        start = time.perf_counter()
        frames = [encoder.encode(frame) for frame in pcm.reshape(-1, size)]
        middle = time.perf_counter()
        decoded = np.concatenate([decoder.decode(frame) for frame in frames]).astype(np.float32) / 32768
        end = time.perf_counter()
        sent = -(-len(wav) // size) * encoder.bits_per_frame()  # what the lag needs is not the clip's
        return Coded(fix_length(decoded[lag:], len(wav)), sent, None, middle - start, end - middle)


# Opus (RFC 6716), the common anchor: libopus inside PyAV, which pip installs whole.

RATE = 48_000
"""Opus decodes at this rate, whatever it was given."""
LOWEST, HIGHEST = 6.0, 256.0
"""kbps that libopus takes for one channel."""


@dataclass(frozen=True)
class Opus:
    """Variable bitrate, frames of 20 ms, full complexity. `Coded.bits` are those of the packets, without the container.

    Raises:
        ValueError: a bitrate that libopus does not take.
    """

    kbps: float

    def __post_init__(self) -> None:
        if not LOWEST <= self.kbps <= HIGHEST:
            raise ValueError(f"opus takes {LOWEST:g} to {HIGHEST:g} kbps, not {self.kbps:g}")

    @property
    def label(self) -> str:
        """See `EvaluatedCodec`."""
        return f"opus@{self.kbps:g}"

    @property
    def identity(self) -> str:
        """See `EvaluatedCodec`."""
        return f"{self.label}, libopus of PyAV {version('av')}"

    @property
    def sample_rate(self) -> int:
        """See `EvaluatedCodec`."""
        return RATE

    def __call__(self, wav: Audio) -> Coded:
        """See `EvaluatedCodec`."""
        import av

        start = time.perf_counter()
        file = io.BytesIO()
        bits = 0
        with av.open(file, "w", format="ogg") as container:
            stream = container.add_stream("libopus", rate=RATE, layout="mono")
            stream.bit_rate = round(self.kbps * 1000)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wav[np.newaxis]), format="flt", layout="mono")
            frame.sample_rate = RATE
            for each in (frame, None):
                for packet in stream.encode(each):
                    bits += 8 * packet.size
                    container.mux(packet)
        middle = time.perf_counter()
        file.seek(0)
        with av.open(file, "r") as source:
            # The container says what the encoder added in front, and FFmpeg leaves it out.
            blocks = [frame.to_ndarray().reshape(-1) for frame in source.decode(audio=0)]
        end = time.perf_counter()
        return Coded(fix_length(np.concatenate(blocks), len(wav)), bits, None, middle - start, end - middle)


# Codecs by name: `NAME`, `NAME@KBPS` or `NAME@all`.
#
#     original                    the untouched clip
#     opus@6 … opus@256           libopus
#     codec2@0.7 … codec2@3.2     Codec 2
#     hf:facebook/encodec_24khz   a codec of transformers: EnCodec, DAC, Mimi, X-Codec; also hf:FOLDER
#     xcodec-mini, a folder, …    whatever `xcodec.load` takes
#
# Without `@`, a codec is evaluated at its highest bandwidth (Codec 2 at 3.2, Opus at 12 kbps), with `@all` at each.


def open_codecs(specs: Sequence[str], engine: Engine = "exact") -> list[EvaluatedCodec]:
    """Codecs by name, in order; each model is loaded once, whatever the number of its bandwidths.

    Args:
        specs: `NAME`, `NAME@KBPS` or `NAME@all`.
        engine: of our own codecs, as `xcodec.load` takes it.

    Raises:
        ValueError: a name that nothing answers to, a bandwidth that a codec lacks, or the same codec twice.
    """
    loaded: dict[str, tuple[str, object]] = {}
    codecs = [codec for spec in specs for codec in _open(spec, engine, loaded)]
    labels = [codec.label for codec in codecs]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise ValueError(f"named twice: {', '.join(twice)}")
    return codecs


def _open(spec: str, engine: Engine, loaded: dict[str, tuple[str, object]]) -> list[EvaluatedCodec]:
    name, _, rate = spec.rpartition("@") if "@" in spec else (spec, "", "")
    kbps = _kbps(rate, spec)
    if name == "original":
        if rate:
            raise ValueError("original has no bitrate")
        return [Original()]
    if name == "opus":
        if rate == "all":
            raise ValueError("opus has any bitrate from 6 to 256 kbps; name the ones wanted, such as opus@12")
        return [Opus(12.0 if kbps is None else kbps)]
    if name == "codec2":
        return [Codec2(each) for each in (MODES if rate == "all" else [MODES[-1] if kbps is None else kbps])]
    return _tokenizers(name, kbps, rate == "all", engine, loaded)


def _kbps(rate: str, spec: str) -> float | None:
    if rate in ("", "all"):
        return None
    try:
        return float(rate)
    except ValueError:
        raise ValueError(f"{spec}: what follows @ must be kbps, or all, not {rate!r}") from None


def _tokenizers(
    name: str, kbps: float | None, every: bool, engine: Engine, loaded: dict[str, tuple[str, object]]
) -> list[EvaluatedCodec]:
    if name not in loaded:
        loaded[name] = _load(name, engine)
    identity, tokenizer = loaded[name]
    assert isinstance(tokenizer, AudioTokenizer)
    offered = tokenizer.bandwidths
    if kbps is not None and not any(abs(kbps - each) < 0.005 for each in offered):
        raise ValueError(f"{name} has {', '.join(f'{each:g}' for each in offered)} kbps, not {kbps:g}")
    wanted = offered if every else [each for each in offered if kbps is None or abs(kbps - each) < 0.005][-1:]
    return [Tokenizer(f"{_short(name)}@{each:g}", f"{identity}@{each:g}", tokenizer, each) for each in wanted]


def _load(name: str, engine: Engine) -> tuple[str, object]:
    """What is behind a name, and its exact identity, wherever it is kept."""
    short = _short(name)
    if name.startswith("hf:"):
        tokenizer = TransformersTokenizer.from_pretrained(name.removeprefix("hf:"))
        revision = getattr(tokenizer.model.config, "_commit_hash", None) or "local"
        return f"{short} ({revision}), transformers {version('transformers')}", tokenizer
    codec = load(name, engine=engine)
    return f"{short} ({codec.fingerprint.weights}{', fast' if engine == 'fast' else ''})", codec


def _short(name: str) -> str:
    return name.rstrip("/").rsplit("/", 1)[-1]


# The codecs of `transformers` as tokenizers: EnCodec, DAC, Mimi, X-Codec.

KINDS = ("encodec", "dac", "mimi", "xcodec")


class TransformersTokenizer:
    """A codec of `transformers` as an `AudioTokenizer`.

    A clip is coded by itself, without padding, so that it has the same codes alone and in a batch.

    Args:
        model: an instance of one of `KINDS`.
        name: for messages.

    Raises:
        ValueError: a codec whose codes alone do not decode.
    """

    @classmethod
    def from_pretrained(cls, name: str) -> TransformersTokenizer:
        """By its name on the hub, or its folder.

        Raises:
            ValueError: nothing there, or no codec of a kind that is known here.
        """
        from transformers import AutoConfig, AutoModel

        try:
            config = AutoConfig.from_pretrained(name)
            if config.model_type not in KINDS:
                raise ValueError(f"{name} is of type {config.model_type}; known are {', '.join(KINDS)}")
            return cls(AutoModel.from_pretrained(name), name)
        except OSError as error:
            raise ValueError(
                f"{name} is neither a folder nor in the hub's cache, and could not be fetched; "
                f"get it with: hf download {name}"
            ) from error

    def __init__(self, model: Any, name: str = "this model") -> None:
        self.model = model.eval()
        config = model.config
        self.kind = str(config.model_type)
        if self.kind == "encodec" and (config.normalize or config.chunk_length_s):
            raise ValueError(f"{name} sends a volume beside its codes, so codes alone do not decode; take a 24 kHz one")
        self.sample_rate = int(config.sample_rate if self.kind == "xcodec" else config.sampling_rate)
        self.codebook_size = int(config.codebook_size)
        self.hop_length = _hop(self.kind, config)
        self.codebooks = _codebooks(self.kind, self.model)
        if self.kind in ("encodec", "xcodec"):
            self.bandwidths = tuple(float(each) for each in config.target_bandwidths)
        else:
            self.bandwidths = tuple(round(count * self._step, 6) for count in range(1, self.codebooks + 1))

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_length

    @property
    def _step(self) -> float:
        """kbps of one codebook."""
        return self.frame_rate * math.log2(self.codebook_size) / 1000

    @torch.inference_mode()
    def encode(self, wav: Tensor, bandwidth: float | None = None, lengths: Sequence[int] | None = None) -> Tensor:
        """See `AudioTokenizer`; frames after the end of a clip are zeros.

        Raises:
            ValueError: a bandwidth the model lacks.
        """
        bandwidth = self.bandwidths[-1] if bandwidth is None else bandwidth
        matching = [each for each in self.bandwidths if abs(each - bandwidth) < 0.005]
        if not matching:
            offered = ", ".join(f"{each:g}" for each in self.bandwidths)
            raise ValueError(f"this {self.kind} has {offered} kbps, not {bandwidth:g}")
        samples = [wav.shape[-1]] * len(wav) if lengths is None else [int(each) for each in lengths]
        frames = -(-wav.shape[-1] // self.hop_length)
        rows = []
        for clip, length in zip(wav, samples, strict=True):
            codes = self._encode(self._whole_frames(clip[None, :, :length]), matching[0])
            rows.append(torch.nn.functional.pad(codes, (0, frames - codes.shape[-1])))
        return torch.cat(rows)

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> Tensor:
        """See `AudioTokenizer`."""
        if self.kind == "encodec":
            audio = self.model.decode(codes[None], [None]).audio_values
        elif self.kind == "dac":
            audio = self.model.decode(audio_codes=codes).audio_values
        else:
            audio = self.model.decode(codes).audio_values
        audio = audio.reshape(len(codes), 1, -1)  # DAC leaves the channel out
        wanted = codes.shape[-1] * self.hop_length
        return torch.nn.functional.pad(audio, (0, max(0, wanted - audio.shape[-1])))[..., :wanted]

    def code_vectors(self, codes: Tensor) -> list[Tensor]:
        """Codes `[1, K, F]` to the vectors of each codebook, `K` times `[F, D]`, as the model adds them up."""
        total, before = [], None
        for count in range(1, codes.shape[1] + 1):
            vectors = self._dequantise(codes[:, :count])[0].T  # (D, F) -> (F, D)
            total.append(vectors if before is None else vectors - before)
            before = vectors
        return total

    def _whole_frames(self, clip: Tensor) -> Tensor:
        return torch.nn.functional.pad(clip, (0, -clip.shape[-1] % self.hop_length))

    def _encode(self, clip: Tensor, bandwidth: float) -> Tensor:
        """[1, 1, T] -> [1, K, F]."""
        if self.kind == "encodec":
            return self.model.encode(clip, bandwidth=bandwidth).audio_codes[0]
        if self.kind == "xcodec":
            return self.model.encode(clip, bandwidth=bandwidth).audio_codes
        count = round(bandwidth / self._step)
        if self.kind == "dac":
            return self.model.encode(clip, n_quantizers=count).audio_codes
        return self.model.encode(clip, num_quantizers=count).audio_codes

    @torch.inference_mode()
    def _dequantise(self, codes: Tensor) -> Tensor:
        """[1, K, F] -> [1, D, F]."""
        if self.kind == "dac":
            return self.model.quantizer.from_codes(codes)[0]
        if self.kind == "mimi":
            return self.model.quantizer.decode(codes)
        return self.model.quantizer.decode(codes.transpose(0, 1))  # (1, K, F) -> (K, 1, F)


def _hop(kind: str, config: Any) -> int:
    if kind == "mimi":
        return round(config.sampling_rate / config.frame_rate)
    return int(config.hop_length)


def _codebooks(kind: str, model: Any) -> int:
    if kind == "dac":
        return int(model.config.n_codebooks)
    return int(model.config.num_quantizers)
