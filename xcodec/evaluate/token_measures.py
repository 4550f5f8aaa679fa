"""What tokens hold, before a language model is trained on them.

Linear probes of code vectors, entropy and usage of codes, phone purity, the perplexity of a small language model, and
the stability of tokens when the audio is shifted, quieter or noisier.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

# Linear probes: phone, speaker or sound class from frozen code vectors.

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Probe:
    """Accuracy of a linear classifier on clips that it was not trained on."""

    accuracy: float
    """Percent."""
    chance: float
    """Percent that always predicting the commonest class gets."""
    classes: int
    trained_on: int
    tested_on: int


def probe(vectors: Vectors, labels: Sequence[str], groups: Sequence[int], decay: float = 1e-3) -> Probe:
    """Multinomial logistic regression on standardised vectors, tested on every fourth group.

    Args:
        vectors: `[N, D]`.
        labels: the class of each.
        groups: the clip of each; no clip is on both sides.
        decay: of the weights, relative to the mean loss.

    Raises:
        ValueError: not two classes that are both in the training and in the test part.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    order = {group: index for index, group in enumerate(sorted(set(groups)))}
    test = np.array([order[group] % 4 == 3 for group in groups])
    named = np.asarray(labels)
    shared = sorted(set(named[~test]) & set(named[test]))
    if len(shared) < 2:
        raise ValueError(f"a probe needs two classes in both the training and the test clips, not {len(shared)}")
    kept = np.isin(named, shared)
    train, held = kept & ~test, kept & test
    # The mean loss + decay · |w|², as scikit-learn writes it: C · (sum of losses) + |w|² / 2.
    classifier = LogisticRegression(C=1 / (2 * decay * train.sum()), max_iter=1000)
    model = make_pipeline(StandardScaler(), classifier).fit(vectors[train], named[train])
    accuracy = float(np.mean(model.predict(vectors[held]) == named[held]))
    _, counts = np.unique(named[held], return_counts=True)
    chance = float(counts.max() / held.sum())
    return Probe(100 * accuracy, 100 * chance, len(shared), int(train.sum()), int(held.sum()))


# Entropy and usage of codes.

Codes = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class CodeStatistics:
    """Of each codebook, coarsest first."""

    frames: int
    """What they were measured on. With few frames per entry, entropy and usage come out too low."""
    usage: list[float]
    """Share of the entries that occur at all."""
    entropy: list[float]
    """Bits per code of an ideal entropy coder of single codes."""
    bigram_entropy: list[float]
    """The same given the code before: the conditional entropy."""
    repetition: list[float]
    """Share of the frames whose code is that of the frame before."""

    def kbps(self, frame_rate: float) -> float:
        """What an ideal coder of single codes would send, where the nominal bitrate spends all bits."""
        return sum(self.entropy) * frame_rate / 1000


