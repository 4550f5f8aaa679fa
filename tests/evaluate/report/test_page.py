"""The report as a browser has it: Debian's chromium, without a screen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.browser import browser_path, open_page
from tests.conftest import tiny_codec
from xcodec import audio
from xcodec.evaluate.clips import Selection, choose
from xcodec.evaluate.metrics import Signal
from xcodec.evaluate.reconstruction import Evaluator, Settings, run
from xcodec.evaluate.report import write_report
from xcodec.evaluate.summary import summarise
from xcodec.utils.json_lines import write_json

HOSTILE = "<script>document.title='taken'</script>"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, speech: Signal) -> Path:
    """A real run of two clips and three codecs, and what a run of `semantic` would write."""
    folder = tmp_path_factory.mktemp("results")
    rows = []
    for index in range(2):
        audio.write(folder / f"{index}.wav", speech[index * 16_000 : index * 16_000 + 24_000], 16_000)
        row = {"path": f"{index}.wav", "sample_rate": 16_000, "samples": 24_000, "domain": "speech", "source": HOSTILE}
        rows.append(row | {"text": HOSTILE})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tiny_codec(teacher=None).save_pretrained(folder / "tiny")
    clips = choose([folder], Selection())
    settings = Settings(("original", f"{folder / 'tiny'}@all", "opus@12"), folder, ("log_mel", "stft"))
    evaluator = Evaluator(settings)
    list(run(evaluator, clips))
    cost = {"encode_speed": 10.0, "decode_speed": 20.0, "load_seconds": 1.0, "base_mb": 300.0, "peak_mb": 400.0}
    write_json(
        folder / "summary.json", summarise(folder, evaluator.codecs, clips, evaluator.backends(), {"tiny@1.2": cost})
    )
    points = {
        f"abx {kind}: {stage}": {"error": 10.0 + len(stage), "triples": 1000, "pairs": 3}
        for kind in ("any within", "triphone across")
        for stage in ("before RVQ", "codebook 1", "all codebooks")
    }
    kept = {"kept_first": 90.0, "kept_all": 70.0, "edit_distance": 12.0, "frames": 100}
    codec = {
        "label": "tiny@1.2",
        "identity": "tiny",
        "kbps": 1.2,
        "missing": {"probe sound: codebook 1": HOSTILE},
        **points,
        "phones": {"phone_purity": 0.5, "cluster_purity": 0.1, "mutual_information": 0.3, "frames": 100},
        "language_model": {"perplexity": [30.0, 40.0], "bits_per_second": 900.0, "frames": 100},
        "stability": {"6 dB quieter": kept},
        "probe phone: codebook 1": {"accuracy": 50.0, "chance": 10.0, "classes": 30, "trained_on": 9, "tested_on": 3},
    }
    head = {"kind": "semantic", "clips": 2, "seconds": 3.0, "aligned": 1, "phones": 20, "alignment": "pocketsphinx"}
    head["speakers"] = ["anna"]
    write_json(folder / "semantic.json", {**head, "not_aligned": {"no transcript": 1}, "codecs": [codec]})
    return folder


@pytest.fixture(scope="module")
def report(results: Path) -> Path:
    page = results / "report.html"
    assert write_report([results], page, f"Codecs {HOSTILE}") == [
        page,
        page.with_suffix(".md"),
        page.with_suffix(".csv"),
    ]
    return page


def test_the_page_works_in_a_real_browser_on_a_phone(browser: Any, report: Path) -> None:
    page, log = open_page(browser, width=390, height=844)
    page.goto(report.as_uri())
    page.wait_for_load_state("load")
    assert page.title().startswith("Codecs <script>")  # text stays text

    # Every player plays, to its end.
    durations = page.evaluate(
        """async () => Promise.all([...document.querySelectorAll("audio")].map(async (player) => {
            player.playbackRate = 4;
            const ended = new Promise((done, failed) => { player.onended = done; player.onerror = failed; });
            await player.play();
            await ended;
            return player.currentTime;
        }))"""
    )
    assert len(durations) == 2 * 5  # clips; the original, three bandwidths, Opus
    assert durations == pytest.approx([1.5] * 10, abs=0.05)

    # Every picture is there, and nothing but wide tables is wider than the phone.
    widths = page.evaluate("[...document.images].map((image) => image.naturalWidth)")
    assert len(widths) > 10 + 6
    assert min(widths) > 10
    assert page.evaluate("document.documentElement.scrollWidth") <= 390

    assert log.requests == [report.as_uri()]
    assert log.complaints == []
    page.context.close()


def test_a_browser_that_is_required_and_missing_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setenv("XCODEC_TEST_BROWSER", "required")
    with pytest.raises(pytest.fail.Exception, match=r"requires it"):
        browser_path()
    monkeypatch.delenv("XCODEC_TEST_BROWSER")
    with pytest.raises(pytest.skip.Exception):
        browser_path()


def test_the_tables_are_there_in_all_three_forms(report: Path, results: Path) -> None:
    html, markdown, table = (report.with_suffix(suffix).read_text() for suffix in (".html", ".md", ".csv"))
    summary = json.loads((results / "summary.json").read_text())
    value = summary["codecs"][-1]["domains"]["speech"]["measures"]["log_mel"]["mean"]
    assert f"{value:.3g}" in html
    assert f"{value:.3g}" in markdown
    assert f"{value:.6g}" in table
    for heading in (
        "Speech: 2 clips",
        "Codes",
        "Cost, one thread",
        "ABX errors",
        "Linear probes",
        "Stability",
        "language",
    ):
        assert heading in html
        assert heading in markdown
    assert HOSTILE not in html


def test_the_same_results_give_the_same_page(results: Path, report: Path) -> None:
    write_report([results], results / "again.html", f"Codecs {HOSTILE}")
    assert (results / "again.html").read_bytes() == report.read_bytes()


def test_of_a_muted_source_there_is_nothing_to_hear(results: Path) -> None:
    write_report([results], results / "quiet.html", "Quiet", muted=[HOSTILE])
    assert "<audio" not in (results / "quiet.html").read_text()


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"neither summary\.json nor semantic\.json"):
        write_report([tmp_path], tmp_path / "report.html", "Nothing")
    with pytest.raises(ValueError, match="the report is HTML"):
        write_report([tmp_path], tmp_path / "report.pdf", "Nothing")
    assert list(tmp_path.iterdir()) == []
