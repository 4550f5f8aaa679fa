"""Files and folders that appear whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from xcodec.utils.stores import put_whole


class NotReplaceableError(ValueError):
    """A place that holds what would be lost, said in one line."""


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Make a file that appears whole or not at all.

    Gives the path of an empty temporary file to write to, in the target's folder and with its suffix. If the
    block ends well, that file is flushed to the disk and takes the target's name; if it fails, it is removed
    and the target is what it was. A symbolic link is written through. What a killed process left is used up by the next
    one that writes the same target. A path of `stores.open_folder` may be one of an object store.

    Raises:
        OSError: the target cannot be written. The error names the target; the original one is its cause.
    """
    if not isinstance(path, str | Path):  # of a store, which has objects and no renaming
        with put_whole(path) as local:
            yield local
        return
    target = Path(os.path.realpath(path))
    if target.is_symlink():  # realpath has given up on links that lead to each other
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if target.exists() and not target.is_file():  # what if a file took the place of /dev/null
        raise OSError(errno.EINVAL, "Not a regular file, so it cannot be replaced", str(path))
    if target.exists() and not os.access(target, os.W_OK):  # os.replace would not mind
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    temporary: Path | None = None
    try:
        temporary, lock = _temporary(target)
        try:
            yield temporary
            with open(temporary, "r+b") as file:
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(lock)
    except OSError as error:
        ours = temporary is None or error.filename is None or str(error.filename) == str(temporary)
        if error.errno is None or not ours:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def _temporary(target: Path) -> tuple[Path, int]:
    """An empty file beside a target, and a descriptor whose lock says that its writer is alive.

    Its name is always the same, unless another process is at work on the same target.
    """
    usual = target.with_name(f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}{target.suffix}")
    with suppress(OSError, ImportError):
        import fcntl

        lock = os.open(usual, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o666)
        with ExitStack() as stack:
            stack.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.stat(usual), os.fstat(lock)):  # else its writer has just given it the target's name
                os.ftruncate(lock, 0)
                stack.pop_all()
                return usual, lock
    other = target.with_name(f".{secrets.token_hex(8)}{target.suffix}")
    return other, os.open(other, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)


@contextmanager
def atomic_folder(folder: Path, ours: frozenset[str]) -> Iterator[Path]:
    """A new folder to write into; it takes the place of ``folder`` once the block has ended without an error.

    Args:
        folder: what to make, or to replace.
        ours: names of files that may be replaced in it.

    Raises:
        NotReplaceableError: ``folder`` is a file, or holds other things, which would be lost.
    """
    _check_replaceable(folder, ours)
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        fresh, old = Path(scratch, "fresh"), Path(scratch, "old")
        fresh.mkdir()
        yield fresh
        if not folder.exists():
            os.rename(fresh, folder)
            return
        os.rename(folder, old)
        try:
            os.rename(fresh, folder)
        except OSError:
            os.rename(old, folder)
            raise


def _check_replaceable(folder: Path, ours: frozenset[str]) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise NotReplaceableError(f"{folder} is a file; name a folder")
    others = sorted(path.name for path in folder.iterdir() if path.name not in ours)
    if others:
        raise NotReplaceableError(f"{folder} holds other things ({', '.join(others[:3])}); name a new folder")


def printable(name: str | Path) -> str:
    """A file's name as valid Unicode: bytes that are not UTF-8 are written as ``\\\\xe9``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
