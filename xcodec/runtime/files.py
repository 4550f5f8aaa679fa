"""Whole files through a codec: audio to `.xc`, `.xc` to audio, audio to audio.

Every output appears whole or not at all, with exactly as many samples as the input has at the codec's rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from xcodec import audio
from xcodec.codec.checkpoint import weights_hash
from xcodec.codec.model import XCodec
from xcodec.runtime.signals import signals_deferred
from xcodec.tokens import TokenFile, TokenFileError, TokenHeader, read_tokens, to_bytes

Channels = Literal["mix", "keep"]


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
        codec: XCodec,
        bandwidth: float | None = None,
        channels: Channels = "mix",
        make_folders: bool = False,
    ) -> None:
        self._codec = codec
        self._bandwidth = bandwidth
        self._channels = channels
        self._make_folders = make_folders
        self._device = next(codec.parameters()).device
        codec.config.codebooks_for(bandwidth)  # a wrong one is refused before there is any work

    def encode(self, source: Path, target: Path) -> FileReport:
        """Audio to an `.xc` file.

        Raises:
            OSError: a file cannot be read or written.
            AudioError: the source is not sound audio.
        """
        codes, samples = self._read_codes(source)
        tokens = TokenFile(
            codes.cpu().numpy(),
            codebook_size=self._codec.codebook_size,
            sample_rate=self._codec.sample_rate,
            samples=samples,
            hop_length=self._codec.hop_length,
            model=self._codec.config.name,
            model_hash=bytes.fromhex(weights_hash(self._codec)),
        )
        content = to_bytes(tokens)
        self._prepare(target)
        with audio.atomic_write(target) as temporary:
            temporary.write_bytes(content)
        return self._report(source, target, codes, samples)

    def decode(self, source: Path, target: Path) -> FileReport:
        """An `.xc` file to audio, of exactly the samples that were encoded.

        Raises:
            OSError: a file cannot be read or written.
            TokenFileError: the source is damaged, or was made by another model.
            AudioError: the target's suffix cannot be written.
        """
        tokens = read_tokens(source)
        self._check_model(tokens.header, source)
        writer = audio.Writer(target, tokens.sample_rate, tokens.header.channels)
        codes = torch.from_numpy(tokens.codes).to(self._device)
        self._write_audio(writer, target, codes, tokens.samples)
        return self._report(source, target, codes, tokens.samples)

    def reconstruct(self, source: Path, target: Path) -> FileReport:
        """Audio through the codec and back: what `encode` and then `decode` give.

        Raises:
            OSError: a file cannot be read or written.
            AudioError: the source is not sound audio, or the target's suffix cannot be written.
        """
        # Before the work, because it knows which formats can be written.
        audio.Writer(target, self._codec.sample_rate)
        codes, samples = self._read_codes(source)
        writer = audio.Writer(target, self._codec.sample_rate, len(codes))
        self._write_audio(writer, target, codes, samples)
        return self._report(source, target, codes, samples)

    def _read_codes(self, source: Path) -> tuple[Tensor, int]:
        """Codes [C, K, F] of an audio file, and the number of samples they stand for."""
        with signals_deferred():
            clips, _ = audio.read(source, self._codec.sample_rate, mono=self._channels == "mix")
        # Channel by channel, and so in _write_audio: the memory needed is that of one.
        codes = [self._codec.encode(torch.from_numpy(clip).to(self._device), self._bandwidth) for clip in clips]
        return torch.cat(codes), clips.shape[1]

    def _write_audio(self, writer: audio.Writer, target: Path, codes: Tensor, samples: int) -> None:
        """Codes [C, K, F] to the first `samples` of the audio they stand for."""
        channels = [self._codec.decode(channel[None])[0, 0, :samples].cpu().numpy() for channel in codes]
        self._prepare(target)
        with signals_deferred(), writer:
            writer.write(np.stack(channels))

    def _prepare(self, target: Path) -> None:
        if self._make_folders:
            target.parent.mkdir(parents=True, exist_ok=True)

    def _check_model(self, header: TokenHeader, source: Path) -> None:
        codec = self._codec
        header.expect(codec.config.name, bytes.fromhex(weights_hash(codec)), source)
        # The same weights can be run in one way only, so these differ only if the file was made to deceive.
        made_for = (header.sample_rate, header.hop_length, header.codebook_size)
        if made_for != (codec.sample_rate, codec.hop_length, codec.codebook_size):
            raise TokenFileError(f"{source}: contradicts the model that it names")

    def _report(self, source: Path, target: Path, codes: Tensor, samples: int) -> FileReport:
        codec = self._codec
        bits = (codec.codebook_size - 1).bit_length() * codes.shape[0] * codes.shape[1]  # per frame
        return FileReport(
            source=source,
            target=target,
            sample_rate=codec.sample_rate,
            samples=samples,
            channels=codes.shape[0],
            kbps=round(bits * codec.frame_rate / 1000, 4),
            bytes=target.stat().st_size,
        )
