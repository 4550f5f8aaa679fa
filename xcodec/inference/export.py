"""A codec as graphs that run without PyTorch: ONNX, or OpenVINO's.

Three graphs, with any number of clips and of frames:

    teacher   audio [B, 1, T]                           -> features [B, D, F]
    encoder   audio [B, 1, F × hop], features [B, D, F] -> codes int64 [B, K, F]
    decoder   codes int64 [B, K, F]                     -> audio [B, 1, F × hop]; a code of -1 stands for none

The teacher's graph takes all it is given at once. Where the codec's teacher works in windows (as that of xcodec-mini
does), a longer clip is given to it window by window, as `meta.json` beside the graphs says: features of the frames
from `start` to `end`, of the audio from `start - context` to `end + context`. (No window, null, is all at once.) A
codec without a teacher has no such graph, and its encoder takes the audio alone. Encoder and decoder may be run in
chunks, too, with so many frames of context before and after as `meta.json` says, each decoder's input beginning with a
multiple of `align_frames`.
"""

from __future__ import annotations

import copy
import json
import os
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xcodec.codec.config import DacConfig
from xcodec.codec.model import XCodec
from xcodec.utils.files import atomic_folder

Format = Literal["onnx", "openvino"]
META = "meta.json"
NAMES = ("teacher", "encoder", "decoder")
EXPORTED = frozenset({META, *(f"{name}.{suffix}" for name in NAMES for suffix in ("onnx", "xml", "bin"))})
_PACKAGES = {"onnx": ("onnx", "onnxscript"), "openvino": ("onnx", "onnxscript", "openvino")}
_OPSET = 18


class ExportError(ValueError):
    """A codec that cannot be exported, or a library that is missing; the message is one line."""


