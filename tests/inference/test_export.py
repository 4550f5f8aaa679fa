"""Exported graphs, run by onnxruntime, against the codec itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import tiny_codec
from xcodec.codec.model import XCodec
from xcodec.inference.export import ExportError, TeacherGraph, _to_onnx, export
from xcodec.utils.files import NotReplaceableError

onnxruntime = pytest.importorskip("onnxruntime")

KINDS = [("spectral", "whisper"), ("dac", "hubert")]


@pytest.fixture(scope="module", params=KINDS, ids=str)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[XCodec, Path]:
    codec = tiny_codec(*request.param)
    folder = tmp_path_factory.mktemp("graphs") / "graphs"
    export(codec, folder)
    return codec, folder


def run(folder: Path, name: str, **given: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    session = onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"])
    return session.run(None, given)[0]


def snr(reference: torch.Tensor, other: np.ndarray[Any, Any]) -> float:
    """In dB."""
    error = reference - torch.from_numpy(other)
    return float(10 * torch.log10(reference.square().sum() / error.square().sum()))


@pytest.mark.parametrize(("batch", "frames"), [(1, 60), (3, 77)])
def test_the_graphs_are_the_codec(exported: tuple[XCodec, Path], batch: int, frames: int) -> None:
    codec, folder = exported
    wav = 0.3 * torch.randn(batch, 1, 320 * frames, generator=torch.Generator().manual_seed(0))
    given = {"audio": wav.numpy()}
    with torch.inference_mode():
        if codec.teacher is not None:
            features = codec.teacher(wav, frames, windowed=False)
            given["features"] = run(folder, "teacher", audio=wav.numpy())
            np.testing.assert_allclose(given["features"], features.numpy(), atol=2e-4)
        latents = codec.latents(wav).values
        codes = codec.quantizer.encode(latents, 4)
        made = run(folder, "encoder", **given)
        assert made.shape == codes.shape
        assert made.dtype == np.int64
        # Rounding flips codes that are nearly tied, of which a tiny codec has many, and those that follow from them.
        assert (made == codes.numpy()).mean() > 0.9
        assert snr(codec.decode(codes), run(folder, "decoder", codes=codes.numpy())) > 50
        lower = codec.decode(codes[:, :2])
        codes[:, 2:] = -1
        assert snr(lower, run(folder, "decoder", codes=codes.numpy())) > 50


def test_what_those_who_run_it_must_know(exported: tuple[XCodec, Path]) -> None:
    codec, folder = exported
    meta = json.loads((folder / "meta.json").read_text())
    assert (meta["sample_rate"], meta["hop_length"], meta["codebook_size"]) == (16_000, 320, 64)
    assert meta["bandwidths"] == {"0.3": 1, "0.6": 2, "1.2": 4}
    windows = {"spectral": {"window_frames": 200, "context_frames": 50}}
    assert meta["teacher"] == windows.get(codec.config.acoustic.kind, {"window_frames": None, "context_frames": 0})


def with_openvino(path: Path) -> Callable[[list[np.ndarray[Any, Any]]], Any]:
    """A graph in float32: where a processor has bfloat16, OpenVINO takes that unless told."""
    openvino = pytest.importorskip("openvino")
    graph: Callable[[list[np.ndarray[Any, Any]]], Any] = openvino.compile_model(
        path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return graph


def test_openvino_runs_hubert(exported: tuple[XCodec, Path]) -> None:
    codec, folder = exported
    if codec.config.acoustic.kind == "spectral":
        pytest.skip("OpenVINO is refused those, in test_what_is_refused")
    graph = with_openvino(folder / "teacher.onnx")
    check_teacher(codec, lambda wav: graph([wav])[0])


def test_wavlm(tmp_path: Path) -> None:
    """Its graph alone: the others are those of a codec with HuBERT."""
    codec, path = tiny_codec("dac", "wavlm"), tmp_path / "teacher.onnx"
    _to_onnx(TeacherGraph(codec), {"audio": torch.randn(2, 1, 16_000)}, "features", 320, path)
    graph = with_openvino(path)
    check_teacher(codec, lambda wav: graph([wav])[0])
    check_teacher(codec, lambda wav: run(tmp_path, "teacher", audio=wav))


def check_teacher(codec: XCodec, graph: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> None:
    """Whether a graph is the codec's teacher, at several lengths and batches."""
    assert codec.teacher is not None
    for batch, frames in ((1, 60), (3, 77), (2, 3)):
        wav = 0.3 * torch.randn(batch, 1, 320 * frames)
        np.testing.assert_allclose(graph(wav.numpy()), codec.teacher(wav, frames, windowed=False).numpy(), atol=2e-5)


def test_openvino_reads_what_is_written(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    codec = tiny_codec("dac", None)
    assert export(codec, tmp_path / "graphs", "openvino") == [
        "decoder.bin",
        "decoder.xml",
        "encoder.bin",
        "encoder.xml",
        "meta.json",
    ]
    decoder = with_openvino(tmp_path / "graphs" / "decoder.xml")
    codes = torch.randint(64, (2, 4, 33))
    np.testing.assert_allclose(decoder([codes.numpy()])[0], codec.decode(codes).numpy(), atol=1e-3)


def test_what_is_refused(tmp_path: Path) -> None:
    codec = tiny_codec("spectral", None)
    (tmp_path / "letter.txt").write_text("precious")
    with pytest.raises(NotReplaceableError, match=r"letter\.txt"):
        export(codec, tmp_path)
    with pytest.raises(ExportError, match="OpenVINO"):
        export(codec, tmp_path / "new", "openvino")
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
