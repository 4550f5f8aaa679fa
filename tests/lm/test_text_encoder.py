"""Text that is told frame by frame: scripts, and how long symbols last."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.lm.conftest import autoregressive
from xcodec.lm.config import TextConfig
from xcodec.lm.layout import END, NOTHING, PAD, TEXT
from xcodec.lm.model import AutoregressiveLM
from xcodec.lm.text_encoder import AlignedText, round_durations


@pytest.fixture
def model() -> AutoregressiveLM:
    return autoregressive(codebooks=1, text=TextConfig("characters", aligned=True))


def test_a_script_says_each_symbol_for_its_time(model: AutoregressiveLM) -> None:
    aligned_text = AlignedText.from_durations(model.vocabulary, [3, 1], np.array([1, 4, 0, 2]))
    assert aligned_text.text.tolist() == [TEXT, *model.vocabulary.text(torch.tensor([3, 1])).tolist(), END]
    assert aligned_text.frames == 7
    assert aligned_text.frame_positions.tolist() == [0, 1, 1.25, 1.5, 1.75, 3, 3.5, 3]
    # PROMPT and two codes, AUDIO: it and each code after it tell what comes next.
    assert aligned_text.autoregressive_positions(4, 13, 1).tolist() == [
        -1,
        -1,
        -1,
        *aligned_text.frame_positions.tolist(),
        3,
        3,
    ]
    assert aligned_text.autoregressive_positions(1, 5, 2).tolist() == [0, 0, 1, 1, 1.25]
    assert aligned_text.nar_positions(1, 8).tolist() == [-1, *aligned_text.frame_positions[:7].tolist()]


def test_rounding_loses_no_time() -> None:
    durations = torch.tensor([0.4, 0.4, 0.4, 2.6, 0.2])
    assert round_durations(durations).tolist() == [0, 1, 0, 3, 0]
    assert round_durations(torch.full((4,), 1e-3)).tolist() == [0, 0, 0, 1]


def test_padding_changes_no_symbol(model: AutoregressiveLM) -> None:
    assert model.text_encoder is not None
    text = torch.tensor([[TEXT, 9, 8, 12, END]])
    padded = torch.nn.functional.pad(text, (0, 6), value=PAD)
    assert torch.allclose(model.text_encoder(text), model.text_encoder(padded)[:, :5], atol=1e-6)


def test_durations_are_learnt_from_text_alone(model: AutoregressiveLM) -> None:
    assert model.text_encoder is not None
    assert model.duration_model is not None
    text, durations = torch.tensor([[TEXT, 9, 8, 9, END]]), torch.tensor([[0.0, 7.0, 2.0, 7.0, 1.0]])
    optimizer = torch.optim.Adam([*model.text_encoder.parameters(), *model.duration_model.parameters()], lr=1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        model.duration_model.loss(model.text_encoder(text), text, durations).backward()
        optimizer.step()
    assert model.duration_model(model.text_encoder(text))[0].tolist() == pytest.approx(durations[0].tolist(), abs=0.5)


def test_without_text_all_weights_still_take_part(model: AutoregressiveLM) -> None:
    """Processes that train together wait for the gradient of every weight."""
    assert model.text_encoder is not None
    assert model.duration_model is not None
    text = torch.full((1, 4), NOTHING)
    model.duration_model.loss(model.text_encoder(text), text, torch.ones(1, 4)).backward()
    assert all(weight.grad is not None for weight in model.duration_model.parameters())
