"""Training a language model: examples, every task, and the same weights after a stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from xcodec.data.manifest import DataError
from xcodec.data.token_table import TableInfo, TokenItem, read_table, write_shard
from xcodec.lm.checkpoint import load
from xcodec.lm.config import CodecSpec
from xcodec.lm.layout import AUDIO, END, IGNORED, NOTHING, PROMPT, TEXT
from xcodec.lm.text import text_to_symbols
from xcodec.train.config import LMTrainConfig, is_language_model, read_run
from xcodec.train.lm import LMTrainer, run
from xcodec.train.lm_data import Examples
from xcodec.utils.config import ConfigError

SIZES = {"width": 16, "layers": 1, "heads": 2, "inner": 24, "dropout": 0.1}
MODELS: dict[str, dict[str, Any]] = {
    "ar": {"codebooks": 1, "text": {"front_end": "characters"}},
    "nar": {"codebooks": 3, "non_autoregressive": True, "text": {"front_end": "characters"}},
    "aligned": {"codebooks": 1, "text": {"front_end": "characters", "aligned": True}},
    "aligned-nar": {"codebooks": 3, "non_autoregressive": True, "text": {"front_end": "characters", "aligned": True}},
    "music": {"codebooks": 3, "pattern": "delay"},
    "sound": {"codebooks": 2, "captions": {"width": 8}},
}
TASKS = {kind: kind if kind in ("music", "sound") else "speech" for kind in MODELS}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Codes in which the text can be heard: letter after letter, ten frames each."""
    folder = tmp_path_factory.mktemp("table")
    rng = np.random.default_rng(0)
    items = []
    for number in range(40):
        text = "".join(rng.choice(list("abcd"), size=int(rng.integers(3, 7))))
        first = np.repeat(["abcd".index(letter) for letter in text], 10)
        codes = np.stack([first, (first + 5) % 16, (first * 3 + number % 2) % 16]).astype(np.uint16)
        about = {"split": "valid" if number % 10 == 0 else "train", "source": "made"}
        items.append(TokenItem(f"s{number}", codes, text=text, speaker=f"v{number % 2}", domain="speech", **about))
        items.append(TokenItem(f"m{number}", np.tile(codes, 5), domain="music", **about))
        items.append(TokenItem(f"x{number}", codes, text=f"a {text} falls", domain="sound", **about))
    info = TableInfo("tiny", "0011223344556677", codebooks=3, codebook_size=16, sample_rate=16_000, hop_length=320)
    write_shard(folder / "tokens-00000.parquet", info, items)
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text encoder of eight channels, with random weights."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "falls", *"abcdefghijklmnopqrstuvwxyz"]
    vocabulary += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=len(vocabulary), **sizes)).save_pretrained(folder)
    return folder


@pytest.fixture
def configure(tmp_path: Path, table: Path, request: pytest.FixtureRequest) -> Any:
    def make(kind: str, *changes: str, **values: Any) -> LMTrainConfig:
        model = {**MODELS[kind], "transformer": SIZES}
        if kind == "sound":
            model["captions"] = {"width": 8, "encoder": str(request.getfixturevalue("encoder"))}
        settings = {
            "name": kind,
            "task": TASKS[kind],
            "model": model,
            "data": {
                "table": str(table),
                "batch_positions": 600,
                "max_seconds": 2.0,
                "prompt_seconds": [0.1, 0.3],
                "validation_batches": 2,
            },
            "optimizer": {"lr": 1e-2, "schedule": "constant"},
            "steps": 10,
            "log_every": 5,
            "validate_every": 5,
            "checkpoint_every": 100,
            "trackers": [],
            "device": "cpu",
            "threads": 1,
            "runs": str(tmp_path / "runs"),
            **values,
        }
        path = tmp_path / f"{settings['name']}.yaml"
        path.write_text(yaml.safe_dump(settings), "utf-8")
        assert is_language_model(path)
        return read_run(path, changes, LMTrainConfig)

    return make


def log(config: LMTrainConfig) -> list[dict[str, float]]:
    return [json.loads(line) for line in (config.folder / "log.jsonl").read_text().splitlines()]


def weights(config: LMTrainConfig) -> dict[str, torch.Tensor]:
    return load_file(config.folder / "model" / "model.safetensors")


