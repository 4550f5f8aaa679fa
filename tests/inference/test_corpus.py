"""A corpus to a token table: each clip once, whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import tiny_codec
from xcodec import audio
from xcodec.codec.model import XCodec
from xcodec.data.manifest import DataError
from xcodec.data.token_table import read_table, shards
from xcodec.inference.corpus import tokenize

COMMAND = str(Path(sys.executable).with_name("xcodec"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_codec(teacher=None).save_pretrained(folder)
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A manifest of seven clips at two rates, one of them missing; and two clips of one file."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    rows = []
    for number in range(7):
        rate = 16_000 if number % 2 else 8_000
        samples = 1_000 + 700 * number
        sound = np.random.default_rng(number).uniform(-0.5, 0.5, (1, samples)).astype(np.float32)
        audio.write(folder / f"{number}.wav", sound, rate)
        rows.append(
            {
                "path": f"{number}.wav",
                "sample_rate": rate,
                "samples": samples,
                "domain": "speech" if number else "music",
                "source": "here",
                "speaker": f"s{number % 2}",
                "text": f"Number {number}.",
                "split": "valid" if number == 6 else "train",
            }
        )
    (folder / "3.wav").unlink()
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest


def test_codes_are_those_of_the_codec_and_what_is_known_comes_along(corpus: Path, model: Path, tmp_path: Path) -> None:
    made = tokenize(corpus, tmp_path / "tokens", model=str(model))
    assert (made.clips, made.new) == (6, 6)
    assert [each.id for each in made.skipped] == ["3.wav#0+3100"]
    table = read_table(tmp_path / "tokens")
    codec = XCodec.from_pretrained(model)
    assert table.info.model_hash == codec.fingerprint.tokens
    assert table.info.codebooks == 4
    item = next(item for item in table.items if item.id.startswith("2.wav"))
    heard, _ = audio.read(corpus.parent / "2.wav", codec.sample_rate)
    assert np.array_equal(item.codes, codec.encode(torch.from_numpy(heard)[None])[0].numpy())
    assert (item.text, item.speaker, item.domain, item.split) == ("Number 2.", "s0", "speech", "train")
    assert (tmp_path / "tokens" / "skipped.jsonl").read_text().count("\n") == 1


def test_again_makes_only_what_is_new(corpus: Path, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tokens"
    tokenize(corpus, folder, model=str(model), domains=["speech"], shard_size=2)
    assert len(shards(folder)) == 3
    made = tokenize(corpus, folder, model=str(model))
    assert (made.clips, made.new) == (6, 1)
    assert len(made.skipped) == 1
    assert tokenize(corpus, folder, model=str(model)).new == 0
    assert len(shards(folder)) == 4
    ids = [item.id for item in read_table(folder).items]
    assert len(ids) == len(set(ids)) == 6


def test_several_processes_make_the_same(corpus: Path, model: Path, tmp_path: Path) -> None:
    tokenize(corpus, tmp_path / "one", model=str(model))
    tokenize(corpus, tmp_path / "two", model=str(model), jobs=2, shard_size=4)
    one, two = read_table(tmp_path / "one").items, read_table(tmp_path / "two").items
    assert [item.id for item in one] == [item.id for item in two]
    assert all(np.array_equal(a.codes, b.codes) for a, b in zip(one, two, strict=True))


def test_long_clips_become_pieces(corpus: Path, model: Path, tmp_path: Path) -> None:
    tokenize(corpus, tmp_path / "tokens", model=str(model), max_seconds=0.1)
    frames = {item.id: item.frames for item in read_table(tmp_path / "tokens").items if item.id.startswith("6.wav")}
    # 5,200 samples at 8 kHz are 0.65 s: six pieces and a half
    assert frames == {f"6.wav#{800 * n}+{min(800, 5200 - 800 * n)}": (5 if n < 6 else 3) for n in range(7)}


def test_another_codec_or_bandwidth_is_refused(corpus: Path, model: Path, tmp_path: Path) -> None:
    tokenize(corpus, tmp_path / "tokens", model=str(model))
    with pytest.raises(DataError, match="name another folder"):
        tokenize(corpus, tmp_path / "tokens", model=str(model), bandwidth=XCodec.from_pretrained(model).bandwidths[0])


def test_a_folder_with_a_file_that_is_no_audio(corpus: Path, model: Path, tmp_path: Path) -> None:
    (corpus.parent / "9.wav").write_bytes(b"RIFF?")
    made = tokenize(corpus.parent, tmp_path / "tokens", model=str(model))
    assert made.clips == 6
    assert [each.id for each in made.skipped] == ["9.wav"]


def test_killed_and_run_again_has_every_clip_once(corpus: Path, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tokens"
    command = [COMMAND, "tokenize", str(corpus), str(folder), "--model", str(model), "--shard-size", "1"]
    command += ["--max-seconds", "0.1"]  # so many clips that it is met at work
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 300
    while not shards(folder) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = len(shards(folder))
    assert before > 0
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert report["new"] + before >= report["clips"]
    whole = tokenize(corpus, tmp_path / "whole", model=str(model), max_seconds=0.1)
    ids = [item.id for item in read_table(folder).items]
    assert ids == [item.id for item in read_table(tmp_path / "whole").items]
    assert len(ids) == whole.clips == report["clips"]
