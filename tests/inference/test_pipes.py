from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from tests.conftest import tiny_codec
from xcodec import XCodec
from xcodec.inference.pipes import decode_pipe, encode_pipe
from xcodec.tokens.stream import StreamReader
from xcodec.tokens.xc_file import TokenFileError


def pcm(samples: int) -> bytes:
    return np.random.default_rng(samples).integers(-(2**14), 2**14, samples).astype("<i2").tobytes()


@pytest.mark.parametrize("samples", [1, 320, 16_001])
def test_there_and_back(codec: XCodec, samples: int) -> None:
    coded, heard = io.BytesIO(), io.BytesIO()
    encode_pipe(codec, io.BytesIO(pcm(samples)), coded, 0.6)
    wav = torch.from_numpy(np.frombuffer(pcm(samples), "<i2").astype(np.float32) / 2**15)
    pieces = list(StreamReader(io.BytesIO(coded.getvalue())).pieces())
    codes = torch.from_numpy(np.concatenate(pieces, axis=2))
    assert (codes == codec.encode(wav, 0.6)).float().mean() > 0.98  # rounding may flip one that is nearly tied
    decode_pipe(codec, io.BytesIO(coded.getvalue()), heard)
    sound = np.frombuffer(heard.getvalue(), "<i2") / 2**15
    whole = codec.decode(codes)[0, 0, :samples].clamp(-1, 1).numpy()
    np.testing.assert_allclose(sound, whole, atol=2**-15)


def test_what_is_refused(codec: XCodec) -> None:
    with pytest.raises(ValueError, match="no audio"):
        encode_pipe(codec, io.BytesIO(b""), io.BytesIO())
    with pytest.raises(ValueError, match="within a sample"):
        encode_pipe(codec, io.BytesIO(b"abc"), io.BytesIO())
    coded = io.BytesIO()
    encode_pipe(codec, io.BytesIO(pcm(999)), coded)
    with pytest.raises(TokenFileError, match="was made by model"):
        decode_pipe(tiny_codec(teacher=None, seed=1), io.BytesIO(coded.getvalue()), io.BytesIO())
    with pytest.raises(TokenFileError, match="cut short"):
        decode_pipe(codec, io.BytesIO(coded.getvalue()[:-1]), io.BytesIO())
