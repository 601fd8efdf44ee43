"""What a run is: the data it found, the options it was made with, and the table of its losses.

Files of the run's folder are in `checkpoints.py`; the flags in `options.py`; the loop in `pix2pixCC_Train.py`.
"""
from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pix2pixcc.images.cubes import Channel
from pix2pixcc.images.files import list_images, read_image
from pix2pixcc.options import checked, test_parser
from pix2pixcc.pipeline import pair_files
from pix2pixcc.scaling import Scaling, resolve_scaling
from pix2pixcc.training.checkpoints import RunFolder
from pix2pixcc.utils import VERSION, UserError, read_json, stem_of, time_in_name

__all__ = ["TrainingData", "find_training_data", "hold_out", "scaling_flags", "options_record", "changed_options", "as_built",
           "contradicted_scaling", "describe"]

# Options that do not change the mathematics of the run; everything else must stay as it was for a resume.
_FREE = {"gpu_ids", "n_workers", "batch_size", "dataset_name", "input_dir_train", "target_dir_train", "report_freq", "save_freq",
         "display_freq", "display_range", "display_scale", "image_mode", "n_iterations", "n_epochs", "latest_iter", "resume",
         "allow_changed_options", "keep_last", "on_nan", "dry_run", "compile", "checkpoint_activations", "deterministic",
         "val_during_train", "input_dir_val", "target_dir_val", "data_size"}


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


def _refuse_unfit(size: int, n_downsample: int, n_D: int) -> None:
    """The generator halves the side `n_downsample` times, down to 2 pixels at least; a discriminator needs 24 at its last scale."""
    multiple, least = 2 ** n_downsample, 24 * 2 ** (n_D - 1)
    if size % multiple:
        raise UserError(f"images of {size} pixels cannot be halved that often: --n_downsample must be at most "
                        f"{(size & -size).bit_length() - 1} for this size, or the images padded to a multiple of {multiple}")
    if size < max(least, 2 * multiple):
        raise UserError(f"images of {size} pixels are too small: {n_D} discriminator scales (--n_D) need {least} pixels, "
                        f"{n_downsample} halvings (--n_downsample) {2 * multiple}")


def hold_out(pairs: Sequence[tuple[Path, Path]], fraction: float) -> tuple[list, list]:
    """Split pairs into training and validation: the latest share by the time in the name, else the last by name."""
    ordered = sorted(pairs, key=lambda pair: (str(time_in_name(stem_of(pair[0])) or ""), str(pair[0])))
    count = max(1, round(fraction * len(ordered)))
    if count >= len(ordered):
        raise UserError(f"--val_fraction {fraction} leaves none of {len(ordered)} pairs to train on")
    held = set(ordered[-count:])
    return [pair for pair in pairs if pair not in held], ordered[-count:]


def scaling_flags(opt, side: str, described: bool) -> dict:
    """The scaling flags of one side, for `resolve_scaling`; over data with cards only typed ones count, not the model's defaults."""
    names = {"lower": f"saturation_lower_limit_{side}", "upper": f"saturation_upper_limit_{side}", "log": f"logscale_{side}"}
    flags = {key: getattr(opt, name) if name in opt.given or not described else None for key, name in names.items()}
    return flags | {"clip": getattr(opt, f"saturation_clip_{side}")}


def options_record(opt, data: TrainingData, ranks: int, repeats: tuple[int, int]) -> dict:
    """Everything that `options.json` holds: every option, versions, channel cards, scaling."""
    options = {name: value for name, value in vars(opt).items() if name != "given"}
    return {
        "software": "pix2pixCC", "version": VERSION, "torch": str(torch.__version__), "python": platform.python_version(),
        "options": options, "global_batch": opt.batch_size * ranks, "size": data.size, "pairs": len(data.pairs), "data": data.digest,
        "repeats": list(repeats),
        "scaling": {"input": data.input_scaling.to_dict(), "target": data.target_scaling.to_dict()},
        "channels": {side: [channel.to_dict() for channel in channels] if channels else None
                     for side, channels in (("input", data.input_channels), ("target", data.target_channels))},
    }


def changed_options(old: dict, new: dict) -> list[str]:
    """What differs between two option records and would change the mathematics, each as `--flag: was -> is`."""
    before, now = old.get("options", {}), new["options"]
    changes = [f"--{name}: {before[name]} -> {now[name]}" for name in now
               if name not in _FREE and not name.startswith(("saturation_", "logscale_")) and name in before and before[name] != now[name]]
    if now["epoch_decay"] is not None and before.get("n_epochs", 0) > now["n_epochs"]:
        changes.append(f"--n_epochs: {before['n_epochs']} -> {now['n_epochs']} (it may only grow)")
    for name, flag in (("global_batch", "--batch_size times the number of GPUs"), ("scaling", "the scaling (--saturation_*, --logscale_*)"),
                       ("data", "the training pairs"), ("size", "the images' side")):
        if name in old and old[name] != new[name]:
            changes.append(f"{flag}: {_short(old[name])} -> {_short(new[name])}")
    return changes


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:200] + "..."


