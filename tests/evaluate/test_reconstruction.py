"""The runner, on real speech with measures that take milliseconds."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import tiny_codec
from xcodec import audio
from xcodec.evaluate.clips import Selection, choose
from xcodec.evaluate.codecs import open_codecs
from xcodec.evaluate.metrics import DEFAULT, Signal
from xcodec.evaluate.reconstruction import Evaluator, Settings, measure_cost, run
from xcodec.evaluate.summary import summarise
from xcodec.utils.json_lines import read_lines, write_json

QUICK = ("si_sdr", "log_mel", "stft", "pitch")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, speech: Signal) -> Path:
    """Four clips of speech, of which one is silent, and two of music, with a manifest."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    rows = []
    for index in range(6):
        domain = "speech" if index < 4 else "music"
        wav = speech[index * 8_000 : index * 8_000 + 24_000] if index < 4 else 0.1 * rng.standard_normal(24_000)
        wav = np.zeros(24_000) if index == 3 else wav
        audio.write(folder / f"{index}.wav", np.asarray(wav, np.float32), 16_000)
        rows.append(
            {"path": f"{index}.wav", "sample_rate": 16_000, "samples": 24_000, "domain": domain, "source": "test"}
        )
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_codec(teacher=None).save_pretrained(folder)
    return folder


def evaluator(model: Path, out: Path, *codecs: str, metrics: tuple[str, ...] = QUICK) -> Evaluator:
    return Evaluator(Settings(("original", f"{model}@all", *codecs), out, metrics, keep=1))


def test_clips_are_measured_once_and_a_killed_run_goes_on(corpus: Path, model: Path, tmp_path: Path) -> None:
    clips = choose([corpus], Selection())
    assert [clip.item.domain for clip in clips] == ["music"] * 2 + ["speech"] * 4
    first = run(evaluator(model, tmp_path), clips)
    assert next(first) == 6
    assert next(first) == 5  # one is done, and then the run is killed, in the middle of a line
    first.close()
    lines = tmp_path / "clips.jsonl"
    whole = lines.read_text()
    assert whole.count("\n") == 4
    lines.write_text(whole + '{"clip": "half a li')
    assert list(run(evaluator(model, tmp_path), clips)) == [5, 4, 3, 2, 1, 0]
    records = read_lines(lines)
    assert lines.read_text().startswith(whole)
    assert sorted((r["clip"], r["codec"]) for r in records) == sorted(
        (clip.name, codec) for clip in clips for codec in ("original", "tiny@0.3", "tiny@0.6", "tiny@1.2")
    )
    # Nothing is left to do; but another codec is new.
    assert list(run(evaluator(model, tmp_path), clips)) == [0]
    assert next(run(evaluator(model, tmp_path, "codec2@3.2"), clips)) == 6


def test_processes_give_the_same_as_one(corpus: Path, model: Path, tmp_path: Path) -> None:
    clips = choose([corpus], Selection(per_domain=2))
    for name, jobs in (("one", 1), ("two", 2)):
        assert list(run(evaluator(model, tmp_path / name, metrics=("si_sdr", "stft")), clips, jobs))[-1] == 0
    one, two = (
        {(r["clip"], r["codec"]): r["scores"] for r in read_lines(tmp_path / name / "clips.jsonl")}
        for name in ("one", "two")
    )
    assert one.keys() == two.keys()
    for key, scores in one.items():
        assert scores == pytest.approx(two[key], rel=1e-4)


def test_a_clip_that_cannot_be_read_is_named_by_any_number_of_processes(
    corpus: Path, model: Path, tmp_path: Path
) -> None:
    shutil.copytree(corpus, tmp_path / "corpus")
    (tmp_path / "corpus" / "4.wav").write_bytes(b"no audio")
    clips = choose([tmp_path / "corpus"], Selection(per_domain=1))
    for jobs in (1, 2):
        with pytest.raises(OSError, match=r"4\.wav"):
            list(run(evaluator(model, tmp_path / "out", metrics=("stft",)), clips, jobs))


