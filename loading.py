"""What the loader processes read, on its way to the device."""
from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from stopping import without_signals
from utils import UserError

__all__ = ["batches_on", "read_by_processes"]

T = TypeVar("T")
DYING = 5      # seconds that a process may take to be dead after its connections are


def batches_on(device: torch.device, dataset: Dataset, batch_sampler: Sampler, n_workers: int) -> Iterator[dict]:
    """The batches of `dataset` with their tensors on `device`; on a GPU the next one is copied while this one is worked on.

    Raises
    ------
    UserError, RuntimeError
        As `read_by_processes`.
    """
    batches = _loaded(DataLoader(dataset, batch_sampler=batch_sampler, num_workers=n_workers, pin_memory=device.type == "cuda",
                                 worker_init_fn=_heed_only_the_parent))
    if device.type != "cuda":
        yield from batches
        return
    copying = torch.cuda.Stream(device)

    def send(batch: dict) -> dict:
        with torch.cuda.stream(copying):
            return {name: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
                    for name, value in batch.items()}

    def receive(batch: dict) -> dict:
        """The stream of the computation waits for the copy, and keeps its memory until it is done."""
        here = torch.cuda.current_stream()
        here.wait_stream(copying)
        for value in batch.values():
            if isinstance(value, torch.Tensor):
                value.record_stream(here)
        return batch

    yield from _one_ahead(batches, send, receive)


def _one_ahead(batches: Iterator[dict], send: Callable[[dict], dict], receive: Callable[[dict], dict]) -> Iterator[dict]:
    """Each batch sent and received, the next one sent before this one is handed out."""
    ahead = None
    for batch in batches:
        sent = send(batch)
        if ahead is not None:
            yield receive(ahead)
        ahead = sent
    if ahead is not None:
        yield receive(ahead)


def _loaded(loader: DataLoader) -> Iterator[dict]:
    with without_signals():
        batches = iter(loader)
    yield from read_by_processes(batches)


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


def _heed_only_the_parent(_worker: int) -> None:
    """Ctrl-C and Slurm's SIGTERM go to the loader's processes too, but it is their parent that stops, after it has saved.

    The signals are blocked here since `without_signals`; a thread takes them, and obeys the parent's SIGTERM.
    """
    def listen() -> None:
        while True:
            heard = signal.sigwaitinfo({signal.SIGINT, signal.SIGTERM})
            if heard.si_signo == signal.SIGTERM and heard.si_pid == parent:
                os._exit(0)

    parent = os.getppid()
    if hasattr(signal, "sigwaitinfo"):
        threading.Thread(target=listen, name="signals", daemon=True).start()
    else:      # macOS
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
