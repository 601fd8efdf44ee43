"""How a training is asked to stop: SIGTERM and Ctrl-C let it finish its step and save, a second Ctrl-C does not."""
from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

from pix2pixcc.utils import STOPPING

TO_BE_CONTINUED = 75      # EX_TEMPFAIL of sysexits.h: all is saved, start again with --resume


def exit_status(number: int) -> int:
    """Return the exit status of a run that signal `number` has ended, all saved."""
    return TO_BE_CONTINUED if number == signal.SIGTERM else 128 + number


class StopSignals:
    """Remember the signal that asks this process to stop, while the context is entered: `received` is its number, or 0.

    Python hears a signal between two of its instructions: during a step, once the layer in hand is computed. A process
    that `speaks` says so on standard error.
    """

    def __init__(self, speaks: bool = True):
        self.received = 0
        self._speaks = speaks

    def __enter__(self) -> StopSignals:
        self._before = {number: signal.signal(number, self._hear) for number in STOPPING}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        if self.received and number == signal.SIGINT:
            os._exit(128 + signal.SIGINT)                  # files are written beside and renamed: nothing to tidy up
        if not self.received and self._speaks:
            with contextlib.suppress(OSError):             # not by print, which may be what was interrupted
                os.write(2, b"\nsaving; Ctrl-C stops at once\n")
        self.received = self.received or number


@contextlib.contextmanager
def without_signals() -> Iterator[None]:
    """Start processes that never hear the signals: stopping a worker is for the process that started it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