@pytest.mark.parametrize("kind", MODELS)
def test_every_task_learns_and_reports_each_codebook(configure: Any, kind: str) -> None:
    config = configure(kind, "steps=60", "validate_every=30", "model.transformer.dropout=0")
    run(config)
    lines = log(config)
    told = [line for line in lines if "total" in line]
    assert told[-1]["total"] < 0.75 * told[0]["total"]
    codebook = 2 if kind.endswith("nar") else 1
    assert told[-1][f"accuracy/{codebook}"] > told[0][f"accuracy/{codebook}"]
    assert ("accuracy/1" in told[-1]) == (not kind.endswith("nar")), "the first codebook is given to the second stage"
    held_out = [line for line in lines if "valid/total" in line]
    assert held_out[-1][f"valid/perplexity/{codebook}"] < 16
    model = load(config.folder / "model")
    assert model.config.codec.model_hash == "0011223344556677"
    assert model.config.longest == 100
    if kind == "ar":
        assert model.config.durations.usual == pytest.approx(10)


@pytest.mark.parametrize("kind", ["ar", "nar", "aligned", "aligned-nar"])
def test_stopped_and_resumed_it_ends_with_the_same_weights(configure: Any, kind: str) -> None:
    whole = configure(kind, "steps=12", "accumulation=2", name="whole", ema=0.9)
    run(whole)
    parted = configure(kind, "steps=12", "accumulation=2", name="parted", ema=0.9)
    trainer = LMTrainer(parted)
    trainer.start(resume=False)
    train_step = trainer.train_step

    def stop_in_the_middle(batch: Any, number: int) -> Any:
        if trainer.step == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return train_step(batch, number)

    trainer.train_step = stop_in_the_middle  # type: ignore[method-assign]
    trainer.train()
    assert [path.name for path in trainer.checkpoints.all()] == ["step-00000008"]
    assert not (parted.folder / "model").exists()
    with pytest.raises(ConfigError, match="checkpoints already"):
        run(parted)
    run(parted, resume=True)
    ours, theirs = weights(whole), weights(parted)
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


RANK = """
import sys, torch
from xcodec.train.config import read_run
from xcodec.train.lm import LMTrainer
from xcodec.train.config import LMTrainConfig
trainer = LMTrainer(read_run(sys.argv[2], (), LMTrainConfig))
assert trainer.accelerator.num_processes == 2
trainer.start(resume=False)
trainer.train()
torch.save(trainer.network.state_dict(), f"{sys.argv[1]}/rank{trainer.accelerator.process_index}.pt")
"""


