"""Data units to -1..1 and back: limits, logarithm and clipping of each channel, and where they come from."""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pix2pixcc.images.files import Image
from pix2pixcc.utils import UserError

__all__ = ["Scaling", "resolve_scaling"]

FAR, FAR_SHARE = 3.0, 0.01      # values are far outside -1..1 if more than this share of finite pixels is beyond +-3


@dataclass(frozen=True)
class Scaling:
    """The scaling of each channel: `lower` becomes -1 and `upper` 1, linearly or in their logarithms.

    Attributes
    ----------
    lower, upper : limits in data units, one a channel
    log : whether the logarithm is taken, one a channel
    clip : whether values beyond the limits are set to them
    """

    lower: tuple[float, ...]
    upper: tuple[float, ...]
    log: tuple[bool, ...]
    clip: bool = False

    def scale(self, image: Tensor, *, in_place: bool = False) -> Tensor:
        """Scale float32 (..., C, H, W) from data units to -1..1; what cannot be scaled becomes background.

        With a logarithm, pixels that are NaN, infinite, zero or negative take the lower limit. Without, NaN and infinite
        pixels become 0 in data units if that lies within the limits, else the lower limit.
        """
        image = image if in_place else image.clone()
        for channel, lower, upper, log in zip(image.unbind(-3), self.lower, self.upper, self.log, strict=True):
            centre, half = _centre_and_half(lower, upper, log)
            if log:
                functional.threshold(channel, 0.0, lower, inplace=True).log_()
                background = -1.0
            else:
                background = (0.0 - centre) / half if lower <= 0 <= upper else -1.0
            channel.sub_(centre).div_(half)
            torch.nan_to_num_(channel, nan=background, posinf=background, neginf=background)
            if self.clip:
                channel.clamp_(-1.0, 1.0)
        return image

    def unscale(self, image: Tensor, *, in_place: bool = False) -> Tensor:
        """Undo `scale`: float32 (..., C, H, W) from -1..1 to data units."""
        image = image if in_place else image.clone()
        for channel, lower, upper, log in zip(image.unbind(-3), self.lower, self.upper, self.log, strict=True):
            centre, half = _centre_and_half(lower, upper, log)
            channel.mul_(half).add_(centre)
            if log:
                channel.exp_()
        return image

    def to_dict(self) -> dict[str, Any]:
        """For JSON and checkpoints."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Scaling:
        """From `to_dict`; `KeyError`, `ValueError` or `TypeError` for anything else."""
        scaling = cls(tuple(map(float, content["lower"])), tuple(map(float, content["upper"])), tuple(map(bool, content["log"])),
                      bool(content["clip"]))
        for lower, upper, log in zip(scaling.lower, scaling.upper, scaling.log, strict=True):
            if not -math.inf < lower < upper < math.inf or (log and lower <= 0):
                raise ValueError(f"limits {lower} and {upper}")
        return scaling


def _centre_and_half(lower: float, upper: float, log: bool) -> tuple[float, float]:
    """Centre and half width of the limits, of their natural logarithms with `log` (the base cancels)."""
    if log:
        lower, upper = math.log(lower), math.log(upper)
    return (lower + upper) / 2, (upper - lower) / 2


def resolve_scaling(image: Image, *, lower: Sequence[float] | None = None, upper: Sequence[float] | None = None,
                    log: Sequence[bool] | None = None, clip: bool | None = None, side: str = "input") -> Scaling:
    """The scaling of a data set: from flags, else from the cards of `image`, else 0..255 for 8 bits, else -1..1.

    Parameters
    ----------
    image : one of the data set
    lower, upper, log : one value, or one a channel; None where the flag was not given
    clip : None is False
    side : 'input' or 'target', to name the flags in messages

    Raises
    ------
    UserError
        Limits that cannot be, a number of values that fits neither one nor all channels, or values far outside -1..1:
        more than 1% of the finite pixels of a channel beyond +-3.
    """
    count = len(image.data)
    cards = image.channels
    default = (0.0, 255.0) if image.is_8bit else (-1.0, 1.0)
    lowers = _one_a_channel(lower, [card.lower for card in cards] if cards else [default[0]] * count, f"--saturation_lower_limit_{side}")
    uppers = _one_a_channel(upper, [card.upper for card in cards] if cards else [default[1]] * count, f"--saturation_upper_limit_{side}")
    logs = _one_a_channel(log, [card.scale == "log10" for card in cards] if cards else [False] * count, f"--logscale_{side}")
    for k, (low, high, logarithm) in enumerate(zip(lowers, uppers, logs, strict=True), 1):
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise UserError(f"channel {k}: the lower limit {low:g} must be below the upper limit {high:g}; "
                            f"set --saturation_lower_limit_{side} and --saturation_upper_limit_{side}")
        if logarithm and low <= 0:
            raise UserError(f"channel {k}: a log scale needs a lower limit above 0, not {low:g}; "
                            f"set --saturation_lower_limit_{side}, or --logscale_{side} False")
    scaling = Scaling(tuple(map(float, lowers)), tuple(map(float, uppers)), tuple(map(bool, logs)), bool(clip))
    if not clip or (cards is None and (lower is None or upper is None)):
        _refuse_far_values(image, scaling, side)
    return scaling


def _one_a_channel(given: Sequence | None, otherwise: list, flag: str) -> list:
    if given is None:
        return otherwise
    if len(given) not in (1, len(otherwise)):
        raise UserError(f"{flag} takes one value, or one a channel ({len(otherwise)}), not {len(given)}")
    return list(given) * (len(otherwise) if len(given) == 1 else 1)


def _refuse_far_values(image: Image, scaling: Scaling, side: str) -> None:
    unclipped = Scaling(scaling.lower, scaling.upper, scaling.log)
    data = torch.from_numpy(image.data)
    for k, (channel, values) in enumerate(zip(unclipped.scale(data), data, strict=True), 1):
        finite = values.isfinite()
        if (channel[finite].abs() > FAR).float().mean() > FAR_SHARE:
            raise UserError(f"{image.path}: channel {k} runs from {values[finite].min():g} to {values[finite].max():g}, far outside its "
                            f"limits {scaling.lower[k - 1]:g} .. {scaling.upper[k - 1]:g}; set --saturation_lower_limit_{side}, "
                            f"--saturation_upper_limit_{side} and --logscale_{side} to what the data are")
