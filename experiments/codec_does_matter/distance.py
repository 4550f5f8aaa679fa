"""Embeddings that need no download, and distances and classes of sounds by them.

Two embeddings, neither of which has anything to do with the codecs' teacher (Whisper-tiny.en): statistics of log-mel
bands, which need no weights, and Whisper-base's encoder, which was trained on all kinds of audio.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from xcodec.utils.spectra import mel_filters, stft

Embedding = NDArray[np.float64]

RATE = 16_000
BANDS = 64
SHORTEST, LONGEST = 500, 3000
"""Of what Whisper's encoder is given, in frames of 10 ms."""


class Embedder:
    """Mean and standard deviation over time of log-mel bands: [128]. Audio float32 [T] at 16 kHz."""

    name = "log-mel statistics"

    def __init__(self) -> None:
        self.filters = mel_filters(1024, BANDS, 16_000).T.numpy()

    def __call__(self, wav: NDArray[np.float32]) -> Embedding:
        """[T] -> [128]."""
        padded = torch.from_numpy(np.pad(wav, (0, max(0, 1024 - len(wav)))))
        spectrum = stft(padded, torch.hann_window(1024), 256).abs().T.numpy()  # (F, bins) -> (bins, F)
        bands = np.log(self.filters @ spectrum**2 + 1e-6)  # [bands, F]
        return np.concatenate([bands.mean(1), bands.std(1)])


class WhisperEmbedder(Embedder):
    """Mean over time of the encoder's states: [512].

    What is shorter than 5 s is followed by silence up to there, which is not part of the mean. Whisper itself is used
    to 30 s, at six times the work; a probe tells real sounds apart no better for it. (The step `judge` prints how well
    it does; `SHORTEST = 3000` is Whisper's own.)
    """

    name = "Whisper-base encoder"

    def __init__(self, model: str) -> None:
        super().__init__()
        from faster_whisper import WhisperModel

        self.model = WhisperModel(model, device="cpu", compute_type="int8", cpu_threads=1)

    def __call__(self, wav: NDArray[np.float32]) -> Embedding:
        """[T] -> [512]."""
        features = self.model.feature_extractor(wav)[:, :LONGEST]
        frames = features.shape[1]
        padded = np.pad(features, ((0, 0), (0, max(0, SHORTEST - frames))))
        states = np.array(self.model.encode(padded))[0]  # [F, 512]; two frames of features make one state
        return states[: max(1, frames // 2)].mean(0).astype(np.float64)


def frechet(real: Embedding, made: Embedding) -> float:
    """Fréchet distance of two sets [n, D] of embeddings, as if each were Gaussian.

    With fewer clips than dimensions the covariances have no full rank; distances are then comparable with one another
    (same n, same real clips), but not with those of other papers.
    """
    means = real.mean(0) - made.mean(0)
    first, second = np.cov(real, rowvar=False), np.cov(made, rowvar=False)
    # tr √(AB) = tr √(√A B √A), which is symmetric: its eigenvalues are real, and stable where A is singular.
    values, vectors = np.linalg.eigh(first)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()
    return float(means @ means + np.trace(first) + np.trace(second) - 2 * shared)


def nearness(real: Embedding, made: Embedding) -> Embedding:
    """Similarity of each clip to its real counterpart: cosines [n] of two sets [n, D], standardised by the real ones.

    1 for the same embedding; two unrelated clips have 0 on average.
    """
    mean, std = real.mean(0), real.std(0) + 1e-6
    first, second = (real - mean) / std, (made - mean) / std
    return (first * second).sum(1) / (np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1) + 1e-12)


class Probe:
    """Logistic regression on standardised embeddings."""

    def __init__(self, classes: Mapping[str, Embedding], steps: int = 300) -> None:
        self.words = list(classes)
        x = np.concatenate(list(classes.values()))
        self.mean, self.std = x.mean(0), x.std(0) + 1e-6
        inputs = torch.from_numpy((x - self.mean) / self.std).float()
        right = torch.cat([torch.full((len(of),), index) for index, of in enumerate(classes.values())])
        # Small classes count as much as large ones.
        weights = torch.tensor([1 / len(of) for of in classes.values()])
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(inputs.shape[1], len(self.words))
        optimizer = torch.optim.AdamW(self.linear.parameters(), lr=1e-2, weight_decay=1.0)
        for _ in range(steps):
            loss = torch.nn.functional.cross_entropy(self.linear(inputs), right, weight=weights)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    @torch.no_grad()
    def __call__(self, embedding: Embedding) -> str:
        """The most likely class."""
        x = torch.from_numpy((embedding - self.mean) / self.std).float()
        return self.words[int(self.linear(x).argmax())]


def cross_validate(classes: Mapping[str, Embedding], folds: int = 5) -> float:
    """Cross-validated accuracy on real sounds, averaged over classes."""
    right: dict[str, list[bool]] = {word: [] for word in classes}
    for fold in range(folds):
        probe = Probe({word: of[np.arange(len(of)) % folds != fold] for word, of in classes.items()})
        for word, of in classes.items():
            right[word] += [probe(each) == word for each in of[np.arange(len(of)) % folds == fold]]
    return float(np.mean([np.mean(of) for of in right.values()]))
