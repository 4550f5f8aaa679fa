"""What a metric is: two signals in, named numbers out, or an error; never a number that means nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float32]
"""Audio `[T]` at `RATE`, in [-1, 1]."""

RATE = 16_000
"""All metrics take audio at this rate, in Hz: it is that of PESQ-WB, Whisper, DNSMOS and the speaker models."""

SILENCE = 1e-5
"""Root mean square below which audio is silence: less than half a step of 16 bits."""


class MetricError(ValueError):
    """A metric is undefined for these signals; the message is one line."""


class MissingBackendError(ValueError):
    """What a metric needs is not installed; the message says how to get it."""


@dataclass(frozen=True)
class Measure:
    """One number that a metric gives."""

    name: str
    unit: str
    """Empty for plain numbers."""
    better: Literal["higher", "lower", "neither"]
    title: str
    """For headings."""


class Metric(Protocol):
    """Compares a decoded signal with its original, or rates it alone."""

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What it gives."""

    @property
    def speech_only(self) -> bool:
        """Whether it is meaningless for music and sounds."""

    @property
    def backend(self) -> str:
        """What computes it, with its version: scores of different backends must not be compared."""

    def __call__(self, original: Signal, decoded: Signal) -> dict[str, float]:
        """A value for each of `measures`.

        Raises:
            MetricError: silence, unequal lengths, values that are not finite, or no value for these signals.
        """


def check_pair(original: Signal, decoded: Signal) -> None:
    """Refuse what no metric is defined for.

    Raises:
        MetricError: the signals are not `[T]` of the same length, not finite, or silent.
    """
    if original.ndim != 1 or original.shape != decoded.shape:
        raise MetricError(f"signals must be [T] and equally long, not {original.shape} and {decoded.shape}")
    check_audible(original, "original")
    check_audible(decoded, "decoded signal")


def check_audible(signal: Signal, what: str) -> None:
    """Refuse silence, and values that are not finite.

    Raises:
        MetricError: it is either.
    """
    if not np.isfinite(signal).all():
        raise MetricError(f"the {what} has samples that are NaN or infinite")
    if signal.size == 0 or np.sqrt(np.mean(np.square(signal, dtype=np.float64))) < SILENCE:
        raise MetricError(f"the {what} is silent")


def compute(metric: Metric, original: Signal, decoded: Signal) -> dict[str, float]:
    """The finite values of a metric. Whatever else it comes to for a clip must not end the evaluation of the others.

    Raises:
        MetricError: it is undefined for these signals, with the reason.
    """
    try:
        with np.errstate(all="ignore"):  # a division by zero is found below
            values = metric(original, decoded)
    except MetricError:
        raise
    except (ValueError, ArithmeticError, RuntimeError) as error:
        raise MetricError(f"{metric.backend} failed: {describe_error(error)}") from error
    if infinite := {name: value for name, value in values.items() if not math.isfinite(value)}:
        raise MetricError(", ".join(f"{name} is {value}" for name, value in infinite.items()))
    return values


def describe_error(error: Exception) -> str:
    """An unexpected error as a reason."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def package_version(name: str) -> str:
    """A package and its installed version, for `Metric.backend`."""
    return f"{name} {version(name)}"


def missing_backend(what: str, command: str) -> MissingBackendError:
    """The error that says what to install."""
    return MissingBackendError(f"{what} is not installed; get it with: {command}")
