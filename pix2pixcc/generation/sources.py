"""From files to generated images: where the inputs come from, and how each output is written.

Inputs are model-ready files, or raw EUVI FITS that are calibrated, registered and stacked on the way. The command is
`pix2pixCC_Test.py`; product headers are made in `products.py`.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from pix2pixcc.images.cubes import Channel
from pix2pixcc.images.files import Image, list_images, read_image
from pix2pixcc.pipeline import Scaling, pad_to_multiple
from pix2pixcc.preparation.cubes import prepare_group, stem_of_group
from pix2pixcc.preparation.index import Record, index_archive
from pix2pixcc.preparation.pairing import Group, describe_missing, farside_channels, farside_groups
from pix2pixcc.solar.observations import identify, read_header
from pix2pixcc.utils import FITS_FORMATS, UserError, stem_of


@dataclass(frozen=True)
class Source:
    """One image to generate from: the name of its output, and how to read it."""

    name: str
    where: str
    read: Callable[[], Image]


@dataclass(frozen=True)
class _ReadFile:
    path: Path
    channels: int

    def __call__(self) -> Image:
        return read_image(self.path, self.channels)


@dataclass(frozen=True)
class _PrepareGroup:
    group: Group
    size: int

    def __call__(self) -> Image:
        prepared = prepare_group(self.group, self.size)
        return Image(prepared.data, prepared.header, prepared.channels, False, Path(prepared.sources[0].path))


def model_ready_sources(folder: str, data_format: str, channels: int) -> list[Source]:
    """The model-ready images of a folder."""
    return [Source(stem_of(path), str(path), _ReadFile(path, channels)) for path in list_images(folder, data_format)]


def raw_sources(records: list[Record], channels: list[Channel], *, size: int, tolerance: float) -> tuple[list[Source], list[str]]:
    """The farside times of raw EUVI files (and of AIA and HMI files for a frontside reference).

    Parameters
    ----------
    records : list of Record
        The index of the files.
    channels : list of Channel
        The channels that the model was trained on.
    size : int
        Pixels on a side that they become.
    tolerance : float
        Minutes within which passbands belong together.

    Returns
    -------
    sources : list of Source
    missing : list of str
        What other times lack (time and passband), and files whose header forbids their use, one line each.
    """
    wanted = farside_channels([channel.name for channel in channels])
    groups, missing = farside_groups(records, wanted, tolerance=tolerance)
    sources = []
    for group in groups:
        records = [choice.candidates[0] for choice in group.choices]
        name = stem_of(records[0].path) if len(records) == 1 else stem_of_group(group, records)
        sources.append(Source(name, f"{group.observer} {group.time:%Y-%m-%dT%H:%M:%S}", _PrepareGroup(group, size)))
    bad = [f"skipped {record.path}: {record.problem}" for record in records if record.name and record.problem]
    return sources, [*describe_missing(missing), *bad]


def find_sources(folder: str, data_format: str, channels: int, *, described: list[Channel] | None, size: int | None, tolerance: float,
                 n_workers: int = 1) -> tuple[list[Source], list[str]]:
    """What to generate from: raw files where the model says what its channels are and the folder holds no cubes, else model-ready files.

    Returns
    -------
    As `raw_sources`.

    Raises
    ------
    UserError
        The folder holds nothing to generate from; the message says what is missing.
    """
    if data_format not in FITS_FORMATS or described is None or size is None:
        return model_ready_sources(folder, data_format, channels), []
    try:
        ready, nothing_ready = model_ready_sources(folder, data_format, channels), None
    except UserError as error:
        ready, nothing_ready = [], error
    if ready and not any(_is_raw(Path(source.where)) for source in ready[:20]):
        return ready, []
    try:
        records = index_archive([folder], n_workers=n_workers)
    except UserError:
        raise nothing_ready or UserError(f"{folder} cannot be read") from None
    sources, missing = raw_sources(records, described, size=size, tolerance=tolerance)
    if not sources:
        wanted = ", ".join(farside_channels([channel.name for channel in described]))
        raise UserError("\n".join([f"{folder}: no time has all that this model needs, {wanted}", *missing[:20]]))
    return sources, missing


def _is_raw(path: Path) -> bool:
    """Whether a FITS file is a single image of a known instrument, neither a cube nor a ready-made input."""
    try:
        header = read_header(path)
        return "CHAN1" not in header and "EXPTIME" in header and identify(header, path) is not None
    except UserError:
        return False


@dataclass(frozen=True)
class Loaded:
    """An input ready for the network; `crop` takes the padding off the output again."""

    source: Source
    tensor: Tensor
    crop: tuple
    image: Image


@dataclass(frozen=True)
class Unreadable:
    """An input that cannot be read, and why."""

    source: Source
    problem: str


class SourceDataset(Dataset):
    """Reads and scales one source an item; a bad one comes back as `Unreadable`, so that the others go on.

    Parameters
    ----------
    scaling : Scaling, or a function of the image that gives it
    multiple : int
        Sides are padded to a multiple of this.
    """

    def __init__(self, sources: list[Source], scaling: Scaling | Callable[[Image], Scaling], multiple: int):
        self.sources, self.scaling, self.multiple = sources, scaling, multiple

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> Loaded | Unreadable:
        source = self.sources[index]
        try:
            image = source.read()
            scaling = self.scaling if isinstance(self.scaling, Scaling) else self.scaling(image)
            padded, crop = pad_to_multiple(scaling.scale(torch.from_numpy(image.data)), self.multiple)
        except UserError as error:
            return Unreadable(source, str(error))
        return Loaded(source, padded, crop, image)


