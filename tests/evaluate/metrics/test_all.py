"""What every metric must do, whatever it measures."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from xcodec.evaluate.metrics import DEFAULT, METRICS, MetricError, Signal, make
from xcodec.evaluate.metrics.base import MissingBackendError

NEEDS_DOWNLOAD = {"utmos", "wavlm_speaker"}


def test_the_default_is_all_that_need_no_download() -> None:
    assert set(DEFAULT) == set(METRICS) - NEEDS_DOWNLOAD


@pytest.fixture(scope="module", params=DEFAULT)
def metric(request: pytest.FixtureRequest) -> Any:
    return make([request.param])[0]


def test_every_measure_says_unit_and_direction_and_gets_a_finite_number(
    metric: Any, speech: Signal, noise: Callable[..., Signal]
) -> None:
    scores = metric(speech, speech + 0.1 * noise(seconds=4))
    assert list(scores) == [measure.name for measure in metric.measures]
    assert all(np.isfinite(value) and isinstance(value, float) for value in scores.values())
    assert all(measure.title and measure.better in ("higher", "lower") for measure in metric.measures)
    assert metric.backend


@pytest.mark.parametrize("case", ["silent original", "silent decoded", "shorter", "not finite", "two-dimensional"])
def test_what_has_no_value_is_refused(metric: Any, speech: Signal, case: str) -> None:
    original, decoded = {
        "silent original": (np.zeros_like(speech), speech),
        "silent decoded": (speech, np.zeros_like(speech)),
        "shorter": (speech, speech[:-1]),
        "not finite": (speech, np.where(np.arange(len(speech)) == 7, np.nan, speech).astype(np.float32)),
        "two-dimensional": (speech[None], speech[None]),
    }[case]
    with pytest.raises(MetricError):
        metric(original, decoded)


def test_more_noise_is_worse(metric: Any, speech: Signal, noise: Callable[..., Signal]) -> None:
    hiss = noise(seconds=4, level=1.0)
    little, much = (metric(speech, speech + level * hiss) for level in (0.001, 0.05))
    for measure in metric.measures:
        sign = {"higher": 1, "lower": -1}[measure.better]
        assert sign * little[measure.name] > sign * much[measure.name], measure.name


def test_an_unknown_metric_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"no metric is called loudness; there are pesq, stoi, "):
        make(["pesq", "loudness"])


@pytest.mark.parametrize(
    ("name", "module"), [("pesq", "pesq"), ("stoi", "pystoi"), ("dnsmos", "speechmos"), ("speaker", "resemblyzer")]
)
def test_a_missing_backend_says_what_to_install(monkeypatch: pytest.MonkeyPatch, name: str, module: str) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "xcodec.evaluate.metrics.learned.find_spec", lambda wanted: None if wanted == module else found(wanted)
    )
    with pytest.raises(MissingBackendError, match=r"is not installed; get it with: pip install"):
        make([name])
