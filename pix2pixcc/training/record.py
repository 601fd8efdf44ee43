"""What a run is: the data it found, the options it was made with, and the table of its losses.

Files of the run's folder are in `checkpoints.py`; the flags in `options.py`; the loop in `pix2pixCC_Train.py`.
"""
from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

import torch

from pix2pixcc.images.cubes import Channel
from pix2pixcc.options import checked, test_parser
from pix2pixcc.pipeline import Scaling
from pix2pixcc.training.data import TrainingData
from pix2pixcc.training.folder import RunFolder
from pix2pixcc.utils import VERSION, UserError, read_json

# Options that do not change the mathematics of the run; everything else must stay as it was for a resume.
_FREE = {"gpu_ids", "n_workers", "batch_size", "dataset_name", "input_dir_train", "target_dir_train", "report_freq", "save_freq",
         "display_freq", "display_range", "display_scale", "image_mode", "n_iterations", "n_epochs", "latest_iter", "resume",
         "allow_changed_options", "keep_last", "on_nan", "dry_run", "compile", "checkpoint_activations", "deterministic",
         "val_during_train", "input_dir_val", "target_dir_val", "data_size"}


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
