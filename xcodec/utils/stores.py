"""Folders by path or by URL: local ones, and those of whatever `fsspec` knows (s3://, gs://, memory://, …)."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast


class StoreError(ValueError):
    """A URL that cannot be used, said in one line."""


def is_url(place: object) -> bool:
    """Whether it has a scheme, as ``s3://bucket/tokens``; a local path has none."""
    return re.match(r"[a-z][a-z0-9+.-]+://", str(place)) is not None


def open_folder(place: str | Path) -> Path:
    """A folder, which need not exist yet; of a URL a `UPath`, which has the methods of a path.

    Raises:
        StoreError: the scheme is unknown, or the store cannot be reached.
    """
    if not is_url(place) or isinstance(place, Path):
        return Path(place)
    try:
        from upath import UPath
    except ImportError:
        raise StoreError(f"{place} needs universal-pathlib; get it with: pip install 'xcodec[scale]'") from None
    try:
        folder = UPath(place)
        folder.exists()
    except Exception as error:  # each store has exceptions of its own
        raise StoreError(f"cannot use {place}: {' '.join(str(error).split())[:200]}") from error
    return cast(Path, folder)


def is_remote(path: Path) -> bool:
    """Whether a path is in no local folder."""
    return not isinstance(path, str | os.PathLike)


def found(folder: Path, pattern: str) -> list[Path]:
    """The files of a folder that match, sorted, as they are now and not as they were listed before."""
    if is_remote(folder):
        cast(Any, folder).fs.invalidate_cache()
        if not folder.exists():
            return []
    return sorted(folder.glob(pattern), key=str)


@contextmanager
def put_whole(path: Path) -> Iterator[Path]:
    """A local file to write to, which is put into a store at once if the block ends well: objects appear whole."""
    with tempfile.TemporaryDirectory() as scratch:
        temporary = Path(scratch, path.name)
        temporary.touch()
        yield temporary
        store = cast(Any, path)
        store.fs.pipe_file(store.path, temporary.read_bytes())
