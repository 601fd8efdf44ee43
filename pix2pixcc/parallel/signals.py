"""How a training is asked to stop: SIGTERM and Ctrl-C let the step in hand finish and be saved, a second Ctrl-C stops at once."""
from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator

TO_BE_CONTINUED = 75      # EX_TEMPFAIL of sysexits.h: all is saved, start again with --resume
_ASKING = {signal.SIGINT, signal.SIGTERM}
_END = 0                  # no signal has this number


def exit_status(number: int) -> int:
    """The exit status of a run that signal `number` has ended, all saved."""
    return TO_BE_CONTINUED if number == signal.SIGTERM else 128 + number


class StopSignals:
    """While it is entered, `received` is the number of the signal that asked to stop, or 0.

    A thread hears the signals, so that the answer does not wait for the step in hand, which may take half a minute.

    Parameters
    ----------
    speaks : bool
        Whether this process says so on standard error.
    """

    def __init__(self, speaks: bool = True):
        self.received = 0
        self._speaks = speaks

    def __enter__(self) -> StopSignals:
        self._heard, self._rung = socket.socketpair()
        self._rung.setblocking(False)
        self._before = {number: signal.signal(number, lambda *_: None) for number in _ASKING}
        self._fd_before = signal.set_wakeup_fd(self._rung.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._fd_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._rung.send(bytes([_END]))
        self._thread.join()
        self._rung.close()
        self._heard.close()

    def _listen(self) -> None:
        while (heard := self._heard.recv(1)[0]) != _END:
            if heard not in _ASKING:
                continue
            if self.received and heard == signal.SIGINT:
                os._exit(128 + signal.SIGINT)              # files are written beside and renamed: there is nothing to tidy up
            is_first, self.received = not self.received, self.received or heard
            if is_first and self._speaks:
                with contextlib.suppress(OSError):
                    print("\nsaving; Ctrl-C stops at once", file=sys.stderr, flush=True)


@contextlib.contextmanager
def without_signals() -> Iterator[None]:
    """Processes and threads started meanwhile never hear the signals: stopping the loader is for the process that started it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ASKING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
