"""A corpus of a few seconds and a codec of a few thousand parameters: everything the trainer does, in milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from accelerate.state import AcceleratorState
from torch import Tensor

from xcodec.train.config import TrainConfig, load_config

SAMPLE_RATE = 8000

TINY: dict[str, Any] = {
    "name": "tiny",
    "model": {
        "sample_rate": SAMPLE_RATE,
        "strides": [4, 4, 5],
        "acoustic": {
            "kind": "spectral",
            "width": 8,
            "mel_bands": 4,
            "phase_iterations": 1,
            "encoder_width": 16,
            "encoder_layers": 1,
            "decoder_width": 16,
            "decoder_layers": 1,
        },
        "semantic": None,
        "quantizer": {"codebooks": 3, "codebook_size": 16, "width": 8, "kmeans_iterations": 5},
        "bandwidth_codebooks": [1, 3],
    },
    "data": {"seconds": 0.2, "workers": 0, "validation_crops": 4},
    "optimizer": {"lr": 2e-3, "schedule": "constant"},
    "losses": {
        "mel": 1.0,
        "stft": 0.0,
        "subband_stft": 0.0,
        "semantic": 1.0,
        "adversarial": 0.0,
        "feature_matching": 0.0,
    },
    "spectra": {"resolutions": [[64, 16, 8], [256, 64, 20]]},
    "discriminators": {
        "kinds": ["stft", "period"],
        "width": 2,
        "stft_hops": [32],
        "periods": [3],
        "resolutions": [128],
    },
    "steps": 10,
    "batch_size": 4,
    "kmeans_batches": 2,
    "log_every": 5,
    "validate_every": 1000,
    "checkpoint_every": 1000,
    "trackers": [],
    "device": "cpu",
    "threads": 1,
}


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six gliding tones with overtones, a second each."""
    folder = tmp_path_factory.mktemp("corpus")
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    rng = np.random.default_rng(0)
    for number in range(6):
        phase = 2 * np.pi * (150 + 60 * number + 80 * time) * time
        tone = sum(np.sin(k * phase) / k for k in range(1, 5)) * (1 + np.sin(2 * np.pi * 3 * time)) * 0.1
        audio = tone + 0.003 * rng.standard_normal(len(time))
        soundfile.write(folder / f"{number}.wav", audio.astype(np.float32), SAMPLE_RATE)
    return folder


@pytest.fixture
def write_config(tmp_path: Path, corpus: Path) -> Callable[..., Path]:
    """Write the tiny run's YAML, with the keyword arguments as its top-level changes."""

    def write(**changes: Any) -> Path:
        values = {**TINY, "runs": str(tmp_path / "runs"), **changes}
        values["data"] = {**TINY["data"], "train": [{"path": str(corpus)}], **changes.get("data", {})}
        path = tmp_path / f"{values['name']}.yaml"
        path.write_text(yaml.safe_dump(values), "utf-8")
        return path

    return write


@pytest.fixture
def tiny(write_config: Callable[..., Path]) -> Callable[..., TrainConfig]:
    """The tiny run as a config; takes ``key=value`` changes and top-level keyword arguments."""

    def make(*changes: str, **values: Any) -> TrainConfig:
        return load_config(write_config(**values), changes)

    return make


@pytest.fixture(autouse=True)
def _a_process_of_its_own() -> None:
    """accelerate fixes the precision once per process."""
    torch.set_num_threads(1)
    AcceleratorState._reset_state(reset_partial_state=True)


def assert_same_path(first: dict[str, Tensor], second: dict[str, Tensor], start: dict[str, Tensor]) -> None:
    """Two runs that should do the same sums in another order: they part by far less than they have moved.

    Adam turns rounding in a tiny gradient into a step of full size, so single weights cannot be compared.
    """

    def distance(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
        return sum(float((a[name] - b[name]).square().sum()) for name in start) ** 0.5

    assert distance(first, second) < 0.03 * distance(first, start)
