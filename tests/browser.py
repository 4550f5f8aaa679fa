"""A real browser for tests of pages: Debian's chromium, without a screen, driven by Playwright.

def test_a_page(browser: Any) -> None:
    page, log = open_page(browser, width=390)
    page.goto(address)
    ...
    assert log.complaints == []
    assert log.outside(address) == []
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PATIENCE = 120_000
"""Milliseconds: two busy cores are slow."""


@dataclass
class Log:
    """What a page asked for, and what it complained of."""

    requests: list[str] = field(default_factory=list)
    """Addresses, but for `data:` and `blob:`, which go nowhere."""
    complaints: list[str] = field(default_factory=list)
    """Errors and warnings on the console, and exceptions that nothing caught."""

    def outside(self, *own: str) -> list[str]:
        """Requests that do not begin with one of its own addresses."""
        return [url for url in self.requests if not url.startswith(own)]


def open_page(browser: Any, width: int = 1280, height: int = 800, **context: Any) -> tuple[Any, Log]:
    """A new page, in a context of its own, and what it does. Close `page.context` at the end."""
    page = browser.new_context(viewport={"width": width, "height": height}, **context).new_page()
    page.set_default_timeout(PATIENCE)
    log = Log()

    def requested(request: Any) -> None:
        if not request.url.startswith(("data:", "blob:")):
            log.requests.append(request.url)

    def said(message: Any) -> None:
        if message.type in ("error", "warning"):
            log.complaints.append(message.text)

    page.on("request", requested)
    page.on("console", said)
    page.on("pageerror", lambda error: log.complaints.append(str(error)))
    return page, log


def browser_path() -> str:
    """Of the program; the test is skipped where there is none, unless CI requires it."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    if os.environ.get("XCODEC_TEST_BROWSER") == "required":
        pytest.fail("there is no chromium, and .ci/run requires it")
    pytest.skip("there is no chromium: apt-get install chromium")


def write_silent_video(path: Path, seconds: int = 5) -> None:
    """Pictures without a sound track."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10, width=64, height=64, pix_fmt="yuv420p")
        for number in range(10 * seconds):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 5 * number, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    path = browser_path()
    with sync_playwright() as playwright:
        # A root user, as in CI, has no sandbox; sound may start without a click, and the microphone is a made-up one.
        flags = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--mute-audio"]
        flags += ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
        opened = playwright.chromium.launch(executable_path=path, args=flags, timeout=PATIENCE)
        yield opened
        opened.close()
