"""What the documents show can be pasted and found: Python blocks run, links and paths lead somewhere.

A document's Python blocks run in their order, as one program, in a folder that has `samples/` and nothing else. What
cannot run here says why, in a comment on the line before the block:

    <!-- not run: needs a GPU -->
"""

from __future__ import annotations

import doctest
import importlib.util
import pkgutil
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("docs", "experiments", "recipes", "samples")
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))],
    key=lambda path: path.relative_to(ROOT).parts,
)

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"^ *<!-- not run: (?P<reason>.+) -->$", re.MULTILINE)
_LINK = re.compile(r"\]\((?!\w+:)([^)\s#]*)(?:#([^)\s]*))?\)")
_PATH = re.compile(
    r"(?<![\w./{-])(?:benchmarks|configs|docs|examples|experiments|recipes|samples|tests|xcodec)"
    r"/[\w./-]*\w"
)
_MODULE = re.compile(r"python -m ((?:benchmarks|experiments|recipes|xcodec)[\w.]*)")
_NAME = re.compile(r"`(xcodec(?:\.\w+)+)")


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    language: str
    source: str
    line: int
    """Of its first line of source in the document, from 1."""
    not_run: str | None
    """Why it is not run, if its mark says so."""


def blocks(text: str) -> list[Block]:
    found = []
    for fence in _FENCE.finditer(text):
        before = text[: fence.start()].rstrip("\n").rpartition("\n")[2]
        mark = _MARK.fullmatch(before) if text[: fence.start()].endswith("-->\n") else None
        line = text.count("\n", 0, fence.start()) + 2
        found.append(Block(fence[2], fence[3], line, mark and mark["reason"]))
    return found


def python_blocks(document: Path) -> list[Block]:
    return [block for block in blocks(document.read_text("utf-8")) if block.language == "python"]


def ids(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


def run(document: Path, block: Block, names: dict[str, object]) -> None:
    """A block, or the examples of one that shows a session; tracebacks have the document's lines."""
    if block.source.lstrip().startswith(">>>"):
        session = doctest.DocTestParser().get_doctest(block.source, names, document.name, str(document), block.line)
        result = doctest.DocTestRunner().run(session, clear_globs=False)
        assert result.failed == 0, f"{document.name}:{block.line}: the session does not give what is shown"
    else:
        exec(compile("\n" * (block.line - 1) + block.source, str(document), "exec"), names)


def test_a_mark_counts_only_just_before_its_block() -> None:
    mark, block = "<!-- not run: hours -->\n", "```python\nx = 1\n```\n"
    assert [found.not_run for found in blocks(mark + block + "text\n\n" + block)] == ["hours", None]
    assert [found.not_run for found in blocks(mark + "\n" + block)] == [None]
    assert [(found.line, found.source) for found in blocks("text\n" + block)] == [(3, "x = 1\n")]


@pytest.mark.parametrize("document", [path for path in DOCUMENTS if python_blocks(path)], ids=ids)
def test_python_blocks_run(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    names: dict[str, object] = {"__name__": "__main__"}
    for block in python_blocks(document):
        if block.not_run is None:
            run(document, block, names)


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_each_mark_stands_before_a_python_block(document: Path) -> None:
    text = document.read_text("utf-8")
    marked = [block for block in python_blocks(document) if block.not_run is not None]
    assert text.count("<!-- not run") == len(marked)


def test_the_readme_is_run() -> None:
    """Its blocks, and not just those of pages further down."""
    assert any(block.not_run is None for block in python_blocks(ROOT / "README.md"))


def anchors(document: Path) -> set[str]:
    """Those that GitHub gives a document's headings."""
    text = _FENCE.sub("", document.read_text("utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_links_lead_somewhere(document: Path) -> None:
    dead = []
    for path, anchor in _LINK.findall(_FENCE.sub("", document.read_text("utf-8"))):
        target = document.parent / path if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(f"{path}#{anchor}" if anchor else path)
    assert not dead


@pytest.mark.parametrize("document", [path for path in DOCUMENTS if path.name != "CHANGELOG.md"], ids=ids)
def test_what_is_named_is_there(document: Path) -> None:
    """Files and folders of the repository, modules that are run, and names below `xcodec`.

    Not in the changelog, which also names what is gone.
    """
    text = document.read_text("utf-8")
    missing = [path for path in _PATH.findall(text) if not (ROOT / path).exists()]
    missing += [module for module in _MODULE.findall(text) if importlib.util.find_spec(module) is None]
    for name in _NAME.findall(text):
        try:
            pkgutil.resolve_name(name)
        except (ImportError, AttributeError):
            missing.append(name)
    assert not missing
