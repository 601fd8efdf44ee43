"""One process a GPU, started by one command, as torchrun does on a cluster. What the processes are to each other is in `devices.py`.

torchrun's own exit status is 1 whatever its processes say; here it is theirs, so that "to be continued" reaches the shell.
"""
from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence

from pix2pixcc.parallel.signals import TO_BE_CONTINUED
from pix2pixcc.utils import UserError, available_cores

GRACE = 20.0                                               # seconds in which the others may end once a process has failed
STOPPED = {TO_BE_CONTINUED, 128 + signal.SIGINT}           # statuses of a process that was asked to stop, and did


def launch(command: Sequence[str], count: int) -> int:
    """Run `count` processes of `command`, as ranks 0 to `count` - 1 of one job on this machine, and wait for them.

    SIGINT and SIGTERM are handed on to all of them. If one fails, the others are stopped.

    Returns
    -------
    int
        The exit status of the job: of the first process that failed, else of those that were asked to stop, else 0.

    Raises
    ------
    UserError
        A process was killed.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {"OMP_NUM_THREADS": str(max(1, available_cores() // count))} | os.environ | {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    processes: list[subprocess.Popen] = []
    try:
        with _handing_on_signals(processes) as handed_on:
            for rank in range(count):      # in sessions of their own, so that Ctrl-C reaches each of them once: through here
                processes.append(subprocess.Popen(command, env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                                                  start_new_session=True))
            rank, status = _outcome(processes)
            if status:
                _wait(processes, GRACE)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    if status < 0 and -status not in handed_on:
        reason = " (out of memory?)" if -status == signal.SIGKILL else ""
        raise UserError(f"process {rank} of {count} was killed by signal {-status}{reason}; the others were stopped. Go on with --resume")
    return 128 - status if status < 0 else status or max(process.returncode for process in processes)


def _outcome(processes: Sequence[subprocess.Popen]) -> tuple[int, int]:
    """Wait until one of the processes fails, and return its number and status, or until all have ended well or as they were asked."""
    while True:
        statuses = [process.poll() for process in processes]
        for rank, status in enumerate(statuses):
            if status and status not in STOPPED:
                return rank, status
        if None not in statuses:
            return 0, 0
        time.sleep(0.05)


def _wait(processes: Sequence[subprocess.Popen], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(process.poll() is None for process in processes):
        time.sleep(0.05)


@contextlib.contextmanager
def _handing_on_signals(processes: Sequence[subprocess.Popen]) -> Iterator[set[int]]:
    """Yields the set of the signals that were handed on."""
    handed_on: set[int] = set()

    def hand_on(number: int, _frame: object) -> None:
        handed_on.add(number)
        for process in processes:
            process.send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield handed_on
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
