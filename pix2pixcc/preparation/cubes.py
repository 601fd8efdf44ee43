"""From a group of raw files to a cube: read, judge, register, stack; many at a time, and never twice."""
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
from pix2pixcc.images.fits import open_image
from pix2pixcc.preparation.index import Record, without_path
from pix2pixcc.preparation.pairing import Choice, Group, Missing
from pix2pixcc.preparation.settings import MAX_MISSING, RULES, Settings
from pix2pixcc.solar.headers import mean_header
from pix2pixcc.solar.instruments import SPACECRAFT
from pix2pixcc.solar.observations import Observation, mean_time, read_observation
from pix2pixcc.solar.quality import quality_problem
from pix2pixcc.solar.registration import prepare_channel
from pix2pixcc.utils import VERSION, UserError

KEY_CARD = "PREPKEY"


class IncompleteGroup(UserError):
    """No image of a channel is good; `missing` says which, `problems` what was wrong with each (path: reason)."""

    def __init__(self, missing: Missing, problems: dict[str, str]) -> None:
        super().__init__(f"{missing.time:%Y-%m-%dT%H:%M} {missing.observer} lacks {missing.name}: "
                         + "; ".join(f"{path}: {reason}" for path, reason in problems.items()))
        self.missing = missing
        self.problems = problems


@dataclass
class Prepared:
    """A cube in memory."""

    data: np.ndarray                # float32 (C, size, size)
    header: fits.Header             # of the observer at the mean time of the EUV images
    channels: list[Channel]
    sources: list[Record]           # the file of each channel
    problems: dict[str, str]        # path and reason of the images that were tried before and found bad

    @property
    def time(self) -> datetime:
        """Return the mean time of the EUV images, by which the product is called."""
        return datetime.fromisoformat(self.header["DATE-OBS"])


def stem_of_group(group: Group, sources: Sequence[Record]) -> str:
    """Return the name of a cube: observer and mean time of the EUV images of now, `stereo_b_20110305_120403`."""
    now = [source.when for choice, source in zip(group.choices, sources, strict=True) if not choice.is_reference]
    rounded = mean_time(now) + timedelta(seconds=0.5)
    return f"{SPACECRAFT[group.observer].stem}_{rounded:%Y%m%d_%H%M%S}"


def _known_problem(record: Record, settings: Settings) -> str:
    return record.pixel_problem if record.max_missing == settings.max_missing else ""


def _prepare_choice(choice: Choice, group: Group, settings: Settings, problems: dict[str, str],
                    read: Callable[[str], Observation]) -> tuple[np.ndarray, Channel, fits.Header, Record]:
    """Return the first good image of a channel, registered; what is bad goes to `problems`."""
    tried = {}
    for record in choice.candidates:
        reason = problems.get(record.path) or _known_problem(record, settings)
        if not reason:
            try:
                observation = read(record.path)
                reason = quality_problem(observation, max_missing=settings.max_missing) or ""
                if not reason:
                    return *prepare_channel(observation, settings.size), record
            except MemoryError:
                raise
            # Headers can be wrong in any way, and SunPy and wcslib raise anything.
            except Exception as error:
                reason = without_path(str(error), record.path) or type(error).__name__
        problems[record.path] = tried[record.path] = reason
    raise IncompleteGroup(Missing(group.observer, group.time, choice.name, choice.candidates[0].when, "no good image",
                                  is_reference=choice.is_reference), tried)


