"""The page of `xcodec app`, served by the installed command, in a real browser."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.browser import open_page, write_silent_video
from xcodec import audio

pytest.importorskip("gradio")

SPEECH = Path(__file__).parents[2] / "samples/english-not-in-service.flac"


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def address(scratch: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "xcodec", "app", "--no-browser", "--port", "0"]
    environment = {**os.environ, "TMPDIR": str(scratch)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            assert said.startswith("http://127.0.0.1:"), said
            yield said.split()[0]
            # Uploads lie in one folder, which goes with the server.
            assert len(list(scratch.glob("xcodec-app-*"))) == 1
            process.terminate()
            process.wait(60)
            assert not list(scratch.glob("xcodec-app-*"))
        finally:
            process.kill()


@pytest.fixture(scope="module")
def page(browser: Any, address: str) -> Iterator[Any]:
    page, log = open_page(browser)
    page.goto(address)
    page.wait_for_selector("#listen-run")
    yield page
    assert log.outside(address) == []
    # Gradio warns when it closes its own stream of events.
    assert [each for each in log.complaints if each != "Method not implemented."] == []
    page.context.close()


def measured(page: Any, result: str) -> list[tuple[float, float]]:
    """Seconds and root mean square of each player's audio."""
    measures: list[list[float]] = page.evaluate(
        """(result) => Promise.all([...document.querySelectorAll(`${result} audio`)].map(async (player) => {
            const bytes = await (await fetch(player.src)).arrayBuffer();
            const sound = await new OfflineAudioContext(1, 1, 16000).decodeAudioData(bytes);
            const samples = sound.getChannelData(0);
            return [sound.duration, Math.sqrt(samples.reduce((sum, x) => sum + x * x, 0) / samples.length)];
        }))""",
        result,
    )
    return [(seconds, level) for seconds, level in measures]


def test_listen(page: Any, tmp_path: Path) -> None:
    wav, rate = audio.read(SPEECH)
    audio.write(tmp_path / "speech.wav", wav[:, : 2 * rate], rate)
    page.set_input_files("#listen-file input", tmp_path / "speech.wav")
    page.wait_for_selector("#listen-file >> text=speech")
    page.click("#listen-run")
    page.wait_for_selector("#listen-result audio")
    (original, decoded) = measured(page, "#listen-result")
    assert (original[0], decoded[0]) == pytest.approx((2, 2), abs=0.01)
    assert min(original[1], decoded[1]) > 0.01

    # Another bandwidth, by keyboard; what is saved is decoded by the command line to the same samples.
    page.focus("#listen-bandwidth input:checked")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    page.wait_for_selector("#listen-result >> text=2.25 kbit/s")
    saved = {}
    for name in ("sound.xc", "decoded.wav"):
        with page.expect_download() as download:
            page.click(f"#listen-result >> text=Save {name}")
        saved[name] = tmp_path / name
        download.value.save_as(saved[name])
    command = [sys.executable, "-m", "xcodec", "decode", str(saved["sound.xc"]), str(tmp_path / "again.wav")]
    subprocess.run(command, check=True, timeout=120)
    again, decoded_wav = audio.read(tmp_path / "again.wav")[0], audio.read(saved["decoded.wav"])[0]
    np.testing.assert_allclose(again, decoded_wav, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("letter.txt", b"no sound", "letter.txt"),
        ("empty.wav", b"", "empty"),
        ("hour.flac", None, "longer than 120 s"),
        ("video.mp4", None, "video.mp4"),
    ],
)
def test_what_is_no_sound_gets_one_line(page: Any, tmp_path: Path, name: str, content: bytes | None, line: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    elif name == "video.mp4":
        write_silent_video(tmp_path / name)
    else:
        audio.write(tmp_path / name, np.zeros((1, 3600 * 8000), np.float32), 8000)
    page.reload()
    page.wait_for_selector("#listen-run")
    page.set_input_files("#listen-file input", tmp_path / name)
    page.wait_for_selector(f"#listen-file >> text={name.split('.')[0]}")
    page.click("#listen-run")
    page.wait_for_selector(f".toast-body >> text={line}")


def test_speech_is_heard_before_it_is_whole(page: Any) -> None:
    page.get_by_role("tab", name="Speak").click()
    page.fill("#speak-text textarea", "Good morning.")
    page.click("#speak-run")
    page.wait_for_selector("audio[aria-label='As it is made']", state="attached")
    page.wait_for_function("document.querySelector(`audio[aria-label='As it is made']`).readyState >= 2")
    page.wait_for_selector("#speak-result audio")
    ((seconds, level),) = measured(page, "#speak-result")
    assert seconds > 0.4
    assert level > 0.005


def test_blind_comparison(page: Any, tmp_path: Path) -> None:
    wav, rate = audio.read(SPEECH)
    audio.write(tmp_path / "clip.wav", wav[:, :rate], rate)
    page.get_by_role("tab", name="Compare").click()
    page.set_input_files("#compare-file input", tmp_path / "clip.wav")
    page.wait_for_selector("#compare-file >> text=clip")
    page.click("#compare-run")
    page.wait_for_selector("#compare-result audio")
    assert [seconds for seconds, _ in measured(page, "#compare-result")] == pytest.approx([1] * 3, abs=0.01)
    assert "opus" not in page.text_content("#compare-result")  # nor any other name
    page.click("#compare-rating-A >> text=4 good")
    page.click("#compare-save")
    with page.expect_download() as download:
        page.click("#compare-names >> text=Save ratings.csv")
    download.value.save_as(tmp_path / "ratings.csv")
    head, first, *others = csv.reader((tmp_path / "ratings.csv").read_text().splitlines())
    assert head == ["clip", "letter", "codec", "rating"]
    assert first[:2] + first[3:] == ["clip.wav", "A", "4"]
    assert [row[3] for row in others] == ["", ""]
    assert {row[2] for row in (first, *others)} == {"original", "xcodec-mini@4", "opus@6"}
    # The names were shown, for whoever saves has rated.
    assert all(row[2] in page.text_content("#compare-names") for row in (first, *others))
