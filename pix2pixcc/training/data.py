"""The data of a training run: its pairs, what all of them have in common, and what is held out for validation."""
from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pix2pixcc.images.cubes import Channel
from pix2pixcc.images.files import Image, list_images, read_image
from pix2pixcc.images.pairs import pair_files
from pix2pixcc.images.verification import FarOutside
from pix2pixcc.pipeline import Scaling, resolve_scaling
from pix2pixcc.training.holdout import Pairs, hold_out
from pix2pixcc.utils import UserError, stem_of


@dataclass(frozen=True)
class ScalingFlags:
    """Hold what the flags say about the scaling of one side, 'input' or 'target': one value or one per channel.

    Limits are in data units. `typed` names the flags that the user typed; the others are the model's defaults.
    """

    side: str
    lower: list[float] | None
    upper: list[float] | None
    log: list[bool] | None
    clip: bool
    typed: frozenset[str]

    def scaling_of(self, image: Image) -> Scaling:
        """Return the scaling of a data set, of which `image` is one; over images with cards only typed limits count."""
        names = [name for name in ("lower", "upper", "log") if image.channels is None or name in self.typed]
        return resolve_scaling(image, side=self.side, clip=self.clip, **{name: getattr(self, name) for name in names})

    def refuse_other(self, scaling: Scaling) -> None:
        """Raise a `UserError` if a typed flag says something else than `scaling`, with which a model was trained."""
        flags = {"lower": "saturation_lower_limit", "upper": "saturation_upper_limit", "log": "logscale",
                 "clip": "saturation_clip"}
        for name in self.typed:
            given, built = _listed(getattr(self, name)), _listed(getattr(scaling, name))
            if given * (len(built) // len(given) or 1) != built:
                raise UserError(f"--{flags[name]}_{self.side} {' '.join(map(str, given))} (trained with "
                                f"{' '.join(map(str, built))}): this model was trained otherwise; leave the flag out")


def _listed(value: object) -> list:
    return list(value) if isinstance(value, list | tuple) else [value]


@dataclass(frozen=True)
class TrainingData:
    """The pairs of a run and what all of them have in common."""

    pairs: Pairs
    validation: Pairs
    size: int
    input_scaling: Scaling
    target_scaling: Scaling
    input_channels: list[Channel] | None
    target_channels: list[Channel] | None
    held_out: str = ""                # how the validation pairs were taken from the training pairs

    @property
    def digest(self) -> str:
        """SHA-256 of the names of the training pairs, in order: a data set keeps it wherever it lies."""
        names = "\n".join(f"{stem_of(input)}\t{stem_of(target)}" for input, target in self.pairs)
        return hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()

    @property
    def far_outside(self) -> tuple[FarOutside | None, FarOutside | None]:
        """Ask of values far outside the limits, for inputs and targets; None where they are clipped to them."""
        input, target = (None if scaling.clip else scaling.far_outside
                         for scaling in (self.input_scaling, self.target_scaling))
        return input, target

    def last_iteration(self, n_epochs: int, n_iterations: int | None) -> int:
        """Return how many images a run sees: those of `n_epochs`, or `n_iterations` if that is fewer."""
        images = n_epochs * len(self.pairs)
        return min(images, n_iterations or images)


def find_training_data(
        input_dir: str, target_dir: str, *, input_format: str, target_format: str, input_ch: int, target_ch: int,
        n_downsample: int, n_D: int, data_size: int | None, input_flags: ScalingFlags, target_flags: ScalingFlags,
        validation_dirs: tuple[str, str] | None = None, val_fraction: float | None = None,
        val_gap: float = 0.0) -> TrainingData:
    """List, pair and describe the images of a training run.

    Validation pairs are those of `validation_dirs`, inputs and targets, or `val_fraction` of the training pairs, of
    which those within `val_gap` days of them are left out.

    Raises
    ------
    UserError
        A folder is empty, files have no partner, or the images fit neither each other nor the networks nor `data_size`.
    """
    def pairs_in(inputs: str, targets: str) -> Pairs:
        return pair_files(list_images(inputs, input_format), list_images(targets, target_format, side="target"))

    pairs, validation = pairs_in(input_dir, target_dir), pairs_in(*validation_dirs) if validation_dirs else []
    held_out = ""
    if val_fraction and not validation_dirs:
        pairs, validation, held_out = hold_out(pairs, val_fraction, val_gap)
    input, target = read_image(pairs[0][0], input_ch), read_image(pairs[0][1], target_ch, side="target")
    size = input.data.shape[-1]
    if target.data.shape[-1] != size:
        raise UserError(f"{pairs[0][0]} is {size} pixels wide, its target {pairs[0][1]} {target.data.shape[-1]}; "
                        "make them equal")
    if data_size is not None and data_size != size:
        raise UserError(f"{pairs[0][0]} is {size} pixels wide, --data_size says {data_size}; leave --data_size out "
                        "to take the images' own")
    _refuse_unfit(size, n_downsample, n_D)
    return TrainingData(pairs, validation, size, input_flags.scaling_of(input), target_flags.scaling_of(target),
                        input.channels, target.channels, held_out)


def _refuse_unfit(size: int, n_downsample: int, n_D: int) -> None:
    """The generator halves the side down to 2 pixels at least; the discriminator needs 24 at its last scale."""
    multiple, least = 2 ** n_downsample, 24 * 2 ** (n_D - 1)
    if size % multiple:
        most = (size & -size).bit_length() - 1
        raise UserError(f"images of {size} pixels cannot be halved that often: --n_downsample must be at most {most} "
                        f"for this size, or the images padded to a multiple of {multiple}")
    if size < max(least, 2 * multiple):
        raise UserError(f"images of {size} pixels are too small: {n_D} discriminator scales (--n_D) need {least} "
                        f"pixels, {n_downsample} halvings (--n_downsample) {2 * multiple}")
