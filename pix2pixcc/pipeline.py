"""Files to tensors: scaling to -1..1 and its exact inverse, augmentation, pairs, and the stream of images."""
from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from pix2pixcc.images.files import Image, read_image
from pix2pixcc.utils import UserError

PAUSES = (1.0, 5.0)             # seconds before a file that could not be read is tried again
FAR, FAR_SHARE = 3.0, 0.01      # values are far outside -1..1 if more than this share of finite pixels is beyond +-3


@dataclass(frozen=True)
class Scaling:
    """Scale each channel so that `lower` becomes -1 and `upper` 1, linearly or in their logarithms.

    Attributes
    ----------
    lower, upper : tuple of float
        Limits in data units, one pair per channel.
    log : tuple of bool
        Whether the logarithm is taken, per channel.
    clip : bool
        Whether values beyond the limits are set to them.
    """

    lower: tuple[float, ...]
    upper: tuple[float, ...]
    log: tuple[bool, ...]
    clip: bool = False

    def scale(self, image: Tensor, *, in_place: bool = False) -> Tensor:
        """Scale float32 (..., C, H, W) from data units to -1..1; pixels that cannot be scaled become background.

        With a logarithm, pixels that are NaN, infinite or below the lower limit take the lower limit: it is the floor,
        as a faint pixel would lie farther out than none at all. Without, NaN and infinite pixels become 0 in data units
        if that lies within the limits, else the lower limit.
        """
        image = image if in_place else image.clone()
        for channel, lower, upper, log in zip(image.unbind(-3), self.lower, self.upper, self.log, strict=True):
            centre, half = _centre_and_half(lower, upper, log)
            if log:
                functional.threshold(channel, lower, lower, inplace=True).log_()
                background = -1.0
            else:
                background = (0.0 - centre) / half if lower <= 0 <= upper else -1.0
            channel.sub_(centre).div_(half)
            torch.nan_to_num_(channel, nan=background, posinf=background, neginf=background)
            if self.clip:
                channel.clamp_(-1.0, 1.0)
        return image

    def far_outside(self, tails: Sequence[Sequence[float]]) -> str:
        """Say which channel lies far outside its limits, or under a logarithm wholly at the lower one; '' for none.

        `tails` are the lowest and highest value of each channel, but for a share of outliers.
        """
        for k, ((low, high), lower, upper, log) in enumerate(
                zip(tails, self.lower, self.upper, self.log, strict=True), 1):
            centre, half = _centre_and_half(lower, upper, log)
            if log and high <= lower:
                return f"channel {k} runs from {low:g} to {high:g}, all of it below its limits {lower:g} .. {upper:g}"
            most = math.log(high) - centre if log else max(high - centre, centre - low)
            if most > FAR * half:
                return f"channel {k} runs from {low:g} to {high:g}, far outside its limits {lower:g} .. {upper:g}"
        return ""

    def unscale(self, image: Tensor, *, in_place: bool = False) -> Tensor:
        """Undo `scale`, but for what it cut off: float32 (..., C, H, W) from -1..1 to data units."""
        image = image if in_place else image.clone()
        for channel, lower, upper, log in zip(image.unbind(-3), self.lower, self.upper, self.log, strict=True):
            centre, half = _centre_and_half(lower, upper, log)
            channel.mul_(half).add_(centre)
            if log:
                channel.exp_()
        return image

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and numbers, for JSON and checkpoints."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Scaling:
        """Make the scaling that `to_dict` described; `KeyError`, `ValueError` or `TypeError` for anything else."""
        scaling = cls(tuple(map(float, content["lower"])), tuple(map(float, content["upper"])),
                      tuple(map(bool, content["log"])), bool(content["clip"]))
        for lower, upper, log in zip(scaling.lower, scaling.upper, scaling.log, strict=True):
            if not -math.inf < lower < upper < math.inf or (log and lower <= 0):
                raise ValueError(f"limits {lower} and {upper}")
        return scaling


def _centre_and_half(lower: float, upper: float, log: bool) -> tuple[float, float]:
    """Return centre and half width of the limits; with `log`, of their natural logarithms (the base cancels)."""
    if log:
        lower, upper = math.log(lower), math.log(upper)
    return (lower + upper) / 2, (upper - lower) / 2


