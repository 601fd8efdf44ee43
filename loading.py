"""Batches on their way from the loader processes to the device, and what becomes of errors on that way."""
from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader

from pipeline import error_of_worker
from stopping import without_signals
from utils import UserError

__all__ = ["batches_on"]


def batches_on(device: torch.device, loader: DataLoader) -> Iterator[dict]:
    """The batches of `loader` with their tensors on `device`; on a GPU the next one is copied while this one is worked on.

    Raises
    ------
    UserError
        A file can no longer be read.
    """
    batches = _loaded(loader)
    if device.type != "cuda":
        yield from batches
        return
    copying, ahead = torch.cuda.Stream(device), None
    for batch in batches:
        with torch.cuda.stream(copying):
            moved = {name: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
                     for name, value in batch.items()}
        if ahead is not None:
            yield _handed_over(ahead, copying)
        ahead = moved
    if ahead is not None:
        yield _handed_over(ahead, copying)


def _loaded(loader: DataLoader) -> Iterator[dict]:
    with without_signals():
        batches = iter(loader)
    try:
        yield from batches
    except UserError as error:
        raise error_of_worker(error) if loader.num_workers else error from None


def _handed_over(batch: dict, copying: torch.cuda.Stream) -> dict:
    """The stream of the computation waits for the copy and keeps its memory until it is done."""
    here = torch.cuda.current_stream()
    here.wait_stream(copying)
    for value in batch.values():
        if isinstance(value, torch.Tensor):
            value.record_stream(here)
    return batch
