"""X-Codec (arXiv 2408.17175). START HERE.

    waveform ─┬─ acoustic encoder ──────────────┐
              │                                 ├─ prior ─ residual vector quantiser ─┬─ acoustic decoder ─ waveform
              └─ teacher ─ semantic encoder ────┘                                     └─ semantic decoder ─ teacher's
                (frozen)                                                                                    features

The point of the paper is the two places where meaning enters. *Before* the quantiser, features of a frozen pre-trained
encoder (the teacher) stand beside the acoustic ones, so the codes can say what was said. *After* it, a decoder must
rebuild the teacher's features from the codes, so they do say it. Take the lower rows away (``semantic=None`` in the
config) and what is left is the paper's acoustic baseline.

Shapes here and everywhere: B batch, T samples, F frames, K codebooks, D channels. One frame is ``hop_length`` samples.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xcodec.codec import checkpoint, formats
from xcodec.codec.config import CodecProperties, DacConfig, XCodecConfig
from xcodec.codec.dac import DacDecoder, DacEncoder
from xcodec.codec.inputs import as_audio, as_codes, check_samples, describe, full_precision
from xcodec.codec.quantizer import Quantized, ResidualVectorQuantizer
from xcodec.codec.semantic import SemanticDecoder, SemanticEncoder, Teacher
from xcodec.codec.spectral import SpectralDecoder, SpectralEncoder
from xcodec.codec.vocoder import Spectra


@dataclass
class Latents:
    """The quantiser's input, and the teacher features that went into it."""

    values: Tensor
    """[B, D, F]: acoustic and semantic features, mixed."""
    teacher: Tensor | None
    """[B, D, F]: the teacher's features, or None in the acoustic baseline."""


@dataclass
class CodecOutput:
    """Everything a training step needs of one pass through the codec."""

    audio: Tensor | None
    """[B, 1, T]; None when the pass left it out."""
    codes: Tensor | None
    """int64 [B, K, F]; None when the pass skipped the quantiser."""
    commitment: Tensor
    """Scalar: see :class:`~xcodec.codec.quantizer.Quantized`."""
    semantic: Tensor | None
    """[B, D, F]: the teacher's features as rebuilt from the codes; None in the acoustic baseline."""
    teacher: Tensor | None
    """[B, D, F]: the teacher's features themselves, the target of ``semantic``."""
    spectra: Tensor | None = None
    """[B, N, bins]: the compressed magnitudes that a spectral decoder gives phases; None of other decoders."""
    true_spectra: Tensor | None = None
    """[B, N, bins]: those of the input, the target of ``spectra``."""
    complex_spectra: Spectra | None = None
    """[B, N, bins]: with the phases of a vocoder, where there is one and audio was asked for."""


