"""Generation: the state that a model does not have (what was said so far, the cache, the dice) and its loop."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from xcodec.lm.layout import END, PAD, Refinement, refinement
from xcodec.lm.model import AutoregressiveLM, RefiningLM
from xcodec.lm.text_encoder import Script, frame_places, grid_places
from xcodec.lm.transformer import KVCache
from xcodec.utils.config import require

# How the next token is drawn: pure functions on logits [B, V].


@dataclass(frozen=True)
class Sampling:
    """Settings of :func:`draw`. The defaults change nothing: they draw from the model's own distribution."""

    temperature: float = 1.0
    """Below 1 the likely becomes likelier; 0 takes the likeliest."""
    top_k: int = 0
    """Only the k likeliest tokens; 0: all."""
    top_p: float = 1.0
    """Only the likeliest tokens that together have this probability."""
    repetition_window: int = 0
    """Repetition-aware sampling (VALL-E 2, arXiv 2406.05370): a token that was drawn from the restricted distribution
    but makes up too much of the last so many is drawn again, from all tokens. 0: off."""
    repetition_share: float = 0.1
    """How much is too much."""

    def __post_init__(self) -> None:
        require(self.temperature >= 0, f"temperature must not be negative, not {self.temperature}")
        require(self.top_k >= 0, f"top_k must not be negative, not {self.top_k}")
        require(0 < self.top_p <= 1, f"top_p must lie in (0, 1], not {self.top_p}")
        require(self.repetition_window >= 0, f"repetition_window must not be negative, not {self.repetition_window}")
        require(0 < self.repetition_share <= 1, f"repetition_share must lie in (0, 1], not {self.repetition_share}")


def with_temperature(logits: Tensor, temperature: float) -> Tensor:
    """Divide by a temperature, which must be positive."""
    return logits / temperature


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Rule out all but the k likeliest (and what ties with the last of them).

    >>> keep_top_k(torch.tensor([[1.0, 3.0, 2.0]]), 2)
    tensor([[-inf, 3., 2.]])
    """
    if not 0 < k < logits.shape[-1]:
        return logits
    least = logits.topk(k, dim=-1).values[..., -1:]
    return logits.masked_fill(logits < least, -math.inf)


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


def guided(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance: away from what would be said without the condition. Scale 1 is no guidance.

    >>> guided(torch.tensor([2.0]), torch.tensor([1.0]), 3.0)
    tensor([4.])
    """
    return unconditional + scale * (conditional - unconditional)


def repeats(tokens: Tensor, history: Tensor, share: float) -> Tensor:
    """Whether each token [B] makes up more than a share of its row of the history [B, W].

    >>> repeats(torch.tensor([7, 7]), torch.tensor([[7, 7, 1, 2], [1, 2, 3, 4]]), 0.25)
    tensor([ True, False])
    """
    if not history.shape[1]:
        return torch.zeros_like(tokens, dtype=torch.bool)
    return (history == tokens[:, None]).float().mean(1) > share


def draw(
    logits: Tensor, sampling: Sampling, generator: torch.Generator | None = None, history: Tensor | None = None
) -> Tensor:
    """Draw a token per row.

    Args:
        logits: [B, V].
        sampling: how.
        generator: makes the draw repeatable; it must be on the logits' device.
        history: int64 [B, W], the tokens drawn so far, the latest last.

    Returns:
        int64 [B].
    """
    if sampling.temperature == 0:
        return logits.argmax(-1)
    warm = with_temperature(logits.float(), sampling.temperature)
    narrow = keep_top_p(keep_top_k(warm, sampling.top_k), sampling.top_p)
    tokens = torch.multinomial(narrow.softmax(-1), 1, generator=generator)[:, 0]
    if sampling.repetition_window and history is not None:
        again = repeats(tokens, history[:, -sampling.repetition_window :], sampling.repetition_share)
        if bool(again.any()):
            from_all = torch.multinomial(warm.softmax(-1), 1, generator=generator)[:, 0]
            tokens = torch.where(again, from_all, tokens)
    return tokens


@dataclass(frozen=True)
class Limits:
    """How long a generation may and must be, in frames."""

    most: int
    least: int = 1
    """END is not heard of before."""

    def __post_init__(self) -> None:
        require(0 <= self.least <= self.most and self.most > 0, f"cannot say {self.least} … {self.most} frames")


@dataclass(frozen=True)
class Request:
    """What to generate from."""

    context: Tensor
    """int64 [S, L]: all up to and with AUDIO (see `sequences.context`)."""
    begun: Tensor
    """int64 [K, F]: codes that are to be continued; F may be 0."""
    limits: Limits
    """Of what is new."""
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    samples: int = 1
    """Different ones, all at once."""
    condition: Tensor | None = None
    """[P, C]: embeddings of a caption."""
    guidance: float = 1.0
    """Scale of classifier-free guidance; 1 is none, and then ``unconditional`` is not needed."""
    unconditional: Tensor | None = None
    """int64 [S, L]: the context without what guidance is to stress; of the same length. The context itself, if what is
    stressed is ``condition``."""
    script: Script | None = None
    """Of aligned text: what is said in each frame, those of ``begun`` included."""


