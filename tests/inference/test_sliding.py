"""Piece by piece is the same as all at once, for every network and every size of piece."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from xcodec.inference.streaming import Reach, Sliding


def run(sliding: Sliding, whole: Tensor, sizes: list[int]) -> Tensor:
    made = []
    for piece in whole.split(sizes, dim=2):
        made += sliding.push(piece)
    return torch.cat(made + sliding.finish(), dim=2)


@pytest.mark.parametrize(("least", "most"), [(1, 33), (3, 20), (20, 20)])
@pytest.mark.parametrize("sizes", [[101], [1] * 101, [0, 50, 0, 51], [7] * 14 + [3]])
def test_joined_it_is_the_whole(least: int, most: int, sizes: list[int]) -> None:
    network = nn.Conv1d(2, 3, 9, padding=4, dtype=torch.float64)
    whole = torch.randn(1, 2, 101, dtype=torch.float64)
    made = run(Sliding(network, Reach(4, 4, least, most)), whole, sizes)
    torch.testing.assert_close(made, network(whole))


@pytest.mark.parametrize("reach", [Reach(3, 4), Reach(4, 3)])
def test_with_less_context_it_is_not(reach: Reach) -> None:
    network = nn.Conv1d(1, 1, 9, padding=4, dtype=torch.float64)
    whole = torch.randn(1, 1, 101, dtype=torch.float64)
    made = run(Sliding(network, reach), whole, [7] * 14 + [3])
    assert made.shape == (1, 1, 101)
    assert not torch.allclose(made, network(whole))


def test_frames_of_several_samples() -> None:
    down = nn.Conv1d(1, 2, 8, stride=4, padding=2, dtype=torch.float64)
    up = nn.ConvTranspose1d(2, 1, 8, stride=4, padding=2, dtype=torch.float64)
    wav = torch.randn(1, 1, 400, dtype=torch.float64)
    coded = run(Sliding(down, Reach(1, 1, 2, 7), samples_in=4), wav, [3] * 133 + [1])
    torch.testing.assert_close(coded, down(wav))
    torch.testing.assert_close(run(Sliding(up, Reach(1, 1, 2, 7), samples_out=4), coded, [9, 91]), up(coded))


def test_what_is_held_does_not_grow() -> None:
    sliding = Sliding(lambda x: x, Reach(2, 3, 4, 10))
    for _ in range(1_000):
        sliding.push(torch.randn(1, 1, 5))
        assert sliding._held is not None
        assert sliding._held.untyped_storage().nbytes() <= 4 * (2 + 3 + 4 + 5)


def test_an_empty_sequence_gives_nothing() -> None:
    assert Sliding(lambda x: x, Reach(2, 3)).finish() == []


def test_a_grid_sets_where_hearing_begins() -> None:
    heard = []

    def network(piece: Tensor) -> Tensor:
        heard.append((int(piece[0, 0, 0]), int(piece[0, 0, -1])))
        return piece

    whole = torch.arange(23.0)[None, None]
    made = run(Sliding(network, Reach(before=2, after=2, least=4, most=4, grid=10)), whole, [5] * 4 + [3])
    assert torch.equal(made, whole)
    assert heard == [(0, 5), (0, 9), (0, 11), (8, 15), (8, 19), (8, 21), (18, 22)]
