from __future__ import annotations

import os
import signal
import threading

import pytest

from xcodec.runtime.signals import signals_deferred


def test_an_interrupt_comes_after_the_block() -> None:
    steps = []

    def interrupted() -> None:
        with signals_deferred():
            os.kill(os.getpid(), signal.SIGINT)
            steps.append("to the end of the block")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert steps == ["to the end of the block"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_nothing_happens_without_a_signal_or_in_another_thread() -> None:
    def block() -> None:
        with signals_deferred():
            done.append(True)

    done: list[bool] = []
    block()
    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert done == [True, True]