@dataclass(frozen=True)
class NewFrame:
    """One frame of all samples."""

    codes: Tensor
    """int64 [N, K]."""
    alive: Tensor
    """bool [N]: False for a sample that was over before."""
    log_likelihood: Tensor
    """[N]: of its codes, summed over those drawn since the frame before; 0 where not alive."""


@dataclass(frozen=True)
class Generated:
    """One sample."""

    codes: Tensor
    """int64 [K, F], without those that were given."""
    log_likelihood: float
    """Mean per code drawn, in nats."""
    ended: bool
    """Whether the model said END, or the limit cut it off."""


def frames(model: AutoregressiveLM, request: Request, cached: bool = True) -> Iterator[NewFrame]:
    """Generate; gives each frame as soon as all its codes are there.

    Args:
        model: in evaluation mode.
        request: what to generate from.
        cached: False computes all positions anew at every step, as a reference for the cache.
    """
    yield from _Loop(model, request, cached).run()


def generate(model: AutoregressiveLM, request: Request, cached: bool = True) -> list[Generated]:
    """Generate whole samples, likeliest first."""
    loop = _Loop(model, request, cached)
    said = list(loop.run())
    results = []
    for row in range(request.samples):
        own = [frame for frame in said if bool(frame.alive[row])]
        codes = torch.stack([frame.codes[row] for frame in own], dim=1) if own else request.begun[:, :0]
        drawn = max(1, len(own) * model.pattern.codebooks)
        total = sum(float(frame.log_likelihood[row]) for frame in said)
        results.append(Generated(codes, total / drawn, loop.ends[row] < math.inf))
    return sorted(results, key=lambda each: -each.log_likelihood)


