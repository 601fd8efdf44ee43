"""Devices, ranks, precision and seeds: the one place that knows how many processes train together."""
from __future__ import annotations

import contextlib
import datetime
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist

from utils import UserError

T = TypeVar("T")

__all__ = ["Ranks", "parse_gpu_ids", "join_ranks", "relaunch_on", "half_precision", "seed_everything", "parameter_count", "prefetched"]


@dataclass(frozen=True)
class Ranks:
    """This process among those that work together, and the device it works on."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Only the first rank speaks and writes."""
        return self.rank == 0

    def say(self, *words: object) -> None:
        if self.is_first:
            print(*words, flush=True)

    def barrier(self) -> None:
        if self.size > 1:
            dist.barrier()

    def on_first(self, job: Callable[[], T]) -> T:
        """The result of `job`, which only the first rank runs; its `UserError` ends the other ranks without a second message."""
        if self.size == 1:
            return job()
        outcome: list = [None, None]
        if self.is_first:
            try:
                outcome[0] = job()
            except UserError as error:
                outcome[1] = str(error)
        dist.broadcast_object_list(outcome)
        if outcome[1] is not None:
            if self.is_first:
                raise UserError(outcome[1])
            sys.exit(2)
        return outcome[0]

    def most(self, number: int) -> int:
        """The largest `number` of all ranks (True is 1)."""
        if self.size == 1:
            return int(number)
        value = torch.tensor(int(number), device=self.device)
        dist.all_reduce(value, dist.ReduceOp.MAX)
        return int(value.item())

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """The mean of `values` over all ranks."""
        if self.size > 1:
            dist.all_reduce(values)
            values = values / self.size
        return values


def parse_gpu_ids(text: str) -> list[int]:
    """`"0,1"` -> [0, 1]; `"-1"` -> [] (the CPU)."""
    try:
        numbers = [int(part) for part in str(text).split(",") if part.strip()]
    except ValueError:
        raise UserError(f"--gpu_ids {text}: give GPU numbers such as 0 or 0,1; -1 for the CPU") from None
    if len(set(numbers)) != len(numbers):
        raise UserError(f"--gpu_ids {text}: each GPU once, please")
    return [number for number in numbers if number >= 0]


@contextlib.contextmanager
def join_ranks(gpu_ids: str):
    """Yield this process's `Ranks`; joins the group that torchrun started, and leaves it at the end.

    Raises
    ------
    UserError
        A GPU number that does not exist. Without any GPU, the CPU is used after one warning.
    """
    wanted = parse_gpu_ids(gpu_ids)
    size, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
    device = _device(wanted, local, size)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if size == 1:
        yield Ranks(device)
        return
    on_gpu = device.type == "cuda"
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=datetime.timedelta(minutes=10),
                            device_id=device if on_gpu else None)
    try:
        yield Ranks(device, dist.get_rank(), size)
    finally:
        dist.destroy_process_group()


def _device(wanted: list[int], local: int, size: int) -> torch.device:
    if not wanted:
        return torch.device("cpu")
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not available and wanted == [0]:
        if local == 0:
            print("warning: no GPU was found; working on the CPU (--gpu_ids -1 says so)", file=sys.stderr)
        return torch.device("cpu")
    if size > 1 and len(wanted) == 1:            # torchrun: one GPU a process, whatever the default says
        wanted = list(range(available))
    missing = [number for number in wanted if number >= available]
    if missing or local >= len(wanted):
        there = f"this machine has {available}: {','.join(map(str, range(available)))}" if available else "this machine has none"
        raise UserError(f"--gpu_ids {','.join(map(str, wanted))}: no GPU {missing[0] if missing else local} here; {there}. "
                        "Use -1 for the CPU")
    return torch.device("cuda", wanted[local])


def relaunch_on(gpu_ids: str, argv: list[str]) -> int | None:
    """With several `gpu_ids` and no torchrun around us, start one process a GPU and return their exit status; else None."""
    wanted = parse_gpu_ids(gpu_ids)
    if len(wanted) < 2 or "WORLD_SIZE" in os.environ:
        return None
    for local in range(len(wanted)):             # a GPU that is not there is refused before anything starts
        _device(wanted, local, len(wanted))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return subprocess.call([sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={len(wanted)}",
                            "--master_addr=127.0.0.1", f"--master_port={port}", *argv])


def half_precision(device: torch.device) -> torch.dtype:
    """bfloat16 where the device has it, else float16 (which needs loss scaling)."""
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return torch.float16
    return torch.bfloat16


def seed_everything(seed: int, deterministic: bool = False) -> None:
    """Seed torch, the only source of random numbers besides the data set's own.

    With `deterministic`, the GPU's kernels repeat themselves bit for bit, and more slowly.
    """
    torch.manual_seed(seed)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True, warn_only=True)
        warnings.filterwarnings("once", message=".*deterministic.*")
    else:
        torch.backends.cudnn.benchmark = True


def parameter_count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def prefetched(batches: Iterable[dict], device: torch.device) -> Iterator[dict]:
    """The batches with their tensors on `device`; on a GPU the next one is copied while this one is worked on."""
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


def _handed_over(batch: dict, copying: torch.cuda.Stream) -> dict:
    """The stream of the computation waits for the copy and keeps its memory until it is done."""
    here = torch.cuda.current_stream()
    here.wait_stream(copying)
    for value in batch.values():
        if isinstance(value, torch.Tensor):
            value.record_stream(here)
    return batch
