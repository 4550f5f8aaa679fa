"""The documentation's site is built without a warning, and in a browser every internal link leads somewhere."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

from tests.browser import open_page

pytest.importorskip("mkdocs")
ROOT = Path(__file__).parents[1]
LINKS = """() => ({
    links: [...document.links].map(link => link.href),
    ids: [...document.querySelectorAll("[id]")].map(element => element.id),
})"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def test_every_internal_link_leads_somewhere(browser: Any, site: Path, address: str) -> None:
    page, log = open_page(browser)
    todo, ids, wanted = [address + "index.html"], {}, {}
    while todo:
        url = todo.pop()
        page.goto(url, wait_until="domcontentloaded")
        found = page.evaluate(LINKS)
        ids[url] = set(found["ids"])
        for link in found["links"]:
            target, anchor = urldefrag(link)
            if not target.startswith(address) or (target, anchor) in wanted:
                continue
            wanted[target, anchor] = url
            file = site / unquote(urlsplit(target).path).lstrip("/")
            assert file.is_file(), f"{url} links to {link}, which is not there"
            if file.suffix == ".html" and target not in ids and target not in todo:
                todo.append(target)
    dead = [f"{url} → {to}#{at}" for (to, at), url in wanted.items() if at and to in ids and unquote(at) not in ids[to]]
    assert not dead
    assert len(ids) > 20
    assert log.outside(address) == []
    page.context.close()


def test_the_reference_has_the_docstrings(site: Path) -> None:
    text = (site / "docs" / "api.html").read_text("utf-8")
    for name in (
        "xcodec.engine.engine.load",
        "xcodec.generate.speech.TextToSpeech",
        "xcodec.codec.model.XCodec.encode",
    ):
        assert f'id="{name}"' in text
