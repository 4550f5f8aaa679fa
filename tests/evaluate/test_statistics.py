from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from xcodec.evaluate.summary import estimate, holm, permutation_test

RNG = np.random.default_rng(1)


def test_the_interval_is_that_of_the_normal_distribution_for_many_values() -> None:
    values = RNG.normal(3, 2, 400)
    found = estimate(values, np.ones(400))
    assert found.mean == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20
    assert [found.low, found.high] == pytest.approx([found.mean - half, found.mean + half], abs=0.04)
    assert found.clips == 400


def test_a_ratio_is_pooled_not_averaged() -> None:
    # One error in one word and none in nine: 10 %, not 50 %.
    assert estimate(np.array([100.0, 0.0]), np.array([1.0, 9.0])).mean == pytest.approx(10)


def test_nothing_has_no_mean() -> None:
    with pytest.raises(ValueError, match="no clips"):
        estimate(np.array([]), np.array([]))


def test_the_permutation_test_agrees_with_all_permutations() -> None:
    first, second = RNG.normal(0.6, 1, 10), RNG.normal(0, 1, 10)
    difference, p = permutation_test((first, np.ones(10)), (second, np.ones(10)))
    signs = np.array(list(itertools.product([1, -1], repeat=10)))
    exact = np.mean(np.abs((signs * (first - second)).mean(1)) >= abs(difference) - 1e-12)
    assert difference == pytest.approx((first - second).mean())
    assert p == pytest.approx(exact, abs=0.03)


def test_the_permutation_test_agrees_with_scipy_on_many_clips() -> None:
    first = RNG.normal(0, 1, 200)
    second = first + RNG.normal(0.08, 0.5, 200)
    _, p = permutation_test((first, np.ones(200)), (second, np.ones(200)))
    assert p == pytest.approx(stats.ttest_rel(first, second).pvalue, abs=0.02)


def test_alike_is_not_different_and_different_is() -> None:
    same = RNG.normal(0, 1, 30)
    ones = np.ones(30)
    assert permutation_test((same, ones), (same, ones)) == (0.0, 1.0)
    assert permutation_test((same + 1, ones), (same, ones))[1] < 0.001


def test_holm_is_at_least_the_p_value_and_keeps_the_order() -> None:
    assert holm([0.04, 0.01, 0.03, 0.005]) == pytest.approx([0.06, 0.03, 0.06, 0.02])
    assert holm([]) == []
