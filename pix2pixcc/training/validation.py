"""The generator as it trains, looked at and scored: the fixed sample of the pictures, and the validation set."""
from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from pix2pixcc.evaluation.metrics import score
from pix2pixcc.images.files import read_image
from pix2pixcc.parallel.ranks import Ranks
from pix2pixcc.pipeline import Scaling, read_patiently
from pix2pixcc.solar.geometry import LIMB, disk_of_header
from pix2pixcc.solar.headers import has_observer
from pix2pixcc.utils import UserError, link_or_copy
from pix2pixcc.visuals.sheets import sample_picture, sample_sheet

# Columns of losses.csv and the metrics behind them, of `metrics.score`.
SCORES = {"cc": "full_cc", "ccc": "full_ccc", "cc_binned": "full_cc_binned", "active_cc_binned": "active_cc_binned",
          "quiet_cc_binned": "quiet_cc_binned", "rmse": "full_rmse", "flux_ratio": "flux_ratio"}


class Sample:
    """Draw one pair, input and target, again and again while the generator learns.

    The plain pictures, of format `image_mode`, show -1..1 times `display_scale`, the sheet +- `display_range` gauss.
    """

    def __init__(self, pair: tuple[Path, Path], *, input_scaling: Scaling, target_scaling: Scaling,
                 display_scale: float, display_range: float, image_mode: str):
        self._input = read_image(pair[0], len(input_scaling.lower))
        self._target = read_image(pair[1], len(target_scaling.lower), side="target")
        self._target_scaling = target_scaling
        self._display_scale, self._display_range, self._image_mode = display_scale, display_range, image_mode
        self._real: Path | None = None      # the first picture of the target
        self.input = input_scaling.scale(torch.from_numpy(self._input.data))[None]

    def draw(self, folder: Path, iteration: int, generated: Tensor) -> None:
        """Write `<iteration>_real`, `_fake` and `_sheet.png`; `generated` is `(1, K, H, W)`, -1..1, on the CPU.

        All the `_real` are one picture, written once, under several names.
        """
        picture = partial(sample_picture, display_scale=self._display_scale, north_up=self._input.header is not None)
        real, fake = (folder / f"{iteration}_{name}.{self._image_mode}" for name in ("real", "fake"))
        if self._real is not None and self._real.is_file():
            link_or_copy(self._real, real)
        else:
            picture(real, self._target_scaling.scale(torch.from_numpy(self._target.data)))
            self._real = real
        picture(fake, generated[0])
        sample_sheet(folder / f"{iteration}_sheet.png", self._input.data, self._target.data,
                     self._target_scaling.unscale(generated[0]).numpy(), self._input.channels,
                     target_channels=self._target.channels, target_range=self._display_range,
                     title=f"iteration {iteration}", header=self._input.header)


Given = TypeVar("Given")
Made = TypeVar("Made")


def validate(networks: Mapping[str, Callable[[Tensor], Tensor]], pairs: Sequence[tuple[Path, Path]], *,
             input_scaling: Scaling, target_scaling: Scaling, ranks: Ranks, n_threads: int) -> dict[str, float]:
    """Score networks on the validation pairs, of which each rank takes its share.

    Parameters
    ----------
    networks : mapping of str to callable
        By the prefix of their columns, what turns scaled input `(1, C, H, W)` into scaled output `(1, K, H, W)`.
    n_threads : int
        That score images while others are read and generated; at least one does.

    Returns
    -------
    dict
        The mean over the pairs, `<prefix>_<name>` for each prefix and each name of `SCORES`; NaN where no image defines
        the metric, and after a warning all of them where a file cannot be read: a mean of other images compares with no
        other mean.
    """
    channels = [len(scaling.lower) for scaling in (input_scaling, target_scaling)]

    def generated(loaded: _Loaded) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        scaled = input_scaling.scale(torch.from_numpy(loaded.input))[None]
        images = [target_scaling.unscale(generate(scaled)[0].cpu()).numpy() for generate in networks.values()]
        return images, loaded.target, loaded.mask

    sums = torch.zeros(len(networks), 2, len(SCORES), dtype=torch.float64)
    try:
        loaded = _ahead(partial(_load, channels), pairs[ranks.rank::ranks.size], 1)
        for values in _ahead(_scores, map(generated, loaded), max(1, n_threads)):
            sums += torch.stack([values.nan_to_num(0.0), values.isfinite().double()], dim=1)
    except UserError as error:
        print(f"warning: this checkpoint has no validation scores: {error}", file=sys.stderr)
        sums += math.nan
    means = ranks.mean(sums.float().to(ranks.device)).tolist()
    return {f"{prefix}_{name}": total / count if count else math.nan
            for prefix, (totals, counts) in zip(networks, means, strict=True)
            for name, total, count in zip(SCORES, totals, counts, strict=True)}


class _Loaded(NamedTuple):
    """A pair in data units, (C, H, W) and (K, H, W), and where the disk is, (H, W)."""

    input: np.ndarray
    target: np.ndarray
    mask: np.ndarray


def _load(channels: Sequence[int], pair: tuple[Path, Path]) -> _Loaded:
    input = read_patiently(pair[0], channels[0])
    target = read_patiently(pair[1], channels[1], side="target")
    header = input.header if input.header is not None and has_observer(input.header) else None
    disk = disk_of_header(header, target.data.shape[-2:])      # None: the registered geometry
    return _Loaded(input.data, target.data, disk.mask(LIMB))


def _scores(compared: tuple[list[np.ndarray], np.ndarray, np.ndarray]) -> Tensor:
    """The scores of a pair, float64 (network, metric), each the mean over the target's channels."""
    generated, target, mask = compared
    rows = []
    for images in generated:
        channels = [score(*both, mask) for both in zip(images, target, strict=True)]
        rows.append([np.mean([channel[metric] for channel in channels]) for metric in SCORES.values()])
    return torch.tensor(rows, dtype=torch.float64)


def _ahead(function: Callable[[Given], Made], items: Iterable[Given], n_threads: int) -> Iterator[Made]:
    """Yield `function(item)` in order, from threads that are at the next items; there NumPy alone works, not torch."""
    # torch would start a second team of OpenMP threads there; NumPy and reading leave Python free for the others.
    with ThreadPoolExecutor(n_threads) as pool:
        running: deque[Future[Made]] = deque()
        for item in items:
            running.append(pool.submit(function, item))
            if len(running) > n_threads:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
