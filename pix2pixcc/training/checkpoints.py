"""Tensors to and from files: whole or not at all, and nothing that a file carries is ever run."""
from __future__ import annotations

import os
import pickle
import re
import warnings
import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

from pix2pixcc.utils import UserError, atomic_path


def read_tensors(path: Path) -> dict:
    """Read a dict of tensors and plain values from a file of `torch.save`; nothing in the file is run.

    Raises
    ------
    UserError
        The file is missing, damaged (its checksums are verified, which `torch.load` does not), or holds anything else.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise UserError(f"{path} is no file; move it away")
    try:
        _check_archive(path)
        with warnings.catch_warnings(action="ignore"):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    # A damaged file leads the reader to anything from struct.error to MemoryError.
    except Exception as error:
        raise UserError(_why_unreadable(path, error)) from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no state_dict but a {type(content).__name__}")
    return content


def _check_archive(path: Path) -> None:
    """Refuse an archive (the format since PyTorch 1.6) whose parts have wrong checksums or would expand."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
            raise ValueError("compressed")
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"checksum of {damaged}")


def _why_unreadable(path: Path, error: Exception) -> str:
    cause = str(error.__context__ or error)
    program = re.search(r"GLOBAL ([\w.]+)", cause) if isinstance(error, pickle.UnpicklingError) else None
    if program:
        return (f"{path} holds more than weights: loading it would run {program[1]}. Nothing of it was run; "
                "save a plain state_dict instead")
    return (f"cannot read {path}: it is damaged, or not what torch.save makes of a state_dict "
            f"({type(error).__name__}); nothing of it was run. Replace it with a good copy, or move it away")


def read_weights(path: str | os.PathLike) -> dict[str, Tensor]:
    """Read a plain `state_dict` from a file, without the `module.` that DataParallel puts before each name.

    Raises
    ------
    UserError
        As `read_tensors`, or the file holds anything but named tensors.
    """
    state = read_tensors(Path(path))
    if not state or not all(isinstance(value, Tensor) and isinstance(name, str) for name, value in state.items()):
        raise UserError(f"{path} is no plain state_dict of tensors")
    return {name.removeprefix("module."): value for name, value in state.items()}


def load_weights(network: nn.Module, path: str | os.PathLike) -> None:
    """Load a `state_dict` file into `network`; one that was built on the device `meta` gets its memory now, on the CPU.

    Raises
    ------
    UserError
        The file is of another model, depth or width; the message names the first difference.
    """
    state = read_weights(path)
    difference = first_difference(network, state)
    if difference:
        raise UserError(f"{path} is of another network: {difference}. Check --model, --input_ch, --target_ch, --n_gf, "
                        "--n_downsample, --n_residual, --norm_type and --trans_conv")
    if any(parameter.is_meta for parameter in network.parameters()):
        network.to_empty(device="cpu")
    network.load_state_dict(state)


def first_difference(network: nn.Module, state: dict) -> str:
    """Return the first way in which a `state_dict` does not fit `network`; empty if it fits."""
    own = network.state_dict()
    for name, value in own.items():
        if name in state and state[name].shape != value.shape:
            return f"{name} is {tuple(state[name].shape)} there and {tuple(value.shape)} here"
    for name in own:
        if name not in state:
            return f"it lacks {name}"
    return next((f"it has {name}, which this network lacks" for name in state if name not in own), "")


def snapshot(state: object) -> object:
    """Return a copy of a nested state on the CPU, which training no longer changes."""
    if isinstance(state, Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, dict):
        return {key: snapshot(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(snapshot(value) for value in state)
    return state


def save_tensors(path: Path, state: object) -> None:
    """Write `state` with `torch.save`, atomically."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:      # torch wraps what the disk said
            said = error.__context__
            raise said if isinstance(said, OSError) else OSError(str(error).splitlines()[0]) from error
