"""What to generate from: the images of a folder, model-ready, or raw EUVI FITS that are prepared on the way."""
from __future__ import annotations

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from astropy.io import fits
from torch import Tensor

from pix2pixcc.generation.channels import in_the_order_of
from pix2pixcc.images.cubes import Channel
from pix2pixcc.images.files import Image, list_images, read_image
from pix2pixcc.pipeline import pad_to_multiple
from pix2pixcc.preparation.cubes import prepare_group, stem_of_group
from pix2pixcc.preparation.index import CUBE, Record, find_files, index_archive
from pix2pixcc.preparation.pairing import Group, describe_missing, farside_channels, farside_groups
from pix2pixcc.solar.observations import Observation, identify, read_header, read_observation
from pix2pixcc.utils import FITS_FORMATS, UserError, format_of, natural_key, stem_of

LOOKED_AT = 20      # files of a folder whose headers tell what it holds
FileState = list[tuple[str, int, int]]


@dataclass(frozen=True)
class Source:
    """One image to generate from.

    Attributes
    ----------
    name, where : str
        What its output is called, and where it is, in words.
    read : callable
        Returns it.
    paths : tuple of str
        The files that it is, or may be, read from.
    """

    name: str
    where: str
    read: Callable[[], Image]
    paths: tuple[str, ...] = ()

    def state(self) -> FileState:
        """Return the `state_of` its files."""
        return state_of(self.paths)


def state_of(paths: Iterable[str | os.PathLike]) -> FileState:
    """Return name, size and time of modification (ns) of files: what changes when one is written anew."""
    found = []
    for path in paths:
        with contextlib.suppress(OSError):      # its reading will say why
            status = os.stat(path)
            found.append((os.path.basename(path), status.st_size, status.st_mtime_ns))
    return found


def prepared_image(group: Group, size: int, read: Callable[[str], Observation] = read_observation) -> Image:
    """Return the input, `size` pixels wide, that a group of raw images becomes; `read` reads the image of a path.

    What was replaced by another file of its exposure is said on standard error, with the reason.
    """
    prepared = prepare_group(group, size, read=read)
    for path, reason in prepared.problems.items():
        print(f"replaced {path}: {reason}", file=sys.stderr)
    return Image(prepared.data, prepared.header, prepared.channels, False, Path(prepared.sources[0].path))


def raw_sources(records: Sequence[Record], channels: Sequence[Channel], *, size: int, tolerance: float, where: str,
                read: Callable[[str], Observation] = read_observation,
                may_be_none: bool = False) -> tuple[list[Source], list[str]]:
    """Return the farside times of raw EUVI images (and of AIA and HMI images for a frontside reference).

    Parameters
    ----------
    records, channels
        The index of the images, and the channels that the model was trained on.
    size : int
        Pixels on a side that they become.
    tolerance : float
        Minutes within which passbands belong together.
    where, read
        Where the images are, for messages, and what reads the image of a record's path.
    may_be_none : bool
        Whether it is no error that no time is complete.

    Returns
    -------
    sources : list of Source
    missing : list of str
        What other times lack (time and passband), and images whose header forbids their use, one line each.

    Raises
    ------
    UserError
        No time is complete, and the message says what each lacks; or the products of two would have one name.
    """
    wanted = farside_channels([channel.name for channel in channels])
    groups, missing = farside_groups(records, wanted, tolerance=tolerance)
    sources, prefixed = [], []
    for group in groups:
        chosen = [choice.candidates[0] for choice in group.choices]
        alone = len(group.choices) == 1 and len(group.choices[0].candidates) == 1       # no other file may fill in
        name = stem_of(chosen[0].path) if alone else stem_of_group(group, chosen)
        when = f"{group.observer} {group.time:%Y-%m-%dT%H:%M:%S}"
        paths = tuple(record.path for choice in group.choices for record in choice.candidates)
        sources.append(Source(name, when, partial(prepared_image, group, size, read), paths))
        prefixed.append(stem_of_group(group, chosen))
    count = Counter(source.name.casefold() for source in sources)
    sources = [replace(source, name=name) if count[source.name.casefold()] > 1 else source
               for source, name in zip(sources, prefixed, strict=True)]
    lines = describe_missing(missing)
    lines += [f"skipped {record.path}: {record.problem}" for record in records if record.problem]
    if not sources and not may_be_none:
        nothing = f"{where}: no time has all that this model needs, {', '.join(wanted)}"
        raise UserError("\n".join([nothing, *lines[:20]]))
    _refuse_equal_names(sources)
    return sources, lines


def _refuse_equal_names(sources: Sequence[Source]) -> None:
    """Raise a `UserError` if the products of two sources would be one file, on any file system."""
    first: dict[str, Source] = {}
    for source in sources:
        other = first.setdefault(source.name.casefold(), source)
        if other is not source:
            raise UserError(f"{other.paths[0]} and {source.paths[0]} would both become {source.name}_AI: "
                            "move one of them away, or rename it")


