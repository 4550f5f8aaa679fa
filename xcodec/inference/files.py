"""Whole files through a codec: audio to `.xc`, `.xc` to audio, audio to audio.

Every output appears whole or not at all, with exactly as many samples as the input has at the codec's rate. Files are
read, coded and written piece by piece, so that hours need no more memory than a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from xcodec import audio
from xcodec.audio.decoding import Audio
from xcodec.engine.engine import Codec
from xcodec.inference.streaming import StreamingDecoder, StreamingEncoder
from xcodec.tokens.stream import open_tokens
from xcodec.tokens.xc_file import TokenFileError, TokenHeader, TokenWriter
from xcodec.utils.signals import signals_deferred, writing

Channels = Literal["mix", "keep"]
Progress = Callable[[float], None]
"""Is told, again and again, what share of a file is done, from 0 to 1."""
CodePieces = Iterator[tuple[Tensor, int]]
"""Codes int64 [C, K, f] of a file, piece by piece, and as of each, how many samples per channel the file has, so far
as is known; the last piece has the exact number."""

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
        track: which audio track of a file to code, as `audio.read` takes it.
        make_folders: create the target's folder if it is missing.

    Raises:
        ValueError: the model lacks that bandwidth.
    """

    def __init__(
        self,
        codec: Codec,
        bandwidth: float | None = None,
        channels: Channels = "mix",
        track: int | None = None,
        make_folders: bool = False,
    ) -> None:
        self._codec, self._bandwidth, self._make_folders = codec, bandwidth, make_folders
        self._channels, self._track = channels, track
        codec.config.codebooks_for(bandwidth)  # a wrong one is refused before there is any work

    def encode(self, source: Path, target: Path, progress: Progress | None = None) -> FileReport:
        """Audio to an `.xc` file, which is written as the audio is read.

        Raises:
            OSError: a file cannot be read or written.
            AudioError: the source is not intact audio.
        """
        codes, header = self._begun(self._encoded(source, progress))
        self._prepare(target)
        with TokenWriter(target, header) as writer:
            for piece, samples in codes:
                writer.write(piece.cpu().numpy())
                writer.samples = samples
        return self._report(source, target, header, writer.samples)

    def decode(self, source: Path, target: Path, progress: Progress | None = None) -> FileReport:
        """An `.xc` file, or a saved stream of codes, to audio of exactly the samples that were encoded.

        Raises:
            OSError: a file cannot be read or written.
            TokenFileError: the source is damaged, or was made by another model.
            AudioError: the target's suffix cannot be written.
        """
        with open_tokens(source) as tokens:
            header, codec = tokens.header, self._codec
            header.expect(codec.config.name, bytes.fromhex(codec.fingerprint.tokens), source)
            # The same weights can be run in one way only, so these differ only if the file was made to deceive.
            made_for = (header.sample_rate, header.hop_length, header.codebook_size)
            if made_for != (codec.sample_rate, codec.hop_length, codec.codebook_size):
                raise TokenFileError(f"{source}: contradicts the model that it names")
            codes = ((torch.from_numpy(block), header.samples) for block in tokens.blocks(_BLOCK_FRAMES))
            samples = self._write_audio(target, codes, header.channels, progress)
        return self._report(source, target, header, samples)

    def reconstruct(self, source: Path, target: Path, progress: Progress | None = None) -> FileReport:
        """Audio through the codec and back: what `encode` and then `decode` give.

        Raises:
            OSError: a file cannot be read or written.
            AudioError: the source is not intact audio, or the target's suffix cannot be written.
        """
        audio.Writer(target, self._codec.sample_rate)  # before the work, because it knows which formats can be written
        codes, header = self._begun(self._encoded(source, progress))
        # Of the last frame, what lies beyond the recording is cut off; until then, less is decoded than was read.
        samples = self._write_audio(target, codes, header.channels)
        return self._report(source, target, header, samples)

    def _encoded(self, source: Path, progress: Progress | None) -> CodePieces:
        """Audio of any length, in constant memory, while it is read; each channel gets the codes it gets alone.

        If it is damaged deep inside, that shows only there.
        """
        rate, samples = self._codec.sample_rate, 0
        expected = audio.stated_seconds(source, self._track) if progress is not None else None
        encoders: list[StreamingEncoder] = []
        with closing(audio.stream(source, rate, mono=self._channels == "mix", track=self._track)) as blocks:
            while (block := _next(blocks)) is not None:
                encoders = encoders or [StreamingEncoder(self._codec, self._bandwidth) for _ in block]
                samples += block.shape[1]
                yield torch.cat([each.encode(channel) for each, channel in zip(encoders, block, strict=True)]), samples
                if progress is not None and expected is not None:
                    progress(min(samples / rate / expected, 1.0))
        yield torch.cat([encoder.finish() for encoder in encoders]), samples

    def _begun(self, codes: CodePieces) -> tuple[CodePieces, TokenHeader]:
        """The same pieces, of which the first has been made already, and the header that fits them.

        What cannot be read at all fails here, before there is a file to write.
        """
        first = next(codes)
        channels, codebooks, _ = first[0].shape
        return chain([first], codes), token_header(self._codec, codebooks, channels)

    def _write_audio(self, target: Path, codes: CodePieces, channels: int, progress: Progress | None = None) -> int:
        """The audio that codes stand for; gives the number of samples."""
        writer = audio.Writer(target, self._codec.sample_rate, channels)
        pieces = self._decoded(codes, channels)
        first = next(pieces)  # before there is a file
        self._prepare(target)
        with writing(writer):
            for piece, samples in chain([first], pieces):
                with signals_deferred():
                    writer.write(piece[:, : samples - writer.samples])
                if progress is not None:
                    progress(writer.samples / samples)
        return writer.samples

    def _decoded(self, codes: CodePieces, channels: int) -> Iterator[tuple[Audio, int]]:
        """Audio [C, t], piece by piece, each channel decoded as if alone, and the samples known by then."""
        decoders = [StreamingDecoder(self._codec, _BLOCK_FRAMES) for _ in range(channels)]
        samples = 0
        for piece, samples in codes:
            made = [decoder.decode(channel) for decoder, channel in zip(decoders, piece, strict=True)]
            if made[0].numel():
                yield torch.cat(made)[:, 0].cpu().numpy(), samples  # (C, 1, t) -> (C, t)
        yield torch.cat([decoder.finish() for decoder in decoders])[:, 0].cpu().numpy(), samples

    def _prepare(self, target: Path) -> None:
        if self._make_folders:
            target.parent.mkdir(parents=True, exist_ok=True)

    def _report(self, source: Path, target: Path, header: TokenHeader, samples: int) -> FileReport:
        kbps = round(header.frame_bits * self._codec.frame_rate / 1000, 4)
        return FileReport(
            source, target, self._codec.sample_rate, samples, header.channels, kbps, target.stat().st_size
        )


def token_header(codec: Codec, codebooks: int, channels: int = 1) -> TokenHeader:
    """Of codes that a codec makes, whose number is not known yet."""
    return TokenHeader(
        channels=channels,
        codebooks=codebooks,
        codebook_size=codec.codebook_size,
        sample_rate=codec.sample_rate,
        hop_length=codec.hop_length,
        model=codec.config.name,
        model_hash=bytes.fromhex(codec.fingerprint.tokens),
    )


def _next(blocks: Generator[Audio]) -> Audio | None:
    """The next block, or None at the end, without a signal while it is read."""
    with signals_deferred():
        return next(blocks, None)
