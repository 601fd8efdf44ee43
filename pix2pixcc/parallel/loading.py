"""What the loader processes read, on its way to the device."""
from __future__ import annotations

import math
import mmap
import os
import signal
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from pix2pixcc.parallel.signals import without_signals
from pix2pixcc.parallel.workers import read_by_processes

T = TypeVar("T")
U = TypeVar("U")
START = "fork" if sys.platform == "linux" else "spawn"      # of loader processes; a fork keeps open memory and blocked signals


class PlacedDataset(Protocol):
    """A data set that can be told where its tensors, all float32, should lie, as `pipeline.PairDataset`."""

    def load(self, key: Any, into: dict[str, Tensor] | None = None) -> dict[str, Any]: ...


def batches_on(device: torch.device, dataset: PlacedDataset, batch_sampler: Iterable[Sequence], n_workers: int) -> Iterator[dict]:
    """The batches of `dataset` with their tensors on `device`; on a GPU the next one is copied while this one is worked on.

    Raises
    ------
    UserError, RuntimeError
        As `read_by_processes`.
    """
    batches = _batches_of_processes(dataset, batch_sampler, n_workers) if n_workers else _batches(dataset, batch_sampler)
    if device.type != "cuda":
        yield from batches
        return
    copying = torch.cuda.Stream(device)

    def pin(batch: dict) -> dict:
        return {name: value.pin_memory() if isinstance(value, Tensor) else value for name, value in batch.items()}

    def send(batch: dict) -> dict:
        with torch.cuda.stream(copying):
            return {name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value for name, value in batch.items()}

    def receive(batch: dict) -> dict:
        """The stream of the computation waits for the copy, and keeps its memory until it is done."""
        here = torch.cuda.current_stream()
        here.wait_stream(copying)
        for value in batch.values():
            if isinstance(value, Tensor):
                value.record_stream(here)
        return batch

    with ThreadPoolExecutor(1, initializer=partial(torch.cuda.set_device, device)) as thread:
        pinned = _one_ahead(batches, lambda batch: thread.submit(pin, batch), Future.result)
        yield from _one_ahead(pinned, send, receive)


def _one_ahead(batches: Iterator[dict], send: Callable[[dict], U], receive: Callable[[U], dict]) -> Iterator[dict]:
    """Each batch sent and received, the next one sent before this one is handed out."""
    ahead = None
    for batch in batches:
        sent = send(batch)
        if ahead is not None:
            yield receive(ahead)
        ahead = sent
    if ahead is not None:
        yield receive(ahead)


def _batches(dataset: PlacedDataset, batch_sampler: Iterable[Sequence]) -> Iterator[dict]:
    for keys in batch_sampler:
        yield default_collate([dataset.load(key) for key in keys])


def _batches_of_processes(dataset: PlacedDataset, batch_sampler: Iterable[Sequence], n_workers: int) -> Iterator[dict]:
    requests = iter(batch_sampler)
    first = next(requests, None)
    if first is None:
        return
    memory = _SharedMemory(dataset.load(first[0]), len(first), count=2 * n_workers + 2)      # two are ahead of each process
    loader = DataLoader(_Placing(dataset, memory), batch_sampler=memory.places_for(chain([first], requests)), num_workers=n_workers,
                        collate_fn=_as_it_is, worker_init_fn=_heed_only_the_parent, multiprocessing_context=START)
    with without_signals():
        batches = iter(loader)
    for place, batch in read_by_processes(batches):
        yield batch if place is None else memory.take(place, len(batch["index"])) | batch


class _SharedMemory:
    """Places for batches in memory shared with the processes to be started, used again when nothing refers to them any more.

    PyTorch's own way is memory fresh from the system for every batch, which takes twice as long as reading the files.

    Parameters
    ----------
    item : as the data set gives it; its tensors tell the size
    batch_size : items of a batch
    count : places
    """

    def __init__(self, item: dict[str, Any], batch_size: int, count: int):
        self._shapes = {name: (batch_size, *value.shape) for name, value in item.items() if isinstance(value, Tensor)}
        number = sum(map(math.prod, self._shapes.values()))
        if START == "fork":      # not in /dev/shm, which is small in a container
            self._memory = torch.frombuffer(mmap.mmap(-1, 4 * count * number), dtype=torch.float32).view(count, number)
        else:
            self._memory = torch.empty(count, number).share_memory_()
        self._free = deque(range(count))

    def places_for(self, requests: Iterable[Sequence]) -> Iterator[list]:
        """Each of the `requests` with a free place before it, or with None if all are held."""
        for keys in requests:
            yield [self._free.popleft() if self._free else None, *keys]

    def take(self, place: int, length: int) -> dict[str, Tensor]:
        """The tensors of a batch of `length` at a place, which is free again when they and all views of them are gone."""
        numbers = self._memory[place].numpy()
        weakref.finalize(numbers, self._free.append, place)
        return self._batch(torch.from_numpy(numbers), length)       # which keeps `numbers` alive

    def batch_at(self, place: int, length: int) -> dict[str, Tensor]:
        """The same to write to, in a loader process."""
        return self._batch(self._memory[place], length)

    def _batch(self, numbers: Tensor, length: int) -> dict[str, Tensor]:
        sections = numbers.split(list(map(math.prod, self._shapes.values())))
        return {name: section.view(shape)[:length] for (name, shape), section in zip(self._shapes.items(), sections, strict=True)}


class _Placing(Dataset):
    """In a loader process: a batch as (place, what is not in that place), or (None, all of it)."""

    def __init__(self, dataset: PlacedDataset, memory: _SharedMemory):
        self._dataset, self._memory = dataset, memory

    def __getitems__(self, request: list) -> tuple[int | None, dict]:
        place, *keys = request
        if place is None:
            return place, default_collate([self._dataset.load(key) for key in keys])
        images = self._memory.batch_at(place, len(keys))
        return place, default_collate([self._put(key, {name: image[k] for name, image in images.items()}) for k, key in enumerate(keys)])

    def _put(self, key: Any, into: dict[str, Tensor]) -> dict[str, Any]:
        item = self._dataset.load(key, into)
        for name, place in into.items():
            if item[name].data_ptr() != place.data_ptr():
                place.copy_(item[name])
        return {name: value for name, value in item.items() if name not in into}


def _as_it_is(batch: T) -> T:
    return batch


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