def find_sources(folder: str, data_format: str, channels: int, *, described: list[Channel] | None, size: int | None,
                 data_size: int | None, tolerance: float, n_workers: int,
                 index_path: str | os.PathLike | None = None) -> tuple[list[Source], list[str]]:
    """Return what to generate from in a folder, as `raw_sources`: raw files and cubes in any nesting, or its images.

    Parameters
    ----------
    data_format, channels
        Of model-ready files: one of `utils.FORMATS`, and how many channels they must have.
    described, size
        What the model's channels are, and pixels on a side of the images that it was trained on; None for either: no
        raw files are looked for.
    data_size : int or None
        Pixels on a side of the images to generate from, if not those of the training images.
    tolerance : float
        Minutes within which raw files of several passbands belong together.
    n_workers : int
        Processes that read headers.
    index_path : path, optional
        Where the headers of raw files are remembered.

    Raises
    ------
    UserError
        The folder holds nothing to generate from, and the message says what is missing; or two of its files have one
        name.
    """
    side = data_size or size
    read = partial(_read_cube, count=channels, described=described, size=side,
                   size_of="--data_size says" if data_size else "this model was trained on")

    def sources_of(paths: Iterable[Path]) -> list[Source]:
        return [Source(stem_of(path), str(path), partial(read, path), (str(path),)) for path in paths]

    if not (described and side and data_format in FITS_FORMATS and holds_raw_files(folder, data_format)):
        sources, missing = sources_of(list_images(folder, data_format)), _left_below(folder, data_format)
    else:
        records = index_archive([folder], index_path, n_workers=n_workers)
        sources = sources_of(Path(record.path) for record in records if record.problem == CUBE)
        raw = [record for record in records if record.problem != CUBE]
        found, missing = raw_sources(raw, described, size=side, tolerance=tolerance, where=folder,
                                     may_be_none=bool(sources))
        sources += found
    _refuse_equal_names(sources)
    return sources, missing


def _left_below(folder: str, data_format: str) -> list[str]:
    """Return a line that says which files lie in folders below a folder of images, where nobody looks for more."""
    if data_format not in FITS_FORMATS:
        return []
    below = [record.path for record in find_files([folder]) if Path(record.path).parent != Path(folder).absolute()]
    return [f"{len(below)} files in folders below {folder}, such as {below[0]}, are left out: give their own folder"
            ] if below else []


def _read_cube(path: Path, *, count: int, described: list[Channel] | None, size: int | None, size_of: str) -> Image:
    return in_the_order_of(read_image(path, count), described, size, size_of=size_of)


def holds_raw_files(folder: str, data_format: str) -> bool:
    """Return whether a folder is one of raw files: some of its first FITS files are, or all FITS files lie deeper."""
    here = [path for path in Path(folder).glob("[!.]*") if format_of(path) == data_format and not path.is_dir()]
    if here:
        return any(_is_raw_file(path) for path in sorted(here, key=natural_key)[:LOOKED_AT])
    with contextlib.suppress(UserError):      # there is no such folder, or no FITS file in it
        return bool(find_files([folder]))
    return False


def is_raw(header: fits.Header) -> bool:
    """Return whether a header is of a single image of a known instrument, not of a cube or a ready-made input."""
    with contextlib.suppress(UserError):
        return "CHAN1" not in header and "EXPTIME" in header and identify(header) is not None
    return False


def _is_raw_file(path: Path) -> bool:
    with contextlib.suppress(UserError):
        return is_raw(read_header(path))
    return False


@dataclass(frozen=True)
class Loaded:
    """An input ready for the network; `crop` takes the padding off the output again.

    `state` is that of its source before it was read.
    """

    source: Source
    tensor: Tensor
    crop: tuple
    image: Image
    state: FileState


@dataclass(frozen=True)
class Unreadable:
    """An input that cannot be read, and why."""

    source: Source
    problem: str


@dataclass(frozen=True)
class Kept:
    """An input whose output is there already."""

    source: Source


def load_source(source: Source, *, scaled: Callable[[Image], Tensor], multiple: int,
                is_finished: Callable[[Source], bool] | None = None) -> Loaded | Unreadable | Kept:
    """Read a source, scale it to -1..1 by `scaled`, pad its sides to a `multiple`; a bad one comes as `Unreadable`.

    One whose output `is_finished` is not read.
    """
    try:
        if is_finished is not None and is_finished(source):
            return Kept(source)
        state = source.state()
        image = source.read()
        padded, crop = pad_to_multiple(scaled(image), multiple)
    except UserError as error:
        return Unreadable(source, str(error))
    except MemoryError:
        raise
    except Exception as error:          # headers can be wrong in any way, and SunPy, wcslib and astropy raise anything
        return Unreadable(source, f"{type(error).__name__}: {error}")
    return Loaded(source, padded, crop, image, state)
