"""The model inside the package: it is there, it needs no network, and a person would recognise what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import xcodec
from xcodec import audio

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
