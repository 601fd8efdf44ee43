"""The record of a run, `options.json`: made, compared with an older one, read to build the model that it describes."""
from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pix2pixcc.images.cubes import Channel
from pix2pixcc.networks import NORMS, PADDINGS
from pix2pixcc.parallel.ranks import parameter_count
from pix2pixcc.pipeline import Scaling
from pix2pixcc.training.data import TrainingData
from pix2pixcc.utils import VERSION, UserError, read_json

# What a generator is built from, and the values that a record may give each of them.
SETTINGS: dict[str, tuple | range] = {
    "model": ("pix2pixCC", "pix2pixHD"), "input_ch": range(1, 4097), "target_ch": range(1, 4097),
    "n_gf": range(1, 4097), "n_downsample": range(17), "n_residual": range(1001), "trans_conv": (False, True),
    "norm_type": tuple(NORMS), "padding_type": tuple(PADDINGS)}

# Options that do not change the mathematics of the run; everything else must stay as it was for a resume.
_FREE = {"gpu_ids", "n_workers", "batch_size", "dataset_name", "input_dir_train", "target_dir_train", "report_freq",
         "save_freq", "display_freq", "display_range", "display_scale", "image_mode", "n_iterations", "n_epochs",
         "latest_iter", "resume", "allow_changed_options", "keep_last", "on_nan", "dry_run", "compile",
         "checkpoint_activations", "deterministic", "val_during_train", "input_dir_val", "target_dir_val", "data_size"}


