"""Which magnetograms make the map of which time: files known by their headers, and chosen for each map."""
from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from tqdm import tqdm

from pix2pixcc.images.fits import open_image
from pix2pixcc.parallel.workers import in_parallel
from pix2pixcc.preparation.index import find_files, without_path
from pix2pixcc.utils import VERSION, UserError, file_sha256
from pix2pixcc.whole_sun import history as charts
from pix2pixcc.whole_sun.magnetograms import Place, is_euv, place_of
from pix2pixcc.whole_sun.maps import LEFT_OUT, Input, WholeSunMap, card_name, synchronic
from pix2pixcc.whole_sun.projection import Layers, Strip
from pix2pixcc.whole_sun.recipe import Recipe, read_strip

PRELOAD = ("pix2pixcc.whole_sun.planning", "sunpy.map")
ONE_TIME = timedelta(hours=1)        # within which farside magnetograms of several observers make one map
_STRIPS = 128                        # kept in memory: a megabyte and a half each at 360 columns


@dataclass(frozen=True)
class Entry:
    """One file by its header: a magnetogram, a synoptic map, an EUV image, or nothing that can be used.

    Attributes
    ----------
    path : str
    state : tuple of int
        Size in bytes, and time of modification, ns.
    time : datetime
        Of a magnetogram or a synoptic map, UTC.
    place : Place or None
        Whose view a magnetogram is.
    is_chart, is_other : bool
        Whether it is a synoptic map; whether it is an EUV image.
    problem : str
        Why it cannot be used.
    """

    path: str
    state: tuple[int, int]
    time: datetime = datetime.min
    place: Place | None = None
    is_chart: bool = False
    is_other: bool = False
    problem: str = ""


@dataclass(frozen=True)
class Plan:
    """What makes the map of one time, or why there can be none."""

    time: datetime
    frontside: tuple[Entry, ...] = ()
    farside: tuple[Entry, ...] = ()
    history: tuple[Entry, ...] = ()
    problem: str = ""

    @property
    def stem(self) -> str:
        """Return how the map's files are called: 'synchronic_20110305_1200'."""
        return f"synchronic_{self.time:%Y%m%d_%H%M}"

    def key(self, recipe: Recipe) -> str:
        """Return a digest of all that decides about the map: the same key, the same map."""
        files = [[(os.path.basename(entry.path), *entry.state) for entry in entries]
                 for entries in (self.frontside, self.farside, self.history)]
        content = json.dumps([VERSION, self.time.isoformat(), asdict(recipe), files])
        return hashlib.sha256(content.encode()).hexdigest()[:32]


def read_entry(path: str) -> Entry:
    """Return what a file is by its header."""
    try:
        status = os.stat(path)
        state = status.st_size, status.st_mtime_ns
    except OSError as error:
        return Entry(path, (0, 0), problem=f"{error.strerror}")
    try:
        with open_image(path) as hdu:
            header = hdu.header
        axis = str(header.get("CTYPE1", "")).upper()
        if axis.startswith(charts.HELIOGRAPHIC):
            time = charts.read_chart(path).date.utc.to_datetime()
            return Entry(path, state, time, is_chart=True)
        if is_euv(header):
            return Entry(path, state, is_other=True)
        place = place_of(header, path)[0]
        return Entry(path, state, place.time, place)
    # Headers can be wrong in any way, and SunPy and wcslib raise anything.
    except Exception as error:
        return Entry(path, state, problem=without_path(str(error), path) or type(error).__name__)


def find_entries(paths: Iterable[str], n_workers: int, *, exclude: str | None = None) -> list[Entry]:
    """Return what the FITS files among `paths`, and in the folders among them, are; `exclude` is a folder left out.

    Raises
    ------
    UserError
        A path does not exist, or there is no FITS file.
    """
    files: dict[str, None] = {}
    for path in paths:
        if os.path.isdir(path):
            files |= dict.fromkeys(record.path for record in find_files([path], exclude))
        elif os.path.exists(path):
            files[os.path.abspath(path)] = None
        else:
            raise UserError(f"{path}: there is no such file or folder")
    found = in_parallel(read_entry, list(files), n_workers, block=16, preload=PRELOAD)
    hidden = True if len(files) < 100 else None
    by_path = {entry.path: entry for entry in tqdm(found, "headers", len(files), unit="file", disable=hidden)}
    return [by_path[path] for path in files]


