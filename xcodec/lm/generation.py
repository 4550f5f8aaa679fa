"""Generation: how a next token is sampled, the loop of an autoregressive model, and the levels of a NAR model.

What a network does not have is here: the codes so far, the key-value cache, the RNG state.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from xcodec.lm.layout import END, PAD, nar_input
from xcodec.lm.model import AutoregressiveLM, NonAutoregressiveLM
from xcodec.lm.text_encoder import AlignedText
from xcodec.lm.transformer import KVCache
from xcodec.utils.config import require

LARGEST_SEED = 2**63 - 1

# --- sampling: pure functions on logits [B, V] ------------------------------------------------------------------------


@dataclass(frozen=True)
class Sampling:
    """Settings of :func:`sample`. The defaults change nothing: they sample from the model's own distribution."""

    temperature: float = 1.0
    """Below 1 the likely becomes likelier; 0 takes the likeliest."""
    top_k: int = 0
    """Only the k likeliest tokens; 0: all."""
    top_p: float = 1.0
    """Only the likeliest tokens that together have this probability (nucleus sampling)."""
    repetition_window: int = 0
    """Repetition-aware sampling (VALL-E 2, arXiv 2406.05370): a token that was drawn from the restricted distribution
    but makes up too much of the last so many is drawn again, from all tokens. 0: off."""
    repetition_share: float = 0.1
    """How much is too much."""

    def __post_init__(self) -> None:
        require(
            0 <= self.temperature < math.inf, f"temperature must be finite and not negative, not {self.temperature}"
        )
        require(self.top_k >= 0, f"top_k must not be negative, not {self.top_k}")
        require(0 < self.top_p <= 1, f"top_p must lie in (0, 1], not {self.top_p}")
        require(self.repetition_window >= 0, f"repetition_window must not be negative, not {self.repetition_window}")
        require(0 < self.repetition_share <= 1, f"repetition_share must lie in (0, 1], not {self.repetition_share}")


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Rule out all but the k likeliest (and what ties with the last of them).

    >>> keep_top_k(torch.tensor([[1.0, 3.0, 2.0]]), 2)
    tensor([[-inf, 3., 2.]])
    """
    if not 0 < k < logits.shape[-1]:
        return logits
    kth = logits.topk(k, dim=-1).values[..., -1:]
    return logits.masked_fill(logits < kth, -math.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Rule out all but the likeliest tokens that together reach probability p; at least one is kept.

    >>> keep_top_p(torch.tensor([[0.5, 0.3, 0.2]]).log(), 0.6).exp()
    tensor([[0.5000, 0.3000, 0.0000]])
    """
    if p >= 1:
        return logits
    ordered, order = logits.sort(dim=-1, descending=True)
    before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
    return logits.masked_fill((before >= p).scatter(-1, order, before >= p), -math.inf)