@dataclass(frozen=True)
class RunRecord:
    """Hold what a run was made with: every option, versions, the data, its scaling and its channels.

    `content` is that of `options.json` and of training states, `path` the file that it was read from.
    """

    content: dict[str, Any]
    path: Path | None = None

    @classmethod
    def from_run(cls, options: Mapping[str, Any], data: TrainingData, *, ranks: int,
                 repeats: tuple[int, int]) -> RunRecord:
        """Make the record of a run of `ranks` processes from all flags by name; `repeats` are of `channel_repeats`."""
        channels = {"input": data.input_channels, "target": data.target_channels}
        return cls({
            "software": "pix2pixCC", "version": VERSION, "torch": str(torch.__version__),
            "python": platform.python_version(), "options": dict(options),
            "global_batch": options["batch_size"] * ranks, "size": data.size, "pairs": len(data.pairs),
            "data": data.digest, "repeats": list(repeats),
            "scaling": {"input": data.input_scaling.to_dict(), "target": data.target_scaling.to_dict()},
            "channels": {side: [channel.to_dict() for channel in described] if described else None
                         for side, described in channels.items()}})

    @classmethod
    def read(cls, path: Path, iteration: int | None = None) -> RunRecord:
        """Read an options file, as it is now or as it was at the checkpoint of `iteration`.

        Raises
        ------
        UserError
            It does not say what a generator is built from and fed with.
        """
        content = read_json(path)
        try:
            record = cls(content if iteration is None else _content_at(content, iteration), path)
            is_a_size = record.size is None or (type(record.size) is int and record.size > 0)
            if not isinstance(record.options, dict) or not is_a_size:
                raise ValueError("options, size")
            for side in ("input", "target"):
                scaling, channels = record.scaling(side), record.channels(side) or []
                count = record.options.get(f"{side}_ch", len(scaling.lower))
                lengths = {len(scaling.lower), len(scaling.upper), len(scaling.log)}
                if lengths != {count} or len(channels) not in (0, count):
                    raise ValueError(f"{side} channels")
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is damaged, or not an options file of this program ({type(error).__name__}: "
                            f"{error}); move it away to give every flag yourself") from error
        for name, allowed in SETTINGS.items():
            value = record.options.get(name, allowed[0])
            if type(value) is not type(allowed[0]) or value not in allowed:
                raise UserError(f"{path} is damaged: --{name} cannot be {value!r}; put it right, or move it away "
                                "to give every flag yourself")
        return record

    def following(self, path: Path, iteration: int) -> dict[str, Any]:
        """Return the content of the options file at `path` once its run goes on from `iteration` under this record.

        Where that changes what checkpoints are used with, the list `former` keeps the older contents, each with the
        last iteration, `until`, that it holds for.
        """
        try:
            older = read_json(path) if iteration else {}
            former = [one for one in older.get("former", []) if one["until"] < iteration]
            before = _content_at(older, iteration)
            if before and _of_use(before) != _of_use(self.content):
                former.append({**before, "until": iteration})
                former[-1].pop("former", None)
        except (UserError, KeyError, TypeError, AttributeError):      # missing or damaged: written anew
            return self.content
        return self.content | ({"former": former} if former else {})

    @property
    def options(self) -> dict[str, Any]:
        """Every flag of the training, by name."""
        return self.content["options"]

    @property
    def size(self) -> int | None:
        """Pixels on a side of the training images; None in records that do not say."""
        return self.content.get("size")

    def scaling(self, side: str) -> Scaling:
        """Return the scaling of `side`, 'input' or 'target'."""
        return Scaling.from_dict(self.content["scaling"][side])

    def channels(self, side: str) -> list[Channel] | None:
        """Return what each channel of `side` was; None for data without cards."""
        described = (self.content.get("channels") or {}).get(side)
        return [Channel.from_dict(channel) for channel in described] if described else None

    def settings(self, typed: Mapping[str, Any]) -> dict[str, Any]:
        """Return the `SETTINGS` that the model was trained with; `UserError` if a flag in `typed` contradicts one."""
        settings = {name: self.options[name] for name in SETTINGS if name in self.options}
        for name, value in settings.items():
            if typed.get(name, value) != value:
                raise UserError(f"--{name} {typed[name]} contradicts {self.path}: this model was trained with {value}; "
                                "leave the flag out")
        return settings

    def differences(self, older: RunRecord) -> list[str]:
        """Return what differs from an `older` record and changes the mathematics, each as `--flag: was -> is`."""
        before, now = older.content.get("options", {}), self.options
        binding = [name for name in now if name not in _FREE and not name.startswith(("saturation_", "logscale_"))]
        changes = [f"--{name}: {before[name]} -> {now[name]}" for name in binding
                   if name in before and before[name] != now[name]]
        if now["epoch_decay"] is not None and before.get("n_epochs", 0) > now["n_epochs"]:
            changes.append(f"--n_epochs: {before['n_epochs']} -> {now['n_epochs']} (it may only grow)")
        facts = {"global_batch": "--batch_size times the number of GPUs", "data": "the training pairs",
                 "scaling": "the scaling (--saturation_*, --logscale_*)", "size": "the images' side"}
        for name, flag in facts.items():
            if name in older.content and older.content[name] != self.content[name]:
                changes.append(f"{flag}: {_short(older.content[name])} -> {_short(self.content[name])}")
        return changes

    def describe(self, data: TrainingData, networks: tuple[nn.Module, nn.Module], device: torch.device) -> str:
        """Return the summary of a run of generator and discriminator that is printed before it starts."""
        made, repeats, batch = self.options, self.content["repeats"], self.content["global_batch"]
        pair = f"{made['input_ch'] * repeats[0]} + {made['target_ch'] * repeats[1]} channels over {made['n_D']} scales"
        steps = -(-data.last_iteration(made["n_epochs"], made["n_iterations"]) // batch)
        weights = [parameter_count(network) / 1e6 for network in networks]
        images = f"{len(data.pairs)} to train on, {len(data.validation)} to validate, {data.size} x {data.size} pixels"
        lines = [("model", f"{made['model']}, {made['norm_type']}, {made['padding_type']} padding; pair of {pair}"),
                 ("weights", f"{weights[0]:.2f} M generator, {weights[1]:.2f} M discriminator"), ("pairs", images),
                 *([("", data.held_out)] if data.held_out else []),
                 *_side_lines("input", data.input_channels, data.input_scaling),
                 *_side_lines("target", data.target_channels, data.target_scaling),
                 ("work", f"{made['n_epochs']} epochs, {steps} steps of {batch}, {made['data_type']} bit, "
                          f"on {batch // made['batch_size']} x {device}"),
                 ("folder", f"checkpoints/{made['dataset_name']}/")]
        return "\n".join(f"{name:8}{text}" for name, text in lines)


def _content_at(content: dict[str, Any], iteration: int) -> dict[str, Any]:
    return next((one for one in content.get("former", []) if iteration <= one["until"]), content)


def _of_use(content: dict[str, Any]) -> tuple:
    """What a checkpoint is used with: its network, scaling, channels and size."""
    network = {name: content["options"].get(name) for name in SETTINGS}
    return network, *(content.get(name) for name in ("scaling", "channels", "size"))


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:200] + "..."


def _side_lines(side: str, channels: list[Channel] | None, scaling: Scaling) -> list[tuple[str, str]]:
    lines = []
    for k, (lower, upper, log) in enumerate(zip(scaling.lower, scaling.upper, scaling.log, strict=True)):
        name = channels[k].name if channels else f"channel {k + 1}"
        how = (", log10" if log else "") + (", clipped" if scaling.clip else "")
        lines.append(("" if k else side, f"{name}: {lower:g} .. {upper:g} -> -1 .. 1{how}"))
    return lines