def prepare_group(group: Group, size: int, *, max_missing: float = MAX_MISSING,
                  read: Callable[[str], Observation] | None = None) -> Prepared:
    """Read, calibrate and register one image of each channel, falling back on its next candidate where one is bad.

    The cube has `size` pixels on a side; a disk may lack the share `max_missing` of its pixels; `read` gives the image
    of a record's path, by default from the file there.

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
        data[k], channel, header, record = _prepare_choice(choice, group, settings, problems, read or read_observation)
        channels.append(channel)
        headers.append(header)
        sources.append(record)
    now = [header for choice, header in zip(group.choices, headers, strict=True) if not choice.is_reference]
    return Prepared(data, mean_header(now), channels, sources, problems)


@dataclass(frozen=True)
class Job:
    """The cubes of one time: each a group and the folder that it goes to; the first names them all."""

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
    replaced: dict[str, str] = field(default_factory=dict)      # path of a bad file -> path of what was taken instead


def _key(job: Job, sources: Sequence[Record]) -> str:
    """Return a digest of the settings and of each channel's file: the same key, the same cube."""
    content = [VERSION, RULES, job.settings.size, job.settings.max_missing,
               [choice.name for group in job.groups for choice in group.choices],
               [(os.path.basename(record.path), record.size, int(record.mtime)) for record in sources]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def _is_finished(path: Path, key: str) -> bool:
    """Return whether `path` is a whole cube made under `key`."""
    try:
        with open_image(path) as hdu:
            return hdu.header.get(KEY_CARD) == key
    except UserError:
        return False


def _expected_sources(job: Job) -> list[list[Record]] | None:
    """Return the files that the job would take, as far as is known without reading one; None if a channel has none."""
    sources = []
    for group in job.groups:
        good = [[record for record in choice.candidates if not _known_problem(record, job.settings)]
                for choice in group.choices]
        if not all(good):
            return None
        sources.append([some[0] for some in good])
    return sources


def _passed_over(job: Job, sources: Sequence[Sequence[Record]]) -> list[tuple[Record, Record]]:
    """Return the candidates that go before `sources`, the files of each channel, each with the file taken instead."""
    return [(record, source) for group, some in zip(job.groups, sources, strict=True)
            for choice, source in zip(group.choices, some, strict=True)
            for record in choice.candidates[:choice.candidates.index(source)]]


def _known_problems(job: Job, sources: Sequence[Sequence[Record]]) -> dict[str, str]:
    return {record.path: _known_problem(record, job.settings) for record, _ in _passed_over(job, sources)}


def _replaced(job: Job, sources: Sequence[Sequence[Record]]) -> dict[str, str]:
    return {record.path: source.path for record, source in _passed_over(job, sources)}


def make_cubes(job: Job) -> Outcome:
    """Write the cubes of `job`, unless they are there, made of the same files under the same settings."""
    expected = _expected_sources(job)
    if expected is not None:
        paths, key, sources = _names(job, expected)
        if all(_is_finished(path, key) for path in paths):
            return Outcome("present", job, list(map(str, paths)), _known_problems(job, expected), sources,
                           replaced=_replaced(job, expected))
    problems: dict[str, str] = {}
    prepared = []
    try:
        for group in job.groups:
            prepared.append(prepare_group(group, job.settings.size, max_missing=job.settings.max_missing))
            problems |= prepared[-1].problems
    except IncompleteGroup as incomplete:
        return Outcome("incomplete", job, [], problems | incomplete.problems, missing=incomplete.missing)
    paths, key, sources = _names(job, [cube.sources for cube in prepared])
    for path, cube in list(zip(paths, prepared, strict=True))[::-1]:      # the input last: it stands for the pair
        cube.header[KEY_CARD] = (key, "digest of the inputs and settings")
        for k, record in enumerate(cube.sources, 1):      # a header is ASCII
            cube.header[f"FILE{k}"] = os.path.basename(record.path).encode("unicode_escape").decode()
        write_cube(path, cube.data, cube.header, cube.channels)
    return Outcome("written", job, list(map(str, paths)), problems, sources,
                   replaced=_replaced(job, [cube.sources for cube in prepared]))


def _names(job: Job, sources: Sequence[Sequence[Record]]) -> tuple[list[Path], str, list[str]]:
    """Return the paths of the cubes, their key and the paths of the files that they are made of."""
    name = stem_of_group(job.groups[0], sources[0]) + ".fits"
    records = [record for some in sources for record in some]
    return [Path(folder, name) for folder in job.folders], _key(job, records), [record.path for record in records]