def test_two_ranks_hold_the_same_weights_though_their_batches_differ(configure: Any, tmp_path: Path) -> None:
    config = configure("nar", name="ranks", steps=6)
    (tmp_path / "rank.py").write_text(RANK, "utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, str(tmp_path / "rank.py"), str(tmp_path), str(tmp_path / "ranks.yaml")]
    ranks = [
        subprocess.Popen(
            command,
            env={**os.environ, **shared, "ACCELERATE_USE_CPU": "true", "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    for process in ranks:
        errors = process.communicate(timeout=240)[1].decode()
        assert process.returncode == 0, errors
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    assert len(log(config)) == 3, "the first rank alone reports"


@pytest.mark.parametrize("kind", ["ar", "nar"])
def test_mixed_precision(configure: Any, kind: str) -> None:
    config = configure(kind, "steps=2", "precision=bf16")
    run(config)
    assert all(value.dtype == torch.float32 for value in weights(config).values())


def test_what_diverges_names_its_clips(configure: Any) -> None:
    config = configure("ar", "optimizer.lr=1e30", "optimizer.clip=1e30")
    with pytest.raises(ValueError, match=r"diverged: .* at step \d+; last good checkpoint: none; clips s\d+"):
        run(config)


# --- examples ---------------------------------------------------------------------------------------------------------


def examples(config: LMTrainConfig, table: Path) -> Examples:
    read = read_table(table, "train", domains=config.domains)
    return Examples(read.items, config.language_model(CodecSpec(**vars(read.info))), config.data)


def test_an_example_depends_on_seed_and_number_alone(configure: Any, table: Path) -> None:
    made = examples(configure("ar"), table)
    first, second = made.batch([3, 4], 7, seed=1), made.batch([3, 4], 7, seed=1)
    assert torch.equal(first.ids, second.ids)
    assert any(not torch.equal(first.ids, made.batch([3, 4], number, seed=1).ids) for number in range(8, 16))
    assert first.clips == [made.clips[3].item.id, made.clips[4].item.id]


def test_speech_has_text_and_now_and_then_a_prompt_of_the_same_voice(configure: Any, table: Path) -> None:
    made = examples(configure("ar", "data.unconditional_share=0"), table)
    prompted = 0
    for number in range(60):
        ids = made.batch([0], number, seed=0).ids[0, 0].tolist()
        labels = made.batch([0], number, seed=0).labels[0, 0].tolist()
        clip = made.clips[0]
        said = (clip.item.codes[0].astype(int) + made.vocabulary.first_code(0)).tolist()
        start = ids.index(AUDIO) + 1
        assert ids[start:] == said
        assert labels[start - 1 :] == [*said, END]
        assert set(labels[: start - 1]) == {IGNORED}
        prompted += PROMPT in ids
    assert 15 < prompted < 45
    bare = examples(configure("ar", "data.unconditional_share=1"), table).batch([0], 0, seed=0).ids[0, 0].tolist()
    assert bare.count(NOTHING) == len(made.clips[0].text)


def test_a_voice_is_another_clip_of_the_same_speaker(configure: Any, table: Path) -> None:
    made = examples(configure("nar", "data.prompt_share=1"), table)
    for number in range(40):
        prompt = made._voice(0, np.random.default_rng(number))
        assert prompt is not None
        assert 5 <= prompt.shape[1] <= 15
        spoken = {index for index, clip in enumerate(made.clips) if clip.item.speaker == made.clips[0].item.speaker}
        codes = [torch.from_numpy(made.clips[i].item.codes.astype(np.int64)) for i in spoken - {0}]
        width = prompt.shape[1]
        assert any(
            torch.equal(each[:, start : start + width], prompt)
            for each in codes
            for start in range(each.shape[1] - width + 1)
        )


def test_lengths_are_upper_bounds(configure: Any, table: Path) -> None:
    for kind in ("ar", "nar", "music"):
        made = examples(configure(kind, "data.prompt_share=1"), table)
        for index, length in enumerate(made.lengths):
            assert made.batch([index], index, seed=0).ids.shape[-1] <= length


def test_music_is_cut_to_length(configure: Any, table: Path) -> None:
    made = examples(configure("music"), table)
    assert made.batch([0], 0, seed=0).labels.shape[-1] == 100 + 2
    assert END not in made.batch([0], 0, seed=0).labels


def test_aligned_text_is_told_where_it_is_heard(configure: Any, table: Path) -> None:
    made = examples(configure("aligned", "data.unconditional_share=0", "data.prompt_share=1"), table)
    made.align(made.learn_alignment())
    right = total = 0
    for number in range(20):
        batch = made.batch([number, number + 1], number, seed=0)
        assert batch.text is not None
        assert batch.text_positions is not None
        assert batch.durations is not None
        assert TEXT not in batch.ids, "the text does not stand before the codes"
        for row in range(2):
            asked = (batch.labels[row, 0] != IGNORED) & (batch.labels[row, 0] != END)
            assert (batch.text_positions[row][~asked & (batch.ids[row, 0] == PROMPT)] < 0).all()
            codes = batch.labels[row, 0][asked] - made.vocabulary.first_code(0)
            said = batch.text[row][batch.text_positions[row][asked].long()]
            heard = made.vocabulary.text(torch.tensor(text_to_symbols("abcd", made.model.text)))[codes]  # type: ignore[arg-type]
            right, total = right + int((said == heard).sum()), total + len(codes)
            assert batch.durations[row].sum() == len(codes)
    assert right / total > 0.95


def test_clips_that_cannot_be_used_are_counted_or_refused(configure: Any, table: Path) -> None:
    config = configure("ar")
    read = read_table(table, "train", domains=["speech"])
    model = config.language_model(CodecSpec(**vars(read.info)))
    nameless = [TokenItem("q", item.codes, text=None) for item in read.items[:2]]
    assert Examples([*read.items, *nameless], model, config.data).unreadable == 2
    with pytest.raises(DataError, match="none of 2 clips is usable"):
        Examples(nameless, model, config.data)


# --- configs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (["task=dance"], "known: speech, music, sound"),
        (["task=music"], "model.text is for task speech"),
        (["model.text=null"], "model.text is for task speech"),
        (["model.colour=red"], "unknown config field colour"),
        (["data.table=''"], "data.table is empty"),
        (["data.batch_positions=30"], "more than the 30 of a batch"),
        (["data.prompt_seconds=[2,1]"], "from low to high"),
        (["data.sources=[nowhere]"], "no clips"),
    ],
)
def test_what_cannot_be_is_one_clear_line(configure: Any, changes: list[str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        run(configure("ar", *changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", sorted(Path("configs/lm").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configs_can_be_read(path: Path) -> None:
    assert is_language_model(path)
    config = read_run(path, (), LMTrainConfig)
    assert config.name == path.stem
