"""What the tabs compute, without a browser."""

from __future__ import annotations

import asyncio
import struct

import numpy as np
import pytest
import torch

from tests.conftest import tiny_codec
from xcodec.app.clips import AppError, chosen
from xcodec.app.compare import ratings_csv
from xcodec.app.generate import Streams
from xcodec.app.tokens import with_change, without
from xcodec.engine.engine import Codec


def test_a_muted_codebook_adds_nothing() -> None:
    codec = Codec(tiny_codec("spectral", None))
    codes = torch.randint(64, (1, 4, 20))
    torch.testing.assert_close(without(codec, codes, []), codec.decode(codes))
    torch.testing.assert_close(without(codec, codes, [2, 3]), codec.decode(codes[:, :2]))
    assert not torch.allclose(without(codec, codes, [0]), codec.decode(codes))


@pytest.mark.parametrize("change", ["random codes", "in reverse", "shuffled in time"])
def test_changes_are_of_the_chosen_codebooks(change: str) -> None:
    codes = torch.arange(60).reshape(1, 3, 20)
    changed = with_change(codes, [1], change, 64, 0)
    assert torch.equal(changed[:, [0, 2]], codes[:, [0, 2]])
    assert not torch.equal(changed[:, 1], codes[:, 1])
    if change != "random codes":
        assert torch.equal(changed[:, 1].sort().values, codes[:, 1])
    assert torch.equal(changed, with_change(codes, [1], change, 64, 0))


def test_ratings() -> None:
    table = ratings_csv("a,b.wav", ["opus@6", "original"], [2, None]).decode()
    assert table == 'clip,letter,codec,rating\n"a,b.wav",A,opus@6,2\n"a,b.wav",B,original,\n'


def test_a_stream_is_a_wav_file_as_it_comes() -> None:
    async def check() -> None:
        streams = Streams()
        key, stream = streams.new(16_000)
        stream.put(np.float32([0, 1]))
        read = streams.read(key)
        header = await anext(read)
        assert header[:4] == b"RIFF"
        assert struct.unpack("<I", header[24:28]) == (16_000,)
        assert await anext(read) == b"\0\0\xff\x7f"  # before the end has come
        stream.ended = True
        assert [piece async for piece in read] == []
        assert len([piece async for piece in streams.read(key)]) == 2  # a browser may ask again
        with pytest.raises(KeyError):
            streams.read("another")

    asyncio.run(check())


def test_without_a_sound_there_is_one_line() -> None:
    with pytest.raises(AppError, match="no sound yet"):
        chosen(None)
