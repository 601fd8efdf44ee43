"""Devices, ranks, precision and seeds: the one place that knows how many processes train together."""
from __future__ import annotations

import contextlib
import ctypes
import datetime
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from pix2pixcc.parallel.launching import launch
from pix2pixcc.utils import UserError

T = TypeVar("T")

COLLECTIVE = datetime.timedelta(minutes=10)                # for which the ranks wait for each other in a training step
FIRST = datetime.timedelta(days=1)                         # for which they wait for the first rank to do its work


@dataclass(frozen=True)
class Ranks:
    """Describe this process among the `size` that work together, and the device it works on."""

    device: torch.device
    rank: int = 0
    size: int = 1
    patient: dist.ProcessGroup | None = None               # waits while the first rank works alone

    @property
    def is_first(self) -> bool:
        """Return whether this is the rank that speaks and writes."""
        return self.rank == 0

    def say(self, *words: object) -> None:
        """Print, on the first rank only."""
        if self.is_first:
            print(*words, flush=True)

    def barrier(self) -> None:
        """Wait for all ranks, for as long as the slowest takes."""
        self.on_first(lambda: None)

    def on_first(self, job: Callable[[], T]) -> T:
        """Run `job` on the first rank and return its result on all; its `UserError` ends the others without a word."""
        if self.size == 1:
            return job()
        outcome: list = [None, None]
        if self.is_first:
            try:
                outcome[0] = job()
            except UserError as error:
                outcome[1] = str(error)
        dist.broadcast_object_list(outcome, group=self.patient, device=torch.device("cpu"))
        if outcome[1] is not None:
            if self.is_first:
                raise UserError(outcome[1])
            sys.exit(2)
        return outcome[0]

    def most(self, number: int) -> int:
        """Return the largest `number` of all ranks, exchanged between the CPUs, so that a GPU is not waited for."""
        if self.size == 1:
            return number
        value = torch.tensor(number)
        dist.all_reduce(value, dist.ReduceOp.MAX)
        return int(value.item())

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Return the mean of `values` over all ranks."""
        return self.gathered(values).mean(0)

    def gathered(self, values: torch.Tensor) -> torch.Tensor:
        """Return the `values` of each rank, stacked in order."""
        if self.size == 1:
            return values[None]
        everyone = [torch.empty_like(values) for _ in range(self.size)]
        dist.all_gather(everyone, values)
        return torch.stack(everyone)


def parse_gpu_ids(text: str) -> list[int]:
    """Read GPU numbers: "0,1" is [0, 1], and "-1" is [], the CPU."""
    try:
        numbers = [int(part) for part in str(text).split(",") if part.strip()]
    except ValueError:
        raise UserError(f"--gpu_ids {text}: give GPU numbers such as 0 or 0,1; -1 for the CPU") from None
    if len(set(numbers)) != len(numbers):
        raise UserError(f"--gpu_ids {text}: each GPU once, please")
    return [number for number in numbers if number >= 0]


@contextlib.contextmanager
def join_ranks(gpu_ids: str) -> Iterator[Ranks]:
    """Join the processes that torchrun started, if it did, and leave them at the end; yield this one's `Ranks`.

    Raises
    ------
    UserError
        A GPU number that does not exist (without any GPU, the CPU is used after one warning); memory ran out; another
        rank ended.
    """
    wanted = parse_gpu_ids(gpu_ids)
    rank, size, local = _environment("RANK", 0), _environment("WORLD_SIZE", 1), _environment("LOCAL_RANK", 0)
    device = _device(wanted, local, size)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    else:
        keep_freed_memory()
    try:
        if size == 1:
            yield Ranks(device)
            return
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=COLLECTIVE,
                                device_id=device if device.type == "cuda" else None)
        patient = dist.new_group(backend="gloo", timeout=FIRST)
        yield Ranks(device, rank, size, patient if isinstance(patient, dist.ProcessGroup) else None)
    except RuntimeError as error:
        message = _explained(error, rank)
        if message is None:
            raise
        raise UserError(message) from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _environment(name: str, default: int) -> int:
    """Read a number that torchrun sets."""
    text = os.environ.get(name, str(default))
    if not text.isdigit():
        raise UserError(f"the environment variable {name}={text} should be a number, as torchrun sets it; unset it")
    return int(text)


_LOST = re.compile(r"(?i)connection (closed|reset|refused)|closed by peer|broken pipe|timed out|timeout|socket")
_NO_MEMORY = re.compile(r"(?i)can't allocate memory|not enough memory|out of memory")


def _explained(error: RuntimeError, rank: int) -> str | None:
    """Say what the user can do about an error of PyTorch; None if nothing."""
    text = str(error)
    if isinstance(error, torch.OutOfMemoryError) or _NO_MEMORY.search(text):
        return (f"memory ran out ({' '.join(text.split())[:160]}). Use a smaller --batch_size, --data_type 16 or "
                "--checkpoint_activations, or a device with more memory")
    if dist.is_initialized() and (isinstance(error, dist.DistError) or _LOST.search(text)):
        return f"process {rank} lost the others: one of them has ended; its own message says why. Go on with --resume"
    return None


def _gpus() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _device(wanted: list[int], local: int, size: int) -> torch.device:
    available = _gpus()
    if not wanted or not available:
        if wanted and local == 0:
            print("warning: no GPU was found; working on the CPU (--gpu_ids -1 says so)", file=sys.stderr)
        return torch.device("cpu")
    if size > 1 and len(wanted) == 1:            # torchrun: one GPU per process, whatever the default says
        wanted = list(range(available))
    missing = [number for number in wanted if number >= available]
    if missing or local >= len(wanted):
        there = f"{available}: {','.join(map(str, range(available)))}"
        raise UserError(f"--gpu_ids {','.join(map(str, wanted))}: no GPU {missing[0] if missing else local} here; "
                        f"this machine has {there}. Use -1 for the CPU")
    return torch.device("cuda", wanted[local])


def relaunch_on(gpu_ids: str, argv: list[str]) -> int | None:
    """Start one process per GPU and return their exit status.

    None, for this process to do the work, with one of `gpu_ids`, without any GPU, or where torchrun started it.
    """
    wanted = parse_gpu_ids(gpu_ids)
    if len(wanted) < 2 or "WORLD_SIZE" in os.environ or not _gpus():
        return None
    for local in range(len(wanted)):             # a GPU that is not there is refused before anything starts
        _device(wanted, local, len(wanted))
    return launch([sys.executable, *argv], len(wanted))


def half_precision(ranks: Ranks) -> torch.dtype | None:
    """Choose what `--data_type 16` computes in: bfloat16 where the device can, else float16, which needs loss scaling.

    On a CPU without bfloat16 arithmetic it is None, float32, after one warning: 16 bits take minutes per image there.
    """
    if ranks.device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    with contextlib.suppress(AttributeError, RuntimeError):      # of a PyTorch that was built without oneDNN
        if torch.ops.mkldnn._is_mkldnn_bf16_supported():
            return torch.bfloat16
    if ranks.is_first:
        print("warning: this CPU has no bfloat16 arithmetic, 16 bits would take minutes per image; computing in 32 "
              "(--data_type 32 says so)", file=sys.stderr)
    return None


def keep_freed_memory() -> None:
    """Keep the memory of one image for the next: fresh pages of the system cost a fifth of a training step on a CPU."""
    with contextlib.suppress(OSError, AttributeError):     # only glibc has these settings
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in {-8: 1, -4: 0, -1: -1}.items():      # M_ARENA_MAX, M_MMAP_MAX, M_TRIM_THRESHOLD
            mallopt(option, value)


def seed_everything(seed: int, deterministic: bool = False) -> None:
    """Seed torch, besides the data set the only user of random numbers; a `deterministic` GPU repeats bit for bit."""
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        warnings.filterwarnings("once", message=".*deterministic.*")


def parameter_count(network: torch.nn.Module) -> int:
    """Count the weights of a network."""
    return sum(parameter.numel() for parameter in network.parameters())


def over_ranks(network: torch.nn.Module, ranks: Ranks) -> torch.nn.Module:
    """Return `network` as it trains: where several ranks do, in DistributedDataParallel, batch norms over all of them.

    It raises a `UserError` for batch norms over several processes on a CPU, which PyTorch does not have.
    """
    if ranks.size == 1:
        return network
    if any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules()):
        if ranks.device.type != "cuda":
            raise UserError("--norm_type BatchNorm2d over several processes needs GPUs; "
                            "use one process, or InstanceNorm2d")
        network = torch.nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return DistributedDataParallel(network, device_ids=[ranks.device.index] if ranks.device.type == "cuda" else None)
