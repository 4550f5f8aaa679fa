"""Audio that comes piece by piece, to codes and back: for pipes, live audio, and files of any length.

    encoder = xcodec.StreamingEncoder(codec, look_ahead=1.0)
    for block in microphone:                 # float [t], of any sizes
        codes = encoder.encode(block)        # int64 [1, K, f], what has become certain
    codes = encoder.finish()                 # the rest

Joined, the decoder's output is what ``codec.decode`` gives of all codes at once, and that of the encoder with its
defaults what ``codec.encode`` gives wherever the teacher works in windows (as that of xcodec-mini does); both but for
rounding in the seventh digit. docs/performance.md shows what less look-ahead costs.

Every part of the codec runs in chunks, as if over the whole. With 2 frames of context on either side, and chunks of 5:

    frames     0 1 2 3 4 5 6 7 8 9 ...
    input      └───────────┘             frames 0 … 6 go in,
    output     └───────┘                 and 0 … 4 of what comes out are kept
    input            └───────────────┘   then 3 … 11
    output               └───────┘       and of that 5 … 9
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xcodec.codec.inputs import as_audio, as_codes, check_samples, full_precision
from xcodec.codec.model import XCodec
from xcodec.codec.semantic import Teacher
from xcodec.engine.engine import Codec

CHUNK_SECONDS = 20.0
"""Computed at a time, at most: an hour needs no more memory than this."""
WHOLE_CLIP_CONTEXT = 5.0
"""Seconds on either side of a chunk for a teacher whose config has no windows, and which attends to the whole clip."""
LIVE_FRAMES = 10
"""Frames that a live encoder gives at a time."""
HISTORY = 4.0
"""Seconds before a chunk that a teacher without windows is given when there is little look-ahead."""


class StreamingDecoder:
    """Codes to audio.

    Args:
        codec: as :func:`xcodec.load` gives it, or a plain :class:`XCodec`.
        min_frames: to decode at a time. Each time, ``context_frames`` more on either side are decoded along, so
            larger chunks cost less, and come later.
    """

    def __init__(self, codec: Codec | XCodec, min_frames: int = 1) -> None:
        self._network = network = _network(codec)
        decoder: Any = network.acoustic_decoder
        context, align = decoder.context_frames, getattr(decoder, "align_frames", 1)
        after = getattr(decoder, "lookahead_frames", context)
        chunks = ChunkPlan(context, after, min_frames, _max_frames(network, min_frames), align=align)
        self._decoder = ChunkedNetwork(network.decode, chunks, samples_out=network.hop_length)
        self.latency = (after + min_frames) / network.frame_rate
        """Seconds of codes that must have come before the first audio does."""
        self._finished = False

    def decode(self, codes: Any) -> Tensor:
        """Codes int64 [1, K, f] or [K, f], any f, to audio [1, 1, t]: what has become certain, t ≥ 0.

        Raises:
            ValueError: as ``codec.decode`` does, or the decoder is finished.
        """
        _check_open(self._finished)
        codes = as_codes(codes, self._network.device)
        codes = codes[None] if codes.dim() == 2 else codes
        if codes.dim() != 3 or codes.shape[0] != 1:
            raise ValueError(f"a stream takes integer codes [1, K, f] or [K, f]; got {list(codes.shape)}")
        with full_precision(self._network.device):
            return self._joined(self._decoder.push(codes))

    def finish(self) -> Tensor:
        """The rest of the audio, [1, 1, t]; the stream is over."""
        _check_open(self._finished)
        self._finished = True
        with full_precision(self._network.device):
            return self._joined(self._decoder.finish())

    def _joined(self, chunks: list[Tensor]) -> Tensor:
        return torch.cat(chunks, dim=2) if chunks else self._network.prior.weight.new_zeros(1, 1, 0)


class StreamingEncoder:
    """Audio to codes.

    The convolutions look a fixed way ahead. The teacher is a transformer that attends both ways, as far as it is let:

    Args:
        codec: as :func:`xcodec.load` gives it, or a plain :class:`XCodec`.
        bandwidth: as in ``codec.encode``.
        look_ahead: seconds beyond the frames at hand that the teacher is given. ``None`` waits for whole windows of the
            teacher's config with their context, which gives the codes of ``codec.encode``; a teacher without windows
            gets chunks of 20 s with 5 s on either side, which gives nearly those.
        min_frames: to encode at a time; 10 by default when there is a ``look_ahead``, else 20 s of them. With a
            ``look_ahead`` the teacher computes seconds of the past again for each chunk, so small ones are costly.

    Raises:
        ValueError: the model lacks the bandwidth, or ``look_ahead`` is negative or more than the teacher can take.
    """

    def __init__(
        self,
        codec: Codec | XCodec,
        bandwidth: float | None = None,
        look_ahead: float | None = None,
        min_frames: int | None = None,
    ) -> None:
        self._network = network = _network(codec)
        if look_ahead is not None and not 0 <= look_ahead < math.inf:
            raise ValueError(f"look_ahead must not be negative or infinite, but is {look_ahead}")
        if min_frames is None:
            min_frames = _max_frames(network) if look_ahead is None else LIVE_FRAMES
        if min_frames < 1:
            raise ValueError(f"min_frames must be at least 1, not {min_frames}")
        self._codebooks = network.config.codebooks_for(bandwidth)
        hop, max_frames = network.hop_length, _max_frames(network, min_frames)
        acoustic: Any = network.acoustic_encoder
        teacher = network.teacher
        context = acoustic.context_frames
        self._acoustic = ChunkedNetwork(acoustic, ChunkPlan(context, context, min_frames, max_frames), samples_in=hop)
        self._teacher: ChunkedNetwork | None = None
        frames_ahead = context + min_frames
        if teacher is not None:
            chunks = _teacher_chunks(network, teacher, look_ahead, min_frames)
            self._teacher = ChunkedNetwork(
                lambda wav: teacher(wav, wav.shape[2] // hop, windowed=False), chunks, samples_in=hop
            )
            context = network.semantic_encoder.context_frames
            self._semantic = ChunkedNetwork(
                network.semantic_encoder, ChunkPlan(context, context, min_frames, max_frames)
            )
            frames_ahead = max(frames_ahead, chunks.min_frames + chunks.after + context + min_frames - 1)
        self.latency = frames_ahead / network.frame_rate
        """Seconds of audio, at most, that must have come after a sample before its codes do."""
        self._waiting: list[list[Tensor]] = [[], []]  # acoustic and semantic features, for each other
        self.samples = 0
        """Received so far."""
        self._finished = False

    def encode(self, wav: Any) -> Tensor:
        """Audio [t] or [1, 1, t], any t, to codes int64 [1, K, f]: what has become certain, f ≥ 0.

        Raises:
            ValueError: it is not that, has samples that are not finite, or the encoder is finished.
        """
        _check_open(self._finished)
        wav = as_audio(wav, self._network.prior.weight)
        wav = wav[None, None] if wav.dim() == 1 else wav
        if wav.dim() != 3 or wav.shape[:2] != (1, 1):
            raise ValueError(f"a stream takes floating-point audio [t] or [1, 1, t]; got {list(wav.shape)}")
        check_samples(wav, "the stream")
        self.samples += wav.shape[2]
        with full_precision(self._network.device), torch.no_grad():
            self._waiting[0] += self._acoustic.push(wav)
            if self._teacher is not None:
                for features in self._teacher.push(wav):
                    self._waiting[1] += self._semantic.push(features)
            return self._quantised()

    def finish(self) -> Tensor:
        """The rest of the codes, int64 [1, K, f]; the stream is over. The last frame is filled up with zeros."""
        _check_open(self._finished)
        missing = -self.samples % self._network.hop_length
        codes = [self.encode(self._network.prior.weight.new_zeros(missing))] if missing else []
        self.samples -= missing
        self._finished = True
        with full_precision(self._network.device), torch.no_grad():
            self._waiting[0] += self._acoustic.finish()
            if self._teacher is not None:
                for features in self._teacher.finish():
                    self._waiting[1] += self._semantic.push(features)
                self._waiting[1] += self._semantic.finish()
            return torch.cat([*codes, self._quantised()], dim=2)

    def _quantised(self) -> Tensor:
        """Codes of the frames of which all features are there."""
        network, kinds = self._network, self._waiting if self._teacher is not None else self._waiting[:1]
        if not all(kinds):
            return torch.zeros(1, self._codebooks, 0, dtype=torch.int64, device=network.device)
        joined = [torch.cat(pieces, dim=2) for pieces in kinds]
        frames = min(each.shape[2] for each in joined)
        for kind, each in zip(kinds, joined, strict=True):
            kind[:] = [each[..., frames:].clone()] if each.shape[2] > frames else []
        return network.quantizer.encode(network.fuse(*(each[..., :frames] for each in joined)), self._codebooks)


@dataclass(frozen=True)
class ChunkPlan:
    """The chunks in which a network is to be run, and the context that each needs, all in frames."""

    before: int
    """Context before a chunk."""
    after: int
    """Context after it, which must have come before the chunk can be given."""
    min_frames: int = 1
    """A chunk waits until it has this many frames (but for the last)."""
    max_frames: int = 1000
    """A longer one is divided, which bounds the memory."""
    grid: int | None = None
    """Where the network tells positions apart: frames of its windows. The input for a chunk then begins ``before``
    frames ahead of the window, ends as many after it at the latest, and no chunk reaches into the next window."""
    align: int = 1
    """The input begins with a multiple of so many frames."""

    def end(self, start: int, available: int) -> int:
        """Where a chunk from ``start`` ends, if there are so many frames to give."""
        end = min(available, start + self.max_frames)
        return min(end, (start // self.grid + 1) * self.grid) if self.grid else end

    def inputs(self, start: int, end: int, available: int) -> tuple[int, int]:
        """The frames that go in for a chunk, of those that are there."""
        last = min(end + self.after, available)
        if not self.grid:
            first = max(start - self.before, 0)
            return first - first % self.align, last
        window = start // self.grid * self.grid
        return max(window - self.before, 0), min(last, window + self.grid + self.before)


class ChunkedNetwork:
    """Takes a sequence as it comes and gives what ``network`` makes of it, in order and without seams.

    Args:
        network: [B, C, frames × samples_in] -> [B, C', frames × samples_out], of no more context than ``chunks`` says.
            What lies beyond the ends of the sequence is its own affair, as it is when it gets the whole.
        chunks: that context, and their size.
        samples_in: positions per frame of its input.
        samples_out: positions per frame of its output.
    """

    def __init__(
        self, network: Callable[[Tensor], Tensor], chunks: ChunkPlan, samples_in: int = 1, samples_out: int = 1
    ) -> None:
        self._network = network
        self._chunks = chunks
        self._in, self._out = samples_in, samples_out
        self._buffer: Tensor | None = None
        self._first = 0  # frame with which the buffer begins
        self._next = 0  # frame to be given next

    def push(self, piece: Tensor) -> list[Tensor]:
        """Take [B, C, n], any n, and give what has become certain: chunks [B, C', frames × samples_out]."""
        self._buffer = piece if self._buffer is None else torch.cat([self._buffer, piece], dim=2)
        return list(self._ready(self._chunks.after, self._chunks.min_frames))

    def finish(self) -> list[Tensor]:
        """The rest, now that the sequence has ended; it must have had whole frames."""
        return [] if self._buffer is None else list(self._ready(0, 1))

    def _ready(self, after: int, min_frames: int) -> Iterator[Tensor]:
        assert self._buffer is not None
        available = self._first + self._buffer.shape[2] // self._in
        while available - after - self._next >= min_frames:
            end = self._chunks.end(self._next, available - after)
            first, last = self._chunks.inputs(self._next, end, available)
            out = self._network(self._buffer[..., (first - self._first) * self._in : (last - self._first) * self._in])
            yield out[..., (self._next - first) * self._out : (end - first) * self._out]
            self._next = end
            needed, _ = self._chunks.inputs(end, end, available)
            self._buffer = self._buffer[..., (needed - self._first) * self._in :].clone()  # a slice would keep it all
            self._first = needed


def _network(codec: Codec | XCodec) -> XCodec:
    return codec.network if isinstance(codec, Codec) else codec


def _teacher_chunks(network: XCodec, teacher: Teacher, look_ahead: float | None, min_frames: int) -> ChunkPlan:
    """How the teacher is run over a stream."""
    rate, config = network.frame_rate, teacher.config
    window, before = config.window, config.context
    if window is None:
        window, before = CHUNK_SECONDS, WHOLE_CLIP_CONTEXT
    after, grid = before, None
    if look_ahead is not None:
        after = look_ahead
        if config.window is None:
            before = HISTORY
        else:  # Whisper knows positions, so each frame is to stand where it stands offline
            grid = max(1, round(config.window * rate))
    if teacher.max_seconds is not None and before + window + after > teacher.max_seconds:
        raise ValueError(
            f"the teacher takes at most {teacher.max_seconds:g} s at a time, so look_ahead must be below "
            f"{teacher.max_seconds - before - window:g} s, not {after:g}"
        )
    frames = max(1, round(window * rate)) if look_ahead is None else min_frames
    return ChunkPlan(round(before * rate), round(after * rate), frames, frames, grid)


def _max_frames(network: XCodec, min_frames: int = 1) -> int:
    """Frames to compute at a time, at most."""
    return max(min_frames, round(CHUNK_SECONDS * network.frame_rate))


def _check_open(finished: bool) -> None:
    if finished:
        raise ValueError("the stream is finished; make a new one for the next")