def classifier_free_guidance(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Extrapolate from the unconditional logits past the conditional ones (arXiv 2207.12598); scale 1 is no guidance.

    >>> classifier_free_guidance(torch.tensor([2.0]), torch.tensor([1.0]), 3.0)
    tensor([4.])
    """
    return unconditional + scale * (conditional - unconditional)


def is_repetitive(tokens: Tensor, history: Tensor, share: float) -> Tensor:
    """Whether each token [B] makes up more than a share of its row of the history [B, W].

    >>> is_repetitive(torch.tensor([7, 7]), torch.tensor([[7, 7, 1, 2], [1, 2, 3, 4]]), 0.25)
    tensor([ True, False])
    """
    if not history.shape[1]:
        return torch.zeros_like(tokens, dtype=torch.bool)
    return (history == tokens[:, None]).float().mean(1) > share


def sample(
    logits: Tensor, sampling: Sampling, generator: torch.Generator | None = None, history: Tensor | None = None
) -> Tensor:
    """Sample a token per row.

    Args:
        logits: [B, V].
        sampling: settings.
        generator: makes it repeatable; on the logits' device.
        history: int64 [B, W], the tokens so far, the latest last.

    Returns:
        int64 [B].
    """
    if sampling.temperature == 0:
        return logits.argmax(-1)
    warm = logits.float() / sampling.temperature
    narrow = keep_top_p(keep_top_k(warm, sampling.top_k), sampling.top_p)
    tokens = torch.multinomial(narrow.softmax(-1), 1, generator=generator)[:, 0]
    if sampling.repetition_window and history is not None:
        again = is_repetitive(tokens, history[:, -sampling.repetition_window :], sampling.repetition_share)
        if bool(again.any()):
            from_all = torch.multinomial(warm.softmax(-1), 1, generator=generator)[:, 0]
            tokens = torch.where(again, from_all, tokens)
    return tokens


# --- autoregressive ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Limits:
    """Frames that are generated."""

    maximum: int
    minimum: int = 1
    """END is not sampled before."""

    def __post_init__(self) -> None:
        require(
            0 <= self.minimum <= self.maximum and self.maximum > 0,
            f"cannot generate {self.minimum} … {self.maximum} frames",
        )


@dataclass(frozen=True)
class Request:
    """What to generate, given what."""

    context: Tensor
    """int64 [S, L]: all up to and with AUDIO (see `layout.context`)."""
    prefix: Tensor
    """int64 [K, F]: codes that are to be continued; F may be 0."""
    limits: Limits
    """Of the frames after the prefix."""
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    samples: int = 1
    """Different ones, as one batch."""
    condition: Tensor | None = None
    """[P, C]: embeddings of a caption."""
    guidance: float = 1.0
    """Scale of classifier-free guidance; 1 is none, and then ``unconditional`` is not needed."""
    unconditional: Tensor | None = None
    """int64 [S, L]: the context without what guidance amplifies; of the same length. The context itself, if that is
    ``condition``."""
    aligned_text: AlignedText | None = None
    """With its frames, those of ``prefix`` included."""

    def __post_init__(self) -> None:
        require(math.isfinite(self.guidance), f"guidance must be finite, not {self.guidance}")
        require(0 <= self.seed <= LARGEST_SEED, f"seed must be within 0 and {LARGEST_SEED}, not {self.seed}")
        require(self.samples > 0, f"samples must be positive, not {self.samples}")


@dataclass(frozen=True)
class GeneratedFrame:
    """One frame of all samples. N samples."""

    codes: Tensor
    """int64 [N, K]."""
    active: Tensor
    """bool [N]: False for a sample that ended before."""
    log_likelihood: Tensor
    """[N]: of its codes, summed over those sampled since the frame before; 0 where not active."""


@dataclass(frozen=True)
class Generated:
    """One sample."""

    codes: Tensor
    """int64 [K, F], without the prefix."""
    log_likelihood: float
    """Mean per code, in nats."""
    ended: bool
    """Whether by END, or by the limit."""


def generate_frames(model: AutoregressiveLM, request: Request, cached: bool = True) -> Iterator[GeneratedFrame]:
    """Generate; gives each frame as soon as all its codes are there.

    Args:
        model: in evaluation mode.
        request: what to generate.
        cached: False computes all positions anew at each step, as a reference for the cache.
    """
    yield from _Generation(model, request, cached).run()


def generate(model: AutoregressiveLM, request: Request, cached: bool = True) -> list[Generated]:
    """Generate whole samples, likeliest first."""
    generation = _Generation(model, request, cached)
    frames = list(generation.run())
    results = []
    for row in range(request.samples):
        own = [frame for frame in frames if bool(frame.active[row])]
        codes = torch.stack([frame.codes[row] for frame in own], dim=1) if own else request.prefix[:, :0]
        sampled = max(1, len(own) * model.pattern.codebooks)
        total = sum(float(frame.log_likelihood[row]) for frame in frames)
        results.append(Generated(codes, total / sampled, generation.ends[row] < math.inf))
    return sorted(results, key=lambda each: -each.log_likelihood)


class _Generation:
    """The state of one request."""

    def __init__(self, model: AutoregressiveLM, request: Request, cached: bool) -> None:
        guide = request.guidance != 1
        if guide and request.unconditional is None:
            raise ValueError("guidance needs the context without the condition")
        if request.prefix.shape[0] != model.pattern.codebooks:
            raise ValueError(f"the model has {model.pattern.codebooks} codebooks, the prefix {request.prefix.shape[0]}")
        self.model, self.request, self.guide = model, request, guide
        self.device = next(model.parameters()).device
        self.generator = torch.Generator(self.device).manual_seed(request.seed)
        self.given = request.prefix.shape[1]
        self.last_frame = self.given + request.limits.maximum
        # Codes by codebook and frame; those of the prefix are forced when their turn comes.
        self.codes = torch.zeros(
            request.samples, model.pattern.codebooks, self.last_frame, dtype=torch.int64, device=self.device
        )
        self.codes[:, :, : self.given] = request.prefix.to(self.device)
        self.ends = [math.inf] * request.samples
        """Of each sample, the frame in whose place END was sampled."""
        rows = request.samples * (2 if guide else 1)
        positions = request.context.shape[1] + model.pattern.length(self.last_frame) + 1
        if request.condition is not None:
            positions += request.condition.shape[0]
        like = next(model.parameters())
        self.cache = KVCache(model.config.transformer, rows, positions, like) if cached else None
        self.seen: Tensor | None = None
        self.text_states = self._text_states(positions) if request.aligned_text is not None else None
        """[rows, L, D], of all positions there may be."""
        self.position = 0
        """Of the next one."""

    @torch.inference_mode()
    def run(self) -> Iterator[GeneratedFrame]:
        model, pattern, request = self.model, self.model.pattern, self.request
        # The steps whose codes are all in the prefix are one pass.
        step = self.given * pattern.period
        prefix = pattern.arrange(model.vocabulary.codes(request.prefix), PAD)[:, :step]
        states = self._states(self._opening(prefix), opening=True)
        scores = torch.zeros(request.samples, device=self.device)
        frame = self.given
        while True:
            ids = torch.full((request.samples, pattern.width), PAD, device=self.device)
            for stream, codebook, code_frame in pattern.codes_at(step):
                if code_frame < self.given:  # delayed codes of the prefix's last frames
                    ids[:, stream] = self.codes[:, codebook, code_frame] + model.vocabulary.first_code(codebook)
                elif code_frame < self.last_frame:
                    scores += self._sample(states, ids, stream, codebook, code_frame)
            step += 1
            complete = pattern.complete_frames(step)
            while frame < complete:
                active = torch.tensor([frame < end for end in self.ends], device=self.device)
                if not bool(active.any()):
                    return
                yield GeneratedFrame(self.codes[:, :, frame], active, scores)
                scores = torch.zeros_like(scores)
                frame += 1
                if frame == self.last_frame:
                    return
            if frame >= max(self.ends):
                return
            states = self._states(ids[:, :, None], opening=False)

    def _opening(self, prefix: Tensor) -> Tensor:
        """[rows, S, L]: context and prefix, for each sample; with guidance, then those without condition."""
        request = self.request
        opening = torch.cat([request.context, prefix.to(request.context.device)], dim=1)
        rows = opening.expand(request.samples, -1, -1)
        if self.guide:
            assert request.unconditional is not None
            unconditional = torch.cat([request.unconditional, prefix.to(request.context.device)], dim=1)
            rows = torch.cat([rows, unconditional.expand(request.samples, -1, -1)])
        return rows.to(self.device)

    def _states(self, ids: Tensor, opening: bool) -> Tensor:
        """States [rows, D] after the last of new positions [rows or N, S, l]."""
        if not opening and self.guide:
            ids = ids.repeat(2, 1, 1)  # conditional and unconditional rows get the same codes
        if self.cache is None:
            self.seen = ids if opening or self.seen is None else torch.cat([self.seen, ids], dim=2)
            ids, opening = self.seen, True
        condition = conditioned = None
        if opening and self.request.condition is not None:
            condition = self.request.condition.to(self.device).expand(len(ids), -1, -1)
            conditioned = torch.ones(condition.shape[:2], dtype=torch.bool, device=self.device)
            if self.guide:
                conditioned[self.request.samples :] = False
        first = 0 if self.cache is None else self.position
        self.position = first + ids.shape[2]
        text_states = None if self.text_states is None else self.text_states[:, first : self.position]
        return self.model(ids, condition, conditioned, self.cache, text_states)[:, -1]

    @torch.inference_mode()
    def _text_states(self, positions: int) -> Tensor:
        text, encoder = self.request.aligned_text, self.model.text_encoder
        assert text is not None
        assert encoder is not None
        at = text.autoregressive_positions(self.request.context.shape[1], positions, self.model.pattern.period)
        rows = [text.text] * self.request.samples
        if self.guide:
            rows += [text.without_text().text] * self.request.samples
        return encoder.upsample(encoder(torch.stack(rows).to(self.device)), at.to(self.device).expand(len(rows), -1))

    def _sample(self, states: Tensor, ids: Tensor, stream: int, codebook: int, frame: int) -> Tensor:
        """Sample one code per row; writes it into ``codes`` and ``ids`` and gives its log-likelihood [N]."""
        model, request = self.model, self.request
        first = model.vocabulary.first_code(codebook)
        size = model.vocabulary.codebook_size
        everything = model.logits(states, stream).float()
        logits = everything[:, first : first + size]
        may_end = codebook == 0 and frame >= self.given + request.limits.minimum
        if may_end:
            logits = torch.cat([logits, everything[:, END : END + 1]], dim=1)
        if self.guide:
            conditional, unconditional = logits.chunk(2)
            logits = classifier_free_guidance(conditional, unconditional, request.guidance)
        chosen = sample(logits, request.sampling, self.generator, self.codes[:, codebook, self.given : frame])
        going = torch.tensor([frame < end for end in self.ends], device=self.device)
        scores = logits.log_softmax(-1).gather(1, chosen[:, None])[:, 0] * (going & (chosen < size))
        if may_end:
            for row in (going & (chosen == size)).nonzero().flatten().tolist():
                self.ends[row] = frame
            chosen = chosen.clamp(max=size - 1)  # the codes of a sample that has ended are not used
        self.codes[:, codebook, frame] = chosen
        ids[:, stream] = chosen + first
        return scores


# --- non-autoregressive -----------------------------------------------------------------------------------------------


@torch.inference_mode()
def generate_nar(
    model: NonAutoregressiveLM,
    text: list[int],
    prompt: Tensor | None,
    codes: Tensor,
    sampling: Sampling | None = None,
    seed: int = 0,
    prefix: Tensor | None = None,
    aligned_text: AlignedText | None = None,
) -> Tensor:
    """Add the higher codebooks to the first, or the first few.

    Args:
        model: in evaluation mode.
        text: indices of symbols, of ``prefix`` and ``codes`` together.
        prompt: codes [K, F] of the speaker, of other words.
        codes: int64 [k, F].
        sampling: how codes are sampled; the likeliest by default, as in the paper.
        seed: of the sampling.
        prefix: codes [K, f] of what comes before ``codes``, if something does.
        aligned_text: with its frames, those of ``prefix`` included.

    Returns:
        int64 [K, F].
    """
    device = next(model.parameters()).device
    sampling = sampling or Sampling(temperature=0)
    generator = torch.Generator(device).manual_seed(seed)
    codebooks = model.config.codebooks
    given = 0 if prefix is None else prefix.shape[1]
    known = torch.zeros(codebooks, given + codes.shape[1], dtype=torch.int64)
    if prefix is not None:
        known[:, :given] = prefix
    known[: len(codes), given:] = codes
    text_states = None
    for level in range(len(codes), codebooks):
        made = nar_input(model.vocabulary, None if aligned_text else text, prompt, known, level, given)
        ids, targets = made.ids[None].to(device), made.targets[None].to(device)
        if aligned_text is not None and text_states is None:
            assert model.text_encoder is not None
            at = aligned_text.nar_positions(ids.shape[2] - known.shape[1], ids.shape[2]).to(device)
            text_states = model.text_encoder.upsample(model.text_encoder(aligned_text.text[None].to(device)), at[None])
        logits = model(ids, targets, torch.tensor([level], device=device), text_states)
        known[level, given:] = sample(logits, sampling, generator).cpu()
    return known[:, given:]