def as_built(folder: RunFolder, opt, names: Sequence[str]) -> dict | None:
    """Take the options `names` from the run's options.json into `opt`, and return its record; None if there is none.

    Raises
    ------
    UserError
        A flag that the user typed contradicts the checkpoint.
    """
    if not folder.options.is_file():
        return None
    record = read_json(folder.options)
    _check_record(record, folder.options)
    made_with = record["options"]
    for name in names:
        if name not in made_with:
            continue
        if problem := checked(test_parser(), name, made_with[name]):
            raise UserError(f"{folder.options} is damaged: {problem}; put it right, or move it away to give every flag yourself")
        if name in opt.given and getattr(opt, name) != made_with[name]:
            raise UserError(f"--{name} {getattr(opt, name)} contradicts {folder.options}: this model was trained with {made_with[name]}; "
                            "leave the flag out")
        setattr(opt, name, made_with[name])
    return record


def _check_record(record: dict, path: Path) -> None:
    """Raise a `UserError` unless an options file says what a generator is made and used by."""
    try:
        options, scaling, size = record["options"], record["scaling"], record.get("size")
        described = record.get("channels") or {}
        if not isinstance(options, dict) or not (size is None or (type(size) is int and size > 0)):
            raise ValueError("options, size")
        for side in ("input", "target"):
            limits = Scaling.from_dict(scaling[side])
            count = options.get(f"{side}_ch", len(limits.lower))
            channels = [Channel.from_dict(channel) for channel in described.get(side) or []]
            if {len(limits.lower), len(limits.upper), len(limits.log)} != {count} or len(channels) not in (0, count):
                raise ValueError(f"{side} channels")
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged, or not an options file of this program ({type(error).__name__}: {error}); "
                        "move it away to give every flag yourself") from error


def contradicted_scaling(opt, scaling: dict) -> str:
    """The first typed scaling flag that says something else than `scaling` (of options.json); empty if none does."""
    for side in ("input", "target"):
        flags = scaling_flags(opt, side, described=True)
        names = {"lower": f"saturation_lower_limit_{side}", "upper": f"saturation_upper_limit_{side}", "log": f"logscale_{side}"}
        for key, name in names.items():
            built = scaling[side][key]
            if name in opt.given and list(flags[key]) * (len(built) // len(flags[key]) or 1) != built:
                return f"--{name} {' '.join(map(str, flags[key]))} (trained with {' '.join(map(str, built))})"
        if f"saturation_clip_{side}" in opt.given and flags["clip"] != scaling[side]["clip"]:
            return f"--saturation_clip_{side} {flags['clip']} (trained with {scaling[side]['clip']})"
    return ""


def describe(opt, data: TrainingData, ranks: int, device: str, repeats: tuple[int, int], parameters: tuple[int, int]) -> str:
    """The summary of a run that is printed before it starts."""
    steps = -(-min(opt.n_epochs * len(data.pairs), opt.n_iterations or opt.n_epochs * len(data.pairs)) // (opt.batch_size * ranks))
    lines = [("model", f"{opt.model}, {opt.norm_type}, {opt.padding_type} padding; pair of {opt.input_ch * repeats[0]} + "
                       f"{opt.target_ch * repeats[1]} channels over {opt.n_D} scales"),
             ("weights", f"{parameters[0] / 1e6:.2f} M generator, {parameters[1] / 1e6:.2f} M discriminator"),
             ("pairs", f"{len(data.pairs)} to train on, {len(data.validation)} to validate, {data.size} x {data.size} pixels"),
             *_side_lines("input", data.input_channels, data.input_scaling),
             *_side_lines("target", data.target_channels, data.target_scaling),
             ("work", f"{opt.n_epochs} epochs, {steps} steps of {opt.batch_size * ranks}, {opt.data_type} bit, on {ranks} x {device}"),
             ("folder", f"checkpoints/{opt.dataset_name}/")]
    return "\n".join(f"{name:8}{text}" for name, text in lines)


def _side_lines(side: str, channels: list[Channel] | None, scaling: Scaling) -> list[tuple[str, str]]:
    lines = []
    for k, (lower, upper, log) in enumerate(zip(scaling.lower, scaling.upper, scaling.log, strict=True)):
        name = channels[k].name if channels else f"channel {k + 1}"
        how = (", log10" if log else "") + (", clipped" if scaling.clip else "")
        lines.append(("" if k else side, f"{name}: {lower:g} .. {upper:g} -> -1 .. 1{how}"))
    return lines
