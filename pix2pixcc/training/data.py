"""The data of a training run: its pairs, what all of them have in common, and what is held out for validation."""
from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pix2pixcc.images.cubes import Channel
from pix2pixcc.images.files import list_images, read_image
from pix2pixcc.images.pairs import pair_files
from pix2pixcc.pipeline import Scaling, resolve_scaling
from pix2pixcc.utils import UserError, stem_of, time_in_name


@dataclass(frozen=True)
class TrainingData:
    """The pairs of a run and what all of them have in common."""

    pairs: list[tuple[Path, Path]]
    validation: list[tuple[Path, Path]]
    size: int
    input_scaling: Scaling
    target_scaling: Scaling
    input_channels: list[Channel] | None
    target_channels: list[Channel] | None

    @property
    def digest(self) -> str:
        """SHA-256 of the names of the training pairs, in order: the same data set has the same one wherever it lies."""
        names = "\n".join(f"{stem_of(input)}\t{stem_of(target)}" for input, target in self.pairs)
        return hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()


def find_training_data(input_dir: str, target_dir: str, *, input_format: str, target_format: str, input_ch: int, target_ch: int,
                       n_downsample: int, n_D: int, data_size: int | None, flags: Callable[[str, bool], dict],
                       validation_dirs: tuple[str, str] | None = None, val_fraction: float | None = None) -> TrainingData:
    """List, pair and describe the images of a training run.

    Parameters
    ----------
    n_downsample, n_D : int
        Depth of the generator and scales of the discriminator: the side must be divisible and large enough for them.
    flags : callable
        `flags(side, described)` gives the keyword arguments for `scaling.resolve_scaling`; described: the data have cards.
    validation_dirs : (inputs, targets), optional
    val_fraction : float, optional
        Hold out this share of the training pairs instead, the latest in time.
    """
    pairs = pair_files(list_images(input_dir, input_format), list_images(target_dir, target_format, side="target"))
    validation: list[tuple[Path, Path]] = []
    if validation_dirs:
        validation = pair_files(list_images(validation_dirs[0], input_format),
                                list_images(validation_dirs[1], target_format, side="target"))
    elif val_fraction:
        pairs, validation = hold_out(pairs, val_fraction)
    input, target = read_image(pairs[0][0], input_ch), read_image(pairs[0][1], target_ch, side="target")
    size = input.data.shape[-1]
    if target.data.shape[-1] != size:
        raise UserError(f"{pairs[0][0]} is {size} pixels wide, its target {pairs[0][1]} {target.data.shape[-1]}; make them equal")
    if data_size is not None and data_size != size:
        raise UserError(f"{pairs[0][0]} is {size} pixels wide, --data_size says {data_size}; leave --data_size out to take the images' own")
    _refuse_unfit(size, n_downsample, n_D)
    input_scaling, target_scaling = (resolve_scaling(image, side=side, **flags(side, image.channels is not None))
                                     for side, image in (("input", input), ("target", target)))
    return TrainingData(pairs, validation, size, input_scaling, target_scaling, input.channels, target.channels)


def hold_out(pairs: Sequence[tuple[Path, Path]], fraction: float) -> tuple[list, list]:
    """Split pairs into training and validation: the latest share by the time in the name, else the last by name."""
    ordered = sorted(pairs, key=lambda pair: (str(time_in_name(stem_of(pair[0])) or ""), str(pair[0])))
    count = max(1, round(fraction * len(ordered)))
    if count >= len(ordered):
        raise UserError(f"--val_fraction {fraction} leaves none of {len(ordered)} pairs to train on")
    held = set(ordered[-count:])
    return [pair for pair in pairs if pair not in held], ordered[-count:]


def _refuse_unfit(size: int, n_downsample: int, n_D: int) -> None:
    """The generator halves the side `n_downsample` times, down to 2 pixels at least; a discriminator needs 24 at its last scale."""
    multiple, least = 2 ** n_downsample, 24 * 2 ** (n_D - 1)
    if size % multiple:
        raise UserError(f"images of {size} pixels cannot be halved that often: --n_downsample must be at most "
                        f"{(size & -size).bit_length() - 1} for this size, or the images padded to a multiple of {multiple}")
    if size < max(least, 2 * multiple):
        raise UserError(f"images of {size} pixels are too small: {n_D} discriminator scales (--n_D) need {least} pixels, "
                        f"{n_downsample} halvings (--n_downsample) {2 * multiple}")
