"""Length buckets."""

from __future__ import annotations

import numpy as np
import pytest

from xcodec.data.manifest import DataError
from xcodec.train.lm_data import LengthBuckets

LENGTHS = np.random.default_rng(0).integers(5, 200, size=300).tolist()


def test_an_epoch_has_every_clip_once_and_no_batch_exceeds_the_budget() -> None:
    buckets = LengthBuckets(LENGTHS, budget=1000, seed=0)
    buckets[0]
    first = [buckets[number] for number in range(buckets.ends[1])]
    assert sorted(index for batch in first for index in batch) == list(range(300))
    for batch in first:
        assert max(LENGTHS[index] for index in batch) * len(batch) <= 1000


def test_little_is_padding() -> None:
    buckets = LengthBuckets(LENGTHS, budget=1000, seed=0)
    buckets[0]
    batches = [buckets[number] for number in range(buckets.ends[1])]
    padded = sum(max(LENGTHS[index] for index in batch) * len(batch) for batch in batches)
    assert sum(LENGTHS) / padded > 0.85


def test_any_batch_can_be_asked_for_first() -> None:
    whole = LengthBuckets(LENGTHS, budget=1000, seed=3)
    stream = [whole[number] for number in range(200)]
    fresh = LengthBuckets(LENGTHS, budget=1000, seed=3)
    assert fresh[150] == stream[150]
    assert fresh[10] == stream[10]
    assert LengthBuckets(LENGTHS, budget=1000, seed=4)[0] != stream[0]


def test_epochs_differ() -> None:
    buckets = LengthBuckets(LENGTHS, budget=1000, seed=0)
    buckets[0]
    per_epoch = buckets.ends[1]
    epochs = [{frozenset(buckets[n * per_epoch + i]) for i in range(per_epoch)} for n in range(2)]
    assert epochs[0] != epochs[1]


def test_what_cannot_be() -> None:
    with pytest.raises(DataError, match="no clips"):
        LengthBuckets([], 100, 0)
    with pytest.raises(DataError, match=r"takes 101 positions.*max_seconds"):
        LengthBuckets([101], 100, 0)
