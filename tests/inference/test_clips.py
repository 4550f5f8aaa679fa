"""Many clips at once get the codes that each gets alone."""

from __future__ import annotations

import pytest
import torch

from tests.conftest import tiny_codec
from xcodec import XCodec
from xcodec.inference.clips import encode_clips


@pytest.mark.parametrize("teacher", ["hubert", "whisper", None])
def test_every_clip_gets_its_own_codes_in_order(teacher: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = tiny_codec(teacher=teacher)
    clips = [0.3 * torch.randn(length) for length in (321, 16_000, 1, 47_999, 5_000)]
    used: list[int] = []
    encode = codec.encode
    expected = [encode(clip, 0.6)[0] for clip in clips]

    def watched(clip: torch.Tensor, bandwidth: float | None) -> torch.Tensor:
        used.append(torch.get_num_threads())
        return encode(clip, bandwidth)

    monkeypatch.setattr(codec, "encode", watched)
    before = torch.get_num_threads()
    made = encode_clips(codec, clips, 0.6, threads=3)
    assert torch.get_num_threads() == before
    assert used == [1] * 5
    for codes, own in zip(made, expected, strict=True):
        assert codes.shape == own.shape
        assert (codes == own).float().mean() > 0.98  # as many threads as PyTorch likes may round otherwise


def test_none_and_wrong_ones(codec: XCodec) -> None:
    before = torch.get_num_threads()
    assert encode_clips(codec, []) == []
    with pytest.raises(ValueError, match="finite"):
        encode_clips(codec, [torch.zeros(320), torch.full((320,), torch.nan)])
    with pytest.raises(ValueError, match="no bandwidth"):
        encode_clips(codec, [torch.zeros(320)], bandwidth=99)
    assert torch.get_num_threads() == before
