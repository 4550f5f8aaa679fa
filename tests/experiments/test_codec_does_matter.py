"""The comparison of codecs by language models: what is held out, its distances, and its steps on a corpus of noise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.codec_does_matter import __main__ as run
from experiments.codec_does_matter import clip_tables, distance, held_out, judge, make_audio, more_speech
from tests.conftest import tiny_codec
from xcodec import audio
from xcodec.data.manifest import DataError

RATE = 16_000


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two voices and some music, all noise; a part of each is held out."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    rows = []

    def clip(name: str, seconds: float, **about: str) -> None:
        sound = rng.uniform(-0.3, 0.3, (1, round(seconds * RATE))).astype(np.float32)
        audio.write(folder / f"{name}.wav", sound, RATE)
        row = {"path": f"{name}.wav", "sample_rate": RATE, "samples": sound.shape[1], "language": "en"}
        rows.append({**row, "source": "synthetic-piper", **about})

    for number in range(16):
        split = ("train", "train", "test", "valid")[number % 4]
        word = ("one", "two", "three", "four", "five", "six", "seven", "eight")[number % 8]
        text = f"Say {word} {'again' if number > 7 else 'now'}."
        clip(f"s{number}", 1.2, domain="speech", speaker=f"v{number // 4 % 2}", text=text, split=split)
    for number in range(4):
        clip(f"m{number}", 16, domain="music", source="wesnoth-1.16-music", split="train" if number < 2 else "test")
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest


def test_held_out_sentences_are_never_trained_on_and_have_the_voice_of_another_clip(corpus: Path) -> None:
    chosen = held_out.utterances(corpus, 20)
    assert len(chosen) == 20, "few sentences come with several prompts each"
    assert len({each.name for each in chosen}) == 20
    assert [each.name for each in chosen] == [each.name for each in held_out.utterances(corpus, 20)]
    for each in chosen:
        assert each.real.split != "train"
        assert each.prompt.split != "train"
        assert each.prompt.speaker == each.real.speaker
        assert each.prompt.text != each.text
    assert all(item.split == "test" for item, _ in held_out.music(corpus, 5.0, 4))


def test_every_voice_says_a_sentence_before_the_next_and_more_hours_only_add() -> None:
    spoken = [f"This is sentence number {number}." for number in range(200)]
    few, many = more_speech.lines(spoken, 0.005), more_speech.lines(spoken, 0.01)
    assert many[: len(few)] == few
    assert 0 < len(few) < len(many)
    everything = more_speech.lines(spoken, 100)
    held_out = [line for line in everything if line.speaker == "flite-awb"]
    assert 0 < len(held_out) < 40
    assert all(line.split != "train" for line in held_out), "no language model is trained on this voice"
    assert len(everything) == 3 * 200 + len(held_out)
    assert {line.sentence for line in held_out} == {line.sentence for line in everything if line.split != "train"}
    assert {line.engine for line in many} == {"flite", "piper"}


def test_frechet_distance_of_gaussians_is_the_known_one() -> None:
    rng = np.random.default_rng(0)
    first = rng.standard_normal((20_000, 3))
    assert distance.frechet(first, first) == pytest.approx(0, abs=1e-6)
    # Means 2 apart, and a standard deviation of 3 instead of 1 in one of three dimensions: 4 + (3 - 1)².
    second = rng.standard_normal((20_000, 3)) * [3, 1, 1] + [2, 0, 0]
    assert distance.frechet(first, second) == pytest.approx(8, rel=0.05)


def test_the_probe_tells_classes_apart_and_is_not_fooled_by_chance() -> None:
    rng = np.random.default_rng(0)
    apart = {word: rng.standard_normal((30, 5)) + 4 * np.eye(5)[index] for index, word in enumerate(("a", "b", "c"))}
    assert distance.cross_validate(apart) > 0.9
    alike = {word: rng.standard_normal((30, 5)) for word in ("a", "b", "c")}
    assert distance.cross_validate(alike) < 0.6


def test_tokens_training_and_generation_of_two_codecs_and_going_on(
    monkeypatch: pytest.MonkeyPatch, corpus: Path, tmp_path: Path
) -> None:
    for task, models in list(run.MODELS.items()):  # changed below, and given back in the end
        monkeypatch.setitem(run.MODELS, task, models)
    for name, seed in (("semantic", 0), ("acoustic", 1)):
        tiny_codec(teacher=None, seed=seed).save_pretrained(tmp_path / name)
    plan = run.comparison(
        corpus, corpus, tmp_path / "out", str(tmp_path / "semantic"), str(tmp_path / "acoustic"), "0", "speech,music"
    )
    tiny = ["steps=2", "model.transformer.width=16", "model.transformer.layers=1", "model.transformer.inner=16"]
    tiny += ["trackers=[]", "model.text.front_end=characters"]
    run.make_tokens(plan, 1)
    # The mini models speak eight codebooks; these codecs have four.
    run.MODELS["speech"], run.MODELS["music"] = ("speech-ar-mini", "speech-nar-mini"), ("music-mini",)
    changes = {"speech-ar-mini": tiny, "speech-nar-mini": [*tiny, "model.codebooks=4"], "music-mini": tiny[:-1]}
    for model, own in changes.items():
        run.MODELS.update(speech=(), music=())
        run.MODELS["music" if "music" in model else "speech"] = (model,)
        run.train_models(plan, own)
    models = sorted(path.parent.name for path in plan.runs.glob("*/model"))
    assert models == sorted(f"{codec}-{model}-0" for codec in ("semantic", "acoustic") for model in changes)
    make_audio.make_speech(plan, 2, 1, lambda message: None)
    made = sorted(path.parent.name for path in (plan.out / "made").glob("*/*.wav"))
    kinds = ["resynthesis-1-0", "resynthesis-8-0"]
    kinds += [f"{mode}-{stage}-0" for mode in ("voice", "continuation") for stage in ("ar", "ar+nar")]
    assert made == sorted(["original"] * 2 + [f"{c}-{kind}" for c in ("semantic", "acoustic") for kind in kinds] * 2)
    # What is there is not made again; what is missing is made as before, by several processes too.
    kept, lost = sorted((plan.out / "made").glob("semantic-voice-ar+nar-0/*.wav"))
    before, made_alone = kept.stat().st_mtime_ns, lost.read_bytes()
    lost.unlink()
    make_audio.make_speech(plan, 2, 2, run.say)
    assert kept.stat().st_mtime_ns == before
    assert lost.read_bytes() == made_alone
    # Music is made, and judged beside what really follows.
    run.MODELS["music"] = ("music-mini",)
    make_audio.make_music(plan, 2, 1, lambda message: None)
    judge.judge_music(plan, [distance.Embedder()], lambda message: None)
    scores = {path.stem: json.loads(path.read_text("utf-8")) for path in (plan.scores / "music").glob("*.json")}
    kinds = ["music-mini-0", "music-resynthesis-1-0", "music-resynthesis-4-0"]
    assert sorted(scores) == sorted(["any other", *(f"{c}-{kind}" for c in ("semantic", "acoustic") for kind in kinds)])
    assert all(sorted(score["clips"]) == ["000", "001"] for score in scores.values())
    assert audio.info(plan.out / "made" / "semantic-music-mini-0" / "000.wav").samples == 10 * RATE


def test_tables_and_curves_are_made_of_what_was_scored(corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("xcodec.evaluate.summary", reason="the evaluation is a package of its own")
    plan = run.comparison(corpus, corpus, tmp_path, None, "acoustic", "0,1", "speech")
    for codec, errors in (("semantic", 1), ("acoustic", 3)):
        for seed in plan.seeds:
            row = {"word_errors": errors, "words": 4, "speaker": 0.5, "dnsmos": 3.0}
            rows = [{"name": f"u{n}-piper-joe-0", **row} for n in range(20)]
            rows[0] = {**row, "name": "u0-flite-awb-0", "word_errors": 2 * errors}
            journal = plan.scores / "speech" / f"{codec}-voice-ar-{seed}.jsonl"
            journal.parent.mkdir(parents=True, exist_ok=True)
            journal.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"name": "half a li', "utf-8")
        log = plan.runs / f"{codec}-speech-ar-mini-0" / "log.jsonl"
        log.parent.mkdir(parents=True)
        log.write_text(json.dumps({"step": 500, "valid/total": 3.2, "valid/perplexity/1": 24.5}) + "\n", "utf-8")
    run.write_report(plan)
    tables = (tmp_path / "tables.md").read_text("utf-8")
    assert "| 25 [25, 25] | 50 [50, 50] | 0.5 [0.5, 0.5] | 3 [3, 3] | 20 |" in tables, "seen and unseen speakers"
    assert "| 150 [150, 150] | 0.5" in tables, "the unseen speaker: six errors on four words"
    assert "| 76.2 [" in tables, "of which four count when capped"
    assert "| voice-ar | -52.5 | 0.0" in tables
    assert "| acoustic-voice-ar, all seeds | 78.8 [" in tables
    assert tables.count("| 20 | 2 |") == 1, "twenty utterances said twice are no forty"
    assert "| speech-ar-mini | acoustic | 0 | 1: 24.5 |" in tables
    assert "continuation-ar" not in tables, "what has not been measured is not in the table"
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_nearness_is_one_for_the_same_and_none_for_any_other_piece() -> None:
    real = np.random.default_rng(0).standard_normal((400, 20)) * np.arange(1, 21) + 5
    assert distance.nearness(real, real) == pytest.approx(np.ones(400))
    other = distance.nearness(real, np.roll(real, 1, axis=0))
    assert abs(other.mean()) < 0.05
    noisy = real + 0.5 * real.std(0) * np.random.default_rng(1).standard_normal(real.shape)
    assert distance.nearness(real, noisy).mean() == pytest.approx(1 / np.sqrt(1.25), abs=0.02)


def test_clips_that_two_seeds_made_are_counted_once(corpus: Path, tmp_path: Path) -> None:
    plan = run.comparison(corpus, corpus, tmp_path, None, "acoustic", "0,1", "music,sound")
    for codec, right, apart in (("semantic", 3, 10.0), ("acoustic", 1, 20.0)):
        for seed in plan.seeds:
            clips = {f"bell-{n:02d}": float(n % 4 < right) for n in range(40)}
            score = {"clips": clips, "frechet": {"bands": apart + seed}, "on_real": 0.8}
            judge.write(plan.scores / "sound" / f"{codec}-sound-{seed}.json", score)
    alone = {"clips": {"000": 0.5}, "frechet": {"bands": 1.0}}
    judge.write(plan.scores / "music" / "semantic-music-mini-0.json", alone)
    tables = "\n".join([*clip_tables.music(plan), *clip_tables.sound(plan)])
    assert "| semantic-sound-1 | 75 [62.5, 87.5] | 11 | 40 |" in tables
    assert "| acoustic-sound, all seeds | 25 [12.5, 40] | 20.5 | 40 |" in tables, "eighty clips of forty captions"
    assert "| sound | +50 | 0.00" in tables
    assert "Accuracy of the probe on real sounds: 80.0 %" in tables
    assert "semantic-music-mini-0" not in tables, "what one codec alone has done compares nothing"


def test_two_judges_do_not_score_the_same_clips_twice(corpus: Path, tmp_path: Path) -> None:
    plan = run.comparison(corpus, corpus, tmp_path, None, "acoustic", "0", "speech")
    scores = plan.scores / "speech"
    scores.mkdir(parents=True)
    with judge.alone(scores), pytest.raises(DataError, match="another run is at work"):
        judge.judge_speech(plan, 2, "no-whisper", 1, lambda message: None)
