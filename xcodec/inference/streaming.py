"""Sound that comes piece by piece, to codes and back: for pipes, live audio, and files of any length.

    encoder = StreamingEncoder(codec, look_ahead=1.0)
    for block in microphone:                 # float [t], of any sizes
        codes = encoder.push(block)          # int64 [1, K, f], what has become certain
    codes = encoder.finish()                 # the rest

Joined, the decoder's output is what ``codec.decode`` gives of all codes at once, and that of the encoder with its
defaults what ``codec.encode`` gives wherever the teacher hears in windows (as that of xcodec-mini does); both but for
rounding in the seventh digit. docs/performance.md shows what less look-ahead costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xcodec.codec.model import XCodec
from xcodec.codec.semantic import Teacher

# A network of finite context, run over a sequence piece by piece as if over the whole.
#
# With 2 frames of context on either side, and pieces of 5 frames:
#
#     frames     0 1 2 3 4 5 6 7 8 9 ...
#     heard      └───────────┘             frames 0 … 6 go in,
#     kept       └───────┘                 and 0 … 4 of what comes out are kept
#     heard            └───────────────┘   then 3 … 11
#     kept                 └───────┘       and of that 5 … 9


@dataclass(frozen=True)
class Reach:
    """How far a network looks, and in what portions it is to be run, all in frames."""

    before: int
    """Of context before a piece."""
    after: int
    """Of context after it, which must have come before the piece can be given."""
    least: int = 1
    """A piece waits until it has this many frames (but for the last)."""
    most: int = 1000
    """A longer one is divided, which bounds the memory."""
    grid: int | None = None
    """Where the network tells positions apart: frames of its windows. What is heard for a piece then begins ``before``
    frames ahead of the window, ends as many after it at the latest, and no piece reaches into the next window."""
    align: int = 1
    """What is heard begins with a multiple of so many frames."""

    def end(self, start: int, available: int) -> int:
        """Where a piece from ``start`` ends, if there are so many frames to give."""
        end = min(available, start + self.most)
        return min(end, (start // self.grid + 1) * self.grid) if self.grid else end

    def heard(self, start: int, end: int, available: int) -> tuple[int, int]:
        """The frames that are heard for a piece, of those that are there."""
        last = min(end + self.after, available)
        if not self.grid:
            first = max(start - self.before, 0)
            return first - first % self.align, last
        window = start // self.grid * self.grid
        return max(window - self.before, 0), min(last, window + self.grid + self.before)


class Sliding:
    """Takes a sequence as it comes and gives what ``network`` makes of it, in order and without seams.

    Args:
        network: [B, C, frames × samples_in] -> [B, C', frames × samples_out], of no more context than ``reach`` says.
            What lies beyond the ends of the sequence is its own affair, as it is when it gets the whole.
        reach: that context, and the size of the pieces.
        samples_in: positions per frame of its input.
        samples_out: positions per frame of its output.
    """

    def __init__(
        self, network: Callable[[Tensor], Tensor], reach: Reach, samples_in: int = 1, samples_out: int = 1
    ) -> None:
        self._network = network
        self._reach = reach
        self._in, self._out = samples_in, samples_out
        self._held: Tensor | None = None
        self._first = 0  # frame with which `held` begins
        self._next = 0  # frame to be given next

    def push(self, piece: Tensor) -> list[Tensor]:
        """Take [B, C, n], any n, and give what has become certain: pieces [B, C', frames × samples_out]."""
        self._held = piece if self._held is None else torch.cat([self._held, piece], dim=2)
        return list(self._ready(self._reach.after, self._reach.least))

    def finish(self) -> list[Tensor]:
        """The rest, now that the sequence has ended; it must have had whole frames."""
        return [] if self._held is None else list(self._ready(0, 1))

    def _ready(self, after: int, least: int) -> Iterator[Tensor]:
        assert self._held is not None
        available = self._first + self._held.shape[2] // self._in
        while available - after - self._next >= least:
            end = self._reach.end(self._next, available - after)
            first, last = self._reach.heard(self._next, end, available)
            made = self._network(self._held[..., (first - self._first) * self._in : (last - self._first) * self._in])
            yield made[..., (self._next - first) * self._out : (end - first) * self._out]
            self._next = end
            needed, _ = self._reach.heard(end, end, available)
            self._held = self._held[..., (needed - self._first) * self._in :].clone()  # a slice would keep all of it
            self._first = needed


PIECE_SECONDS = 20.0
"""Heard at a time, at most: an hour needs no more memory than this."""
WHOLE_CLIP_CONTEXT = 5.0
"""Seconds on either side of a piece for a teacher whose config says nothing, and which would hear the whole clip."""
PORTION = 10
"""Frames that a live encoder gives at a time."""
HISTORY = 4.0
"""Seconds that a teacher without windows hears before a piece when there is little look-ahead."""


class StreamingDecoder:
    """Codes to sound.

    Args:
        codec: the model.
        least: frames to decode at a time. Each time, ``context_frames`` more on either side are decoded along, so
            larger portions cost less, and come later.
    """

    def __init__(self, codec: XCodec, least: int = 1) -> None:
        self._codec = codec
        context = _context(codec.acoustic_decoder)
        reach = Reach(context, context, least, _piece(codec, least), align=_alignment(codec.acoustic_decoder))
        self._sliding = Sliding(self._decode, reach, samples_out=codec.hop_length)
        self.latency = (context + least) / codec.frame_rate
        """Seconds of codes that must have come before the first sound does."""
        self._finished = False

    def push(self, codes: Tensor) -> Tensor:
        """Codes int64 [1, K, f] or [K, f], any f, to audio [1, 1, t]: what has become certain, t ≥ 0.

        Raises:
            ValueError: as ``codec.decode`` does, or the decoder is finished.
        """
        _still(self._finished)
        codes = codes[None] if codes.dim() == 2 else codes
        if codes.dim() != 3 or codes.shape[0] != 1 or codes.is_floating_point():
            raise ValueError(f"a stream takes integer codes [1, K, f] or [K, f]; got {list(codes.shape)}")
        return self._join(self._sliding.push(codes))

    def finish(self) -> Tensor:
        """The rest of the audio, [1, 1, t]; the stream is over."""
        _still(self._finished)
        self._finished = True
        return self._join(self._sliding.finish())

    def _decode(self, codes: Tensor) -> Tensor:
        return self._codec.decode(codes)

    def _join(self, pieces: list[Tensor]) -> Tensor:
        if pieces:
            return torch.cat(pieces, dim=2)
        return torch.zeros(1, 1, 0, device=_device(self._codec))


class StreamingEncoder:
    """Sound to codes.

    The convolutions look a fixed way ahead. The teacher is a transformer that looks both ways, as far as it is let:

    Args:
        codec: the model.
        bandwidth: as in ``codec.encode``.
        look_ahead: seconds that the teacher hears beyond the frames at hand. ``None`` waits for whole windows of the
            teacher's config with their context, which gives the codes of ``codec.encode``; a teacher without windows
            gets pieces of 20 s with 5 s on either side, which gives nearly those.
        least: frames to encode at a time; 10 by default when there is a ``look_ahead``, else 20 s of them. With a
            ``look_ahead`` the teacher hears seconds of the past again for each portion, so small ones are costly.

    Raises:
        ValueError: the model lacks the bandwidth, or ``look_ahead`` is negative or more than the teacher can hear.
    """

    def __init__(
        self, codec: XCodec, bandwidth: float | None = None, look_ahead: float | None = None, least: int | None = None
    ) -> None:
        if look_ahead is not None and not 0 <= look_ahead < math.inf:
            raise ValueError(f"look_ahead must not be negative or infinite, but is {look_ahead}")
        if least is None:
            least = _piece(codec) if look_ahead is None else PORTION
        if least < 1:
            raise ValueError(f"least must be at least 1 frame, not {least}")
        self._codec = codec
        self._codebooks = codec.config.codebooks_for(bandwidth)
        context = _context(codec.acoustic_encoder)
        reach = Reach(context, context, least, _piece(codec, least))
        self._acoustic = Sliding(codec.acoustic_encoder, reach, samples_in=codec.hop_length)
        self._teacher: Sliding | None = None
        frames_ahead = context + least
        if codec.teacher is not None:
            hearing = _hearing(codec, codec.teacher, look_ahead, least)
            self._teacher = Sliding(self._hear, hearing, samples_in=codec.hop_length)
            around = _context(codec.semantic_encoder)
            self._semantic = Sliding(codec.semantic_encoder, Reach(around, around, least, _piece(codec, least)))
            frames_ahead = max(frames_ahead, hearing.least + hearing.after + around + least - 1)
        self.latency = frames_ahead / codec.frame_rate
        """Seconds of sound, at most, that must have come after a sample before its codes do."""
        self._features: list[list[Tensor]] = [[], []]  # acoustic and semantic, that wait for each other
        self.samples = 0
        """Heard so far."""
        self._finished = False

    @torch.inference_mode()
    def push(self, wav: Tensor) -> Tensor:
        """Audio [t] or [1, 1, t], any t, to codes int64 [1, K, f]: what has become certain, f ≥ 0.

        Raises:
            ValueError: it is not that, has samples that are not finite, or the encoder is finished.
        """
        _still(self._finished)
        wav = wav[None, None] if wav.dim() == 1 else wav
        if wav.dim() != 3 or wav.shape[:2] != (1, 1) or not wav.is_floating_point():
            raise ValueError(f"a stream takes floating-point audio [t] or [1, 1, t]; got {wav.dtype} {list(wav.shape)}")
        if not wav.isfinite().all():
            raise ValueError("samples are NaN or infinite; audio must be finite")
        self.samples += wav.shape[2]
        self._features[0] += self._acoustic.push(wav)
        if self._teacher is not None:
            for heard in self._teacher.push(wav):
                self._features[1] += self._semantic.push(heard)
        return self._quantise()

    @torch.inference_mode()
    def finish(self) -> Tensor:
        """The rest of the codes, int64 [1, K, f]; the stream is over. The last frame is filled up with zeros."""
        _still(self._finished)
        missing = -self.samples % self._codec.hop_length
        made = [self.push(torch.zeros(missing, device=_device(self._codec)))] if missing else []
        self.samples -= missing
        self._finished = True
        self._features[0] += self._acoustic.finish()
        if self._teacher is not None:
            for heard in self._teacher.finish():
                self._features[1] += self._semantic.push(heard)
            self._features[1] += self._semantic.finish()
        return torch.cat([*made, self._quantise()], dim=2)

    def _hear(self, wav: Tensor) -> Tensor:
        teacher = self._codec.teacher
        assert teacher is not None
        return teacher.hear(wav, wav.shape[2] // self._codec.hop_length)

    def _quantise(self) -> Tensor:
        """Codes of the frames of which all features are there."""
        kinds = self._features if self._teacher is not None else self._features[:1]
        if not all(kinds):
            return torch.zeros(1, self._codebooks, 0, dtype=torch.int64, device=_device(self._codec))
        joined = [torch.cat(pieces, dim=2) for pieces in kinds]
        frames = min(each.shape[2] for each in joined)
        for kind, each in zip(kinds, joined, strict=True):
            kind[:] = [each[..., frames:].clone()] if each.shape[2] > frames else []
        latents = self._codec.mix(torch.cat([each[..., :frames] for each in joined], dim=1))
        return self._codec.quantizer.encode(latents, self._codebooks)


def _hearing(codec: XCodec, teacher: Teacher, look_ahead: float | None, least: int) -> Reach:
    """How the teacher hears a stream."""
    config = teacher.config
    window, before = config.window, config.context
    if window is None:
        window, before = PIECE_SECONDS, WHOLE_CLIP_CONTEXT
    after, grid = before, None
    if look_ahead is not None:
        after = look_ahead
        if config.window is None:
            before = HISTORY
        else:  # Whisper knows positions, so each frame is to stand where it stands offline
            grid = max(1, round(config.window * codec.frame_rate))
    if teacher.longest is not None and before + window + after > teacher.longest:
        raise ValueError(
            f"the teacher hears at most {teacher.longest:g} s at a time, so look_ahead must be below "
            f"{teacher.longest - before - window:g} s, not {after:g}"
        )
    frames = max(1, round(window * codec.frame_rate)) if look_ahead is None else least
    return Reach(round(before * codec.frame_rate), round(after * codec.frame_rate), frames, frames, grid)


def _context(half: nn.Module) -> int:
    """The context that every half of a codec states."""
    context = half.context_frames
    assert isinstance(context, int)
    return context


def _alignment(decoder: nn.Module) -> int:
    """Where a piece must begin, for a decoder that cares."""
    return int(getattr(decoder, "align_frames", 1))


def _piece(codec: XCodec, least: int = 1) -> int:
    """Frames to compute at a time, at most."""
    return max(least, round(PIECE_SECONDS * codec.frame_rate))


def _device(codec: XCodec) -> torch.device:
    return codec.prior.weight.device


def _still(finished: bool) -> None:
    if finished:
        raise ValueError("the stream is finished; make a new one for the next")
