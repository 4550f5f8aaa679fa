"""The model inside the package: it is there, it needs no network, and a person would recognise what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard

import xcodec
from recipes.open_audio.sources import TRAINING
from xcodec import audio
from xcodec.cli.info import describe

SAMPLES = Path(__file__).parent.parent / "samples"


@pytest.fixture(scope="module")
def shipped() -> xcodec.Codec:
    return xcodec.load()


def test_it_is_what_the_design_says(shipped: xcodec.Codec) -> None:
    assert (shipped.sample_rate, shipped.frame_rate, shipped.codebook_size) == (16000, 50, 1024)
    assert shipped.bandwidths == (0.5, 1, 1.5, 2, 4)
    assert shipped.config.acoustic.kind == "spectral"
    assert shipped.model.teacher is not None
    folder = Path(xcodec.__file__).parent / "assets" / "xcodec-mini"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 60e6


@pytest.mark.parametrize("path", audio.find_audio(SAMPLES), ids=lambda path: path.stem)
def test_more_bits_sound_more_like_the_recording(shipped: xcodec.Codec, path: Path) -> None:
    stoi = pytest.importorskip("pystoi", reason="pip install 'xcodec[evaluate]'").stoi
    wav, rate = audio.read(path, shipped.sample_rate)
    scores = []
    for bandwidth in (0.5, 1, 2, 4):
        decoded = shipped.decode(shipped.encode(torch.from_numpy(wav)[None], bandwidth))
        scores.append(stoi(wav[0], decoded[0, 0, : wav.shape[1]].numpy(), rate))
    assert scores == sorted(scores)
    assert scores[0] > 0.7
    assert scores[-1] > 0.88  # of speech that was never in training; noise of the same loudness has below 0.3


def test_a_batch_changes_nothing(shipped: xcodec.Codec) -> None:
    clips = [torch.from_numpy(audio.read(path, 16000)[0])[0] for path in audio.find_audio(SAMPLES)]
    clips.append(clips[0][:320])
    batch = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)[:, None]
    together = shipped.encode(batch, lengths=[len(clip) for clip in clips])
    for row, clip in zip(together, clips, strict=True):
        alone = shipped.encode(clip)[0]
        assert torch.equal(row[:, : alone.shape[1]], alone)


def test_each_shipped_weight_file_says_its_licence_and_those_of_what_it_was_trained_on() -> None:
    """The sources that the recipe trains on are all listed, with their licences."""
    root = Path(xcodec.__file__).parents[1]
    weights = [*(root / "xcodec" / "assets").rglob("*.safetensors"), *(root / "checkpoints").rglob("*.safetensors")]
    assert len(weights) == 4
    for path in weights:
        data = ModelCard.load(path.with_name("README.md")).data
        assert data.license == "apache-2.0"
        listed = data.get("trained_on")
        if "speech" not in str(path):
            assert {f"{source.package}: {source.licence}" for source in TRAINING} <= set(listed)
    facts = describe("xcodec-mini")
    assert facts["licence"] == "apache-2.0"
    assert "fillets-ng-data-nl: GPL-2" in facts["trained_on"]  # type: ignore[operator]
