"""The generator as it trains, looked at and scored: the fixed sample of the pictures, and the validation set."""
from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pix2pixcc.evaluation.metrics import score
from pix2pixcc.images.files import read_image
from pix2pixcc.parallel.ranks import Ranks
from pix2pixcc.pipeline import Scaling, read_patiently
from pix2pixcc.solar.geometry import LIMB, disk_of_header
from pix2pixcc.solar.headers import has_observer
from pix2pixcc.utils import UserError
from pix2pixcc.visuals.sheets import sample_images, sample_sheet

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
        self.input = input_scaling.scale(torch.from_numpy(self._input.data))[None]

    def draw(self, folder: Path, iteration: int, generated: Tensor) -> None:
        """Write `<iteration>_real`, `_fake` and `_sheet.png`; `generated` is `(1, K, H, W)`, -1..1, on the CPU."""
        real = self._target_scaling.scale(torch.from_numpy(self._target.data))
        solar = self._input.header is not None
        sample_images(folder, iteration, real, generated[0], display_scale=self._display_scale,
                      image_mode=self._image_mode, north_up=solar)
        sample_sheet(folder / f"{iteration}_sheet.png", self._input.data, self._target.data,
                     self._target_scaling.unscale(generated[0]).numpy(), self._input.channels,
                     target_channels=self._target.channels, target_range=self._display_range,
                     title=f"iteration {iteration}", header=self._input.header)


def validate(generate: Callable[[Tensor], Tensor], pairs: list[tuple[Path, Path]], *, input_scaling: Scaling,
             target_scaling: Scaling, ranks: Ranks, prefix: str) -> dict[str, float]:
    """Score `generate` on the validation pairs, of which each rank takes its share.

    It turns scaled input `(1, C, H, W)` into scaled output `(1, K, H, W)`.

    Returns
    -------
    dict
        The mean over the pairs, `<prefix>_<name>` for each name of `SCORES`; NaN where no image defines the metric, and
        after a warning all of them where a file cannot be read: a mean of other images compares with no other mean.
    """
    sums = torch.zeros(2, len(SCORES), dtype=torch.float64)
    for input_path, target_path in pairs[ranks.rank::ranks.size]:
        try:
            input = read_patiently(input_path, len(input_scaling.lower))
            target = read_patiently(target_path, len(target_scaling.lower), side="target")
        except UserError as error:
            print(f"warning: this checkpoint has no validation scores: {error}", file=sys.stderr)
            sums += math.nan
            break
        scaled = input_scaling.scale(torch.from_numpy(input.data))[None]
        generated = target_scaling.unscale(generate(scaled)[0].cpu()).numpy()
        header = input.header if input.header is not None and has_observer(input.header) else None
        mask = disk_of_header(header, generated.shape[-2:]).mask(LIMB)      # None: the registered geometry
        scores = [score(*images, mask) for images in zip(generated, target.data, strict=True)]
        values = torch.tensor([np.mean([channel[metric] for channel in scores]) for metric in SCORES.values()],
                              dtype=torch.float64)
        sums += torch.stack([values.nan_to_num(0.0), values.isfinite().double()])
    totals, counts = ranks.mean(sums.float().to(ranks.device)).tolist()
    return {f"{prefix}_{name}": total / count if count else math.nan
            for name, total, count in zip(SCORES, totals, counts, strict=True)}
