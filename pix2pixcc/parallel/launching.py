"""One process per GPU, started by one command, as torchrun does it on a cluster.

Own machinery in place of torchrun, whose exit status is 1 whatever its processes say, so that 75, "to be continued",
would not reach the shell; and of `torch.multiprocessing.start_processes`, which ends all processes by a signal once one
has left with another status than 0: the first that was stopped as asked would cut off the one that still saves for all.
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

GRACE = 20.0                                           # seconds in which the others may end once a process has failed
STOPPED = {TO_BE_CONTINUED, 128 + signal.SIGINT}       # statuses of a process that was asked to stop, and did


def launch(command: Sequence[str], count: int) -> int:
    """Run `count` processes of `command`, as the ranks of one job on this machine, and return the job's exit status.

    It is that of the first process that failed, else of those that were asked to stop, else 0. SIGINT and SIGTERM are
    handed on to all of them. If one fails, the others are stopped; if it was killed, a `UserError` says so.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {"OMP_NUM_THREADS": str(max(1, available_cores() // count))} | os.environ | {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    processes: list[subprocess.Popen] = []
    try:
        with _handing_on_signals(processes) as handed_on:
            for rank in range(count):      # in sessions of their own, so that Ctrl-C reaches each once: through here
                processes.append(subprocess.Popen(command, env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                                                  start_new_session=True))
            rank, status = _outcome(processes)
            deadline = time.monotonic() + GRACE
            while status and time.monotonic() < deadline and any(process.poll() is None for process in processes):
                time.sleep(0.05)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    if status < 0 and -status not in handed_on:
        reason = " (out of memory?)" if -status == signal.SIGKILL else ""
        raise UserError(f"process {rank} of {count} was killed by signal {-status}{reason}; the others were stopped. "
                        "Go on with --resume")
    if status < 0:      # ended by the signal that was handed on: as a shell says it
        return 128 - status
    if status > 0:      # failed; its own message says why
        return status
    return max(process.returncode for process in processes)      # all well, or stopped as asked


def _outcome(processes: Sequence[subprocess.Popen]) -> tuple[int, int]:
    """Wait until a process fails, and return its rank and status; 0, 0 once all have ended well or as asked."""
    while True:
        statuses = [process.poll() for process in processes]
        for rank, status in enumerate(statuses):
            if status and status not in STOPPED:
                return rank, status
        if None not in statuses:
            return 0, 0
        time.sleep(0.05)


@contextlib.contextmanager
def _handing_on_signals(processes: Sequence[subprocess.Popen]) -> Iterator[set[int]]:
    """Hand SIGINT and SIGTERM on to the processes; yield the set of those that were."""
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
