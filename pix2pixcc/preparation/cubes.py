"""From a group of raw files to a cube: read, judge, register, stack; many at a time, and never twice.

What belongs together is decided in `pairing.py`; calibration and registration are in `solar.py`.
"""
from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from astropy.io import fits

from pix2pixcc.images.cubes import Channel, write_cube
from pix2pixcc.preparation.index import Record, without_path
from pix2pixcc.preparation.pairing import Choice, Group, Missing
from pix2pixcc.solar.headers import mean_header
from pix2pixcc.solar.instruments import SPACECRAFT
from pix2pixcc.solar.observations import Observation, mean_time, read_observation
from pix2pixcc.solar.quality import DEFAULT_MAX_MISSING, quality_problem
from pix2pixcc.solar.registration import prepare_channel
from pix2pixcc.utils import VERSION, UserError

KEY_CARD = "PREPKEY"


@dataclass(frozen=True)
class Settings:
    """What besides the files decides a cube's values."""

    size: int = 1024
    max_missing: float = DEFAULT_MAX_MISSING


class IncompleteGroup(UserError):
    """No image of a channel is good; `missing` says which, `problems` what was wrong with each (path: reason)."""

    def __init__(self, missing: Missing, problems: dict[str, str]) -> None:
        super().__init__(f"{missing.time:%Y-%m-%dT%H:%M} {missing.observer} lacks {missing.name}: "
                         + "; ".join(f"{path}: {reason}" for path, reason in problems.items()))
        self.missing = missing
        self.problems = problems


@dataclass
class Prepared:
    """A cube in memory.

    Attributes
    ----------
    data : float32 ndarray (C, size, size)
    header : fits.Header
        The observer at the mean time of the EUV images.
    channels : list of Channel
    sources : list of Record
        The file of each channel.
    problems : dict
        Path and reason of the images that were tried before and found bad.
    """

    data: np.ndarray
    header: fits.Header
    channels: list[Channel]
    sources: list[Record]
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def time(self) -> datetime:
        """The mean time of the EUV images, as the product calls itself by."""
        return datetime.fromisoformat(self.header["DATE-OBS"])


def stem_of_group(group: Group, sources: Sequence[Record]) -> str:
    """`stereo_b_20110305_120403`: the observer and the mean time of the EUV images of now."""
    now = [source.when for choice, source in zip(group.choices, sources, strict=True) if not choice.is_reference]
    return f"{SPACECRAFT[group.observer].stem}_{mean_time(now) + timedelta(seconds=0.5):%Y%m%d_%H%M%S}"      # the nearest second


def _known_problem(record: Record, settings: Settings) -> str:
    return record.pixel_problem if record.max_missing == settings.max_missing else ""


def _prepare_choice(choice: Choice, group: Group, settings: Settings, problems: dict[str, str],
                    read: Callable[[str], Observation]) -> tuple[np.ndarray, Channel, fits.Header, Record]:
    """The first good image of a channel, registered; what is bad goes to `problems`."""
    tried = {}
    for record in choice.candidates:
        reason = problems.get(record.path) or _known_problem(record, settings)
        if not reason:
            try:
                observation = read(record.path)
                reason = quality_problem(observation, max_missing=settings.max_missing) or ""
                if not reason:
                    return *prepare_channel(observation, settings.size), record
            except (UserError, ValueError, ArithmeticError) as error:      # SunPy and WCS refuse odd headers in many ways
                reason = without_path(str(error), record.path)
        problems[record.path] = tried[record.path] = reason
    raise IncompleteGroup(Missing(group.observer, group.time, choice.name, choice.candidates[0].when, "no good image",
                                  is_reference=choice.is_reference), tried)


