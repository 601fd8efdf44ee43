"""How the benchmarks measure: time beside the machine's own peak, floating point operations, memory."""
from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pix2pixcc.networks import Discriminator, Generator, discriminator_pair


class Clock:
    """Count seconds by the wall and of processor time, all threads together."""

    def __init__(self, device: torch.device):
        self.device = device
        self.wall, self.cpu = self._now()

    def _now(self) -> tuple[float, float]:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter(), time.process_time()

    def seconds(self) -> tuple[float, float]:
        wall, cpu = self._now()
        return wall - self.wall, cpu - self.cpu


def timed(work: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Return the seconds that `work` takes, by the wall and of processor time."""
    clock = Clock(device)
    work()
    return clock.seconds()


def matrix_peak(device: torch.device, dtype: torch.dtype, side: int) -> tuple[float, float]:
    """Return the operations per second of the best of five products of square matrices.

    First by the wall, then by processor time, times the number of threads.
    """
    first, second = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    times = [timed(lambda: first @ second, device) for _ in range(5)]
    walls, cpus = zip(*times, strict=True)
    flops = 2 * side ** 3
    return flops / min(walls), flops / max(min(cpus), 1e-9) * torch.get_num_threads()


def measured(work: Callable[[], object], flops: float, device: torch.device, dtype: torch.dtype, *, repeats: int,
             side: int) -> dict:
    """Return the median time of `work`, each run beside a measurement of the peak, and the share that it reached.

    `share` is by the wall. `share_cpu` is by processor time, which other programs on the machine disturb less.
    """
    work()
    rows = []
    for _ in range(repeats):
        peak, peak_cpu = matrix_peak(device, dtype, side)
        wall, cpu = timed(work, device)
        rows.append((wall, cpu, peak, flops / wall / peak, flops / cpu * torch.get_num_threads() / peak_cpu))
    wall, cpu, peak, share, share_cpu = (statistics.median(column) for column in zip(*rows, strict=True))
    return {"seconds": wall, "cpu_seconds": cpu, "tflop": flops / 1e12, "peak_gflops": peak / 1e9, "share": share,
            "share_cpu": share_cpu if device.type == "cpu" else None, "memory_gb": peak_memory(device)}


def peak_memory(device: torch.device) -> float:
    """Return the most memory so far, GB: of the process, or on the GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _counted(work: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


def _on_meta(network: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return network()


def generator_flops(make: Callable[[], Generator], input_shape: tuple[int, ...]) -> float:
    """Return the operations of one pass; a CPU generates the last layer with twice its products, which do not count."""
    generator, images = _on_meta(make), torch.empty(input_shape, device="meta")
    with torch.no_grad():
        return _counted(lambda: generator(images))


def step_flops(make_G: Callable[[], Generator], make_D: Callable[[], Discriminator], input: tuple[int, ...],
               target: tuple[int, ...], repeats: tuple[int, int]) -> float:
    """Return the operations of one training step, losses and Adam left out."""
    generator, discriminator = _on_meta(make_G), _on_meta(make_D)
    images, truth = torch.empty(input, device="meta"), torch.empty(target, device="meta")

    def total(features: list) -> Tensor:
        return torch.stack([block.sum() for scale in features for block in scale]).sum()

    def step() -> None:
        weights = list(discriminator.parameters())
        total(discriminator(discriminator_pair(images, truth, repeats))).backward(inputs=weights)
        generated = generator(images)
        leaf = generated.detach().requires_grad_()
        score = total(discriminator(discriminator_pair(images, leaf, repeats)))
        torch.autograd.grad(score, leaf, retain_graph=True)
        score.backward(inputs=weights)
        generated.sum().backward()

    return _counted(step)