class TeacherGraph(nn.Module):
    """Audio [B, 1, F × hop] -> features [B, D, F]."""

    def __init__(self, codec: XCodec) -> None:
        super().__init__()
        assert codec.teacher is not None
        self.teacher, self.hop_length = codec.teacher, codec.hop_length

    def forward(self, audio: Tensor) -> Tensor:
        """All at once."""
        return self.teacher(audio, audio.shape[2] // self.hop_length, windowed=False)


class EncoderGraph(nn.Module):
    """Audio and the teacher's features -> codes."""

    def __init__(self, codec: XCodec) -> None:
        super().__init__()
        self.codec, self.codebooks = codec, codec.config.bandwidth_codebooks[-1]

    def forward(self, audio: Tensor, features: Tensor | None = None) -> Tensor:
        """[B, 1, F × hop], [B, D, F] -> int64 [B, K, F]."""
        return self.codec.quantizer.encode(self.codec.latents(audio, features).values, self.codebooks)


class DecoderGraph(nn.Module):
    """Codes -> audio."""

    def __init__(self, codec: XCodec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, codes: Tensor) -> Tensor:
        """int64 [B, K, F] -> [B, 1, F × hop]; -1 is no code, as of all codebooks above a bandwidth."""
        levels = self.codec.quantizer.first(codes.shape[1])
        given = (codes >= 0).unsqueeze(-1)  # [B, K, F, 1]
        codes = codes.clamp(min=0)
        chosen = [level.decode(codes[:, k]) * given[:, k] for k, level in enumerate(levels)]
        return self.codec.synthesise(torch.stack(chosen).sum(0).transpose(1, 2))  # (B, F, D) -> (B, D, F)


def export(model: XCodec, folder: str | os.PathLike[str], file_format: Format = "onnx") -> list[str]:
    """Write the graphs, and `meta.json`, into a folder: all of them or none.

    Args:
        model: the plain network, as `XCodec.from_pretrained` gives it.
        folder: to write; an export that is there already is replaced.
        file_format: `onnx` (needs the packages onnx and onnxscript) or `openvino` (needs openvino as well).

    Returns:
        The names of the files.

    Raises:
        ExportError: a package is missing, or OpenVINO cannot read its graphs.
        OSError: the folder cannot be written.
    """
    _require_packages(file_format)
    if file_format == "openvino" and not isinstance(model.config.acoustic, DacConfig):
        raise ExportError(
            f"{model.config.name} has spectral networks, whose Fourier transforms OpenVINO misreads; export it as onnx"
        )
    with atomic_folder(Path(folder), EXPORTED) as fresh:
        write_graphs(model, fresh)
        if file_format == "openvino":
            _to_openvino(fresh)
        return sorted(path.name for path in fresh.iterdir())


def write_graphs(model: XCodec, folder: Path) -> None:
    """Write the graphs in ONNX, and `meta.json`, into an empty folder.

    Raises:
        ExportError: a package is missing.
    """
    _require_packages("onnx")
    codec, hop = copy.deepcopy(model).cpu().eval(), model.hop_length
    graphs: dict[str, tuple[nn.Module, dict[str, Tensor], str]] = {}
    audio, codes = torch.randn(2, 1, 50 * hop), torch.zeros(2, codec.config.quantizer.codebooks, 50, dtype=torch.int64)
    inputs = {"audio": audio}
    if codec.teacher is not None:
        graphs["teacher"] = TeacherGraph(codec), {"audio": audio}, "features"
        inputs["features"] = torch.randn(2, codec.teacher.width, 50)
    graphs["encoder"] = EncoderGraph(codec), inputs, "codes"
    graphs["decoder"] = DecoderGraph(codec), {"codes": codes}, "audio"
    for name, (graph, given, output) in graphs.items():
        _to_onnx(graph.eval(), given, output, hop, folder / f"{name}.onnx")
    (folder / META).write_text(json.dumps(_meta(codec), indent=1) + "\n")


def _require_packages(file_format: Format) -> None:
    if missing := [name for name in _PACKAGES[file_format] if find_spec(name) is None]:
        raise ExportError(f"exporting needs {' and '.join(missing)}: pip install 'xcodec[export]'")


class _Precise(TorchFunctionMode):
    """Traces as matrix products, or in float64, what runtimes compute less precisely than PyTorch.

    ONNX Runtime's Fourier transform of a length that is no power of two has an error of 1e-4 of the largest value, and
    its float32 cumulative sum rounds at every step, where PyTorch's on a CPU sums in float64. Either moves pulses of a
    vocoder's excitation: its audio had an SNR of 33 dB against PyTorch's, now 67 dB.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.fft.rfft:
            cosine, sine = _fourier_basis(args[0].shape[-1])
            return torch.complex(args[0] @ torch.from_numpy(cosine), args[0] @ torch.from_numpy(-sine))
        if func is torch.fft.irfft:
            spectrum, size = args[0], kwargs["n"]
            shares = np.full((size // 2 + 1, 1), 2 / size, np.float32)  # but for 0 Hz and Nyquist, bins stand for two
            shares[[0, -1]] = 1 / size
            real, imaginary = (torch.from_numpy(part.T * shares) for part in _fourier_basis(size))
            return spectrum.real @ real - spectrum.imag @ imaginary if spectrum.is_complex() else spectrum @ real
        if func is Tensor.cumsum:
            return args[0].double().cumsum(*args[1:]).to(args[0].dtype)
        return func(*args, **(kwargs or {}))


def _fourier_basis(size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cosines and sines [size, size / 2 + 1] of a real transform of even size."""
    turns = np.outer(np.arange(size), np.arange(size // 2 + 1)) % size / size
    return np.cos(2 * np.pi * turns).astype(np.float32), np.sin(2 * np.pi * turns).astype(np.float32)


@torch.no_grad()
def _to_onnx(graph: nn.Module, given: dict[str, Tensor], output: str, hop: int, path: Path) -> None:
    batch, frames = torch.export.Dim("batch"), torch.export.Dim("frames")
    # Codes and features have frames; audio has hop times as many samples.
    dynamic = {name: {0: batch, 2: hop * frames if name == "audio" else frames} for name in given}
    with warnings.catch_warnings(), _Precise():
        warnings.simplefilter("ignore")  # of the exporter about itself
        torch.onnx.export(
            graph,
            tuple(given.values()),
            path,
            input_names=list(given),
            output_names=[output],
            dynamic_shapes=tuple(dynamic.values()),
            dynamo=True,
            opset_version=_OPSET,
            external_data=False,
            verbose=False,
        )


def _to_openvino(folder: Path) -> None:
    """Put OpenVINO's two files in the place of each ONNX file."""
    import openvino

    for path in folder.glob("*.onnx"):
        openvino.save_model(openvino.Core().read_model(path), path.with_suffix(".xml"), compress_to_fp16=False)
        path.unlink()


def _meta(codec: XCodec) -> dict[str, object]:
    """What those who run the graphs need to know."""
    config = codec.config
    facts: dict[str, object] = {
        "model": config.name,
        "weights": codec.fingerprint.weights,
        "tokens": codec.fingerprint.tokens,
        "sample_rate": config.sample_rate,
        "hop_length": config.hop_length,
        "codebook_size": config.quantizer.codebook_size,
        "bandwidths": dict(zip(map(str, config.bandwidths), config.bandwidth_codebooks, strict=True)),
    }
    encoder: Any = codec.acoustic_encoder
    decoder: Any = codec.acoustic_decoder
    around = [encoder.context_frames, *([codec.semantic_encoder.context_frames] if codec.teacher is not None else [])]
    facts["encoder"] = {"context_frames": max(around)}
    facts["decoder"] = {
        "context_frames": decoder.context_frames,
        "lookahead_frames": getattr(decoder, "lookahead_frames", decoder.context_frames),
        "align_frames": getattr(decoder, "align_frames", 1),
    }
    if config.semantic is not None:
        teacher = config.semantic.teacher
        window, context = (None, 0.0) if teacher.window is None else (teacher.window, teacher.context)
        facts["teacher"] = {
            "window_frames": window and round(window * config.frame_rate),
            "context_frames": round(context * config.frame_rate),
        }
    return facts
