"""Drawing tokens: the restrictions hold, and what is drawn follows the distribution."""

from __future__ import annotations

import math

import pytest
import torch

from xcodec.lm.generation import Sampling, classifier_free_guidance, keep_top_k, keep_top_p, sample
from xcodec.utils.config import ConfigError

LOGITS = torch.tensor([[0.1, 0.4, 0.3, 0.2]]).log()


def frequencies(sampling: Sampling, history: torch.Tensor | None = None, draws: int = 4000) -> list[float]:
    generator = torch.Generator().manual_seed(0)
    past = None if history is None else history.expand(draws, -1)
    tokens = sample(LOGITS.expand(draws, -1), sampling, generator, past)
    return (torch.bincount(tokens, minlength=4) / draws).tolist()


def test_untouched_it_follows_the_model() -> None:
    assert frequencies(Sampling()) == pytest.approx([0.1, 0.4, 0.3, 0.2], abs=0.03)


def test_temperature() -> None:
    sharper = [0.1**2, 0.4**2, 0.3**2, 0.2**2]
    assert frequencies(Sampling(temperature=0.5)) == pytest.approx([x / sum(sharper) for x in sharper], abs=0.03)
    assert frequencies(Sampling(temperature=0)) == [0, 1, 0, 0]


def test_top_k_and_top_p() -> None:
    assert frequencies(Sampling(top_k=2)) == pytest.approx([0, 4 / 7, 3 / 7, 0], abs=0.03)
    assert frequencies(Sampling(top_p=0.65)) == pytest.approx([0, 4 / 7, 3 / 7, 0], abs=0.03)
    assert frequencies(Sampling(top_p=1e-6)) == [0, 1, 0, 0]
    assert torch.equal(keep_top_k(LOGITS, 0), LOGITS)
    assert torch.equal(keep_top_k(LOGITS, 9), LOGITS)
    assert torch.equal(keep_top_p(LOGITS, 1.0), LOGITS)


def test_top_p_is_per_row() -> None:
    rows = torch.tensor([[0.9, 0.1, 0.0001], [0.0001, 0.5, 0.5]]).log()
    assert (keep_top_p(rows, 0.8) > -math.inf).tolist() == [[True, False, False], [False, True, True]]


def test_a_token_that_repeats_is_drawn_again_from_all() -> None:
    sampling = Sampling(top_k=1, repetition_window=4, repetition_share=0.5)
    assert frequencies(sampling, torch.tensor([[1, 1, 2, 3]])) == [0, 1, 0, 0]  # half is not too much
    repeated = frequencies(sampling, torch.tensor([[1, 1, 1, 3]]))
    assert repeated == pytest.approx([0.1, 0.4, 0.3, 0.2], abs=0.03)
    # Only the window counts.
    assert frequencies(sampling, torch.tensor([[1, 1, 1, 1, 0, 0, 0, 0]])) == [0, 1, 0, 0]


def test_guidance_of_one_is_the_conditional() -> None:
    a, b = torch.randn(2, 5), torch.randn(2, 5)
    assert torch.allclose(classifier_free_guidance(a, b, 1.0), a)
    assert torch.allclose(classifier_free_guidance(a, b, 0.0), b)


def test_the_same_seed_draws_the_same() -> None:
    rows = torch.randn(8, 50)
    first, second = (sample(rows, Sampling(), torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1}, {"top_p": 0}, {"top_p": 1.1}, {"top_k": -1}, {"repetition_share": 0}]
)
def test_settings_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Sampling(**wrong)  # type: ignore[arg-type]