def resolve_scaling(image: Image, *, lower: Sequence[float] | None = None, upper: Sequence[float] | None = None,
                    log: Sequence[bool] | None = None, clip: bool = False, side: str = "input") -> Scaling:
    """Find the scaling of a data set: from flags, else from the cards of `image`, else 0..255 for 8 bits, else -1..1.

    Parameters
    ----------
    image : Image
        One of the data set.
    lower, upper, log : sequence, optional
        One value for all channels, or one per channel; None where the flag was not given.
    side : str
        'input' or 'target', to name the flags in messages.

    Raises
    ------
    UserError
        Limits that cannot be; neither one value nor one per channel; or values far outside -1..1: more than 1% of the
        finite pixels of a channel beyond +-3.
    """
    default = (0.0, 255.0) if image.is_8bit else (-1.0, 1.0)
    cards = [(card.lower, card.upper, card.scale == "log10") for card in image.channels or []]
    lower_card, upper_card, log_card = zip(*(cards or [(*default, False)] * len(image.data)), strict=True)
    lowers = _per_channel(lower, lower_card, f"--saturation_lower_limit_{side}")
    uppers = _per_channel(upper, upper_card, f"--saturation_upper_limit_{side}")
    logs = _per_channel(log, log_card, f"--logscale_{side}")
    for k, (low, high, logarithm) in enumerate(zip(lowers, uppers, logs, strict=True), 1):
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise UserError(f"channel {k}: the lower limit {low:g} must be below the upper limit {high:g}; "
                            f"set --saturation_lower_limit_{side} and --saturation_upper_limit_{side}")
        if logarithm and low <= 0:
            raise UserError(f"channel {k}: a log scale needs a lower limit above 0, not {low:g}; "
                            f"set --saturation_lower_limit_{side}, or --logscale_{side} False")
    scaling = Scaling(tuple(map(float, lowers)), tuple(map(float, uppers)), tuple(map(bool, logs)), clip)
    if not clip or (image.channels is None and (lower is None or upper is None)):
        _refuse_far_values(image, scaling, side)
    return scaling


def _per_channel(given: Sequence | None, otherwise: Sequence, flag: str) -> Sequence:
    if given is None:
        return otherwise
    if len(given) not in (1, len(otherwise)):
        raise UserError(f"{flag} takes one value, or one a channel ({len(otherwise)}), not {len(given)}")
    return list(given) * (len(otherwise) if len(given) == 1 else 1)


def _refuse_far_values(image: Image, scaling: Scaling, side: str) -> None:
    for k, (channel, lower, upper, log) in enumerate(
            zip(torch.from_numpy(image.data), scaling.lower, scaling.upper, scaling.log, strict=True), 1):
        finite = channel[channel.isfinite()]
        centre, half = _centre_and_half(lower, upper, log)
        distance = ((finite[finite > 0].log() if log else finite) - centre).abs()
        if (distance > FAR * half).sum() > FAR_SHARE * len(finite):
            raise UserError(f"{image.path}: channel {k} runs from {finite.min():g} to {finite.max():g}, far outside "
                            f"its limits {lower:g} .. {upper:g}; set --saturation_lower_limit_{side}, "
                            f"--saturation_upper_limit_{side} and --logscale_{side} to what the data are")


