"""A corpus, and the table that one process makes of it: what stores and clusters are held to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import tiny_codec
from xcodec import audio
from xcodec.data.token_table import read_table
from xcodec.inference.corpus import tokenize

CLIPS = 24


def codes_of(place: str | Path) -> dict[str, list[list[int]]]:
    return {item.id: item.codes.tolist() for item in read_table(place).items}


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, a corpus whose last file is no audio, and the table of it that one local run makes."""
    folder = tmp_path_factory.mktemp("scene")
    tiny_codec(teacher=None).save_pretrained(folder / "model")
    (folder / "corpus").mkdir()
    for number in range(CLIPS):
        samples = np.random.default_rng(number).uniform(-0.5, 0.5, (1, 4_000 + 10 * number)).astype(np.float32)
        audio.write(folder / "corpus" / f"{number:02}.wav", samples, 16_000)
    (folder / "corpus" / "no.wav").write_bytes(b"no audio")
    tokenize(folder / "corpus", folder / "whole", model=str(folder / "model"))
    return folder