class _Loop:
    """One generation."""

    def __init__(self, model: AutoregressiveLM, request: Request, cached: bool) -> None:
        guide = request.guidance != 1
        if guide and request.unconditional is None:
            raise ValueError("guidance needs the context without the condition")
        if request.begun.shape[0] != model.pattern.codebooks:
            raise ValueError(f"the model says {model.pattern.codebooks} codebooks, not {request.begun.shape[0]}")
        self.model, self.request, self.guide = model, request, guide
        self.device = next(model.parameters()).device
        self.generator = torch.Generator(self.device).manual_seed(request.seed)
        self.given = request.begun.shape[1]
        self.last_frame = self.given + request.limits.most
        # Codes by codebook and frame; what is given is forced when its turn comes.
        self.codes = torch.zeros(
            request.samples, model.pattern.codebooks, self.last_frame, dtype=torch.int64, device=self.device
        )
        self.codes[:, :, : self.given] = request.begun.to(self.device)
        self.ends = [math.inf] * request.samples
        """Of each sample, the frame that would have been next when it said END."""
        rows = request.samples * (2 if guide else 1)
        positions = request.context.shape[1] + model.pattern.length(self.last_frame) + 1
        if request.condition is not None:
            positions += request.condition.shape[0]
        like = next(model.parameters())
        self.cache = KVCache(model.config.transformer, rows, positions, like) if cached else None
        self.seen: Tensor | None = None
        self.said = self._said(positions) if request.script is not None else None
        """[rows, L, D], of all positions there may be."""
        self.position = 0
        """Of the next one."""

    @torch.inference_mode()
    def run(self) -> Iterator[NewFrame]:
        model, pattern, request = self.model, self.model.pattern, self.request
        # Codes that follow nothing but what is given can be read at once.
        step = self.given * pattern.period
        begun = pattern.arrange(model.vocabulary.codes(request.begun), PAD)[:, :step]
        states = self._states(self._opening(begun), opening=True)
        scores = torch.zeros(request.samples, device=self.device)
        told = self.given
        while True:
            ids = torch.full((request.samples, pattern.width), PAD, device=self.device)
            for stream, codebook, frame in pattern.said_at(step):
                if frame < self.given:  # delayed codes of the last frames that were given
                    ids[:, stream] = self.codes[:, codebook, frame] + model.vocabulary.first_code(codebook)
                elif frame < self.last_frame:
                    scores += self._say(states, ids, stream, codebook, frame)
            step += 1
            ready = pattern.frames_ready(step)
            while told < ready:
                alive = torch.tensor([told < end for end in self.ends], device=self.device)
                if not bool(alive.any()):
                    return
                yield NewFrame(self.codes[:, :, told], alive, scores)
                scores = torch.zeros_like(scores)
                told += 1
                if told == self.last_frame:
                    return
            if told >= max(self.ends):
                return
            states = self._states(ids[:, :, None], opening=False)

    def _opening(self, begun: Tensor) -> Tensor:
        """[rows, S, L]: the context and what is given, for each sample; with guidance, then those without condition."""
        request = self.request
        whole = torch.cat([request.context, begun.to(request.context.device)], dim=1)
        rows = whole.expand(request.samples, -1, -1)
        if self.guide:
            assert request.unconditional is not None
            bare = torch.cat([request.unconditional, begun.to(request.context.device)], dim=1)
            rows = torch.cat([rows, bare.expand(request.samples, -1, -1)])
        return rows.to(self.device)

    def _states(self, ids: Tensor, opening: bool) -> Tensor:
        """States [rows, D] after the last of new positions [rows or N, S, l]."""
        if not opening and self.guide:
            ids = ids.repeat(2, 1, 1)  # both halves hear what was said
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
        said = None if self.said is None else self.said[:, first : self.position]
        return self.model(ids, condition, conditioned, self.cache, said)[:, -1]

    @torch.inference_mode()
    def _said(self, positions: int) -> Tensor:
        script, reader = self.request.script, self.model.reader
        assert script is not None
        assert reader is not None
        place = grid_places(script, self.request.context.shape[1], positions, self.model.pattern.period)
        texts = [script.text] * self.request.samples
        if self.guide:
            texts += [script.without_text().text] * self.request.samples
        states = reader(torch.stack(texts).to(self.device))
        return reader.said(states, place.to(self.device).expand(len(texts), -1))

    def _say(self, states: Tensor, ids: Tensor, stream: int, codebook: int, frame: int) -> Tensor:
        """Draw one code of each sample; writes it into ``codes`` and ``ids`` and gives its log-likelihood [N]."""
        model, request = self.model, self.request
        first = model.vocabulary.first_code(codebook)
        size = model.vocabulary.codebook_size
        everything = model.logits(states, stream).float()
        logits = everything[:, first : first + size]
        may_end = codebook == 0 and frame >= self.given + request.limits.least
        if may_end:
            logits = torch.cat([logits, everything[:, END : END + 1]], dim=1)
        if self.guide:
            conditional, unconditional = logits.chunk(2)
            logits = guided(conditional, unconditional, request.guidance)
        chosen = draw(logits, request.sampling, self.generator, self.codes[:, codebook, self.given : frame])
        going = torch.tensor([frame < end for end in self.ends], device=self.device)
        scores = logits.log_softmax(-1).gather(1, chosen[:, None])[:, 0] * (going & (chosen < size))
        if may_end:
            for row in (going & (chosen == size)).nonzero().flatten().tolist():
                self.ends[row] = frame
            chosen = chosen.clamp(max=size - 1)  # a sample that is over goes on as a dummy
        self.codes[:, codebook, frame] = chosen
        ids[:, stream] = chosen + first
        return scores


@torch.inference_mode()
def refine(
    model: RefiningLM,
    text: list[int],
    prompt: Tensor | None,
    first: Tensor,
    sampling: Sampling | None = None,
    seed: int = 0,
    begun: Tensor | None = None,
    script: Script | None = None,
) -> Tensor:
    """Add the higher codebooks to those of the first stage, of which there may be more than one.

    Args:
        model: in evaluation mode.
        text: indices of symbols, of all that is said in ``begun`` and ``first``.
        prompt: codes [K, F] of the voice.
        first: int64 [k, F].
        sampling: how codes are drawn; the likeliest by default, as in the paper.
        seed: of the draws.
        begun: codes [K, f], what was said before ``first``, if something was.
        script: of aligned text: what is said in each frame, those of ``begun`` included.

    Returns:
        int64 [K, F].
    """
    device = next(model.parameters()).device
    sampling = sampling or Sampling(temperature=0)
    generator = torch.Generator(device).manual_seed(seed)
    codebooks = model.config.codebooks
    given = 0 if begun is None else begun.shape[1]
    codes = torch.zeros(codebooks, given + first.shape[1], dtype=torch.int64)
    if begun is not None:
        codes[:, :given] = begun
    codes[: len(first), given:] = first
    said = None
    for level in range(len(first), codebooks):
        asked: Refinement = refinement(model.vocabulary, None if script else text, prompt, codes, level, given)
        ids, wanted = asked.ids[None].to(device), asked.asked[None].to(device)
        if script is not None and said is None:
            assert model.reader is not None
            place = frame_places(script, ids.shape[2] - codes.shape[1], ids.shape[2]).to(device)
            said = model.reader.said(model.reader(script.text[None].to(device)), place[None])
        logits = model(ids, wanted, torch.tensor([level], device=device), said)
        codes[level, given:] = draw(logits, sampling, generator).cpu()
    return codes[:, given:]
