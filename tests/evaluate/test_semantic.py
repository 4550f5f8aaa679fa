"""The runner, on the samples of the repository: real voices, of which two are English with known words."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.conftest import tiny_codec
from xcodec import audio
from xcodec.evaluate.alignment import PhoneAligner
from xcodec.evaluate.clips import Selection, choose
from xcodec.evaluate.semantic import SemanticSettings, run
from xcodec.evaluate.token_measures import Budget, Predictability

SAMPLES = Path(__file__).parents[2] / "samples"
TEXTS = {
    "english-please-stay-on-the-line": "All of our representatives are currently busy. Please stay on the line and "
    "your call will be answered by the next available representative.",
    "english-not-in-service": "The number you have dialed is not in service. Please check the number and try again.",
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    rows = []
    for index, name in enumerate([*TEXTS, "spanish-not-at-the-desk"] * 2):
        wav, rate = audio.read(SAMPLES / f"{name}.flac", 16_000)
        audio.write(folder / f"{index}.wav", wav, rate)
        rows.append(
            {
                "path": f"{index}.wav",
                "sample_rate": rate,
                "samples": wav.shape[1],
                "domain": "speech",
                "source": "test",
                "speaker": "anna" if index % 3 else "ben",
                "language": "en" if name in TEXTS else "es",
                "text": TEXTS.get(name, "no"),
            }
        )
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_everything_is_measured_or_said_to_be_missing(corpus: Path, tmp_path: Path) -> None:
    tiny_codec(teacher="hubert").save_pretrained(tmp_path / "tiny")
    clips = choose([corpus], Selection())
    steps = list(run(SemanticSettings((str(tmp_path / "tiny"),), tmp_path, budget=Budget(steps=5)), clips))
    assert steps == list(range(12, -1, -1))
    found = json.loads((tmp_path / "semantic.json").read_text())
    assert found["aligned"] == 4
    assert found["phones"] > 200
    assert found["not_aligned"] == {"the language is es, the aligner's is en": 2}
    assert found["alignment"].startswith("pocketsphinx")
    (tiny,) = found["codecs"]
    for stage in ("teacher", "before RVQ", "codebook 1", "all codebooks", "semantic decoder"):
        assert 0 <= tiny[f"abx any within: {stage}"]["error"] <= 100
        assert tiny[f"abx any within: {stage}"]["triples"] > 100
    assert 0 < tiny["phones"]["mutual_information"] < 1
    assert len(tiny["language_model"]["perplexity"]) == 4
    assert set(tiny["stability"]) == {"one frame later", "half a frame later", "6 dB quieter", "noise 30 dB below"}
    assert tiny["probe phone: all codebooks"]["classes"] > 5
    assert tiny["missing"]["probe sound: codebook 1"].startswith("a probe needs two classes")
    assert found["speakers"] == ["anna", "ben"]
    assert tiny["abx any across: codebook 1"]["triples"] > 100


def test_a_run_goes_on_with_what_is_there(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        tiny_codec(teacher=None).save_pretrained(tmp_path / name)
    clips = choose([corpus], Selection())
    one, two = (str(tmp_path / name) for name in ("one", "two"))
    list(run(SemanticSettings((one,), tmp_path, budget=Budget(steps=2)), clips))
    first = json.loads((tmp_path / "semantic.json").read_text())
    # Nothing that is known is asked again, so a codec that is added is all there is to do.
    monkeypatch.setattr(PhoneAligner, "__call__", None)
    again = list(run(SemanticSettings((one, two), tmp_path, budget=Budget(steps=2)), clips))
    assert again == [18, 17, 16, 15, 14, 13, 12, 6, 5, 4, 3, 2, 1, 0]
    second = json.loads((tmp_path / "semantic.json").read_text())
    assert second["codecs"][0] == first["codecs"][0]
    assert second["codecs"][1]["label"] == "two@1.2"
    assert second["not_aligned"] == first["not_aligned"] != {}
    # Other clips are another question, and another budget another experiment.
    assert next(run(SemanticSettings((one,), tmp_path, budget=Budget(steps=2)), clips[:3])) == 6
    assert list(run(SemanticSettings((one,), tmp_path, budget=Budget(steps=2)), clips[:3]))[-2] == 1
    with pytest.raises(ValueError, match="was made with another language_model"):
        next(run(SemanticSettings((one,), tmp_path, budget=Budget(steps=3)), clips))


def test_a_measure_that_is_nan_is_missing_with_a_reason(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xcodec.evaluate.semantic.predictability", lambda *_: Predictability([math.nan], 1.0, 1))
    tiny_codec(teacher=None).save_pretrained(tmp_path / "tiny")
    list(run(SemanticSettings((str(tmp_path / "tiny"),), tmp_path), choose([corpus], Selection())))
    (row,) = json.loads((tmp_path / "semantic.json").read_text())["codecs"]
    assert "language_model" not in row
    assert "nan" in row["missing"]["language_model"]


def test_phones_may_come_from_an_item_file(corpus: Path, tmp_path: Path) -> None:
    tiny_codec(teacher=None).save_pretrained(tmp_path / "tiny")
    item = tmp_path / "phones.item"
    item.write_text(
        "#file onset offset #phone prev-phone next-phone speaker\n"
        + "".join(
            f"0 {0.5 + 0.1 * n:.1f} {0.6 + 0.1 * n:.1f} {'AB'[n % 2]} {'BA'[n % 2]} {'BA'[n % 2]} ben\n"
            for n in range(12)
        )
    )
    list(
        run(SemanticSettings((str(tmp_path / "tiny"),), tmp_path, item, Budget(steps=2)), choose([corpus], Selection()))
    )
    found = json.loads((tmp_path / "semantic.json").read_text())
    assert (found["aligned"], found["phones"], found["alignment"]) == (1, 12, "phones.item")
    (tiny,) = found["codecs"]
    assert tiny["missing"]["abx triphone within: codebook 1"].startswith("10 items make no within-speaker triple")
    assert tiny["abx any within: codebook 1"]["pairs"] == 1
    missing = tiny["missing"]["abx any across: codebook 1"]
    assert missing == "12 items make no across-speaker triple: all are of one speaker, ben"
    assert tiny["missing"]["abx: teacher"] == "the codec has none"


def test_what_has_no_tokens_is_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="opus@12 has no tokens"):
        list(run(SemanticSettings(("opus",), tmp_path), choose([corpus], Selection())))
