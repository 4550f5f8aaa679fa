from __future__ import annotations

import numpy as np
import pytest

from xcodec.evaluate.token_measures import code_statistics


def test_codes_in_turn_use_everything_and_follow_from_each_other() -> None:
    # 0 1 2 … 7 0 1 2 …: uniform, so 3 bits each; the next follows from the last, so 0 bits given that.
    codes = np.tile(np.arange(8), 16)[np.newaxis]
    found = code_statistics([codes], 8)
    assert found.usage == [1.0]
    assert found.entropy == pytest.approx([3.0])
    assert found.bigram_entropy == pytest.approx([0.0], abs=0.03)  # 127 pairs are not quite balanced
    assert found.repetition == [0.0]
    assert found.kbps(50.0) == pytest.approx(0.15)


def test_a_constant_says_nothing() -> None:
    found = code_statistics([np.full((2, 10), 3)], 4)
    assert found.usage == [0.25, 0.25]
    assert found.entropy == [0.0, 0.0]
    assert found.repetition == [1.0, 1.0]


def test_pairs_do_not_cross_from_clip_to_clip() -> None:
    found = code_statistics([np.array([[0, 0, 0]]), np.array([[1, 1, 1]])], 2)
    assert found.bigram_entropy == [0.0]
    assert found.entropy == [1.0]


def test_codes_outside_the_codebook_are_refused() -> None:
    with pytest.raises(ValueError, match=r"codes must lie in \[0, 4\); got 0 … 4"):
        code_statistics([np.array([[0, 4]])], 4)
    with pytest.raises(ValueError, match="no codes"):
        code_statistics([], 4)
