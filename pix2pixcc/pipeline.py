"""Files to tensors: pairs, scaling to -1..1 and its exact inverse, augmentation, datasets, and the stream of images.

Reading and writing one file is in `images.py`; what the cards of a cube mean is in `cubes.py`.
"""
from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset, Sampler

from pix2pixcc.images.files import FORMATS, Image, list_images, read_image, write_image
from pix2pixcc.images.verification import Summary, verify_dataset
from pix2pixcc.scaling import Scaling, resolve_scaling
from pix2pixcc.utils import UserError, stem_of, time_in_name

__all__ = ["FORMATS", "Image", "list_images", "read_image", "write_image", "Scaling", "resolve_scaling", "pair_files", "Augmentation",
           "Summary", "verify_dataset", "PairDataset", "ImageStream", "pad_to_multiple"]

_INSTRUMENT = re.compile(r"(?<![a-z0-9])(?:sdo|stereo|secchi|soho|aia|hmi|mdi|euvi|aisfm|input|target|real|magnetogram|"
                         r"(?<=stereo[-_. ])[ab]|(?<=euvi[-_. ])[ab])(?![a-z0-9])", re.IGNORECASE)


def _bare_name(path: Path) -> str:
    """The stem without instruments and separators: `AIA_0001` and `hmi.0001` are both `0001`."""
    return re.sub(r"[-_. ]+", "_", _INSTRUMENT.sub("", stem_of(path))).strip("_").lower()


def _time(path: Path) -> str:
    return str(time_in_name(stem_of(path)) or "")


