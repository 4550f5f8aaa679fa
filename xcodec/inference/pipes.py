"""Codes and sound through pipes: each piece goes on as soon as it is certain.

Sound is raw PCM: signed 16-bit little-endian samples of one channel at the codec's rate. Codes travel as a stream of
packets, since an `.xc` file begins with counts that only its end knows (docs/xc-format.md has the layout of both).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from xcodec import audio
from xcodec.engine.engine import Codec
from xcodec.inference.files import token_header
from xcodec.inference.streaming import LIVE_FRAMES, StreamingDecoder, StreamingEncoder
from xcodec.tokens import stream, xc_file

_SAMPLE_BYTES = 2
_AT_ONCE = 2**16
"""Bytes to take from a pipe, at most; it gives what it has."""


def encode_pipe(
    codec: Codec,
    source: BinaryIO,
    target: BinaryIO,
    bandwidth: float | None = None,
    look_ahead: float | None = None,
) -> None:
    """Raw PCM from ``source`` to codes in ``target``, until the source ends.

    Raises:
        ValueError: the source holds nothing, half a sample or an audio file, the model lacks the bandwidth, or see
            `StreamingEncoder`.
    """
    encoder = StreamingEncoder(codec, bandwidth, look_ahead, LIVE_FRAMES)
    header = token_header(codec, codec.config.codebooks_for(bandwidth))
    blocks = _pcm(source, codec.sample_rate)
    first = next(blocks, None)
    if first is None:
        raise ValueError("there is no audio on standard input; give raw 16-bit samples")
    writer = stream.StreamWriter(target, header)  # which writes, so not before it is known what the source is
    for block in chain([first], blocks):
        codes = encoder.encode(block)
        if codes.shape[2]:
            writer.write(codes.cpu().numpy())
    writer.write(encoder.finish().cpu().numpy())
    writer.finish(encoder.samples)


def decode_pipe(codec: Codec, source: BinaryIO, target: BinaryIO) -> None:
    """Codes from ``source`` to raw PCM in ``target``.

    Raises:
        TokenFileError: the source is no such stream, is damaged or cut short, or was made by another model.
    """
    reader = stream.StreamReader(source)
    reader.header.expect(codec.config.name, bytes.fromhex(codec.fingerprint.tokens), Path("standard input"))
    decoder = StreamingDecoder(codec)
    written = 0
    for codes in reader.pieces():
        written += _write_pcm(target, decoder.decode(codes))
    _write_pcm(target, decoder.finish()[..., : reader.samples - written])


def _pcm(source: BinaryIO, sample_rate: int) -> Iterator[np.ndarray]:
    """Blocks float32 [t] of raw PCM, each as soon as the pipe has it."""
    data, kept = _beginning(source, sample_rate), b""
    while data:
        data = kept + data
        whole = len(data) // _SAMPLE_BYTES * _SAMPLE_BYTES
        kept = data[whole:]
        if whole:
            yield np.frombuffer(data[:whole], "<i2").astype(np.float32) / 2**15
        data = _available(source)
    if kept:
        raise ValueError("the audio on standard input ends within a sample; give raw 16-bit samples")


def _beginning(source: BinaryIO, sample_rate: int) -> bytes:
    """The first bytes of a pipe, as many as it takes to know that they are no file of audio or codes."""
    data = _available(source)
    while (found := audio.format_of(data)) == "" and (more := _available(source)):
        data += more
    found = found or audio.format_of(data, whole=True)
    if found or data.startswith((xc_file.MAGIC, stream.MAGIC)):
        raise ValueError(
            f"standard input is {f'a file of {found}' if found else 'codes'}, but encode - - takes raw 16-bit samples: "
            f"name the file, or pipe it through: ffmpeg -i - -f s16le -ac 1 -ar {sample_rate} -"
        )
    return data


def _available(source: BinaryIO) -> bytes:
    # BytesIO has read1 as well, but the type of a plain binary file does not say so.
    return source.read1(_AT_ONCE)  # type: ignore[attr-defined]


def _write_pcm(target: BinaryIO, sound: torch.Tensor) -> int:
    """Writes audio [1, 1, t] at once, and says how many samples it was."""
    samples = sound[0, 0].cpu().numpy().astype(np.float64)
    target.write(np.clip(np.rint(samples * 2**15), -(2**15), 2**15 - 1).astype("<i2").tobytes())
    target.flush()
    return len(samples)
