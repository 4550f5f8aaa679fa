"""Ctrl-C that is not lost."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Protocol, TypeVar

AGAIN_AFTER = 0.01
"""Seconds until a lost signal is sent once more."""


def resend_lost_signals() -> None:
    """From now on, let SIGINT and SIGTERM come again if what they raised was lost.

    A signal may arrive while Python runs a destructor (soundfile's is in Python), which can raise nothing: the
    exception would be printed, and the program would go on as if nobody had asked it to stop.
    """
    show = sys.unraisablehook

    def resend(lost: sys.UnraisableHookArgs) -> None:
        if lost.exc_type not in (KeyboardInterrupt, SystemExit):
            show(lost)
            return
        number = signal.SIGINT if lost.exc_type is KeyboardInterrupt else signal.SIGTERM
        timer = threading.Timer(AGAIN_AFTER, os.kill, (os.getpid(), number))
        timer.daemon = True
        timer.start()

    sys.unraisablehook = resend


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back until the block ends: for work that is short, such as reading a file.

    libsndfile reads and writes by calling Python, and what a signal raises in such a call cannot pass its C code: the
    exception vanishes, and the file seems to be cut short.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals in the main thread only
        return
    received: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _: received.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for late in received:
            signal.raise_signal(late)


class _Context(Protocol):
    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> object: ...


Written = TypeVar("Written", bound=_Context)


@contextmanager
def writing(file: Written) -> Iterator[Written]:
    """``with file``, of which the beginning and the end, but not what lies between, hold signals back."""

    def end(kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with signals_deferred():
            file.__exit__(kind, error, trace)

    with ExitStack() as stack:
        with signals_deferred():
            file.__enter__()
            stack.push(end)
        yield file