def pair_files(inputs: Sequence[Path], targets: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Match every input with its target: by the name, else by the name without instruments, else by the time in the name.

    Returns
    -------
    list of (input, target), in the order of the inputs

    Raises
    ------
    UserError
        Files without a partner, or several for one; the message lists up to ten names of each.
    """
    _refuse_namesakes(inputs, "input")
    _refuse_namesakes(targets, "target")
    partner: dict[Path, Path] = {}
    lone_inputs, lone_targets = list(inputs), list(targets)
    for name_of in (stem_of, _bare_name, _time):
        of_input, of_target = _by_name(lone_inputs, name_of), _by_name(lone_targets, name_of)
        partner |= {path: of_target[name] for name, path in of_input.items() if name in of_target}
        taken = set(partner.values())
        lone_inputs = [path for path in lone_inputs if path not in partner]
        lone_targets = [path for path in lone_targets if path not in taken]
    if lone_inputs or lone_targets:
        raise UserError(_listed(lone_inputs, "input files without a target of their own")
                        + _listed(lone_targets, "target files without an input of their own")
                        + "Pairs are matched by file name, or by the time in it: rename, add or move files away")
    return [(path, partner[path]) for path in inputs]


def _by_name(paths: Sequence[Path], name_of: Callable[[Path], str]) -> dict[str, Path]:
    """The paths whose name is not empty and no other's."""
    names = [name_of(path) for path in paths]
    count = Counter(names)
    return {name: path for name, path in zip(names, paths, strict=True) if name and count[name] == 1}


def _refuse_namesakes(paths: Sequence[Path], side: str) -> None:
    count = Counter(map(stem_of, paths))
    namesakes = [path for path in paths if count[stem_of(path)] > 1]
    if namesakes:
        raise UserError(_listed(namesakes, f"{side} files share their name with another") + "Keep one of each name")


def _listed(paths: Sequence[Path], what: str) -> str:
    names = ", ".join(path.name for path in paths[:10]) + (", ..." if len(paths) > 10 else "")
    return f"{len(paths)} {what} ({names}). " if paths else ""


class Augmentation:
    """Rotate and shift input and target alike, about the image centre.

    The rotation (bilinear, one pass) fills what comes in from outside with the background, the median of the four
    corners of each channel; the shift repeats the edge, as padding and a random crop do. What is off costs nothing.

    Parameters
    ----------
    padding_size : pad by this many pixels and crop at random: a shift of at most this many pixels
    max_rotation_angle : degrees; the angle is uniform within +- this
    """

    def __init__(self, padding_size: int = 0, max_rotation_angle: float = 0.0) -> None:
        self.padding_size = padding_size
        self.max_rotation_angle = max_rotation_angle

    @property
    def is_on(self) -> bool:
        return self.padding_size > 0 or self.max_rotation_angle > 0

    def __call__(self, input: Tensor, target: Tensor, generator: torch.Generator,
                 into: tuple[Tensor | None, Tensor | None] = (None, None)) -> tuple[Tensor, Tensor]:
        """Augment a pair of images of shape (C, H, W), each with its own channels, by the same draw of `generator`.

        What is padded and cropped lies in `into`, if that is given.
        """
        if self.max_rotation_angle > 0:
            angle = (2 * torch.rand((), generator=generator).item() - 1) * self.max_rotation_angle
            input, target = rotate(input, angle), rotate(target, angle)
        if self.padding_size > 0:
            top, left = torch.randint(0, 2 * self.padding_size + 1, (2,), generator=generator).tolist()
            down, right = self.padding_size - top, self.padding_size - left
            input, target = shift(input, down, right, into[0]), shift(target, down, right, into[1])
        return input, target


def rotate(image: Tensor, angle: float) -> Tensor:
    """Rotate (C, H, W) about its centre, counter-clockwise by `angle` degrees, bilinear; background from the corners."""
    if angle == 0:
        return image
    from torchvision.transforms import InterpolationMode, v2  # takes two seconds and 170 MB

    # torchvision's own fill darkens the border (it weighs the image by the mask twice); zeros around a zero background do not.
    background = image[:, [0, 0, -1, -1], [0, -1, 0, -1]].median(dim=1).values[:, None, None]
    return v2.functional.rotate(image - background, angle, interpolation=InterpolationMode.BILINEAR).add_(background)


def shift(image: Tensor, down: int, right: int, into: Tensor | None = None) -> Tensor:
    """Move (C, H, W) by whole pixels and repeat the edge: what padding all round and cropping gives, without the larger image."""
    if down == 0 and right == 0:
        return image
    height, width = image.shape[-2:]
    rows, columns = (slice(max(0, by), length + min(0, by)) for by, length in ((down, height), (right, width)))
    moved = torch.empty_like(image) if into is None else into
    moved[:, rows, columns] = image[:, max(0, -down):height - max(0, down), max(0, -right):width - max(0, right)]
    moved[:, rows, :columns.start] = moved[:, rows, columns.start, None]
    moved[:, rows, columns.stop:] = moved[:, rows, columns.stop - 1, None]
    moved[:, :rows.start] = moved[:, rows.start, None]
    moved[:, rows.stop:] = moved[:, rows.stop - 1, None]
    return moved


def _draws(seed: int, epoch: int, index: int) -> torch.Generator:
    """Random numbers that depend on nothing but these three."""
    state = np.random.SeedSequence([seed, epoch, index]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


class PairDataset(Dataset):
    """Pairs, scaled and augmented; asked for by `(epoch, index)`.

    An item is a dict of `input` and `target`, float32 (C, H, W) in -1..1, and `index`. It depends on the files, `seed`,
    epoch and index alone, whichever worker makes it.

    Parameters
    ----------
    pairs : as `pair_files` gives them
    input_ch, target_ch : channels
    input_scaling, target_scaling : to -1..1
    data_size : pixels on a side that every image must have; None: any
    augmentation : None for none
    seed : of the augmentation
    """

    def __init__(self, pairs: Sequence[tuple[Path, Path]], *, input_ch: int, target_ch: int, input_scaling: Scaling,
                 target_scaling: Scaling, data_size: int | None = None, augmentation: Augmentation | None = None, seed: int = 0) -> None:
        self.pairs = list(pairs)
        self.sides = {"input": (input_ch, input_scaling), "target": (target_ch, target_scaling)}
        self.data_size = data_size
        self.augmentation = augmentation if augmentation is not None and augmentation.is_on else None
        self.seed = seed

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: tuple[int, int] | int) -> dict[str, Any]:
        return self.load(key)

    def load(self, key: tuple[int, int] | int, into: dict[str, Tensor] | None = None) -> dict[str, Any]:
        """The item, its images wherever they are; they may be in `into`, which saves a copy to whoever wants them there."""
        epoch, index = key if isinstance(key, tuple) else (0, key)
        input, target = (self._load(path, side) for path, side in zip(self.pairs[index], self.sides, strict=True))
        if self.augmentation is not None:
            places = (None, None) if into is None else (into["input"], into["target"])
            input, target = self.augmentation(input, target, _draws(self.seed, epoch, index), places)
        return {"input": input, "target": target, "index": index}

    def _load(self, path: Path, side: str) -> Tensor:
        channels, scaling = self.sides[side]
        image = torch.from_numpy(read_image(path, channels, side=side).data)
        if self.data_size is not None and image.shape[-1] != self.data_size:
            raise UserError(f"{path} is {image.shape[-2]} x {image.shape[-1]} pixels, --data_size is {self.data_size}")
        return scaling.scale(image, in_place=True)


class ImageStream(Sampler[list[tuple[int, int]]]):
    """An endless stream of shuffled epochs, cut in batches for this rank; sampler of a `PairDataset`'s keys.

    Position p of the stream is image p % number of the permutation of epoch p // number. A batch of all ranks together is
    the next `batch_size * world_size` positions, of which each rank takes its share in order. So the stream goes on from
    any position, with any batch size and number of ranks, as if it had never stopped.

    Parameters
    ----------
    number : images in the data set
    batch_size : of one rank
    seed : epoch e is shuffled from seed + e
    shuffle : False keeps the order of the files
    start : images seen before
    stop : images seen at the end; the batch that reaches it is whole. None: endless
    rank, world_size : this process among how many
    """

    def __init__(self, number: int, batch_size: int, *, seed: int = 0, shuffle: bool = True, start: int = 0, stop: int | None = None,
                 rank: int = 0, world_size: int = 1) -> None:
        self.number = number
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.start = start
        self.stop = stop
        self.rank = rank
        self.world_size = world_size
        self._epoch: int | None = None
        self._order: list[int] = []

    def __len__(self) -> int:
        if self.stop is None:
            raise TypeError("an endless stream has no length; give stop")
        return max(0, -(-(self.stop - self.start) // (self.batch_size * self.world_size)))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        position = self.start
        while self.stop is None or position < self.stop:
            first = position + self.rank * self.batch_size
            yield [self._key(place) for place in range(first, first + self.batch_size)]
            position += self.batch_size * self.world_size

    def _key(self, position: int) -> tuple[int, int]:
        epoch, place = divmod(position, self.number)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(self.seed + epoch)
            self._order = torch.randperm(self.number, generator=generator).tolist() if self.shuffle else list(range(self.number))
            self._epoch = epoch
        return epoch, self._order[place]


def pad_to_multiple(image: Tensor, multiple: int) -> tuple[Tensor, tuple]:
    """Pad (..., H, W) at the edges, repeating them, to sizes that `multiple` divides.

    Returns
    -------
    padded : `image` itself if nothing is missing
    crop : index that takes the original part out of an output of the padded size, `output[crop]`
    """
    height, width = image.shape[-2:]
    rows, columns = -height % multiple, -width % multiple
    top, left = rows // 2, columns // 2
    crop = (..., slice(top, top + height), slice(left, left + width))
    if rows == 0 and columns == 0:
        return image, crop
    return functional.pad(image, (left, columns - left, top, rows - top), mode="replicate"), crop