def prepare_group(group: Group, size: int, *, max_missing: float = DEFAULT_MAX_MISSING,
                  read: Callable[[str], Observation] = read_observation) -> Prepared:
    """Read, calibrate and register one image of each channel, falling back on the next best where one is bad.

    Parameters
    ----------
    group : Group
        From `pairing.farside_groups` or `pairing.frontside_pairs`.
    size : int
        Side of the cube in pixels.
    max_missing : float
        The greatest share of missing pixels on the disk.
    read : callable
        Reads the image of a record's path.

    Raises
    ------
    IncompleteGroup
        A channel has no good image.
    """
    settings = Settings(size, max_missing)
    problems: dict[str, str] = {}
    data = np.empty((len(group.choices), size, size), np.float32)
    channels, headers, sources = [], [], []
    for k, choice in enumerate(group.choices):
        data[k], channel, header, record = _prepare_choice(choice, group, settings, problems, read)
        channels.append(channel)
        headers.append(header)
        sources.append(record)
    now = [header for choice, header in zip(group.choices, headers, strict=True) if not choice.is_reference]
    return Prepared(data, mean_header(now), channels, sources, problems)


@dataclass(frozen=True)
class Job:
    """The cubes of one time: each a group and the folder that it goes to. The first names them all."""

    groups: tuple[Group, ...]
    folders: tuple[str, ...]
    settings: Settings


@dataclass
class Outcome:
    """What became of a job: `written`, `present` (it was there already) or `incomplete`."""

    state: str
    job: Job
    paths: list[str]
    problems: dict[str, str]
    sources: list[str] = field(default_factory=list)
    missing: Missing | None = None


def _key(job: Job, sources: Sequence[Record]) -> str:
    """A digest of the settings and of each channel's file: the same key, the same cube."""
    content = [VERSION, job.settings.size, job.settings.max_missing, [choice.name for group in job.groups for choice in group.choices],
               [(os.path.basename(record.path), record.size, int(record.mtime)) for record in sources]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def _is_finished(path: Path, key: str) -> bool:
    """Whether `path` is a whole cube made under `key`."""
    try:
        header = fits.getheader(path)
        data_bytes = 4 * header["NAXIS1"] * header["NAXIS2"] * header["NAXIS3"]
        return header.get(KEY_CARD) == key and path.stat().st_size > data_bytes
    except (OSError, KeyError):
        return False


def _expected_sources(job: Job) -> tuple[list[list[Record]], dict[str, str]] | None:
    """The files that the job would take as far as is known without reading one, or None if a channel has none left."""
    known, sources = {}, []
    for group in job.groups:
        of_group = []
        for choice in group.choices:
            for record in choice.candidates:
                reason = _known_problem(record, job.settings)
                if not reason:
                    of_group.append(record)
                    break
                known[record.path] = reason
            else:
                return None
        sources.append(of_group)
    return sources, known


def make_cubes(job: Job) -> Outcome:
    """Write the cubes of `job`, unless they are there, made of the same files under the same settings."""
    expected = _expected_sources(job)
    if expected is not None:
        sources, problems = expected
        paths = _paths(job, sources)
        key = _key(job, [record for some in sources for record in some])
        if all(_is_finished(path, key) for path in paths):
            return Outcome("present", job, [str(path) for path in paths], problems, [record.path for some in sources for record in some])
    problems = {}
    prepared = []
    try:
        for group in job.groups:
            cube = prepare_group(group, job.settings.size, max_missing=job.settings.max_missing)
            problems |= cube.problems
            prepared.append(cube)
    except IncompleteGroup as incomplete:
        return Outcome("incomplete", job, [], problems | incomplete.problems, missing=incomplete.missing)
    paths = _paths(job, [cube.sources for cube in prepared])
    key = _key(job, [record for cube in prepared for record in cube.sources])
    for path, cube in zip(reversed(paths), reversed(prepared), strict=True):       # the input last: it stands for the whole pair
        cube.header[KEY_CARD] = (key, "digest of the inputs and settings")
        for k, record in enumerate(cube.sources, 1):
            cube.header[f"FILE{k}"] = os.path.basename(record.path).encode("unicode_escape").decode()      # a header is ASCII
        write_cube(path, cube.data, cube.header, cube.channels)
    return Outcome("written", job, [str(path) for path in paths], problems, [record.path for cube in prepared for record in cube.sources])


def _paths(job: Job, sources: Sequence[Sequence[Record]]) -> list[Path]:
    stem = stem_of_group(job.groups[0], sources[0])
    return [Path(folder) / f"{stem}.fits" for folder in job.folders]
