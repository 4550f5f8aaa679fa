"""Signals that end the program: none is lost, and what it interrupts is cleared away."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType, TracebackType
from typing import Protocol, TypeVar

AGAIN_AFTER = 0.05
"""Seconds until a signal is sent once more that came when nothing could be raised."""


ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""By which a program is asked to end, besides Ctrl-C: SIGHUP comes when a terminal or a connection is closed."""


def raise_on_signals(exit_code: int | None = None) -> None:
    """From now on, SIGINT raises KeyboardInterrupt, and SIGTERM and SIGHUP SystemExit, by which half-written files go.

    Args:
        exit_code: of the program that SIGTERM or SIGHUP ends; by default 128 and the signal's number, as in shells.

    Not in a destructor, though (soundfile's is in Python): it would be printed there and lost, and the program would go
    on as if nobody had asked it to stop. There the signal is sent again a little later.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        if _in_destructor(frame):
            timer = threading.Timer(AGAIN_AFTER, os.kill, (os.getpid(), number))
            timer.daemon = True
            timer.start()
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            sys.exit(128 + number if exit_code is None else exit_code)

    for number in (*ENDING, signal.SIGINT):
        # A shell lets background jobs ignore Ctrl-C, nohup lets them ignore SIGHUP, and they go on doing so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handle)


def _in_destructor(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Hold SIGINT, SIGTERM and SIGHUP back until the block ends: for work that is short, such as reading a file.

    libsndfile reads and writes by calling Python, and what a signal raises in such a call cannot pass its C code: the
    exception vanishes, and the file seems to be cut short.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals in the main thread only
        return
    received: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _: received.append(number)) for number in (signal.SIGINT, *ENDING)
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
