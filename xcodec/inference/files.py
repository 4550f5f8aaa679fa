"""Whole files through a codec: audio to `.xc`, `.xc` to audio, audio to audio.

Every output appears whole or not at all, with exactly as many samples as the input has at the codec's rate. Files are
read, coded and written piece by piece, so that hours need no more memory than a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xcodec import audio
from xcodec.engine.engine import Codec
from xcodec.inference.streaming import StreamingDecoder, StreamingEncoder
from xcodec.tokens.stream import open_tokens
from xcodec.tokens.xc_file import TokenFileError, TokenHeader, TokenWriter
from xcodec.utils.signals import signals_deferred, writing

# An audio file that is encoded while it is read.

Channels = Literal["mix", "keep"]
Progress = Callable[[float], None]
"""Is told, again and again, what share of a file is done, from 0 to 1."""


class Recording:
    """Codes of a file of any length, in constant memory.

    Args:
        codec: the model.
        path: of the audio.
        bandwidth: of the codes, in kbps per channel.
        channels: `mix` codes the mean of all channels, `keep` codes each channel as a clip of its own.
        progress: is told how far the file has been read, if it states its length.
    """

    def __init__(
        self,
        codec: Codec,
        path: Path,
        bandwidth: float | None = None,
        channels: Channels = "mix",
        progress: Progress | None = None,
    ) -> None:
        self._codec, self._path, self._bandwidth = codec, path, bandwidth
        self._mono = channels == "mix"
        self._progress = progress
        self.samples = 0
        """Read so far, per channel, at the codec's rate."""

    def codes(self) -> Iterator[Tensor]:
        """Pieces int64 [C, K, f], once.

        Raises:
            OSError: the file cannot be read.
            AudioError: it is not intact audio; if it is damaged deep inside, that shows only there.
        """
        expected = audio.stated_seconds(self._path) if self._progress is not None else None
        encoders: list[StreamingEncoder] = []
        for block in self._blocks():
            # Each channel by itself, so that it gets the codes it gets alone.
            encoders = encoders or [StreamingEncoder(self._codec, self._bandwidth) for _ in block]
            self.samples += block.shape[1]
            yield torch.cat([encoder.encode(channel) for encoder, channel in zip(encoders, block, strict=True)])
            if self._progress is not None and expected is not None:
                self._progress(min(self.samples / self._codec.sample_rate / expected, 1.0))
        yield torch.cat([encoder.finish() for encoder in encoders])

    def _blocks(self) -> Iterator[NDArray[np.float32]]:
        blocks = audio.stream(self._path, self._codec.sample_rate, mono=self._mono)
        with closing(blocks):
            while True:
                with signals_deferred():
                    block = next(blocks, None)
                if block is None:
                    return
                yield block


_BLOCK_FRAMES = 1_000
"""Decoded at a time."""


@dataclass(frozen=True)
class FileReport:
    """What became of one file."""

    source: Path
    target: Path
    sample_rate: int
    """Of the codec, in Hz."""
    samples: int
    """Per channel, at `sample_rate`."""
    channels: int
    kbps: float
    """Nominal bitrate of the codes, of all channels together."""
    bytes: int
    """Size of the target."""

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.samples / self.sample_rate


