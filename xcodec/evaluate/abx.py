"""ABX phone discrimination (Schatz 2016): how well a representation separates phones, without training.

A and X are the same phone, B is another one. If X is nearer to B than to A, that is an error; chance is 50 %. Within
speakers, all three are of one speaker; across speakers, X is of another one, which measures speaker invariance.
Distances are those of the best alignment in time (DTW), per step of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]
Distances = NDArray[np.float32]
FrameDistance = Literal["cosine", "euclidean", "codes"]
"""Between two frames: the angle in half turns; the distance of code vectors; or the share of codes that differ."""

_BATCH_CELLS = 4_000_000  # frames × frames × pairs that are worked on at a time: bounds the memory


@dataclass(frozen=True)
class Item:
    """One utterance of a phone."""

    features: Features
    """`[F, D]`; of `codes`, the codes themselves."""
    phone: str
    speaker: str
    context: tuple[str, str] | None = None
    """The phones before and after; None to disregard them."""


@dataclass(frozen=True)
class AbxResult:
    """The error rate, and what it rests on."""

    error: float
    """In percent, lower is better; each pair of phones counts the same."""
    triples: int
    pairs: int
    """Of different phones."""


class AbxError(ValueError):
    """Items with which there is nothing to compare; one line."""


@dataclass(frozen=True)
class _Cell:
    """All triples of one phone pair, context and speaker (pair): every A with every B and every X."""

    phones: tuple[str, str]
    speakers: tuple[str, str]
    """Of A and B; of X."""
    a: NDArray[np.int64]
    b: NDArray[np.int64]
    x: NDArray[np.int64]


def abx(items: Sequence[Item], across: bool, distance: FrameDistance, max_items: int = 10) -> AbxResult:
    """The error rate over all triples that the items make.

    Triples are averaged within a cell (phones, context, speakers), cells over contexts, then over speakers, then over
    pairs of phones, so that frequent phones do not count for more.

    Args:
        items: of at least two phones.
        across: X is of another speaker than A and B.
        distance: between frames.
        max_items: of a phone in one context by one speaker, at most so many items are used, the first.

    Raises:
        AbxError: no triple can be made.
    """
    cells = _cells(items, across, max_items)
    if not cells:
        speakers = {item.speaker for item in items}
        if across and len(speakers) == 1:
            needs = f"all are of one speaker, {speakers.pop()}"
        elif across:
            needs = "it takes two phones of one speaker in one context, and one of them there by another speaker"
        else:
            needs = "it takes two phones of one speaker in one context, and a further one of either"
        raise AbxError(f"{len(items)} items make no {'across' if across else 'within'}-speaker triple: {needs}")
    matrix = _needed_distances(items, cells, distance)
    scores: dict[tuple[str, str], dict[tuple[str, str], list[float]]] = defaultdict(lambda: defaultdict(list))
    triples = 0
    for cell in cells:
        errors, count = _cell_errors(matrix, cell)
        triples += count
        scores[cell.phones][cell.speakers].append(errors / count)
    by_phones = [np.mean([np.mean(contexts) for contexts in speakers.values()]) for speakers in scores.values()]
    pairs = {tuple(sorted(phones)) for phones in scores}
    return AbxResult(100 * float(np.mean(by_phones)), triples, len(pairs))


def _cells(items: Sequence[Item], across: bool, max_items: int) -> list[_Cell]:
    groups: dict[tuple[tuple[str, str] | None, str, str], list[int]] = defaultdict(list)
    for index, item in enumerate(items):
        members = groups[item.context, item.speaker, item.phone]
        if len(members) < max_items:
            members.append(index)
    phones_of: dict[tuple[tuple[str, str] | None, str], list[str]] = defaultdict(list)
    speakers_of: dict[tuple[tuple[str, str] | None, str], list[str]] = defaultdict(list)
    for context, speaker, phone in groups:
        phones_of[context, speaker].append(phone)
        speakers_of[context, phone].append(speaker)
    cells = []
    for (context, speaker), phones in phones_of.items():
        for one, other in permutations(sorted(phones), 2):
            a, b = (np.array(groups[context, speaker, phone]) for phone in (one, other))
            if not across:
                if len(a) > 1:
                    cells.append(_Cell((one, other), (speaker, speaker), a, b, a))
                continue
            for third in speakers_of[context, one]:
                if third != speaker:
                    x = np.array(groups[context, third, one])
                    cells.append(_Cell((one, other), (speaker, third), a, b, x))
    return cells


def _cell_errors(matrix: Distances, cell: _Cell) -> tuple[float, int]:
    """Errors among the triples of a cell, a tie being half of one, and how many triples there are."""
    to_a = matrix[np.ix_(cell.x, cell.a)][:, :, np.newaxis]  # [X, A, 1]
    to_b = matrix[np.ix_(cell.x, cell.b)][:, np.newaxis, :]  # [X, 1, B]
    wrong = (to_b < to_a) + 0.5 * (to_b == to_a)
    different = cell.x[:, np.newaxis] != cell.a[np.newaxis]  # X is never its own A
    return float((wrong * different[:, :, np.newaxis]).sum()), int(different.sum()) * len(cell.b)


def _needed_distances(items: Sequence[Item], cells: list[_Cell], distance: FrameDistance) -> Distances:
    """`[N, N]`, symmetric, NaN where no triple needs it."""
    needed = np.zeros((len(items), len(items)), dtype=bool)
    for cell in cells:
        needed[np.ix_(cell.x, np.concatenate([cell.a, cell.b]))] = True
    needed |= needed.T
    first, second = np.nonzero(np.triu(needed, k=1))
    matrix = np.full(needed.shape, np.nan, dtype=np.float32)
    matrix[first, second] = matrix[second, first] = dtw_distances([i.features for i in items], first, second, distance)
    np.fill_diagonal(matrix, 0)
    return matrix


def dtw_distances(
    features: Sequence[Features], first: NDArray[np.int64], second: NDArray[np.int64], distance: FrameDistance
) -> Distances:
    """Mean frame distance along the best alignment, of items `first[p]` and `second[p]` for each pair p.

    Pairs of the same two lengths are done together: the table of DTW is filled cell by cell, but for all of them at
    once.

    Raises:
        AbxError: an item without frames.
    """
    if any(len(each) == 0 for each in features):
        raise AbxError("an item has no frames")
    prepared = [_prepared(each, distance) for each in features]
    lengths = np.array([len(each) for each in features])
    # Distances are symmetric, so the shorter one goes first and there are half as many shapes.
    swap = lengths[first] > lengths[second]
    first, second = np.where(swap, second, first), np.where(swap, first, second)
    result = np.empty(len(first), dtype=np.float32)
    shapes = lengths[first] * (int(lengths.max()) + 1) + lengths[second]
    order = np.argsort(shapes, kind="stable")
    borders = np.flatnonzero(np.diff(shapes[order])) + 1
    for group in np.split(order, borders):
        if len(group) == 0:
            continue
        rows, columns = int(lengths[first[group[0]]]), int(lengths[second[group[0]]])
        step = max(1, _BATCH_CELLS // (rows * columns))
        for begin in range(0, len(group), step):
            some = group[begin : begin + step]
            one = np.stack([prepared[index] for index in first[some]])
            other = np.stack([prepared[index] for index in second[some]])
            result[some] = _dtw(_frame_distances(one, other, distance))
    return result / np.float32(features[0].shape[1]) if distance == "codes" else result


def _prepared(features: Features, distance: FrameDistance) -> Features:
    if distance != "cosine":
        return features
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _frame_distances(one: Features, other: Features, distance: FrameDistance) -> Distances:
    """`[P, n, D]` and `[P, m, D]` to `[P, n, m]`."""
    if distance == "codes":
        # Their number, and not yet the share: whole numbers add up exactly, so that ties stay ties.
        return np.sum(one[:, :, np.newaxis] != other[:, np.newaxis], axis=3, dtype=np.float32)
    products = one @ other.transpose(0, 2, 1)  # (P, m, D) -> (P, D, m)
    if distance == "cosine":
        return np.arccos(np.clip(products, -1, 1)) / np.float32(np.pi)
    squares = (one**2).sum(2)[:, :, np.newaxis] + (other**2).sum(2)[:, np.newaxis] - 2 * products
    return np.sqrt(np.maximum(squares, 0))


def _dtw(costs: Distances) -> Distances:
    """Costs `[P, n, m]` to the mean cost `[P]` along the path of minimum total cost; of equal ones, the shortest."""
    count, _, columns = costs.shape
    costs = np.ascontiguousarray(costs.transpose(1, 2, 0))  # (P, n, m) -> (n, m, P)
    # Minimum total cost up to each cell of the row before, and its steps; in front of them a border to start from.
    total = np.full((columns + 1, count), np.inf, dtype=np.float32)
    steps = np.zeros((columns + 1, count), dtype=np.float32)
    total[0] = 0
    for row in costs:
        row_total, row_steps = np.full_like(total, np.inf), np.zeros_like(steps)
        for j in range(columns):
            best, length = total[j], steps[j]  # from the diagonal
            for rival, its_length in ((total[j + 1], steps[j + 1]), (row_total[j], row_steps[j])):
                better = (rival < best) | ((rival == best) & (its_length < length))
                best, length = np.where(better, rival, best), np.where(better, its_length, length)
            row_total[j + 1], row_steps[j + 1] = best + row[j], length + 1
        total, steps = row_total, row_steps
    return total[-1] / steps[-1]