@dataclass(frozen=True)
class Augmentation:
    """Rotate and shift input and target alike, about the image centre.

    The rotation (bilinear, one pass) fills what comes in from outside with the background, the median of the four
    corners of each channel; the shift repeats the edge, as padding and a random crop do.

    Attributes
    ----------
    padding_size : int
        Pad by this many pixels and crop at random: a shift of at most this many pixels. 0: none.
    max_rotation_angle : float
        Degrees; the angle is uniform within +- this. 0: none.
    """

    padding_size: int = 0
    max_rotation_angle: float = 0.0

    def __call__(self, input: Tensor, target: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Augment a pair of images of shape (C, H, W), each with its own channels, by the same draw of `generator`."""
        if self.max_rotation_angle > 0:
            angle = (2 * torch.rand((), generator=generator).item() - 1) * self.max_rotation_angle
            input, target = rotate(input, angle), rotate(target, angle)
        if self.padding_size > 0:
            top, left = torch.randint(0, 2 * self.padding_size + 1, (2,), generator=generator).tolist()
            down, right = self.padding_size - top, self.padding_size - left
            input, target = shift(input, down, right), shift(target, down, right)
        return input, target


def rotate(image: Tensor, angle: float) -> Tensor:
    """Rotate (C, H, W) counter-clockwise about its centre by `angle` degrees, bilinear; background from the corners."""
    if angle == 0:
        return image
    from torchvision.transforms import InterpolationMode, v2  # takes two seconds and 170 MB

    # torchvision's own fill darkens the border, as it weighs the image by the mask twice; zeros around zeros do not.
    background = image[:, [0, 0, -1, -1], [0, -1, 0, -1]].median(dim=1).values[:, None, None]
    return v2.functional.rotate(image - background, angle, interpolation=InterpolationMode.BILINEAR).add_(background)


def shift(image: Tensor, down: int, right: int) -> Tensor:
    """Move (C, H, W) by whole pixels and repeat the edge, as padding all round and cropping do."""
    if down == 0 and right == 0:
        return image
    height, width = image.shape[-2:]
    rows, columns = (slice(max(0, by), length + min(0, by)) for by, length in ((down, height), (right, width)))
    moved = torch.empty_like(image)
    moved[:, rows, columns] = image[:, max(0, -down):height - max(0, down), max(0, -right):width - max(0, right)]
    moved[:, rows, :columns.start] = moved[:, rows, columns.start, None]
    moved[:, rows, columns.stop:] = moved[:, rows, columns.stop - 1, None]
    moved[:, :rows.start] = moved[:, rows.start, None]
    moved[:, rows.stop:] = moved[:, rows.stop - 1, None]
    return moved


def _draws(seed: int, epoch: int, index: int) -> torch.Generator:
    """Return a source of random numbers that depend on nothing but these three."""
    state = np.random.SeedSequence([seed, epoch, index]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def read_patiently(path: Path, channels: int, *, side: str = "input") -> Image:
    """Read an image as `read_image` does; after an error again, twice: a disk of the network may have been away."""
    for pause in PAUSES:
        try:
            return read_image(path, channels, side=side)
        except UserError:
            time.sleep(pause)
    return read_image(path, channels, side=side)


@dataclass(eq=False)
class PairDataset(Dataset):
    """Read, scale and augment the pair that is asked for by `(epoch, index)`.

    An item is a dict of `input` and `target`, float32 (C, H, W) in -1..1, and `index`. It depends on the files, `seed`,
    epoch and index alone, whichever worker makes it.

    Attributes
    ----------
    pairs : sequence of (Path, Path)
        Input and target files.
    input_ch, target_ch : int
        Channels that the files must have.
    data_size : int, optional
        Pixels on a side that every image must have; None: any.
    augmentation, seed
        Nothing is changed unless it is given; the seed is of its draws.
    """

    pairs: Sequence[tuple[Path, Path]]
    _: KW_ONLY
    input_ch: int
    target_ch: int
    input_scaling: Scaling
    target_scaling: Scaling
    data_size: int | None = None
    augmentation: Augmentation = Augmentation()
    seed: int = 0

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: tuple[int, int] | int) -> dict[str, Any]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        input_path, target_path = self.pairs[index]
        input = self._load(input_path, self.input_ch, self.input_scaling, "input")
        target = self._load(target_path, self.target_ch, self.target_scaling, "target")
        input, target = self.augmentation(input, target, _draws(self.seed, epoch, index))
        return {"input": input, "target": target, "index": index}

    def _load(self, path: Path, channels: int, scaling: Scaling, side: str) -> Tensor:
        image = torch.from_numpy(read_patiently(path, channels, side=side).data)
        if self.data_size is not None and image.shape[-1] != self.data_size:
            raise UserError(f"{path} is {image.shape[-2]} x {image.shape[-1]} pixels, --data_size is {self.data_size}")
        return scaling.scale(image, in_place=True)


@dataclass(eq=False)
class ImageStream:
    """Stream shuffled epochs without end, cut in batches for this rank; yields keys of a `PairDataset`.

    Position p of the stream is image p % number of the permutation of epoch p // number. A batch of all ranks together
    is the next `batch_size * world_size` positions, of which each rank takes its share in order. So the stream goes on
    from any position, with any batch size and number of ranks, as if it had never stopped.

    Attributes
    ----------
    number, batch_size : int
        Images in the data set; images per batch of one rank.
    seed, shuffle : int, bool
        Epoch e is shuffled from seed + e; without `shuffle`, the order of the files is kept.
    start, stop : int
        Images seen before, and at the end; the batch that reaches it is whole. None: endless.
    rank, world_size : int
        This process among how many.
    """

    number: int
    batch_size: int
    _: KW_ONLY
    seed: int = 0
    shuffle: bool = True
    start: int = 0
    stop: int | None = None
    rank: int = 0
    world_size: int = 1

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        position = self.start
        while self.stop is None or position < self.stop:
            first = position + self.rank * self.batch_size
            yield [self._key(place) for place in range(first, first + self.batch_size)]
            position += self.batch_size * self.world_size

    def _key(self, position: int) -> tuple[int, int]:
        epoch, place = divmod(position, self.number)
        return epoch, _permutation(self.number, self.seed + epoch)[place] if self.shuffle else place


@lru_cache(maxsize=2)      # epochs: a batch may lie in two
def _permutation(number: int, seed: int) -> list[int]:
    return torch.randperm(number, generator=torch.Generator().manual_seed(seed)).tolist()


def pad_to_multiple(image: Tensor, multiple: int) -> tuple[Tensor, tuple]:
    """Pad (..., H, W) at the edges, repeating them, to sizes that `multiple` divides.

    Return the result, `image` itself if it fits, and `crop`: of an output of that size, `output[crop]` is the original
    part.
    """
    height, width = image.shape[-2:]
    rows, columns = -height % multiple, -width % multiple
    top, left = rows // 2, columns // 2
    crop = (..., slice(top, top + height), slice(left, left + width))
    if rows == 0 and columns == 0:
        return image, crop
    return functional.pad(image, (left, columns - left, top, rows - top), mode="replicate"), crop
