"""Work that other processes do: functions of many items, and the errors of loader processes as they were meant."""
from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from pix2pixcc.utils import UserError

T = TypeVar("T")
_FEW = 32                          # so few items are done sooner than worker processes start


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)     # the parent hears Ctrl-C, and lets each worker finish its file
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _do_block(function: Callable[[Any], Any], block: list) -> list:
    return [function(item) for item in block]


def in_parallel(function: Callable[[Any], Any], items: list, n_workers: int, *, block: int = 1) -> Generator[Any, None, None]:
    """Yield `function(item)` of every item as it is done, in any order, from `n_workers` processes.

    Only a few blocks of `block` items wait at a time, so that memory does not grow and an interruption ends soon.

    Raises
    ------
    UserError
        A worker was killed, as by a machine short of memory.
    """
    if n_workers <= 1 or len(items) <= (_FEW if block > 1 else 1):
        yield from map(function, items)
        return
    blocks = iter([items[k:k + block] for k in range(0, len(items), block)])
    context = multiprocessing.get_context("forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn")
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload(["pix2pixcc.preparation.cubes", "sunpy.map"])      # imported once, not once a worker
    pool = ProcessPoolExecutor(n_workers, context, _ignore_interrupts)
    running: set[Future] = set()
    try:
        for _ in range(2 * n_workers):
            running |= {pool.submit(_do_block, function, one) for one in [next(blocks, None)] if one}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                running |= {pool.submit(_do_block, function, one) for one in [next(blocks, None)] if one}
                yield from future.result()
    except BrokenProcessPool as error:
        raise UserError("a worker process was killed, probably for want of memory: lower --n_workers; "
                        "the same command then goes on where it stopped") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)

DYING = 5      # seconds that a process may take to be dead after its connections are


def read_by_processes(items: Iterable[T]) -> Iterator[T]:
    """What a `DataLoader` yields, with its errors as they were meant.

    Raises
    ------
    UserError
        A file cannot be read; said as the process that read it has put it.
    RuntimeError
        A loader process was killed, in PyTorch's words, which `devices.join_ranks` explains.
    """
    try:
        yield from items
    except UserError as error:
        raise error_of_worker(error) from None
    except (ConnectionError, EOFError) as error:
        time.sleep(DYING)      # PyTorch's RuntimeError comes in here, by a signal: not later, in the middle of what tidies up
        raise RuntimeError("DataLoader worker has closed its connection") from error


def error_of_worker(error: UserError) -> UserError:
    """The error as it was raised: a loader process hands its message on inside a traceback."""
    return UserError(str(error).rpartition("UserError: ")[2].strip())
