"""Batches on their way from the loader processes to the device."""
from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from pipeline import error_of_worker
from stopping import without_signals
from utils import UserError

__all__ = ["batches_on"]


def batches_on(device: torch.device, dataset: Dataset, batch_sampler: Sampler, n_workers: int) -> Iterator[dict]:
    """The batches of `dataset` with their tensors on `device`; on a GPU the next one is copied while this one is worked on.

    Raises
    ------
    UserError
        A file can no longer be read.
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
    try:
        yield from batches
    except UserError as error:
        raise error_of_worker(error) if loader.num_workers else error from None


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
