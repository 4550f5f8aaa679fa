from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import xcodec
from xcodec.audio import AudioError


def test_what_is_written_is_read_again_mixed_or_by_channel(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    stereo = torch.from_numpy(rng.uniform(-0.5, 0.5, (2, 1, 4_000)).astype(np.float32))
    xcodec.write_audio(tmp_path / "a.wav", stereo, 16_000)
    channels = xcodec.read_audio(tmp_path / "a.wav", 16_000, mono=False)
    assert channels.shape == (2, 1, 4_000)
    torch.testing.assert_close(channels, stereo, atol=2**-15, rtol=0)
    mixed = xcodec.read_audio(tmp_path / "a.wav", 16_000)
    torch.testing.assert_close(mixed, channels.mean(dim=(0, 1)), atol=1e-6, rtol=0)
    assert xcodec.read_audio(tmp_path / "a.wav", 8_000).shape == (2_000,)


@pytest.mark.parametrize("shape", [(4_000,), (1, 4_000), (1, 1, 4_000)])
def test_one_channel_comes_in_any_of_its_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    xcodec.write_audio(tmp_path / "a.flac", torch.zeros(shape, dtype=torch.float64, requires_grad=True), 16_000)
    assert xcodec.read_audio(tmp_path / "a.flac", 16_000).shape == (4_000,)


def test_a_batch_of_stereo_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(AudioError):
        xcodec.write_audio(tmp_path / "a.wav", torch.zeros(3, 2, 100), 16_000)
    assert not (tmp_path / "a.wav").exists()
