from __future__ import annotations

import pytest
import torch

from xcodec.train.config import DiscriminatorConfig
from xcodec.train.discriminators import Discriminators

SMALL = {"width": 2, "stft_hops": (32, 64), "periods": (2, 3, 7), "resolutions": (64, 128, 256)}


@pytest.mark.parametrize(("kind", "count"), [("stft", 2), ("period", 3), ("resolution", 3)])
@pytest.mark.parametrize("samples", [1600, 1601])
def test_every_kind_gives_scores_and_features_with_gradients(kind: str, count: int, samples: int) -> None:
    discriminators = Discriminators(DiscriminatorConfig(kinds=(kind,), **SMALL))
    wav = (0.1 * torch.randn(3, 1, samples)).requires_grad_()
    outputs = discriminators(wav)
    assert len(outputs) == count
    for each in outputs:
        assert each.score.shape[:2] == (3, 1)
        assert len(each.features) >= 4
        assert all(len(feature) == 3 for feature in each.features)
    sum(each.score.mean() for each in outputs).backward()
    assert wav.grad is not None
    assert (wav.grad.abs() > 0).any()
    assert wav.grad.isfinite().all()


def test_kinds_are_combined() -> None:
    discriminators = Discriminators(DiscriminatorConfig(kinds=("stft", "period", "resolution"), **SMALL))
    assert len(discriminators(torch.zeros(1, 1, 1600))) == 2 + 3 + 3


def test_a_clip_has_the_same_output_alone_and_in_a_batch() -> None:
    discriminators = Discriminators(DiscriminatorConfig(kinds=("stft", "period", "resolution"), **SMALL))
    batch = 0.1 * torch.randn(4, 1, 1600)
    for together, first, second in zip(
        discriminators(batch), discriminators(batch[:2]), discriminators(batch[2:]), strict=True
    ):
        for half, alone in zip(together.split(), (first, second), strict=True):
            torch.testing.assert_close(half.score, alone.score, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(half.features, alone.features, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["stft", "period", "resolution"])
def test_each_kind_learns_to_tell_noise_from_a_tone(kind: str) -> None:
    torch.manual_seed(0)
    config = DiscriminatorConfig(kinds=(kind,), width=4, stft_hops=(32,), periods=(3,), resolutions=(128,))
    discriminator = Discriminators(config)
    tone = torch.sin(torch.arange(600) * 0.2).expand(4, 1, 600)
    noise = torch.randn(4, 1, 600)
    optimizer = torch.optim.Adam(discriminator.parameters(), 5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        ((1 - discriminator(tone)[0].score).square().mean() + discriminator(noise)[0].score.square().mean()).backward()
        optimizer.step()
    with torch.no_grad():
        assert float(discriminator(tone)[0].score.mean()) > float(discriminator(noise)[0].score.mean()) + 0.5