def test_a_codec_that_fails_for_a_clip_is_recorded_and_the_others_are_measured(
    corpus: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = choose([corpus], Selection(per_domain=1))
    mine = evaluator(model, tmp_path, metrics=("stft", "si_sdr"))
    broken = next(codec for codec in mine.codecs if codec.label == "tiny@0.6")

    def fails(*_: object) -> None:
        raise RuntimeError("no such\nkernel")

    monkeypatch.setattr(type(broken), "encode", fails)
    assert list(run(mine, clips)) == [2, 1, 0]
    summary = summarise(tmp_path, mine.codecs, clips, mine.backends(), {})
    reasons = summary["undefined"]["stft"]
    assert sum(reasons.values()) == 6  # two clips, three bandwidths
    assert all(re.search(r"tiny@.* failed: .*no such kernel", reason) for reason in reasons)
    assert summary["codecs"][0]["domains"]["music"]["measures"]["stft"]["mean"] == 0
    assert summary["codecs"][1]["domains"]["music"]["measures"]["stft"] == {"undefined": 1}


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_constant_signal_ends_no_evaluation(level: float, model: Path, tmp_path: Path) -> None:
    """All metrics that need no download: what has no value is undefined, with the reason, in the file and the table."""
    (tmp_path / "in").mkdir()
    audio.write(tmp_path / "in" / "constant.wav", np.full(48_000, level, np.float32), 16_000)
    clips = choose([tmp_path / "in"], Selection())
    mine = Evaluator(Settings(("original", str(model), "opus@12"), tmp_path / "out", DEFAULT))
    for left in ([1, 0], [0]):
        assert list(run(mine, clips)) == left
    record = read_lines(tmp_path / "out" / "clips.jsonl")[0]
    measured = {measure.name for metric in mine.metrics for measure in metric.measures}
    assert record["scores"].keys() | record["undefined"].keys() == measured
    assert not record["scores"].keys() & record["undefined"].keys()
    assert record["undefined"]["si_sdr"] == (
        "the original is constant: without its mean nothing is left to compare" if level else "the original is silent"
    )
    summary = summarise(tmp_path / "out", mine.codecs, clips, mine.backends(), {})
    assert sum(summary["undefined"]["si_sdr"].values()) == 3
    write_json(tmp_path / "out" / "summary.json", summary)


def test_names_that_are_not_utf_8(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    audio.write(folder / os.fsdecode(b"\xff\n.wav"), np.full(48_000, 0.5, np.float32), 16_000)
    mine = Evaluator(Settings((str(model),), tmp_path / "out", ("si_sdr",), keep=1))
    for left in ([1, 0], [0]):
        assert list(run(mine, choose([folder], Selection()))) == left
    (record,) = read_lines(tmp_path / "out" / "clips.jsonl")
    assert record["clip"].endswith("caf\\xe9/\\xff\n.wav")
    assert (tmp_path / "out" / "clips" / record["codec"] / f"{record['key']}.flac").exists()


def test_who_stops_a_run_does_not_wait_for_clips_that_are_half_done(corpus: Path, model: Path, tmp_path: Path) -> None:
    before = set(multiprocessing.active_children())
    running = run(evaluator(model, tmp_path, metrics=("stft",)), choose([corpus], Selection()), jobs=2)
    assert [next(running), next(running)] == [6, 5]
    # From now on, no clip gets done.
    for process in set(multiprocessing.active_children()) - before:
        os.kill(process.pid or 0, signal.SIGSTOP)
    closing = threading.Thread(target=running.close, daemon=True)
    closing.start()
    closing.join(60)
    assert not closing.is_alive()
    assert set(multiprocessing.active_children()) == before


def test_other_settings_do_not_mix(corpus: Path, model: Path, tmp_path: Path) -> None:
    clips = choose([corpus], Selection(per_domain=1))
    list(run(evaluator(model, tmp_path), clips))
    with pytest.raises(ValueError, match="was made with another metrics"):
        list(run(evaluator(model, tmp_path, metrics=("stft",)), clips))


def test_the_summary_is_what_the_lines_say(corpus: Path, model: Path, tmp_path: Path) -> None:
    clips = choose([corpus], Selection())
    mine = evaluator(model, tmp_path)
    list(run(mine, clips))
    summary = summarise(tmp_path, mine.codecs, clips, mine.backends(), {})
    json.dumps(summary, allow_nan=False)
    lines = read_lines(tmp_path / "clips.jsonl")
    assert summary["clips"] == {"music": 2, "speech": 4}
    tiny = summary["codecs"][3]
    assert tiny["label"] == "tiny@1.2"
    scores = [r["scores"]["log_mel"] for r in lines if r["codec"] == "tiny@1.2" and "log_mel" in r["scores"]]
    music = [r["scores"]["log_mel"] for r in lines if r["codec"] == "tiny@1.2" and r["domain"] == "music"]
    assert tiny["domains"]["music"]["measures"]["log_mel"]["mean"] == pytest.approx(np.mean(music))
    # The silent clip has no value, and that is said.
    speech = tiny["domains"]["speech"]["measures"]["log_mel"]
    assert (speech["clips"], speech["undefined"]) == (3, 1)
    assert speech["low"] <= speech["mean"] <= speech["high"]
    assert len(scores) == 5
    silent = next(r for r in lines if "3.wav" in r["clip"] and r["codec"] == "tiny@1.2")
    assert silent["undefined"]["log_mel"] == "the original is silent"
    # Measures of speech are not asked of music; bitrate is what was sent.
    assert "f0_rmse" not in tiny["domains"]["music"]["measures"]
    assert tiny["domains"]["music"]["measures"]["kbps"]["mean"] == pytest.approx(1.2)
    assert "kbps" not in summary["codecs"][0]["domains"]["music"]["measures"]
    # 6 clips of 75 frames; 4 codebooks of 64 entries.
    assert tiny["codes"]["frames"] == 450
    assert len(tiny["codes"]["usage"]) == 4
    assert 0 < tiny["codes"]["entropy_kbps"] <= 1.2
    # Each pair of the three codecs that have a log-mel distance, and of these with the original.
    assert len(summary["paired"]["speech"]["log_mel"]) == 6
    assert all(0 < test["p"] <= test["p_corrected"] <= 1 for test in summary["paired"]["speech"]["log_mel"])
    assert all(measure["backend"] for measure in summary["measures"].values())


def test_audio_of_the_first_clips_is_kept(corpus: Path, model: Path, tmp_path: Path) -> None:
    list(run(evaluator(model, tmp_path), choose([corpus], Selection())))
    kept = sorted((tmp_path / "clips" / "tiny@1.2").glob("*.flac"))
    assert len(kept) == 2  # of speech and of music
    assert audio.info(kept[0]).samples == 24_000
    assert len(list((tmp_path / "clips" / "tiny@1.2").glob("*.npy"))) == 6


def test_cost_is_measured_in_a_process_of_its_own(corpus: Path) -> None:
    found = measure_cost("opus@12", choose([corpus], Selection(per_domain=1)))
    assert list(found) == ["opus@12"]
    cost = found["opus@12"]
    assert cost["encode_speed"] > 1
    assert cost["decode_speed"] > 1
    assert 0 < cost["base_mb"] <= cost["peak_mb"] < 4000
    assert measure_cost("original", choose([corpus], Selection(per_domain=1))) == {}


def test_clips_are_spaced_evenly_and_long_ones_lose_their_transcript(tmp_path: Path, speech: Signal) -> None:
    rows = []
    for index, seconds in enumerate([0.5, 2, 2, 2, 2, 3]):
        audio.write(tmp_path / f"{index}.wav", speech[: round(seconds * 16_000)], 16_000)
        rows.append(
            {
                "path": f"{index}.wav",
                "sample_rate": 16_000,
                "samples": round(seconds * 16_000),
                "domain": "speech",
                "source": "test",
                "text": f"number {index}",
            }
        )
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    every = choose([tmp_path], Selection(longest=2.5))
    assert [clip.text for clip in every] == ["number 1", "number 2", "number 3", "number 4", None]
    assert every[-1].seconds == 2.5
    assert np.array_equal(every[-1].read(), speech[4_000 : 4_000 + 40_000])
    # Where there are enough whole ones, nothing is cut.
    assert [clip.text for clip in choose([tmp_path], Selection(2, longest=2.5))] == ["number 1", "number 3"]
    # A single file will do.
    (alone,) = choose([tmp_path / "1.wav"], Selection(domain="music"))
    assert (alone.item.domain, alone.seconds) == ("music", 2.0)


def test_a_codec_that_is_nowhere_ends_the_run_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file or folder nothing"):
        Evaluator(Settings(("nothing",), tmp_path / "out", QUICK))
    assert not (tmp_path / "out").exists()
    assert open_codecs([]) == []