class XCodec(CodecProperties, nn.Module):
    """The network: :meth:`forward` to train it, :meth:`encode` and :meth:`decode` to try it.

    To use a trained codec, :func:`xcodec.load` wraps one for speed; this is what to train, trace and publish.
    """

    def __init__(self, config: XCodecConfig) -> None:
        super().__init__()
        self.config = config
        acoustic, strides, width = config.acoustic, config.strides, config.quantizer.width
        if isinstance(acoustic, DacConfig):
            self.acoustic_encoder: nn.Module = DacEncoder(acoustic, strides)
            self.acoustic_decoder: nn.Module = DacDecoder(acoustic, strides)
        else:
            self.acoustic_encoder = SpectralEncoder(acoustic, config.hop_length, config.sample_rate)
            self.acoustic_decoder = SpectralDecoder(acoustic, config.hop_length, config.sample_rate)
        self.teacher: Teacher | None = None
        semantic_width = 0
        if config.semantic is not None:
            self.teacher = Teacher(config.semantic.teacher, config.sample_rate)
            teacher_width, blocks = self.teacher.width, config.semantic.blocks
            semantic_width = config.semantic.width or teacher_width
            self.semantic_encoder = SemanticEncoder(teacher_width, semantic_width, blocks)
            self.semantic_decoder = SemanticDecoder(semantic_width, teacher_width, blocks)
            self.to_semantic = nn.Linear(width, semantic_width)
        self.prior = nn.Linear(acoustic.width + semantic_width, width)
        self.quantizer = ResidualVectorQuantizer(config.quantizer)
        self.to_acoustic = nn.Linear(width, acoustic.width)
        self._init_projections(acoustic.width)

    @torch.no_grad()
    def _init_projections(self, acoustic_width: int) -> None:
        """Start the linear layers around the quantiser as identities: acoustic and semantic channels stay apart."""
        nn.init.eye_(self.prior.weight)
        nn.init.eye_(self.to_acoustic.weight)
        if self.teacher is not None:
            self.to_semantic.weight.zero_()
            nn.init.eye_(self.to_semantic.weight[:, acoustic_width:])
            self.to_semantic.bias.zero_()
        self.prior.bias.zero_()
        self.to_acoustic.bias.zero_()

    @classmethod
    def from_pretrained(
        cls, source: str | os.PathLike[str] | None = None, *, device: str | torch.device = "cpu"
    ) -> XCodec:
        """A trained network in evaluation mode, float32.

        Args:
            source: a name, folder or file, as :func:`xcodec.load` takes it.
            device: where to put it.

        Raises:
            CheckpointError: nothing there, or nothing that fits: every missing, misshapen or unknown tensor is named.
        """
        found = checkpoint.read(source)
        with full_precision(torch.device("cpu")), checkpoint.without_initialisation():
            model = cls(found.config)
            model.load_state_dict(found.state_dict(model.state_dict()))
        return model.to(device).eval()

    def save_pretrained(
        self,
        folder: str | os.PathLike[str],
        dtype: torch.dtype | None = None,
        *,
        statistics: bool = True,
        file_format: Literal["xcodec", "transformers", "hub"] = "xcodec",
        licence: str | None = None,
        measures: Mapping[str, float] | None = None,
    ) -> None:
        """Write a checkpoint, whole or not at all; one that is already there is replaced.

        Args:
            folder: where to; its parents are created.
            dtype: to store floating-point tensors as. Half precision halves the file; loading gives float32 again.
            statistics: whether to store the codebooks' moving averages. Without them the file is smaller, and training
                goes on from it as if every entry had been used equally.
            file_format: ``transformers`` writes, in float32, what ``XcodecModel.from_pretrained`` loads; ``hub`` adds a
                model card, and what ``AutoModel.from_pretrained(…, trust_remote_code=True)`` needs.
            licence: of the weights, for the model card: ``apache-2.0``.
            measures: for the model card: ``{"PESQ-WB at 4 kbps": 2.58}``.

        Raises:
            CheckpointError: a tensor overflows ``dtype``, or the codec has a part that ``XcodecModel`` cannot hold.
            NotReplaceableError: ``folder`` is a file or holds other things.
            OSError: the files cannot be written.
        """
        if file_format == "transformers":
            formats.write_transformers(self.config, self.state_dict(), folder)
        else:
            hub = {"licence": licence, "measures": measures} if file_format == "hub" else None
            checkpoint.write(self.config, self.state_dict(), folder, dtype, statistics=statistics, hub=hub)

    def push_to_hub(
        self,
        repository: str,
        dtype: torch.dtype | None = None,
        *,
        licence: str | None = None,
        measures: Mapping[str, float] | None = None,
        **options: Any,
    ) -> str:
        """Publish a checkpoint on the Hugging Face hub, where :func:`xcodec.load` finds it; gives its address.

        Args:
            repository: ``"organisation/name"``; created if it is missing.
            dtype: as in :meth:`save_pretrained`, as are licence and measures.
            options: to ``huggingface_hub.create_repo``, such as ``private=True`` or ``token=...``.
        """
        from huggingface_hub import HfApi

        api = HfApi(token=options.pop("token", None))
        with tempfile.TemporaryDirectory() as folder:
            target = os.path.join(folder, "model")
            self.save_pretrained(target, dtype, file_format="hub", licence=licence, measures=measures)
            api.create_repo(repository, exist_ok=True, **options)
            return str(api.upload_folder(repo_id=repository, folder_path=os.path.join(folder, "model")).commit_url)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.prior.weight.device

    @property
    def fingerprint(self) -> checkpoint.Fingerprint:
        """Hashes of the weights, computed anew each time: which codes it makes, and which audio of them."""
        return checkpoint.fingerprint(self.state_dict())

    def encode(self, wav: Any, bandwidth: float | None = None, lengths: Sequence[int] | Tensor | None = None) -> Tensor:
        """Audio to codes.

        A clip gets the same codes alone and in any batch: what lies beyond its own length is cut off, and each clip
        passes through the network by itself. (Masking a padded batch instead is what others do. It is faster on a
        GPU, but wrong for teachers that normalise over time, and where it is right, rounding still differs with the
        batch's shape, which flips codes that are nearly tied. docs/batching.md has the measurements.) Nor does what
        surrounds the call change them, such as autocast or another default type.

        Args:
            wav: float [B, 1, T] or [T], in [-1, 1], at ``sample_rate``; a tensor, a NumPy array or a list.
            bandwidth: kbit/s, one of ``bandwidths``; the highest by default.
            lengths: samples of each clip in a padded batch; ``None`` means all T.

        Returns:
            int64 [B, K, F], on the codec's device: F = ceil(T / hop_length). A clip of n samples has
            ceil(n / hop_length) frames, and zeros after them.

        Raises:
            ValueError: a bandwidth the model lacks, or a shape, type or length that cannot be.
        """
        codebooks = self.config.codebooks_for(bandwidth)
        with full_precision(self.device), torch.no_grad():
            wav = as_audio(wav, self.prior.weight)
            clips = _clips(wav[None, None] if wav.dim() == 1 else wav, lengths)
            frames = -(-wav.shape[-1] // self.hop_length)
            codes = torch.zeros(len(clips), codebooks, frames, dtype=torch.int64, device=wav.device)
            for row, clip in zip(codes, clips, strict=True):
                latents = self.latents(self.pad_to_frames(clip[None])).values
                row[:, : latents.shape[2]] = self.quantizer.encode(latents, codebooks)[0]
            return codes

    def decode(self, codes: Any) -> Tensor:
        """Codes int64 [B, K, F] (or [K, F]) to audio float [B, 1, F × hop_length], on the codec's device.

        Any K from 1 to the model's number of codebooks will do: it is the bandwidth.

        Raises:
            ValueError: a shape that cannot be, or a code outside the codebook.
        """
        with full_precision(self.device), torch.no_grad():
            codes = as_codes(codes, self.device)
            codes = codes[None] if codes.dim() == 2 else codes
            if codes.dim() != 3 or 0 in codes.shape:
                raise ValueError(f"codes must be integers [B, K, F], none of them empty; got {describe(codes)}")
            if codes.shape[1] > self.config.quantizer.codebooks:
                raise ValueError(
                    f"{codes.shape[1]} codebooks given, but {self.config.name} has {self.config.quantizer.codebooks}"
                )
            low, high = int(codes.min()), int(codes.max())
            if low < 0 or high >= self.codebook_size:
                raise ValueError(f"codes must lie in [0, {self.codebook_size}); got {low} … {high}")
            return self.synthesise(self.quantizer.decode(codes))

    def forward(
        self,
        wav: Tensor,
        codebooks: Tensor | None,
        with_audio: bool = True,
        teacher: Tensor | None = None,
        codes: Tensor | None = None,
    ) -> CodecOutput:
        """One training pass; in training mode it updates the codebooks, once.

        Args:
            wav: float [B, 1, T], T a multiple of ``hop_length``.
            codebooks: int64 [B], the number each clip is quantised with. ``None`` skips the quantiser, to warm up the
                network as a plain autoencoder before there are codebooks.
            with_audio: False leaves out the waveform where a spectral decoder can be judged by its spectra: most of
                a training step's time would go into their phases.
            teacher: the teacher's features [B, D, F] of ``wav``, where they are known already.
            codes: int64 [B, all codebooks, F] of ``wav``, where they are known and stay what they are: only what lies
                after the quantiser runs, and there is no semantic reconstruction.
        """
        if codes is not None:
            quantized = Quantized(self.quantizer.decode(codes, codebooks), codes, wav.new_zeros(()))
            known = Latents(quantized.values, None)
        else:
            known = self.latents(wav, teacher)
            quantized = Quantized(known.values, None, known.values.new_zeros(()))
            if codebooks is not None:
                with torch.autocast(wav.device.type, enabled=False):  # moving averages and distances want float32
                    quantized = self.quantizer(known.values.float(), codebooks)
        output = CodecOutput(
            audio=None,
            codes=quantized.codes,
            commitment=quantized.commitment,
            semantic=self.reconstruct_semantics(quantized.values) if known.teacher is not None else None,
            teacher=known.teacher,
        )
        features = _pointwise(self.to_acoustic, quantized.values)
        decoder = self.acoustic_decoder
        if isinstance(decoder, SpectralDecoder):
            output.spectra = decoder.spectra(features)
            with torch.no_grad():
                output.true_spectra = decoder.spectrogram.analyse(wav)
            if with_audio and decoder.vocoder is not None:
                output.complex_spectra = decoder.vocoder(output.spectra.float())
                output.audio = decoder.vocoder.to_audio(output.complex_spectra)
            elif with_audio:
                output.audio = decoder.to_audio(output.spectra)
        else:
            output.audio = decoder(features)
        return output

    def latents(self, wav: Tensor, teacher: Tensor | None = None) -> Latents:
        """The quantiser's input, of whole frames [B, 1, F × hop_length].

        Args:
            wav: the audio.
            teacher: the teacher's features [B, D, F] of it, where they are known already.
        """
        acoustic = self.acoustic_encoder(wav)
        if self.teacher is None:
            return Latents(self.fuse(acoustic), None)
        if teacher is None:
            teacher = self.teacher(wav, acoustic.shape[2])
        return Latents(self.fuse(acoustic, self.semantic_encoder(teacher)), teacher)

    def fuse(self, acoustic: Tensor, semantic: Tensor | None = None) -> Tensor:
        """Acoustic and semantic features [B, D, F] of the same frames -> the latents to quantise [B, D', F]."""
        return _pointwise(self.prior, acoustic if semantic is None else torch.cat([acoustic, semantic], dim=1))

    def synthesise(self, quantized: Tensor) -> Tensor:
        """Quantised latents [B, D, F] -> audio [B, 1, F × hop_length]."""
        return self.acoustic_decoder(_pointwise(self.to_acoustic, quantized))

    def reconstruct_semantics(self, quantized: Tensor) -> Tensor:
        """Quantised latents [B, D, F] -> the teacher's features [B, D, F], as predicted from the codes."""
        return self.semantic_decoder(_pointwise(self.to_semantic, quantized))

    def pad_to_frames(self, wav: Tensor) -> Tensor:
        """Zeros after [..., T] up to a whole number of frames.

        With a hop of 320, 700 samples become 960, three frames. The release does not pad, so that for 232 of 320
        remainders its two branches disagree on the number of frames.
        """
        return F.pad(wav, (0, -wav.shape[-1] % self.hop_length))


def _clips(wav: Tensor, lengths: Sequence[int] | Tensor | None) -> list[Tensor]:
    """The rows of a checked batch, each [1, n] without what lies beyond its length."""
    if wav.dim() != 3 or wav.shape[1] != 1 or 0 in wav.shape:
        raise ValueError(f"audio must be floating point [B, 1, T] or [T], and not empty; got {describe(wav)}")
    try:
        samples = [wav.shape[2]] * len(wav) if lengths is None else [index(length) for length in lengths]
    except TypeError:
        raise ValueError(f"lengths must be a list of whole numbers of samples; got {lengths!r:.80}") from None
    if len(samples) != len(wav) or not all(1 <= length <= wav.shape[2] for length in samples):
        raise ValueError(f"lengths must give each of the {len(wav)} clips 1 … {wav.shape[2]} samples; got {samples}")
    clips = [clip[:, :length] for clip, length in zip(wav, samples, strict=True)]
    for number, clip in enumerate(clips):
        check_samples(clip, f"clip {number}")
    return clips


def _pointwise(linear: nn.Linear, x: Tensor) -> Tensor:
    """A linear layer on the channels of every frame: [B, D, F] -> [B, D', F]."""
    return linear(x.transpose(1, 2)).transpose(1, 2)  # (B, D, F) -> (B, F, D) -> (B, D', F)
