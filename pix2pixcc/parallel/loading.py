"""Batches of a data set, read by worker processes, on their way to the device."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from pix2pixcc.parallel.workers import in_order

Batch = dict[str, Any]


def batches_on(device: torch.device, dataset: Dataset, batch_sampler: Iterable[Sequence], n_workers: int) -> Iterator[Batch]:
    """Yield the batches of `dataset` with their tensors on `device`, read ahead by `n_workers` processes.

    Parameters
    ----------
    device : torch.device
        A GPU receives them from pinned memory, while it is still at work on what was asked of it before.
    dataset : Dataset
        Its items are dicts of tensors and numbers.
    batch_sampler : iterable of sequence
        The keys of each batch.
    n_workers : int
        Worker processes; 0: this process reads each batch when it is asked for.

    Raises
    ------
    UserError
        A file cannot be read, or a worker was killed.
    """
    load = partial(_load, dataset)
    if device.type != "cuda":
        yield from in_order(load, batch_sampler, n_workers)
        return
    for batch in in_order(load, batch_sampler, n_workers, receive=partial(_pinned, device)):
        yield {name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value for name, value in batch.items()}


def _load(dataset: Dataset, keys: Sequence) -> Batch:
    items = [dataset[key] for key in keys]
    if len(items) == 1:      # without a copy
        return {name: value[None] if isinstance(value, Tensor) else torch.tensor([value]) for name, value in items[0].items()}
    return default_collate(items)


def _pinned(device: torch.device, batch: Batch) -> Batch:
    torch.cuda.set_device(device)                          # of this thread: else all processes would use the first GPU too
    return {name: value.pin_memory() if isinstance(value, Tensor) else value for name, value in batch.items()}
