"""Hooks of the documentation's site (mkdocs.yml): the repository's documents as they are, links between them and all.

Documents link to each other, and to configs and code, by paths of the repository. So the site is made of a copy of
those files in their places. A link to a folder leads to its README, or, where there is none, becomes its text.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FOLDERS = "benchmarks checkpoints configs docs experiments recipes samples tests xcodec"
SHOWN = ("*.md", "LICENSE", *FOLDERS.split())
SUFFIXES = {".md", ".py", ".c", ".yaml", ".json", ".csv", ".html", ".png", ".ogg", ".flac", ".sh", ""}
_LINK = re.compile(r"\[([^\]]*)\]\((?!\w+:|#)([^)\s#]+)(#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """Copy what git keeps of the documents, and of what they may link to, to where the site is made from."""
    source = ROOT / "out" / "site-source"
    config["docs_dir"] = str(source)  # not in mkdocs.yml, which wants a folder that is there already
    shutil.rmtree(source, ignore_errors=True)
    listed = subprocess.run(["git", "ls-files", "-z", "--", *SHOWN], cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = ROOT / name
        if path.is_file() and path.suffix in SUFFIXES and path.stat().st_size < 2**24 and path != Path(__file__):
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    return config


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Lead links to folders somewhere."""
    here = Path(page.file.src_path).parent

    def link(found: re.Match[str]) -> str:
        text, path, anchor = found.groups()
        target = Path(config["docs_dir"]) / here / path
        if not target.is_dir():
            return found[0]
        return f"[{text}]({path.rstrip('/')}/README.md{anchor or ''})" if (target / "README.md").exists() else text

    return _LINK.sub(link, markdown)
