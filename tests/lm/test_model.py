"""The networks: causality, padding, sequences, checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.lm.conftest import FACTS, autoregressive, config, nonautoregressive
from xcodec.lm.alignment import estimate_durations, expected_frames
from xcodec.lm.checkpoint import load, load_autoregressive, load_nonautoregressive, save
from xcodec.lm.config import Durations, LMConfig, TextConfig, TransformerConfig
from xcodec.lm.layout import (
    AUDIO,
    END,
    IGNORED,
    NOTHING,
    PAD,
    PROMPT,
    SPECIALS,
    TEXT,
    Vocabulary,
    context,
    example,
)
from xcodec.lm.text import symbols_of, text_to_symbols
from xcodec.lm.text_encoder import AlignedText
from xcodec.utils.checkpoint_io import CheckpointError
from xcodec.utils.config import ConfigError

ALIGNED = TextConfig("characters", aligned=True)
SPOKEN = {"codebooks": 1, "text": TextConfig("characters")}


def test_nothing_is_known_of_what_comes_later() -> None:
    model = autoregressive(codebooks=3, pattern="delay")
    ids = torch.randint(SPECIALS, model.vocabulary.size, (1, 3, 10))
    changed = ids.clone()
    changed[:, :, 6:] = SPECIALS
    assert torch.allclose(model(ids)[:, :6], model(changed)[:, :6], atol=1e-5)
    assert not torch.allclose(model(ids)[:, 6:], model(changed)[:, 6:], atol=1e-3)


def test_positions_matter() -> None:
    model = autoregressive(codebooks=1)
    ids = torch.tensor([[[AUDIO, 7, 9, 8]]]), torch.tensor([[[AUDIO, 9, 7, 8]]])
    assert not torch.allclose(model(ids[0])[:, -1], model(ids[1])[:, -1], atol=1e-3)


def test_durations_are_found_that_explain_how_long_clips_are() -> None:
    text = TextConfig("characters")
    truth = {"a": 6.0, "t": 2.0, ".": 10.0}
    spoken = [text_to_symbols(each, text) for each in ("a.", "tat", "ta, ta", "attat.", "at", "aaa.", "t.t")]
    symbols = symbols_of(text)
    speakers = ["fast", "slow"] * 7
    durations = [5 + sum(truth.get(symbols[index], 0) for index in each) for each in spoken for _ in "fs"]
    frames = [round(100 * n * (0.8 if who == "fast" else 1.2)) for n, who in zip(durations, speakers, strict=True)]
    found = estimate_durations([each for each in spoken for _ in "fs"], frames, speakers, text)
    assert found.silence == pytest.approx(500, rel=0.05)
    assert {s: found.symbols[s] for s in truth} == pytest.approx({s: 100 * v for s, v in truth.items()}, rel=0.05)
    assert found.symbols[","] + found.symbols[" "] == pytest.approx(0, abs=10)
    known = config(text=text, durations=found)
    assert expected_frames(text_to_symbols("aq", text), known) == pytest.approx(1100 + found.usual, rel=0.05)


def test_what_is_said_matters_from_its_first_frame_on() -> None:
    model = autoregressive(codebooks=1, text=ALIGNED)
    assert model.text_encoder is not None
    aligned_text = AlignedText.from_durations(model.vocabulary, [3, 1, 2], np.array([1, 4, 3, 2, 2]))
    made = example(model.vocabulary, model.pattern, torch.randint(16, (1, 12)), prompt=torch.tensor([[5, 6]]))
    positions = aligned_text.autoregressive_positions(4, made.ids.shape[1], model.pattern.period)[None]
    found = []
    for text in (aligned_text.text, aligned_text.text.clone()):
        if found:
            text[2] += 1  # the symbol said in frames 5, 6 and 7
        text_states = model.text_encoder.upsample(model.text_encoder(text[None]), positions)
        found.append(model(made.ids[None], text_states=text_states))
    alike = torch.isclose(found[0], found[1], atol=1e-6).all(-1)[0]
    assert not bool(alike[3 + 5])
    assert bool(alike[:3].all()), "a prompt says other words"


def test_a_sequence_to_learn_from() -> None:
    vocabulary = Vocabulary(text_symbols=30, codebooks=1, codebook_size=16)
    model = autoregressive(**SPOKEN)
    codes, prompt = torch.tensor([[5, 6, 7]]), torch.tensor([[9]])
    made = example(vocabulary, model.pattern, codes, text=[0, 2], prompt=prompt)
    code = SPECIALS + 30
    assert made.ids.tolist() == [[TEXT, 6, 8, PROMPT, code + 9, AUDIO, code + 5, code + 6, code + 7]]
    ignored = [IGNORED] * 5
    assert made.labels.tolist() == [[*ignored, code + 5, code + 6, code + 7, END]]
    bare = example(vocabulary, model.pattern, codes, text=[0, 2], without_text=True, ends=False)
    assert bare.ids.tolist() == [[TEXT, NOTHING, NOTHING, AUDIO, code + 5, code + 6]]


def test_delayed_codes_end_in_the_first_stream_while_the_others_finish() -> None:
    model = autoregressive(codebooks=3, pattern="delay")
    codes = torch.tensor([[1, 2], [3, 4], [5, 6]])
    made = example(model.vocabulary, model.pattern, codes)
    s = SPECIALS
    assert made.ids.tolist() == [[AUDIO, s + 1, s + 2, END], [PAD, PAD, s + 3, s + 4], [PAD, PAD, PAD, s + 5]]
    i = IGNORED
    assert made.labels.tolist() == [[s + 1, s + 2, END, i], [i, s + 3, s + 4, i], [i, i, s + 5, s + 6]]


def test_flat_codes_have_numbers_of_their_own_per_codebook() -> None:
    model = autoregressive(codebooks=3)
    assert model.vocabulary.codes(torch.tensor([[0], [0], [0]])).flatten().tolist() == [
        model.vocabulary.first_code(codebook) for codebook in range(3)
    ]
    assert model.vocabulary.size == SPECIALS + 3 * 16


def test_a_batch_is_worth_what_its_rows_are_worth() -> None:
    model = autoregressive(**SPOKEN)
    rows = [
        example(model.vocabulary, model.pattern, torch.randint(16, (1, frames)), text=[1] * frames)
        for frames in (3, 9, 5)
    ]
    ids, labels = torch.full((3, 1, 32), PAD), torch.full((3, 1, 32), IGNORED)
    for row, each in enumerate(rows):
        ids[row, :, : each.ids.shape[1]], labels[row, :, : each.ids.shape[1]] = each.ids, each.labels
    (together,) = model.losses(ids, labels)
    apart = [model.losses(row.ids[None], row.labels[None])[0] for row in rows]
    count = sum(len(each.labels) for each in apart)
    assert len(together.labels) == count == 3 + 9 + 5 + 3
    total = sum(float(each.loss) * len(each.labels) for each in apart)
    assert float(together.loss) == pytest.approx(total / count, rel=1e-4)


def test_it_learns_a_sequence_by_heart() -> None:
    model = autoregressive(**SPOKEN).train()
    torch.manual_seed(0)
    for weight in model.parameters():
        weight.data.mul_(1 / 12)
    made = example(model.vocabulary, model.pattern, torch.randint(16, (1, 12)), text=[1, 2, 3])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(80):
        (prediction,) = model.losses(made.ids[None], made.labels[None])
        optimizer.zero_grad()
        prediction.loss.backward()
        optimizer.step()
    assert float(prediction.accuracy) == 1
    assert float(prediction.loss) < 0.2


def test_saved_and_loaded(tmp_path: Path) -> None:
    for name, model in (("ar", autoregressive(**SPOKEN)), ("nar", nonautoregressive())):
        save(model, tmp_path / name)
        again = load(tmp_path / name)
        assert again.config == model.config
        before, after = model.state_dict(), again.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)
        assert not again.training
    with pytest.raises(CheckpointError, match="not an autoregressive one"):
        load_autoregressive(tmp_path / "nar")
    with pytest.raises(CheckpointError, match="not a non-autoregressive one"):
        load_nonautoregressive(tmp_path / "ar")


def test_folders_that_are_no_language_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no language model at"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="holds no language model"):
        load(tmp_path)
    save(autoregressive(**SPOKEN), tmp_path / "ar")
    (tmp_path / "ar" / "model.safetensors").write_bytes(b"?")
    with pytest.raises(CheckpointError, match="damaged") as caught:
        load(tmp_path / "ar")
    assert "\n" not in str(caught.value)


def test_configs() -> None:
    whole = config(codebooks=2, text=TextConfig("espeak", "de"), durations=Durations(2.5, 1.0, {"a": 3.0}))
    assert LMConfig.from_dict(whole.to_dict()) == whole
    for wrong in ({"codebooks": 9}, {"pattern": "spiral"}, {"non_autoregressive": True}):
        with pytest.raises(ConfigError):
            config(**wrong)
    with pytest.raises(ConfigError, match="multiple of twice"):
        TransformerConfig(width=30, heads=4)
    with pytest.raises(ConfigError, match="unknown config field codec\\.colour"):
        LMConfig.from_dict({"codec": {**vars(FACTS), "colour": 1}})


def test_the_context_has_the_same_length_without_text() -> None:
    model = autoregressive(**SPOKEN)
    with_text = context(model.vocabulary, model.pattern, [1, 2, 3])
    assert with_text.shape == context(model.vocabulary, model.pattern, [1, 2, 3], without_text=True).shape
