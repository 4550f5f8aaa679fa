"""Who is at work on a token table: one run alone, or several that each do a shard of the corpus.

In a local folder these are locks of the kernel's, which end with their process. Object stores have none. There, a run
keeps a lease: an object that it writes anew every few seconds. A run that finds another's lease watches it; one that
stays as it is belongs to a run that was killed, and is taken away.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from xcodec.data.manifest import DataError
from xcodec.utils.stores import found, is_remote

Shard = tuple[int, int]
"""(i, n): part i, from 0, of a corpus that n runs share."""

_LOCK_SECONDS = 1.0
"""How long to wait for a lock: one who lets go of it may hold it for a moment."""
RENEW_SECONDS = 3.0
"""How often a lease is written anew."""
ABANDONED_SECONDS = 20.0
"""How long a lease stays the same before its run counts as killed; a run that could not renew its own for half of that
stops."""


@contextmanager
def alone(folder: Path, shard: Shard = (0, 1)) -> Iterator[Callable[[], None]]:
    """Nobody else makes this shard of the table meanwhile, and nobody shares it out in another number of shards.

    Gives a function to call before each write, which raises DataError if that is no longer so.

    Raises:
        DataError: another run is at work.
    """
    if is_remote(folder):
        lease = _Lease(folder, shard)
        try:
            lease.acquire()
            yield lease.check
        finally:
            lease.release()
        return
    index, shares = shard
    with ExitStack() as stack:
        stack.callback(_remove_if_empty, folder)
        if shares == 1:
            stack.enter_context(_lock(folder / ".lock", fcntl.LOCK_EX))
        else:
            stack.enter_context(_lock(folder / ".lock", fcntl.LOCK_SH))
            stack.enter_context(_lock(folder / f".lock-{index}-of-{shares}", fcntl.LOCK_EX))
            for other in folder.glob(".lock-*-of-*"):
                if not other.name.endswith(f"-of-{shares}"):
                    with _lock(other, fcntl.LOCK_EX):
                        pass  # it is held only by a run that shares the corpus out otherwise
        yield lambda: None


# --- local folders ---------------------------------------------------------------------------------------------------


@contextmanager
def _lock(path: Path, kind: int) -> Iterator[None]:
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError), path.open("w") as file:  # the folder may be removed meanwhile
            try:
                fcntl.flock(file, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise _busy(path.parent) from None
                time.sleep(0.05)
                continue
            if not path.exists() or os.fstat(file.fileno()).st_ino != path.stat().st_ino:
                continue  # who had it has removed it
            try:
                yield
            finally:
                with suppress(BlockingIOError):  # others share it
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink(missing_ok=True)
            return


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _busy(folder: Path) -> DataError:
    return DataError(f"another run is at work in {folder}; wait for it to end")


# --- object stores ---------------------------------------------------------------------------------------------------


class _Lease:
    """First it is written, then the others are looked at: of two runs that exclude each other, one at most goes on."""

    def __init__(self, folder: Path, shard: Shard) -> None:
        self._folder, self._suffix = folder, f"-of-{shard[1]}"
        self._path: Any = folder / f".lease-{shard[0]}{self._suffix}"
        self._run = secrets.token_hex(8)
        self._renewals, self._renewed = 0, time.monotonic()
        self._held = False
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def acquire(self) -> None:
        while not self._held:
            try:
                self._write("create")
                self._held = True
            except FileExistsError:
                self._take_away(self._path)
        self._thread.start()
        for other in found(self._folder, ".lease-*"):
            if not other.name.endswith(self._suffix):
                self._take_away(other)

    def check(self) -> None:
        if not self._held or time.monotonic() - self._renewed > ABANDONED_SECONDS / 2:
            raise DataError(f"this run could not renew its lease in {self._folder}; run it again to go on")

    def release(self) -> None:
        self._end.set()
        if self._thread.ident is not None:
            self._thread.join()
        if self._held and self._content(self._path).startswith(self._run):
            self._path.unlink(missing_ok=True)

    def _keep(self) -> None:
        while not self._end.wait(RENEW_SECONDS):
            with suppress(Exception):  # of the store's own kinds; `check` notices if it lasts
                self._held = self._content(self._path).startswith(self._run)
                if not self._held:
                    return
                self._write("overwrite")
                self._renewed = time.monotonic()

    def _write(self, mode: str) -> None:
        self._renewals += 1
        content = f"{self._run} {self._renewals}".encode()
        self._path.fs.pipe_file(self._path.path, content, mode=mode)

    @staticmethod
    def _content(path: Any) -> str:
        try:
            return bytes(path.fs.cat_file(path.path)).decode()
        except FileNotFoundError:
            return ""

    def _take_away(self, path: Path) -> None:
        """The lease of another run, if that was killed.

        Raises:
            DataError: it is alive.
        """
        before, deadline = self._content(path), time.monotonic() + ABANDONED_SECONDS
        while before and time.monotonic() < deadline:
            time.sleep(min(RENEW_SECONDS, ABANDONED_SECONDS) / 4)
            now = self._content(path)
            if now and now != before:
                raise _busy(self._folder)
            before = now
        path.unlink(missing_ok=True)
