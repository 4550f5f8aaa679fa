"""What a linear layer can read from frozen code vectors: phone, speaker, class of sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Probe:
    """How often a linear classifier is right on clips that it was not trained on."""

    accuracy: float
    """Percent."""
    chance: float
    """Percent that always saying the commonest class gets."""
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
    import torch

    order = {group: index for index, group in enumerate(sorted(set(groups)))}
    test = np.array([order[group] % 4 == 3 for group in groups])
    named = np.asarray(labels)
    shared = sorted(set(named[~test]) & set(named[test]))
    if len(shared) < 2:
        raise ValueError(f"a probe needs two classes in both the training and the test clips, not {len(shared)}")
    kept = np.isin(named, shared)
    classes = torch.from_numpy(np.searchsorted(shared, named))
    train, held = torch.from_numpy(kept & ~test), torch.from_numpy(kept & test)
    x = torch.from_numpy(np.asarray(vectors, dtype=np.float32))
    mean, deviation = x[train].mean(0), x[train].std(0).clamp(min=1e-6)
    x = (x - mean) / deviation
    weight = torch.zeros(len(shared), x.shape[1], requires_grad=True)
    bias = torch.zeros(len(shared), requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = torch.nn.functional.cross_entropy(x[train] @ weight.T + bias, classes[train])
        value = value + decay * weight.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    with torch.no_grad():
        right = ((x[held] @ weight.T + bias).argmax(1) == classes[held]).float().mean()
    common = torch.bincount(classes[held]).max() / held.sum()
    return Probe(100 * float(right), 100 * float(common), len(shared), int(train.sum()), int(held.sum()))
