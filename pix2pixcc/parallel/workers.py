"""Processes that work for this one: a function of many items, done in any order or one after the other.

Own machinery in place of `torch.utils.data.DataLoader` and `concurrent.futures.ProcessPoolExecutor`, whose tensors and
semaphores lie in /dev/shm: they stop or hang where that is full, and a container has 64 MB of it. Here all crosses a
pair of sockets. From one worker, 8 x 1024 x 1024 float32 (34 MB) come in 0.06 s, of which 6 ms are this process's; by a
DataLoader in 0.12 s as tensors in /dev/shm, and as NumPy arrays in 0.16 s, of which 20 ms are this process's.
"""
from __future__ import annotations

import atexit
import io
import multiprocessing
import pickle
import signal
import socket
import sys
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from functools import partial
from itertools import islice
from multiprocessing import resource_tracker
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np

from pix2pixcc.parallel.signals import without_signals
from pix2pixcc.utils import STOPPING, UserError

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 2                          # items per worker that are asked for at a time
FEW = 32                           # so few items are done sooner than worker processes start
LOST = (ConnectionError, EOFError, pickle.UnpicklingError)      # the process at the other end has ended


def in_parallel(function: Callable[[Item], Result], items: Sequence[Item], n_workers: int, *, block: int = 1,
                preload: Sequence[str] = ()) -> Generator[Result, None, None]:
    """Yield `function(item)` of every item as it is done, in any order.

    Parameters
    ----------
    function : callable
        Handed to the workers by pickling, except where they are forked.
    items : sequence
        Only a few are handed out at a time, so that memory does not grow and an interruption ends soon.
    n_workers : int
        Worker processes; with one or none, and for very few items, the work is done in this process.
    block : int
        Items per request, for a function that takes no longer than a request does.
    preload : sequence of str
        Modules that a server imports once, from which the workers are forked; without any they are forked from this
        process.

    Raises
    ------
    UserError
        A worker was killed, as by a machine short of memory.
    """
    if n_workers <= 1 or len(items) <= (FEW if block > 1 else 1):
        yield from map(function, items)
        return
    blocks = (items[k:k + block] for k in range(0, len(items), block))
    with closing(Workers(partial(_do_block, function), n_workers, preload)) as workers:
        running = set(map(workers.submit, islice(blocks, AHEAD * n_workers)))
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            running |= set(map(workers.submit, islice(blocks, len(done))))
            for future in done:
                yield from future.result()


def in_order(function: Callable[[Item], Result], items: Iterable[Item], n_workers: int,
             receive: Callable[[Result], Result] | None = None) -> Iterator[Result]:
    """Yield `function(item)` of one item after the other, while the workers are at the next ones.

    Otherwise as `in_parallel`, but for these:

    Parameters
    ----------
    items : iterable
        May be endless.
    n_workers : int
        Worker processes; 0: each item is done in this process, once it is asked for.
    receive : callable, optional
        Applied to each result by a thread of this process, ahead of time as well.
    """
    if n_workers == 0:
        yield from map(function, items)
        return
    requests = iter(items)
    with closing(Workers(function, n_workers, receive=receive)) as workers:
        ahead = deque(map(workers.submit, islice(requests, AHEAD * n_workers)))
        while ahead:
            future = ahead.popleft()
            ahead.extend(map(workers.submit, islice(requests, 1)))
            yield future.result()


def _do_block(function: Callable[[Item], Result], block: Sequence[Item]) -> list[Result]:
    return [function(item) for item in block]


class Workers:
    """Processes that do one item at a time, and for each a thread of this process, which hands it over and waits.

    Parameters
    ----------
    function : callable
        Done in the workers; handed to them once.
    number : int
        Of worker processes.
    preload, receive
        As in `in_parallel` and `in_order`.
    """

    def __init__(self, function: Callable, number: int, preload: Sequence[str] = (),
                 receive: Callable | None = None) -> None:
        self._receive = receive
        self._processes: list = []
        self._connections: list[socket.socket] = []
        self._idle: SimpleQueue[socket.socket] = SimpleQueue()
        self._threads = ThreadPoolExecutor(number)
        try:
            context = _context(preload)
            with without_signals():
                for _ in range(number):
                    self._start(context, function)
        except OSError as error:
            self.close()
            reason = error.strerror or error
            raise UserError(f"no worker process can be started ({reason}): lower --n_workers") from error
        atexit.register(self.close)                        # last, to be done before multiprocessing waits for them

    def _start(self, context: Any, function: Callable) -> None:
        here, there = socket.socketpair()
        self._connections.append(here)
        with there:
            process = context.Process(target=_serve, args=(function, there, here), daemon=True)
            process.start()
        self._processes.append(process)
        self._idle.put(here)

    def close(self) -> None:
        """Let the workers finish what is in hand, and end."""
        atexit.unregister(self.close)
        self._threads.shutdown(cancel_futures=True)
        for connection in self._connections:
            with suppress(OSError):                        # the worker has ended already
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        for process in self._processes:
            process.join()

    def submit(self, item: object) -> Future:
        """Hand an item to the next worker that is idle, and return its result to come."""
        return self._threads.submit(self._do, item)

    def _do(self, item: object) -> Any:
        connection = self._idle.get()
        try:
            _send(connection, item)
            result, error = _recv(connection)
        except LOST:
            raise UserError("a worker process was killed, probably for want of memory: lower --n_workers; "
                            "the same command then goes on where it stopped (a training with --resume)") from None
        finally:
            self._idle.put(connection)
        if error is not None:
            raise error
        return result if self._receive is None else self._receive(result)


def _context(preload: Sequence[str]) -> Any:
    if preload or sys.platform != "linux":
        resource_tracker.ensure_running()                  # which lets signals through again where it starts
    if preload and "forkserver" in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(preload))
        return context
    return multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")


def _serve(function: Callable, connection: socket.socket, parents_end: socket.socket) -> None:
    """Do in a worker what is asked for, until the parent closes the connection or ends."""
    parents_end.close()                                    # else this end would never hear of the parent's death
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)     # a worker of a server was not started without them
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)                           # the threads of OpenMP do not survive a fork
    with suppress(*LOST):
        while True:
            item = _recv(connection)
            try:
                outcome: tuple[Any, Exception | None] = function(item), None
            except UserError as error:
                outcome = None, error
            except Exception as error:
                outcome = None, RuntimeError(f"{error!r} in a worker process\n{traceback.format_exc()}")
            _send(connection, outcome)


class _Pickler(pickle.Pickler):
    """Tensors cross as NumPy arrays, which are not copied into the pickle but sent after it."""

    def reducer_override(self, value: Any) -> Any:
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(value, torch.Tensor):
            return torch.from_numpy, (value.numpy(),)
        return NotImplemented


def _send(connection: socket.socket, content: object) -> None:
    stream, buffers = io.BytesIO(), list[pickle.PickleBuffer]()
    _Pickler(stream, pickle.HIGHEST_PROTOCOL, buffer_callback=buffers.append).dump(content)
    parts = [buffer.raw() for buffer in buffers]
    connection.sendall(pickle.dumps([len(part) for part in parts]))
    for part in (*parts, stream.getbuffer()):
        connection.sendall(part)


def _recv(connection: socket.socket) -> Any:
    with connection.makefile("rb") as stream:
        buffers = [np.empty(size, np.uint8).data for size in pickle.load(stream)]      # not filled with zeros first
        if any(stream.readinto(buffer) < len(buffer) for buffer in buffers):
            raise EOFError
        return pickle.load(stream, buffers=buffers)
