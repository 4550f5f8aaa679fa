"""A codec as models are published: its card, and `transformers.AutoModel` without a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard

from tests.conftest import tiny_codec
from xcodec.codec.model import XCodec


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("hub") / "tiny"
    measures = {"PESQ-WB at 4 kbps": 1.5}
    tiny_codec(teacher=None).save_pretrained(target, file_format="hub", licence="apache-2.0", measures=measures)
    return target


def test_the_card_is_made_of_config_and_measures(folder: Path) -> None:
    card = ModelCard.load(folder / "README.md")
    assert (card.data.license, card.data.library_name) == ("apache-2.0", "xcodec")
    (result,) = card.data.eval_results
    assert (result.metric_name, result.metric_value) == ("PESQ-WB at 4 kbps", 1.5)
    assert "| codebooks | 4 × 64 |" in card.text
    assert "| PESQ-WB at 4 kbps | 1.5 |" in card.text


def test_auto_model_and_feature_extractor(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path))
    from transformers import AutoFeatureExtractor, AutoModel

    model = AutoModel.from_pretrained(folder, trust_remote_code=True)
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    clips = [np.random.default_rng(seed).uniform(-0.5, 0.5, 3_000 + seed).astype(np.float32) for seed in range(2)]
    inputs = extractor(clips, sampling_rate=16_000, return_tensors="pt")["input_values"]
    assert inputs.shape == (2, 1, 3_200)
    own = XCodec.from_pretrained(folder)
    codes = model.encode(inputs, 0.6)
    assert torch.equal(codes, own.encode(inputs, 0.6))
    assert torch.equal(model(inputs, 0.6), own.decode(codes))


def test_what_was_published_is_replaced_by_what_is_saved(folder: Path) -> None:
    own = XCodec.from_pretrained(folder)
    own.save_pretrained(folder)
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    assert XCodec.from_pretrained(folder).fingerprint == own.fingerprint
