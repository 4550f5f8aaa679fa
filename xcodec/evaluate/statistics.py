"""How sure a mean is, and whether two codecs differ: resampling of clips, with no assumption about distributions.

Every quantity is a ratio of sums over clips. For a score the denominators are ones, which makes it the mean; for a
word error rate they are words, for a bitrate seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
RESAMPLES = 4000
SEED = 2408


@dataclass(frozen=True)
class Estimate:
    """A ratio of sums, and the 95 % interval in which it would lie with other clips of the same kind."""

    mean: float
    low: float
    high: float
    clips: int

    def __str__(self) -> str:
        """For tables.

        >>> str(Estimate(0.5, 0.25, 0.8125, 10))
        '0.5 [0.25, 0.812]'
        """
        return f"{self.mean:.3g} [{self.low:.3g}, {self.high:.3g}]"


@dataclass(frozen=True)
class Comparison:
    """Whether `first` and `second` differ on the clips they share."""

    first: str
    second: str
    difference: float
    """First minus second."""
    p: float
    """How often chance alone makes a difference as large."""
    p_corrected: float
    """The same, corrected by Holm for the number of pairs compared."""
    clips: int


def estimate(numerators: Values, denominators: Values) -> Estimate:
    """Bootstrap over clips, by percentiles.

    Raises:
        ValueError: no clips, or nothing to divide by.
    """
    count = len(numerators)
    if count == 0 or denominators.sum() == 0:
        raise ValueError("no clips to take a mean of")
    picks = np.random.default_rng(SEED).integers(count, size=(RESAMPLES, count))
    below = denominators[picks].sum(1)
    resampled = numerators[picks].sum(1)[below > 0] / below[below > 0]
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Estimate(float(numerators.sum() / denominators.sum()), float(low), float(high), count)


def permutation_test(first: tuple[Values, Values], second: tuple[Values, Values]) -> tuple[float, float]:
    """Difference of two ratios on the same clips, and its p-value.

    Under the hypothesis that the codecs are alike, it would not matter if on any clip they changed places.

    Args:
        first: numerators and denominators, by clip.
        second: the same, of the other codec.
    """
    rng = np.random.default_rng(SEED)
    swaps = rng.integers(0, 2, size=(RESAMPLES, len(first[0]))).astype(np.float64)
    observed = first[0].sum() / first[1].sum() - second[0].sum() / second[1].sum()
    sums = [(a.sum() + swaps @ (b - a), b.sum() + swaps @ (a - b)) for a, b in zip(first, second, strict=True)]
    (first_top, second_top), (first_below, second_below) = sums
    chance = first_top / first_below - second_top / second_below
    # The observed arrangement is one of those that chance can make; rounding must not count it out.
    extreme = np.abs(chance) >= abs(observed) * (1 - 1e-9) - 1e-12
    return float(observed), float((1 + extreme.sum()) / (1 + RESAMPLES))


def holm(p_values: list[float]) -> list[float]:
    """Holm's correction: the chance of even one false alarm among all is kept at the level tested.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values)
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
