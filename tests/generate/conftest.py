"""A tiny codec, and tiny models with random weights that speak its tokens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import tiny_codec
from tests.lm.conftest import autoregressive, nonautoregressive
from xcodec import XCodec, audio
from xcodec.lm.checkpoint import save
from xcodec.lm.config import CaptionConfig, CodecSpec, Durations, TextConfig


@pytest.fixture(scope="session")
def codec() -> XCodec:
    return tiny_codec(teacher=None)


@pytest.fixture(scope="session")
def facts(codec: XCodec) -> CodecSpec:
    return CodecSpec(
        codec.config.name, codec.fingerprint.tokens, 4, codec.codebook_size, codec.sample_rate, codec.hop_length
    )


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, facts: CodecSpec) -> Path:
    folder = tmp_path_factory.mktemp("models")
    text: dict[str, Any] = {"text": TextConfig("characters"), "durations": Durations(usual=3.0)}
    save(autoregressive(codec=facts, **text), folder / "speech" / "ar")
    save(nonautoregressive(codec=facts), folder / "speech" / "nar")
    save(autoregressive(codec=facts, codebooks=2, pattern="delay", longest=20), folder / "music")
    aligned = {"text": TextConfig("characters", aligned=True)}
    save(autoregressive(codec=facts, **aligned), folder / "aligned" / "ar")
    save(nonautoregressive(codec=facts, **aligned), folder / "aligned" / "nar")
    save(autoregressive(codec=replace(facts, model_hash="0" * 16), **text), folder / "foreign")
    save(autoregressive(codec=facts, captions=CaptionConfig(str(folder / "nowhere"), width=8)), folder / "sound")
    return folder


@pytest.fixture(scope="session")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("voice") / "voice.wav"
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, (1, 16_000)).astype(np.float32)
    audio.write(path, noise, 16_000)
    return path
