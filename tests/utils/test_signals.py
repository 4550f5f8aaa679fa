from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from xcodec.utils.signals import signals_deferred


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


DESTROYED = """
import os, signal, sys, time
from xcodec.utils.signals import raise_on_signals
raise_on_signals()

class Resource:
    def __del__(self):
        os.kill(os.getpid(), signal.{name})
        time.sleep(0.2)  # longer than it takes to be sent again
        print("destroyed")

try:
    Resource()
    time.sleep(60)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize(("name", "exit_code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_in_a_destructor_comes_after_it(name: str, exit_code: int) -> None:
    script = DESTROYED.format(name=name)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (exit_code, "destroyed\n", "")


NOHUP = """
import os, signal
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from xcodec.utils.signals import raise_on_signals
raise_on_signals()
os.kill(os.getpid(), signal.SIGHUP)
print("still here")
"""


def test_what_nohup_ignores_stays_ignored() -> None:
    done = subprocess.run([sys.executable, "-c", NOHUP], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "still here\n")
