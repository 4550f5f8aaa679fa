"""The quantiser: nearest entries, moving averages, k-means, revival of dead entries, gradients."""

from __future__ import annotations

import torch

from xcodec.codec.config import QuantizerConfig
from xcodec.codec.quantizer import Codebook, ResidualVectorQuantizer


def quantizer(seed: int = 0, **changes: object) -> ResidualVectorQuantizer:
    torch.manual_seed(seed)
    values = {"codebooks": 3, "codebook_size": 16, "width": 8, "kmeans_iterations": 5, **changes}
    return ResidualVectorQuantizer(QuantizerConfig(**values))  # type: ignore[arg-type]


def all_levels(batch: int, levels: int = 3) -> torch.Tensor:
    return torch.full((batch,), levels)


def test_nearest_is_the_brute_force_nearest() -> None:
    codebook = Codebook(QuantizerConfig(codebook_size=32), width=5, seed=0)
    codebook.vectors.copy_(torch.randn(32, 5))
    points = torch.randn(100, 5)
    expected = torch.stack([((codebook.vectors - point) ** 2).sum(1).argmin() for point in points])
    assert torch.equal(codebook.nearest(points), expected)


def test_each_level_codes_what_the_ones_before_left() -> None:
    rvq = quantizer()
    rvq.train()
    latents = torch.randn(4, 8, 50)
    rvq(latents, all_levels(4))
    rvq.eval()
    codes = rvq.encode(latents, 3)
    errors = [(latents - rvq.decode(codes[:, :k])).square().mean().item() for k in (1, 2, 3)]
    assert errors[0] > errors[1] > errors[2]
    assert torch.equal(rvq.encode(latents, 1), codes[:, :1])


def test_training_pass_and_encoding_agree() -> None:
    rvq = quantizer(codebook_size=32)
    rvq.train()
    latents = torch.randn(4, 8, 40)
    rvq(latents, all_levels(4))
    rvq.eval()
    quantized = rvq(latents, all_levels(4))
    assert torch.equal(quantized.codes, rvq.encode(latents, 3))
    torch.testing.assert_close(quantized.values, rvq.decode(quantized.codes))


def test_one_training_pass_is_one_update() -> None:
    rvq = quantizer(revive_below=0.0)
    rvq.train()
    latents = torch.randn(4, 8, 40)
    rvq(latents, all_levels(4))  # k-means, and the first update
    codebook = rvq.levels[0].codebook
    usage, sums, updates = codebook.usage.clone(), codebook.sums.clone(), int(codebook.updates)
    points = latents.transpose(1, 2).flatten(0, 1)
    codes = codebook.nearest(points)
    rvq(latents, all_levels(4))
    counts = torch.bincount(codes, minlength=16).float()
    torch.testing.assert_close(codebook.usage, 0.99 * usage + 0.01 * counts)
    expected = torch.stack([points[codes == entry].sum(0) for entry in range(16)])
    torch.testing.assert_close(codebook.sums, 0.99 * sums + 0.01 * expected)
    assert int(codebook.updates) == updates + 1


def test_nothing_but_training_changes_a_codebook() -> None:
    rvq = quantizer()
    rvq.train()
    latents = torch.randn(4, 8, 40)
    rvq(latents, all_levels(4))
    before = {name: value.clone() for name, value in rvq.state_dict().items()}
    rvq.encode(latents, 3)
    rvq.eval()
    rvq(latents, all_levels(4))
    assert all(torch.equal(value, before[name]) for name, value in rvq.state_dict().items())


def test_kmeans_finds_separate_clusters() -> None:
    centres = torch.randn(16, 8) * 10
    points = centres.repeat(50, 1) + 0.01 * torch.randn(800, 8)
    codebook = Codebook(QuantizerConfig(codebook_size=64, kmeans_iterations=20), width=8, seed=0)
    codebook.initialise(points)
    distance = (points - codebook.vectors[codebook.nearest(points)]).norm(dim=1)
    assert distance.max() < 0.2  # every cluster got an entry of its own


def test_kmeans_leaves_no_entry_to_an_outlier() -> None:
    torch.manual_seed(0)
    points = torch.randn(4000, 4) * torch.rand(4000, 1).pow(4)  # most of them near zero, few far away
    codebook = Codebook(QuantizerConfig(codebook_size=64, kmeans_iterations=10, revive_below=0.3), width=4, seed=0)
    codebook.initialise(points)
    counts = torch.bincount(codebook.nearest(points), minlength=64)
    assert counts.min() >= 3
    assert float(codebook.usage.sum()) == 4000


def test_dead_entries_are_drawn_anew_and_stay_alive() -> None:
    rvq = quantizer(codebooks=1, revive_below=0.2, decay=0.5)
    rvq.train()
    rvq(torch.randn(8, 8, 50), all_levels(8, 1))
    codebook = rvq.levels[0].codebook
    with torch.no_grad():  # far away from all data: nothing will ever choose these
        codebook.vectors[8:] = 1000.0
        codebook.sums[8:] = 1000.0 * codebook.usage[8:, None]
    for _ in range(12):
        rvq(torch.randn(8, 8, 50), all_levels(8, 1))
    assert codebook.vectors.abs().max() < 10
    rvq.eval()
    assert len(rvq.encode(torch.randn(20, 8, 50), 1).unique()) == 16


def test_gradient_passes_straight_through_once() -> None:
    rvq = quantizer()
    rvq.train()
    latents = torch.randn(2, 8, 30, requires_grad=True)
    weights = torch.randn(2, 8, 30)
    (rvq(latents, all_levels(2)).values * weights).sum().backward()
    torch.testing.assert_close(latents.grad, weights)


def test_commitment_pulls_latents_towards_their_codes() -> None:
    rvq = quantizer()
    rvq.train()
    latents = torch.randn(2, 8, 30, requires_grad=True)
    rvq(latents, all_levels(2))
    rvq.eval()
    first = rvq(latents, all_levels(2)).commitment
    (gradient,) = torch.autograd.grad(first, latents)
    second = rvq(latents - 0.5 * gradient, all_levels(2)).commitment
    assert second < first


def test_clips_use_as_many_levels_as_they_are_told() -> None:
    rvq = quantizer()
    rvq.train()
    latents = torch.randn(3, 8, 30)
    rvq(latents, all_levels(3))
    rvq.eval()
    mixed = rvq(latents, torch.tensor([1, 3, 2]))
    codes = rvq.encode(latents, 3)
    for clip, levels in enumerate((1, 3, 2)):
        torch.testing.assert_close(
            mixed.values[clip : clip + 1], rvq.decode(codes[clip : clip + 1, :levels]), atol=1e-5, rtol=1e-5
        )


def test_training_is_repeatable_whatever_the_global_generator_does() -> None:
    runs = []
    for disturbance in (1, 2):
        rvq = quantizer()
        rvq.train()
        data = torch.Generator().manual_seed(5)
        for _ in range(3):
            torch.manual_seed(disturbance)
            rvq(torch.randn(2, 8, 30, generator=data), all_levels(2))
        runs.append(rvq.state_dict())
    assert all(torch.equal(value, runs[1][name]) for name, value in runs[0].items())
