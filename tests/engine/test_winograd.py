from __future__ import annotations

import pytest
import torch
from torch import nn

from xcodec.engine import winograd as shortconv
from xcodec.engine.winograd import ShortConv1d, suits


def conv(dilation: int = 1, channels: int = 8, bias: bool = True) -> nn.Conv1d:
    return nn.Conv1d(channels, channels + 2, 7, padding=3 * dilation, dilation=dilation, bias=bias)


@pytest.mark.parametrize("samples", [1, 5, 6, 53, 54, 55, 500])
@pytest.mark.parametrize("dilation", [1, 3, 9])
def test_it_is_the_convolution(dilation: int, samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortconv, "_BLOCK_BYTES", 2**14)  # several blocks
    plain = conv(dilation, bias=samples != 54).double()
    x = torch.randn(2, 8, samples, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(ShortConv1d(plain)(x), plain(x), rtol=1e-10, atol=1e-10)


def test_float32_is_good_to_90_db() -> None:
    plain = conv(3, 64)
    x = torch.randn(1, 64, 3_000)
    with torch.inference_mode():
        error = (ShortConv1d(plain)(x) - plain(x)).square().sum() / plain(x).square().sum()
    assert 10 * error.log10() < -90


def test_which_layers_suit() -> None:
    assert suits(conv(channels=128))
    assert suits(conv(3, channels=64))
    assert not suits(conv(channels=64))
    assert not suits(conv(3, channels=32))
    assert not suits(nn.Conv1d(128, 128, 7, padding=3, groups=128))
    assert not suits(nn.Conv1d(128, 128, 7, padding=3, stride=2))
    assert not suits(nn.Conv1d(128, 128, 7))
    assert not suits(nn.Conv1d(128, 128, 5, padding=2))
    assert not suits(nn.ConvTranspose1d(128, 128, 7, padding=3))