def times_of(frontside: Sequence[Entry], farside: Sequence[Entry], tolerance: float) -> list[datetime]:
    """Return the times of maps: of the frontside magnetograms nearest to those of the farside; all without one.

    A time of the farside that has no frontside within `tolerance` hours stays as it is: its plan says so.
    """
    fronts = sorted({entry.time for entry in frontside if entry.place is not None and not _is_generated(entry)})
    groups: list[datetime] = []
    for entry in sorted((entry for entry in farside if entry.place is not None), key=lambda entry: entry.time):
        if not groups or entry.time - groups[-1] > ONE_TIME:
            groups.append(entry.time)
    if not groups:
        return fronts
    times = set()
    for time in groups:
        nearest = min(fronts, key=lambda front: abs(front - time), default=time)
        times.add(nearest if abs(nearest - time) <= timedelta(hours=tolerance) else time)
    return sorted(times)


def plan_of(time: datetime, frontside: Sequence[Entry], farside: Sequence[Entry], history: Sequence[Entry],
            recipe: Recipe) -> Plan:
    """Choose what makes the map of `time`: of each observer the nearest magnetogram, and the rotation before."""
    near = timedelta(hours=recipe.tolerance)
    try:
        fronts = _nearest(time, [entry for entry in frontside if not _is_generated(entry)], near)
        fars = _nearest(time, farside, near)
    except UserError as error:
        return Plan(time, problem=str(error))
    if not fronts:
        offset = min((abs(entry.time - time) for entry in frontside if entry.place), default=None)
        nearest = "" if offset is None else f" (the nearest is {offset.total_seconds() / 3600:.1f} hours off)"
        return Plan(time, problem=f"no observed magnetogram of the frontside within {recipe.tolerance:g} hours"
                    + nearest)
    seen = {entry.place.name for entry in fronts if entry.place}
    fars = [entry for entry in fars if entry.place and entry.place.name not in seen]      # an observation is better
    before = [entry for entry in history if entry.place is not None and not _is_generated(entry)]
    chosen = [before[k] for k in charts.choose([entry.time for entry in before], time, recipe.history_cadence)]
    maps = [entry for entry in history if entry.is_chart]
    if maps and not chosen:                 # where none is of about that time, its reading says so
        chosen = [min(maps, key=lambda entry: abs(entry.time - time))]
    return Plan(time, tuple(fronts), tuple(fars), tuple(chosen))


def _is_generated(entry: Entry) -> bool:
    return entry.place is not None and entry.place.generated


def _nearest(time: datetime, entries: Sequence[Entry], near: timedelta) -> list[Entry]:
    """Return of each observer the magnetogram nearest to a time, or raise a `UserError` where two are equally so."""
    of_observer: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.place is not None and abs(entry.time - time) <= near:
            of_observer.setdefault(entry.place.name, []).append(entry)
    best = []
    for name, its in of_observer.items():
        nearest = min(its, key=lambda entry: abs(entry.time - time))
        for other in its:
            if other.time == nearest.time and other.path != nearest.path:
                raise UserError(f"{nearest.path} and {other.path} are both magnetograms of {name} at "
                                f"{other.time:%Y-%m-%dT%H:%M:%S}: give one of them")
        best.append(nearest)
    return best


@lru_cache(maxsize=_STRIPS)
def _strip(path: str, state: tuple[int, int], recipe: Recipe, *, history: bool) -> Strip:
    return read_strip(path, recipe, history=history)


@lru_cache(maxsize=4 * _STRIPS)
def _sha256(path: str, state: tuple[int, int]) -> str:
    return file_sha256(path)


def make_map(plan: Plan, recipe: Recipe) -> tuple[WholeSunMap, list[str]]:
    """Return the map of a plan, and why files of the history that cannot be used were left out.

    A `UserError` says which file of now cannot be used, or what is missing.
    """
    grid = recipe.grid(plan.time)
    inputs = [_input("frontside", entry) for entry in plan.frontside]
    inputs += [_input("farside", entry) for entry in plan.farside]
    frontside, farside = ([_strip(entry.path, entry.state, recipe, history=False) for entry in entries]
                          for entries in (plan.frontside, plan.farside))
    history, problems = Layers.empty(grid.shape), []
    for entry in plan.history:
        try:
            if entry.is_chart:
                chart = charts.read_chart(entry.path)
                history = history + charts.chart_of_map(chart, grid, recipe.fading, entry.path)
            else:
                strip = _strip(entry.path, entry.state, recipe, history=True)
                history = history + charts.chart_of_strips([strip], grid, recipe.fading)
        except UserError as error:
            problems.append(str(error))
            inputs.append(_input(LEFT_OUT, entry))
        else:
            inputs.append(_input("history", entry))
    try:
        return synchronic(frontside, farside, history, plan.time, recipe, inputs), problems
    except UserError as error:
        raise UserError("; ".join([str(error), *problems[:3]])) from error


def _input(role: str, entry: Entry) -> Input:
    observer = "synoptic map" if entry.place is None else entry.place.label
    return Input(role, card_name(entry.path), observer, f"{entry.time:%Y-%m-%dT%H:%M:%S}",
                 _sha256(entry.path, entry.state))