class FileCodec:
    """One codec, and how it is to treat files.

    Args:
        codec: the model.
        bandwidth: of the codes, in kbps per channel; the model's highest by default. Decoding needs none.
        channels: `mix` codes the mean of all channels, `keep` codes each channel as a clip of its own.
        make_folders: create the target's folder if it is missing.

    Raises:
        ValueError: the model lacks that bandwidth.
    """

    def __init__(
        self,
        codec: Codec,
        bandwidth: float | None = None,
        channels: Channels = "mix",
        make_folders: bool = False,
    ) -> None:
        self._codec = codec
        self._bandwidth = bandwidth
        self._channels = channels
        self._make_folders = make_folders
        codec.config.codebooks_for(bandwidth)  # a wrong one is refused before there is any work

    def encode(self, source: Path, target: Path, progress: Progress | None = None) -> FileReport:
        """Audio to an `.xc` file, which is written as the audio is read.

        Raises:
            OSError: a file cannot be read or written.
            AudioError: the source is not intact audio.
        """
        recording = Recording(self._codec, source, self._bandwidth, self._channels, progress)
        pieces, shape = _begun(recording.codes())
        self._prepare(target)
        with TokenWriter(target, self._header(shape)) as writer:
            for codes in pieces:
                writer.write(codes.cpu().numpy())
            writer.samples = recording.samples
        return self._report(source, target, shape, recording.samples)

    def decode(self, source: Path, target: Path, progress: Progress | None = None) -> FileReport:
        """An `.xc` file, or a saved stream of codes, to audio of exactly the samples that were encoded.

        Raises:
            OSError: a file cannot be read or written.
            TokenFileError: the source is damaged, or was made by another model.
            AudioError: the target's suffix cannot be written.
        """
        with open_tokens(source) as tokens:
            header = tokens.header
            self._check_model(header, source)
            writer = audio.Writer(target, header.sample_rate, header.channels)
            blocks = (torch.from_numpy(block) for block in tokens.blocks(_BLOCK_FRAMES))
            self._write_audio(writer, target, blocks, header.channels, lambda: header.samples, progress)
        return self._report(source, target, (header.channels, header.codebooks), header.samples)

    def reconstruct(self, source: Path, target: Path, progress: Progress | None = None) -> FileReport:
        """Audio through the codec and back: what `encode` and then `decode` give.

        Raises:
            OSError: a file cannot be read or written.
            AudioError: the source is not intact audio, or the target's suffix cannot be written.
        """
        # Before the work, because it knows which formats can be written.
        audio.Writer(target, self._codec.sample_rate)
        recording = Recording(self._codec, source, self._bandwidth, self._channels, progress)
        pieces, shape = _begun(recording.codes())
        writer = audio.Writer(target, self._codec.sample_rate, shape[0])
        # Of the last frame, what lies beyond the recording is cut off; until then, less is decoded than was read.
        self._write_audio(writer, target, pieces, shape[0], lambda: recording.samples)
        return self._report(source, target, shape, recording.samples)

    def _write_audio(
        self,
        writer: audio.Writer,
        target: Path,
        codes: Iterator[Tensor],
        channels: int,
        samples: Callable[[], int],
        progress: Progress | None = None,
    ) -> None:
        """Codes [C, K, f], piece by piece, to the first `samples` of the audio they stand for."""
        pieces = self._decoded(codes, channels)
        first = next(pieces)  # before there is a file
        self._prepare(target)
        with writing(writer):
            for piece in chain([first], pieces):
                with signals_deferred():
                    writer.write(piece[:, : samples() - writer.samples])
                if progress is not None:
                    progress(writer.samples / samples())

    def _decoded(self, codes: Iterator[Tensor], channels: int) -> Iterator[NDArray[np.float32]]:
        """Codes [C, K, f], piece by piece, to audio [C, t], each channel decoded as if alone."""
        decoders = [StreamingDecoder(self._codec, _BLOCK_FRAMES) for _ in range(channels)]
        for piece in codes:
            made = [decoder.decode(channel) for decoder, channel in zip(decoders, piece, strict=True)]
            if made[0].numel():
                yield torch.cat(made)[:, 0].cpu().numpy()  # (C, 1, t) -> (C, t)
        yield torch.cat([decoder.finish() for decoder in decoders])[:, 0].cpu().numpy()

    def _prepare(self, target: Path) -> None:
        if self._make_folders:
            target.parent.mkdir(parents=True, exist_ok=True)

    def _header(self, shape: tuple[int, ...]) -> TokenHeader:
        """For codes [C, K, …], whose number is not known yet."""
        codec = self._codec
        return TokenHeader(
            channels=shape[0],
            codebooks=shape[1],
            codebook_size=codec.codebook_size,
            sample_rate=codec.sample_rate,
            hop_length=codec.hop_length,
            model=codec.config.name,
            model_hash=bytes.fromhex(codec.fingerprint.tokens),
        )

    def _check_model(self, header: TokenHeader, source: Path) -> None:
        codec = self._codec
        header.expect(codec.config.name, bytes.fromhex(codec.fingerprint.tokens), source)
        # The same weights can be run in one way only, so these differ only if the file was made to deceive.
        made_for = (header.sample_rate, header.hop_length, header.codebook_size)
        if made_for != (codec.sample_rate, codec.hop_length, codec.codebook_size):
            raise TokenFileError(f"{source}: contradicts the model that it names")

    def _report(self, source: Path, target: Path, shape: tuple[int, ...], samples: int) -> FileReport:
        codec = self._codec
        bits = (codec.codebook_size - 1).bit_length() * shape[0] * shape[1]  # per frame
        return FileReport(
            source=source,
            target=target,
            sample_rate=codec.sample_rate,
            samples=samples,
            channels=shape[0],
            kbps=round(bits * codec.frame_rate / 1000, 4),
            bytes=target.stat().st_size,
        )


def _begun(pieces: Iterator[Tensor]) -> tuple[Iterator[Tensor], tuple[int, ...]]:
    """The same pieces, of which the first has been made already, and its shape.

    What cannot be read at all fails here, before there is a file to write.
    """
    first = next(pieces)
    return chain([first], pieces), tuple(first.shape)