def code_statistics(clips: Sequence[Codes], codebook_size: int) -> CodeStatistics:
    """Count the codes `[K, F]` of clips.

    Raises:
        ValueError: no codes, or one outside the codebook.
    """
    if not clips or sum(codes.shape[1] for codes in clips) == 0:
        raise ValueError("there are no codes to count")
    codebooks = len(clips[0])
    joined = np.concatenate(clips, axis=1).astype(np.int64)
    if joined.min() < 0 or joined.max() >= codebook_size:
        raise ValueError(f"codes must lie in [0, {codebook_size}); got {joined.min()} … {joined.max()}")
    pairs = [
        np.concatenate([codes[k, :-1].astype(np.int64) * codebook_size + codes[k, 1:] for codes in clips])
        for k in range(codebooks)
    ]
    starts = [np.concatenate([codes[k, :-1] for codes in clips]) for k in range(codebooks)]
    return CodeStatistics(
        frames=joined.shape[1],
        usage=[len(np.unique(row)) / codebook_size for row in joined],
        entropy=[entropy(row) for row in joined],
        bigram_entropy=[entropy(pair) - entropy(start) for pair, start in zip(pairs, starts, strict=True)],
        repetition=[
            float(np.mean(pair % codebook_size == pair // codebook_size)) if len(pair) else 0.0 for pair in pairs
        ],
    )


def entropy(symbols: Codes) -> float:
    """Of the distribution of symbols, in bits.

    >>> entropy(np.array([0, 0, 1, 2]))
    1.5
    """
    if len(symbols) == 0:
        return 0.0
    _, counts = np.unique(symbols, return_counts=True)
    shares = counts / len(symbols)
    return float(-(shares * np.log2(shares)).sum()) + 0.0  # no minus zero


# Phone purity, cluster purity and mutual information of tokens and phones (HuBERT, Hsu et al. 2021, §5.2).


@dataclass(frozen=True)
class PhoneMeasures:
    """All from 0 to 1, higher is better; all rise with the number of tokens that occur, so compare like with like."""

    phone_purity: float
    """Share of the frames whose phone is the commonest one of their token: the accuracy of guessing by token."""
    cluster_purity: float
    """Share of the frames whose token is the commonest one of their phone."""
    mutual_information: float
    """Of phone and token, over the entropy of phones."""
    frames: int


def phone_measures(phones: Sequence[str], tokens: NDArray[np.integer[Any]]) -> PhoneMeasures:
    """Count phones `[F]` against tokens `[F]` of the same frames.

    Raises:
        ValueError: no frames, unequal lengths, or fewer than two phones.
    """
    from sklearn.metrics import homogeneity_score
    from sklearn.metrics.cluster import contingency_matrix

    if len(phones) != len(tokens):
        raise ValueError(f"{len(phones)} phones for {len(tokens)} tokens")
    if (kinds := len(set(phones))) < 2:
        raise ValueError(f"it takes two phones to tell apart, not {kinds}")
    counts = contingency_matrix(phones, tokens)
    return PhoneMeasures(
        float(counts.max(axis=0).sum() / counts.sum()),
        float(counts.max(axis=1).sum() / counts.sum()),
        float(homogeneity_score(phones, tokens)),
        len(tokens),
    )


# Predictability: the perplexity of a small language model, the same for every codec, trained briefly.
#
# The model reads frame by frame, and within a frame codebook by codebook: the chain rule without approximation, so that
# the bits per frame of codecs can be compared.

WIDTH = 128
DROPOUT = 0.3
"""A corpus for evaluation is small, and a model that overfits it would measure its size, not the codec."""


@dataclass(frozen=True)
class Budget:
    """What the model is trained with; fixed, so that only the tokens differ."""

    steps: int = 300
    batch: int = 8
    seconds: float = 2.0
    """Of each crop: the same time for every codec, whatever its frame rate."""
    lr: float = 3e-3


@dataclass(frozen=True)
class Predictability:
    """On clips that the model was not trained on; lower is better."""

    perplexity: list[float]
    """Per codebook, coarsest first, given all frames before and the coarser codes of the same frame."""
    bits_per_second: float
    """Cross entropy of all the tokens, per second of audio."""
    frames: int


class SmallLanguageModel(nn.Module):
    """A recurrent network over frames, and a linear head per codebook that also sees the coarser codes."""

    def __init__(self, codebooks: int, codebook_size: int) -> None:
        super().__init__()
        self.embed = nn.ModuleList(nn.Embedding(codebook_size, WIDTH) for _ in range(codebooks))
        self.start = nn.Parameter(torch.zeros(WIDTH))
        self.network = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.dropout = nn.Dropout(DROPOUT)
        self.heads = nn.ModuleList(nn.Linear(WIDTH, codebook_size) for _ in range(codebooks))

    def forward(self, codes: Tensor) -> Tensor:
        """Codes `[B, K, F]` to the cross entropy of each, in nats, `[B, K, F]`."""
        embedded = [embed(codes[:, k]) for k, embed in enumerate(self.embed)]  # K × [B, F, D]
        frames = torch.stack(embedded).sum(0)
        start = self.start.expand(len(codes), 1, -1)
        context, _ = self.network(self.dropout(torch.cat([start, frames[:, :-1]], dim=1)))
        context = self.dropout(context)
        losses = []
        for k, head in enumerate(self.heads):
            logits = head(context).transpose(1, 2)  # (B, F, N) -> (B, N, F)
            losses.append(nn.functional.cross_entropy(logits, codes[:, k], reduction="none"))
            context = context + embedded[k]
        return torch.stack(losses, dim=1)


def predictability(
    clips: Sequence[NDArray[Any]], codebook_size: int, frame_rate: float, budget: Budget | None = None
) -> Predictability:
    """Train on three quarters of the clips `[K, F]`, measure on every fourth.

    Raises:
        ValueError: fewer than four clips.
    """
    budget = budget or Budget()
    if len(clips) < 4:
        raise ValueError(f"a language model needs four clips, three to learn and one to be tested, not {len(clips)}")
    held = [clip for index, clip in enumerate(clips) if index % 4 == 3]
    train = np.concatenate([clip for index, clip in enumerate(clips) if index % 4 != 3], axis=1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SmallLanguageModel(len(train), codebook_size)
        _train(model, torch.from_numpy(train).long(), budget, max(2, round(budget.seconds * frame_rate)))
    model.eval()
    nats, frames = torch.zeros(len(train), dtype=torch.float64), 0
    with torch.inference_mode():
        for clip in held:
            nats += model(torch.from_numpy(clip).long()[None])[0].double().sum(1)
            frames += clip.shape[1]
    nats /= frames
    return Predictability(nats.exp().tolist(), float(nats.sum() / np.log(2)) * frame_rate, frames)


def _train(model: SmallLanguageModel, codes: Tensor, budget: Budget, length: int) -> None:
    """On random crops of the codes `[K, F]` of all clips in a row."""
    length = min(length, codes.shape[1])
    optimiser = torch.optim.AdamW(model.parameters(), lr=budget.lr, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, budget.steps)
    for _ in range(budget.steps):
        starts = torch.randint(codes.shape[1] - length + 1, (budget.batch,))
        batch = torch.stack([codes[:, start : start + length] for start in starts.tolist()])
        optimiser.zero_grad()
        model(batch).mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()


# Stability: whether the same sound has the same tokens when it is shifted, quieter or noisier. To a language model
# every change is another text.

Audio = NDArray[np.float32]
Encode = Callable[[Audio], NDArray[np.int64]]
"""`[T]` to codes `[K, F]`."""


@dataclass(frozen=True)
class Stability:
    """Of the codes of the same sound, before and after a change of the audio."""

    kept_first: float
    """Share of the frames whose first code is the same, in percent; higher is better."""
    kept_all: float
    """The same, over all codebooks."""
    edit_distance: float
    """Of the sequences of first codes, per frame, in percent; insertions count as such."""
    frames: int


def perturbations(hop_length: int) -> dict[str, tuple[Callable[[Audio, int], Audio], int]]:
    """By name: what is done to a clip (given its number, for the noise), and by how many frames codes move."""
    return {
        "one frame later": (lambda wav, _: np.pad(wav, (hop_length, 0)), 1),
        "half a frame later": (lambda wav, _: np.pad(wav, (hop_length // 2, 0)), 0),
        "6 dB quieter": (lambda wav, _: wav * np.float32(10 ** (-6 / 20)), 0),
        "noise 30 dB below": (lambda wav, number: add_white_noise(wav, 30.0, number), 0),
    }


def add_white_noise(wav: Audio, ratio: float, seed: int) -> Audio:
    """White noise that lies `ratio` dB below the clip."""
    level = np.sqrt(np.mean(np.square(wav, dtype=np.float64))) * 10 ** (-ratio / 20)
    return wav + (level * np.random.default_rng(seed).standard_normal(len(wav))).astype(np.float32)


def stability(encode: Encode, clips: Sequence[Audio], hop_length: int) -> dict[str, Stability]:
    """Compare the codes of clips `[T]` with those after each change.

    Raises:
        ValueError: no clips.
    """
    if not clips:
        raise ValueError("there are no clips to change")
    plain = [encode(clip) for clip in clips]
    result = {}
    for name, (change, moved) in perturbations(hop_length).items():
        changed = [encode(change(clip, number))[:, moved:] for number, clip in enumerate(clips)]
        result[name] = compare_codes(plain, changed)
    return result


def compare_codes(before: Sequence[NDArray[np.int64]], after: Sequence[NDArray[np.int64]]) -> Stability:
    """Codes `[K, F]` by clip, of which the shorter of each two sets the length."""
    from rapidfuzz.distance import Levenshtein

    first, total, edits, frames = 0, 0.0, 0, 0
    for one, other in zip(before, after, strict=True):
        length = min(one.shape[1], other.shape[1])
        same = one[:, :length] == other[:, :length]
        first += int(same[0].sum())
        total += float(same.mean(0).sum())
        edits += Levenshtein.distance(one[0, :length].tolist(), other[0, :length].tolist())
        frames += length
    return Stability(100 * first / frames, 100 * total / frames, 100 * edits / frames, frames)
