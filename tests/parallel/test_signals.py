"""Signals ask a training to stop; they are heard by the process that trains alone."""
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pix2pixcc.parallel.signals import TO_BE_CONTINUED, StopSignals, exit_status, without_signals

ROOT = Path(__file__).resolve().parents[2]


def wait(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_remembered_said_once_and_heeded_no_longer_afterwards(number, capfd):
    before = signal.getsignal(number)
    with StopSignals() as signals:
        assert signals.received == 0
        os.kill(os.getpid(), number)
        wait(lambda: signals.received == number)
        os.kill(os.getpid(), signal.SIGTERM)               # again: nothing new
        assert signals.received == number
    assert signal.getsignal(number) is before
    assert capfd.readouterr().err == "\nsaving; Ctrl-C stops at once\n"


def test_a_rank_that_does_not_speak_only_remembers(capfd):
    with StopSignals(speaks=False) as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        wait(lambda: signals.received)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("first", ["SIGINT", "SIGTERM"])
def test_ctrl_c_after_a_signal_ends_the_process_whatever_it_is_doing(first):
    text = f"""if True:
        import os, signal, sys, time
        sys.path.insert(0, {str(ROOT)!r})
        from pix2pixcc.parallel.signals import StopSignals
        with StopSignals() as signals:
            os.kill(os.getpid(), signal.{first})
            while not signals.received:
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(600)"""
    assert subprocess.run([sys.executable, "-c", text], stderr=subprocess.DEVNULL, timeout=300).returncode == 130


def test_processes_started_meanwhile_do_not_hear_the_signals():
    child = "import signal; input(); print(signal.SIGTERM in signal.sigpending(), signal.SIGINT in signal.sigpending())"
    with without_signals():
        process = subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   text=True)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    assert process.communicate("\n", timeout=60)[0] == "True True\n" and process.returncode == 0


def test_the_exit_status_says_whether_to_come_back():
    assert exit_status(signal.SIGTERM) == TO_BE_CONTINUED == 75 and exit_status(signal.SIGINT) == 130
