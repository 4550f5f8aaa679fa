"""The page that `xcodec export --format web` writes, in a real browser, against the codec itself."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.browser import open_page, write_silent_video
from xcodec import audio
from xcodec.codec.model import XCodec
from xcodec.engine.engine import Codec
from xcodec.inference import web
from xcodec.inference.export import ExportError
from xcodec.inference.files import FileCodec
from xcodec.tokens.xc_file import read_tokens

ROOT = Path(__file__).parents[2]
SPEECH = ROOT / "samples/english-not-in-service.flac"


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def codec() -> XCodec:
    return XCodec.from_pretrained()


@pytest.fixture(scope="module")
def address(codec: XCodec, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of the page with the model of the package."""
    folder = tmp_path_factory.mktemp("web") / "page"
    try:
        web.find_runtime()
    except ExportError as error:
        if os.environ.get("XCODEC_TEST_BROWSER") == "required":
            raise
        pytest.skip(str(error))
    web.export_web(codec, folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def page(browser: Any, address: str) -> Iterator[Any]:
    page, log = open_page(browser, 390, 844)
    page.goto(address)
    page.wait_for_selector("body[data-jobs='1']")
    yield page
    assert log.outside(address) == []
    assert log.complaints == []
    page.context.close()


def after(page: Any, action: Any) -> str:
    """What the page says once it has done what an action asks of it."""
    jobs = int(page.get_attribute("body", "data-jobs"))
    action()
    page.wait_for_selector(f"body[data-jobs='{jobs + 1}']")  # the page's policy forbids waiting for an expression
    return str(page.text_content("#status"))


def saved(page: Any, link: str, folder: Path) -> Path:
    with page.expect_download() as download:
        page.click(link)
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def snr(reference: torch.Tensor, other: torch.Tensor) -> float:
    """In dB."""
    return float(10 * torch.log10(reference.square().sum() / (reference - other).square().sum()))


def test_codes_and_audio_are_those_of_python(codec: XCodec, page: Any, tmp_path: Path) -> None:
    wav, rate = audio.read(SPEECH)
    wav = np.round(wav * 32768) / 32768  # longer than a window of the teacher; it ends in silence
    audio.write(tmp_path / "speech.wav", wav.astype(np.float32), rate)
    said = after(page, lambda: page.set_input_files("#file", tmp_path / "speech.wav"))
    assert said == "4.9 s at 4 kbit/s."
    made = json.loads(saved(page, "#save-json", tmp_path).read_text())
    codes = torch.tensor(made["codes"])[None]
    expected = codec.encode(torch.from_numpy(wav).float()[None])
    same = (codes == expected).double().mean((0, 2))
    print(f"codes equal to Python's, by codebook: {[round(100 * float(each), 1) for each in same]} %")
    assert same[0] >= 0.99
    assert same.mean() > 0.95

    decoded, _ = audio.read(saved(page, "#save-wav", tmp_path))
    assert decoded.shape == wav.shape
    assert snr(codec.decode(codes)[0, :, : wav.shape[1]], torch.from_numpy(decoded)) > 40
    # Both players have the whole length, and nothing but wide tables is wider than the phone.
    durations = page.evaluate("['original', 'decoded'].map((id) => document.getElementById(id).duration)")
    assert durations == pytest.approx([wav.shape[1] / rate] * 2, abs=0.01)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    # What is saved is a file of ours: the command line decodes it to the same samples.
    xc = saved(page, "#save-xc", tmp_path)
    assert (read_tokens(xc).codes == codes.numpy()).all()
    FileCodec(Codec(codec)).decode(xc, tmp_path / "again.wav")
    again, _ = audio.read(tmp_path / "again.wav")
    assert snr(torch.from_numpy(again), torch.from_numpy(decoded)) > 40

    # By keyboard, to the next lower bandwidth: the codes are the first ones.
    page.focus("#bandwidths input:checked")
    said = after(page, lambda: page.keyboard.press("ArrowUp"))
    assert said == "4.9 s at 2 kbit/s."
    lower = json.loads(saved(page, "#save-json", tmp_path).read_text())
    assert lower["codes"] == made["codes"][:4]
    decoded, _ = audio.read(saved(page, "#save-wav", tmp_path))
    # 38 dB: less than the whole bandwidth's, which is what the page promises (docs/app.md).
    assert snr(codec.decode(codes[:, :4])[0, :, : wav.shape[1]], torch.from_numpy(decoded)) > 35

    # And a file of tokens is heard again.
    said = after(page, lambda: page.set_input_files("#file", xc))
    assert said == "4.9 s at 4 kbit/s."
    assert page.is_hidden("#original")


def test_what_is_no_sound_gets_one_line(page: Any, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("no sound")
    (tmp_path / "empty.wav").touch()
    (tmp_path / "letter.xc").write_text("no tokens")
    write_silent_video(tmp_path / "video.mp4")
    audio.write(tmp_path / "hour.flac", np.zeros((1, 3600 * 8000), np.float32), 8000)
    for name, line in {
        "letter.txt": "letter.txt holds no sound that this browser can read.",
        "empty.wav": "empty.wav is empty.",
        "video.mp4": "video.mp4 holds no sound that this browser can read.",
        "letter.xc": "This is no .xc file.",
        "hour.flac": "hour.flac lasts 60 minutes; this page takes up to 10.",
    }.items():
        path = tmp_path / name
        assert after(page, lambda path=path: page.set_input_files("#file", path)) == line


def test_the_microphone(page: Any) -> None:
    page.click("#record")
    page.wait_for_timeout(2000)
    said = after(page, lambda: page.click("#record"))
    assert said.endswith("kbit/s.")
    assert page.evaluate("document.getElementById('decoded').duration") > 0.1  # a busy machine records less


def test_a_runtime_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ExportError, match=r"lacks ort\.wasm\.min\.mjs; --runtime is"):
        web.find_runtime(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ExportError, match="there is no npm to fetch it"):
        web.find_runtime()
