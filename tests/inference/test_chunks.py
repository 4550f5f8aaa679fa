"""Piece by piece is the same as all at once, for every network and every size of piece."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from xcodec.inference.streaming import ChunkedNetwork, ChunkPlan


def run(chunked: ChunkedNetwork, whole: Tensor, sizes: list[int]) -> Tensor:
    made = []
    for piece in whole.split(sizes, dim=2):
        made += chunked.push(piece)
    return torch.cat(made + chunked.finish(), dim=2)


@pytest.mark.parametrize(("min_frames", "max_frames"), [(1, 33), (3, 20), (20, 20)])
@pytest.mark.parametrize("sizes", [[101], [1] * 101, [0, 50, 0, 51], [7] * 14 + [3]])
def test_joined_it_is_the_whole(min_frames: int, max_frames: int, sizes: list[int]) -> None:
    network = nn.Conv1d(2, 3, 9, padding=4, dtype=torch.float64)
    whole = torch.randn(1, 2, 101, dtype=torch.float64)
    made = run(ChunkedNetwork(network, ChunkPlan(4, 4, min_frames, max_frames)), whole, sizes)
    torch.testing.assert_close(made, network(whole))


@pytest.mark.parametrize("chunks", [ChunkPlan(3, 4), ChunkPlan(4, 3)])
def test_with_less_context_it_is_not(chunks: ChunkPlan) -> None:
    network = nn.Conv1d(1, 1, 9, padding=4, dtype=torch.float64)
    whole = torch.randn(1, 1, 101, dtype=torch.float64)
    made = run(ChunkedNetwork(network, chunks), whole, [7] * 14 + [3])
    assert made.shape == (1, 1, 101)
    assert not torch.allclose(made, network(whole))


def test_frames_of_several_samples() -> None:
    down = nn.Conv1d(1, 2, 8, stride=4, padding=2, dtype=torch.float64)
    up = nn.ConvTranspose1d(2, 1, 8, stride=4, padding=2, dtype=torch.float64)
    wav = torch.randn(1, 1, 400, dtype=torch.float64)
    coded = run(ChunkedNetwork(down, ChunkPlan(1, 1, 2, 7), samples_in=4), wav, [3] * 133 + [1])
    torch.testing.assert_close(coded, down(wav))
    torch.testing.assert_close(run(ChunkedNetwork(up, ChunkPlan(1, 1, 2, 7), samples_out=4), coded, [9, 91]), up(coded))


def test_the_buffer_does_not_grow() -> None:
    chunked = ChunkedNetwork(lambda x: x, ChunkPlan(2, 3, 4, 10))
    for _ in range(1_000):
        chunked.push(torch.randn(1, 1, 5))
        assert chunked._buffer is not None
        assert chunked._buffer.untyped_storage().nbytes() <= 4 * (2 + 3 + 4 + 5)


def test_an_empty_sequence_gives_nothing() -> None:
    assert ChunkedNetwork(lambda x: x, ChunkPlan(2, 3)).finish() == []


def test_a_grid_sets_where_the_input_begins() -> None:
    inputs = []

    def network(piece: Tensor) -> Tensor:
        inputs.append((int(piece[0, 0, 0]), int(piece[0, 0, -1])))
        return piece

    whole = torch.arange(23.0)[None, None]
    made = run(
        ChunkedNetwork(network, ChunkPlan(before=2, after=2, min_frames=4, max_frames=4, grid=10)), whole, [5] * 4 + [3]
    )
    assert torch.equal(made, whole)
    assert inputs == [(0, 5), (0, 9), (0, 11), (8, 15), (8, 19), (8, 21), (18, 22)]
