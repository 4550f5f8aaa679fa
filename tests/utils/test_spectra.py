from __future__ import annotations

from pathlib import Path

import pytest
import torch

from xcodec.utils.spectra import mel_filters, stft

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("pad_mode", ["reflect", "constant"])
@pytest.mark.parametrize("shape", [(1000,), (3, 1000), (2, 3, 1001)])
def test_stft_is_that_of_torch(pad_mode: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    wav, window = torch.randn(shape), torch.hann_window(64)
    theirs = torch.stft(wav.reshape(-1, shape[-1]), 64, 16, window=window, pad_mode=pad_mode, return_complex=True)
    ours = stft(wav, window, 16, reflect=pad_mode == "reflect")
    assert ours.shape == (*shape[:-1], 1 + shape[-1] // 16, 33)
    torch.testing.assert_close(ours.reshape(-1, *ours.shape[-2:]), theirs.transpose(1, 2))


def test_a_clip_shorter_than_the_reflection_ends_in_silence() -> None:
    wav, window = torch.ones(1, 20), torch.hann_window(64)
    assert torch.equal(stft(wav, window, 16), stft(wav, window, 16, reflect=False))


def test_mel_filters_cover_the_spectrum_with_equal_areas() -> None:
    filters = mel_filters(2048, 20, 8000)
    assert filters.shape == (1025, 20)
    assert (filters.sum(0) > 0).all()
    torch.testing.assert_close(filters.sum(0), filters.sum(0).mean().expand(20), rtol=0.02, atol=0)
    centres = (filters * torch.arange(1025)[:, None]).sum(0) / filters.sum(0)
    assert (centres.diff() > 0).all()


def test_the_project_has_one_transform_and_one_filter_bank() -> None:
    """No other module of the package calls a library's."""
    texts = {path.name: path.read_text("utf-8") for path in (ROOT / "xcodec").rglob("*.py")}
    for call in ("mel_filter_bank(", "torch.stft("):
        assert {name for name, text in texts.items() if call in text} <= {"spectra.py"}, call
