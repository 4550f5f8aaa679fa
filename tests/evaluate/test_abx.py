from __future__ import annotations

import itertools
import math
import time
from collections import defaultdict

import numpy as np
import pytest

from xcodec.evaluate.abx import AbxError, FrameDistance, Item, abx, dtw_distances


def frame_distance(one: np.ndarray, other: np.ndarray, distance: FrameDistance) -> float:
    if distance == "codes":
        return float(np.mean(one != other))
    if distance == "euclidean":
        return math.dist(one, other)
    cosine = float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))
    return math.acos(max(-1.0, min(1.0, cosine))) / math.pi


def slow_dtw(one: np.ndarray, other: np.ndarray, distance: FrameDistance) -> float:
    """By the definition: of all paths, every one of which is walked, the cheapest, and of those the shortest."""

    def paths(i: int, j: int) -> list[tuple[float, int]]:
        here = frame_distance(one[i], other[j], distance)
        if i == 0 and j == 0:
            return [(here, 1)]
        before = [(i - 1, j - 1), (i - 1, j), (i, j - 1)]
        ways = [way for a, b in before if a >= 0 and b >= 0 for way in paths(a, b)]
        return [(cost + here, steps + 1) for cost, steps in ways]

    cost, steps = min(paths(len(one) - 1, len(other) - 1), key=lambda way: (round(way[0], 6), way[1]))
    return cost / steps


def slow_abx(items: list[Item], across: bool, distance: FrameDistance) -> tuple[float, int]:
    """By the definition: all triples, one after another."""
    cells: dict[tuple[str, str, str, str, object], list[float]] = defaultdict(list)
    for a, b, x in itertools.product(range(len(items)), repeat=3):
        one, other, third = items[a], items[b], items[x]
        if a == x or one.phone != third.phone or one.phone == other.phone or one.speaker != other.speaker:
            continue
        if not one.context == other.context == third.context or (one.speaker != third.speaker) != across:
            continue
        to_a = slow_dtw(third.features, one.features, distance)
        to_b = slow_dtw(third.features, other.features, distance)
        wrong = 0.5 if math.isclose(to_a, to_b, abs_tol=1e-6) else float(to_b < to_a)
        cells[one.phone, other.phone, one.speaker, third.speaker, one.context].append(wrong)
    nested: dict[tuple[str, str], dict[tuple[str, str], list[float]]] = defaultdict(lambda: defaultdict(list))
    for (phone, foil, speaker, stranger, _), wrongs in cells.items():
        nested[phone, foil][speaker, stranger].append(float(np.mean(wrongs)))
    by_phones = [np.mean([np.mean(contexts) for contexts in by.values()]) for by in nested.values()]
    return 100 * float(np.mean(by_phones)), sum(map(len, cells.values()))


def random_items(count: int, seed: int, distance: FrameDistance, contexts: bool) -> list[Item]:
    rng = np.random.default_rng(seed)
    items = []
    for _ in range(count):
        phone, speaker = rng.choice(["a", "b", "c"]), rng.choice(["anna", "ben"])
        shape = (int(rng.integers(1, 5)), 3)
        if distance == "codes":
            features = rng.integers(0, 2, shape).astype(np.float32)
        else:
            features = rng.standard_normal(shape).astype(np.float32) + np.float32(ord(phone) - 97)
        context = ("s", str(rng.choice(["t", "p"]))) if contexts else None
        items.append(Item(features, str(phone), str(speaker), context))
    return items


@pytest.mark.parametrize("distance", ["cosine", "euclidean", "codes"])
@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("contexts", [False, True])
def test_abx_is_what_all_triples_say(distance: FrameDistance, across: bool, contexts: bool) -> None:
    items = random_items(24, 3, distance, contexts)
    expected, triples = slow_abx(items, across, distance)
    found = abx(items, across, distance, max_items=100)
    assert found.triples == triples > 50
    assert found.error == pytest.approx(expected, abs=1e-3)
    assert 0 < found.error < 100


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_dtw_is_the_cheapest_of_all_paths(distance: FrameDistance) -> None:
    rng = np.random.default_rng(0)
    features = [rng.standard_normal((length, 4)).astype(np.float32) for length in (1, 2, 3, 5, 5, 6)]
    first, second = np.triu_indices(len(features), k=1)
    found = dtw_distances(features, first, second, distance)
    for index, (i, j) in enumerate(zip(first, second, strict=True)):
        assert found[index] == pytest.approx(slow_dtw(features[i], features[j], distance), abs=1e-4)
    # In whatever order: a distance has no direction.
    assert dtw_distances(features, second, first, distance) == pytest.approx(found, abs=1e-6)


def items_of(**phones: float) -> list[Item]:
    """Five of each phone by each of two speakers, with values in which the speaker is a small difference."""
    return [
        Item(np.full((3, 2), value + 0.01 * number + 0.1 * index, np.float32), phone, speaker)
        for phone, value in phones.items()
        for index, speaker in enumerate(("anna", "ben"))
        for number in range(5)
    ]


def test_phones_far_apart_are_never_confused_and_alike_ones_by_chance() -> None:
    for across in (False, True):
        assert abx(items_of(a=0.0, b=5.0), across, "euclidean").error == 0
    same = [Item(np.ones((2, 3), np.float32), phone, "anna") for phone in "aabb"]
    assert abx(same, False, "cosine").error == 50  # all ties


def test_speakers_farther_apart_than_phones_are_confused_across_only() -> None:
    items = [
        Item(item.features + 10 * (item.speaker == "ben"), item.phone, item.speaker) for item in items_of(a=0.0, b=1.0)
    ]
    assert abx(items, False, "euclidean").error == 0
    # Of Ben's "a", Anna's "b" is the nearer, always; of his "b", it is her "b".
    assert abx(items, True, "euclidean").error == 50


def test_of_one_phone_only_so_many_are_used() -> None:
    found = abx(items_of(a=0.0, b=1.0), False, "euclidean", max_items=3)
    assert found.triples == 2 * 2 * 3 * 2 * 3  # speakers, directions, X, A but X, B
    assert found.pairs == 1


def test_without_a_triple_there_is_no_score() -> None:
    alone = [Item(np.ones((2, 2), np.float32), phone, "anna") for phone in "ab"]
    with pytest.raises(AbxError, match="no within-speaker triple"):
        abx(alone, False, "cosine")
    with pytest.raises(AbxError, match="no across-speaker triple"):
        abx(items_of(a=0.0), True, "cosine")
    with pytest.raises(AbxError, match="no frames"):
        abx([*items_of(a=0.0, b=1.0), Item(np.ones((0, 2), np.float32), "a", "anna")], False, "cosine")


def test_many_triples_take_seconds() -> None:
    """The contract is 100,000 a minute on one core; the limit here leaves room for a busy machine."""
    rng = np.random.default_rng(0)
    items = [
        Item(rng.standard_normal((int(rng.integers(3, 12)), 64)).astype(np.float32), phone, "anna")
        for phone in "abcde"
        for _ in range(20)
    ]
    start = time.process_time()
    found = abx(items, False, "cosine", max_items=20)
    spent = time.process_time() - start
    assert found.triples == 5 * 4 * 20 * 19 * 20
    assert found.triples / spent * 60 > 100_000
