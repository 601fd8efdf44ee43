"""Batches of a data set, read by worker processes, on their way to the device."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from pix2pixcc.parallel.workers import in_order

Batch = dict[str, Tensor]


def batches_on(device: torch.device, dataset: Dataset, batch_sampler: Iterable[Sequence],
               n_workers: int) -> Iterator[Batch]:
    """Yield the batches of `dataset` with their tensors on `device`, read ahead by worker processes.

    Parameters
    ----------
    device : torch.device
        A GPU is sent each batch from pinned memory, while it is still at work on the one before.
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
        yield {name: value.to(device, non_blocking=True) for name, value in batch.items()}


def _load(dataset: Dataset, keys: Sequence) -> Batch:
    if len(keys) == 1:      # without the copy that stacking makes
        item = dataset[keys[0]]
        return {name: torch.as_tensor(value)[None] for name, value in item.items()}
    return default_collate([dataset[key] for key in keys])


def _pinned(device: torch.device, batch: Batch) -> Batch:
    torch.cuda.set_device(device)                          # of this thread: else every rank would use the first GPU too
    return {name: value.pin_memory() for name, value in batch.items()}
