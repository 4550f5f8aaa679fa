"""Pictures of the app's tabs and of the page inside a browser, for the documentation, and what the latter measures.

    PYTHONPATH=. python docs/app/figures.py [--model MODEL] [--page FOLDER] [--only app|web]

`--page` takes a page that was exported already. Needs chromium, Playwright and the extras `app` and `export`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from tests.browser import browser_path, open_page
from xcodec import audio
from xcodec.codec.model import XCodec
from xcodec.inference.web import export_web

HERE = Path(__file__).parent
SPEECH = HERE.parents[1] / "samples/english-not-in-service.flac"
PORT = 7869
PATIENCE = 600_000
"""Milliseconds."""


def picture_app(browser: Any) -> None:
    """Each tab at work."""
    command = [sys.executable, "-m", "xcodec", "app", "--no-browser", "--port", str(PORT)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        process.stderr.readline()
        try:
            for width in (1280, 390):
                page, log = open_page(browser, width)
                page.set_default_timeout(PATIENCE)
                while not page.evaluate("location.port"):
                    try:
                        page.goto(f"http://127.0.0.1:{PORT}/")
                    except Exception:  # it does not listen yet
                        page.wait_for_timeout(500)
                picture_tabs(page, width)
                print(f"app at {width}: complaints {log.complaints}, outside {log.outside('http://127.0.0.1')}")
                page.context.close()
        finally:
            process.terminate()


def picture_tabs(page: Any, width: int) -> None:
    """Of one page."""
    for name in ("Listen", "Compare", "Tokens", "Speak", "Continue", "Sound"):
        tab = name.lower()
        if page.get_by_role("tab", name=name).first.is_visible():
            page.get_by_role("tab", name=name).first.click()
        else:  # a phone has the last tabs in a menu
            page.locator(".overflow-menu > button").click()
            page.locator(".overflow-dropdown button", has_text=name).click()
        page.wait_for_timeout(1000)
        if tab in ("listen", "compare", "tokens"):
            page.set_input_files(f"#{tab}-file input", SPEECH)
            page.wait_for_selector(f"#{tab}-file >> text={SPEECH.stem[:8]}")
        if tab in ("listen", "compare", "tokens", "speak"):
            page.click(f"#{tab}-run")
            page.wait_for_selector(f"#{tab}-result audio")
        photograph(page, f"{tab}-{width}")
        print(f"{tab} at {width}", flush=True)


def photograph(page: Any, name: str) -> None:
    """All of a page, in 256 colours: a third of the size."""
    path = HERE / f"{name}.png"
    page.screenshot(path=path, full_page=True)
    Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)


def picture_web(browser: Any, folder: Path, codec: XCodec) -> None:
    """The page with a recording, its speed, and how its codes and audio agree with Python's."""
    with served(folder) as address:
        for width in (1280, 390):
            page, log = open_page(browser, width)
            page.set_default_timeout(PATIENCE)
            page.goto(address)
            page.wait_for_selector("body[data-jobs='1']")
            page.set_input_files("#file", SPEECH)
            page.wait_for_selector("body[data-jobs='2']")
            photograph(page, f"web-{width}")
            print(f"web at {width}: complaints {log.complaints}, outside {log.outside(address)}")
            print(" ".join(page.text_content("#facts").split()))
        with tempfile.TemporaryDirectory() as scratch:
            for link in ("json", "wav"):
                with page.expect_download() as download:
                    page.click(f"#save-{link}")
                download.value.save_as(Path(scratch, link))
            codes = torch.tensor(json.loads(Path(scratch, "json").read_text())["codes"])[None]
            decoded = torch.from_numpy(audio.read(Path(scratch, "wav"))[0])
    wav = torch.from_numpy(audio.read(SPEECH, codec.sample_rate)[0])
    same = (codes == codec.encode(wav[None])).double().mean((0, 2))
    reference = codec.decode(codes)[0, :, : decoded.shape[1]]
    snr = 10 * torch.log10(reference.square().sum() / (reference - decoded).square().sum())
    print(f"codes equal to Python's, by codebook: {[round(100 * float(each), 2) for each in same]} %; SNR {snr:.1f} dB")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder."""
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def main() -> None:
    """Make all pictures."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model")
    parser.add_argument("--page", type=Path)
    parser.add_argument("--only", choices=("app", "web"))
    arguments = parser.parse_args()
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as scratch:
        flags = ["--no-sandbox", "--mute-audio"]
        browser = playwright.chromium.launch(executable_path=browser_path(), args=flags, timeout=PATIENCE)
        if arguments.only != "app":
            codec, folder = XCodec.from_pretrained(arguments.model), arguments.page or Path(scratch, "page")
            if arguments.page is None:
                export_web(codec, folder)
            picture_web(browser, folder, codec)
        if arguments.only != "web":
            picture_app(browser)
        browser.close()


if __name__ == "__main__":
    main()
