"""The distance between a frozen Whisper's hidden states."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from tests.conftest import TEACHERS
from xcodec.codec.config import ConfigError, TeacherConfig
from xcodec.codec.spectrogram import Spectrogram
from xcodec.train.codec import CodecTrainer
from xcodec.train.config import TrainConfig
from xcodec.train.losses import PerceptualLoss

from .conftest import TINY

HOP = 160


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> TeacherConfig:
    """A small Whisper with random weights, in a folder."""
    torch.manual_seed(3)
    config = TEACHERS["whisper"]
    architecture = {name: value for name, value in config.architecture.items() if name != "model_type"}
    folder = tmp_path_factory.mktemp("whisper")
    WhisperEncoder(WhisperConfig(**architecture)).save_pretrained(folder)
    return replace(config, source=str(folder))


@pytest.fixture
def perceptual(whisper: TeacherConfig) -> PerceptualLoss:
    return PerceptualLoss(whisper, Spectrogram(HOP), 16000)


def noise(loudness: float = 0.1) -> torch.Tensor:
    torch.manual_seed(1)
    return loudness * torch.randn(3, 1, 40 * HOP)


def test_equal_spectra_have_no_distance_and_more_noise_has_more(perceptual: PerceptualLoss) -> None:
    spectra = perceptual.spectrogram.analyse(noise())
    assert perceptual(spectra, spectra) == 0
    slightly, badly = (spectra + level * torch.rand_like(spectra) for level in (0.02, 0.3))
    assert 0 < perceptual(slightly, spectra) < perceptual(badly, spectra)


def test_the_spectra_of_another_clip_are_as_different_as_they_get(perceptual: PerceptualLoss) -> None:
    torch.manual_seed(2)
    glides = torch.stack([torch.sin(torch.cumsum(torch.rand(40 * HOP) * k, 0)) for k in (0.2, 0.9, 2.0)])
    spectra = perceptual.spectrogram.analyse(0.3 * glides[:, None])
    assert perceptual(spectra.roll(1, 0), spectra) > 0.5


def test_it_teaches_the_spectra_and_learns_nothing_itself(perceptual: PerceptualLoss) -> None:
    target = perceptual.spectrogram.analyse(noise())
    output = (target + 0.2).requires_grad_(True)
    perceptual.train()
    perceptual(output, target).backward()
    assert output.grad is not None
    assert bool(output.grad.isfinite().all())
    assert bool((output.grad != 0).any())
    assert all(parameter.grad is None for parameter in perceptual.parameters())
    assert not perceptual.teacher.training


def test_its_bands_are_nearly_those_of_whispers_own_spectrogram(perceptual: PerceptualLoss) -> None:
    """Other windows, half a hop away: the bands of a steady sound are the same, up to what windows do to its edges."""
    wav = noise()
    ours = perceptual.spectrogram.expand(perceptual.spectrogram.analyse(wav)).square().transpose(1, 2)
    window = torch.hann_window(400)
    theirs = torch.stft(wav.squeeze(1), 400, HOP, window=window, return_complex=True)[..., :-1].abs().square()
    bands = [
        (filters @ power)[..., 4:-4].mean(2)
        for filters, power in ((perceptual.filters, ours), (perceptual.network.filters, theirs))
    ]
    assert (bands[0] / bands[1]).log10().abs().mean() < 0.1


def test_training_with_it_makes_the_loss_smaller(
    tiny: Callable[..., TrainConfig], whisper: TeacherConfig, corpus: Path
) -> None:
    model = {**TINY["model"], "sample_rate": 16000, "strides": [8, 5, 4, 2]}
    config = tiny(
        "steps=40", "losses.perceptual=1", "losses.mel=0", "validate_every=20", "quantize_from=100",
        model=model, perceptual_model=asdict(whisper), data={"seconds": 0.4, "validation": [{"path": str(corpus)}]},
    )  # fmt: skip
    trainer = CodecTrainer(config)
    trainer.start(resume=False)
    trainer.train()
    found = [json.loads(line) for line in (config.folder / "log.jsonl").read_text().splitlines()]
    first, last = (line["valid/perceptual"] for line in found if "valid/perceptual" in line)
    assert last < first


def test_what_it_cannot_work_with_is_an_error(whisper: TeacherConfig, tiny: Callable[..., TrainConfig]) -> None:
    with pytest.raises(ConfigError, match="must be a Whisper, not hubert"):
        PerceptualLoss(TEACHERS["hubert"], Spectrogram(HOP), 16000)
    with pytest.raises(ConfigError, match="160 samples a frame"):
        PerceptualLoss(whisper, Spectrogram(240), 24000)
    with pytest.raises(ConfigError, match=r"perceptual_model\.source is not set"):
        PerceptualLoss(replace(whisper, source=None), Spectrogram(HOP), 16000)
    with pytest.raises(ConfigError, match="needs a perceptual_model"):
        tiny("losses.perceptual=1")
    with pytest.raises(ConfigError, match="batch_size must be at least 2"):
        tiny("losses.perceptual=1", "batch_size=1", perceptual_model=asdict(whisper))
    with pytest.raises(ConfigError, match="perceptual_model"):
        CodecTrainer(tiny("losses.perceptual=1", perceptual_model={"sauce": "elsewhere"}))
