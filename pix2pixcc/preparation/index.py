"""A raw archive's files, known by their headers: found in any nesting, read once, and remembered.

What is learned is kept in one small file of JSON lines; a raw file whose size and modification time are unchanged is
not opened again.
"""
from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from datetime import datetime

from astropy.io import fits
from tqdm import tqdm

from pix2pixcc.images.fits import is_number, open_image
from pix2pixcc.parallel.workers import in_parallel
from pix2pixcc.preparation.settings import RULES
from pix2pixcc.solar.headers import registered_header
from pix2pixcc.solar.instruments import MAGNETOGRAM, SDO, spacecraft_of
from pix2pixcc.solar.observations import identify, read_header
from pix2pixcc.solar.quality import foreign_problem, header_problem
from pix2pixcc.solar.quality_bits import is_near_real_time
from pix2pixcc.solar.spelling import standard_header
from pix2pixcc.utils import UserError, atomic_path

RAW_SUFFIXES = (".fits", ".fts", ".fit", ".fits.gz", ".fts.gz", ".fit.gz", ".fz")
PRELOAD = ("pix2pixcc.preparation.cubes", "sunpy.map")      # what workers need and takes seconds to import
CUBE = "a prepared cube, not a raw observation"
_SAVE_EVERY_S = 60.0               # an interrupted scan loses at most this much


@dataclass(frozen=True)
class Record:
    """What is remembered of one raw file."""

    path: str                        # with the same path, size and mtime a file is not opened again
    size: int                        # bytes
    mtime: float                     # time of modification, s
    name: str = ""                   # what it observed, as `Channel.name`; empty for what is no AIA, HMI or EUVI image
    time: str = ""                   # of the observation (DATE-OBS), UTC, ISO 8601
    problem: str = ""                # why the header forbids its use; empty if it is good
    longitude: float = 0.0           # of the observer, Stonyhurst, degrees
    level: float = 0.0               # level, missing and pixels tell the better of two files of one exposure
    missing: int = 0                 # lost segments (EUVI), or pixels without a value (AIA, HMI)
    pixels: int = 0
    cadence: float = 0.0             # s; tells a 720 s from a 45 s magnetogram
    pixel_problem: str = ""          # why its pixels forbade its use when they were read under `max_missing`
    max_missing: float = 0.0

    @property
    def when(self) -> datetime:
        """Return the time of the observation."""
        return datetime.fromisoformat(self.time)

    @property
    def rank(self) -> tuple[float, ...]:
        """Return what is greater for the better file of one exposure: level, fewer missing values, pixels, newness."""
        return self.level, -self.missing, self.pixels, self.mtime


def find_files(folders: Iterable[str | os.PathLike[str]],
               exclude: str | os.PathLike[str] | None = None) -> list[Record]:
    """Find every FITS file under `folders`, unread, sorted by path; `exclude` is a folder not to enter.

    Raises
    ------
    UserError
        A folder does not exist, or none of them holds a FITS file.
    """
    found: dict[str, Record] = {}
    roots = [os.path.abspath(os.fspath(folder)) for folder in folders]
    visited = {os.path.realpath(exclude)} - {os.path.realpath(root) for root in roots} if exclude else set()
    for folder in roots:
        if not os.path.isdir(folder):
            raise UserError(f"{folder}: there is no such folder")

    def note_unlistable(error: OSError) -> None:
        found[error.filename] = Record(error.filename, 0, 0.0)      # its reading will say why

    places = (place for root in roots for place in os.walk(root, onerror=note_unlistable, followlinks=True))
    for here, below, names in places:
        if os.path.realpath(here) in visited:        # links may lead in circles
            below.clear()
            continue
        visited.add(os.path.realpath(here))
        for name in names:
            if name.lower().endswith(RAW_SUFFIXES) and not name.startswith("."):
                found |= _unread(os.path.join(here, name))
    if not found:
        raise UserError(f"{', '.join(roots)}: no FITS file lies there (of {', '.join(RAW_SUFFIXES)})")
    return [found[path] for path in sorted(found)]


def _unread(path: str) -> dict[str, Record]:
    """Return the record of a file, or of a link to nowhere, whose reading will say so; none of a pipe or a device."""
    try:
        status = os.stat(path)
    except OSError:
        return {path: Record(path, 0, 0.0)}
    return {path: Record(path, status.st_size, status.st_mtime)} if stat.S_ISREG(status.st_mode) else {}


def read_record(record: Record) -> Record:
    """Read the header of `record.path` (only that) and say what the file is, or what is wrong with it."""
    try:
        header = read_header(record.path)
    except UserError as error:
        return replace(record, problem=CUBE if _is_cube(record.path) else without_path(str(error), record.path))
    return record_of_header(record, header)


def _is_cube(path: str) -> bool:
    with contextlib.suppress(UserError), open_image(path) as hdu:
        return "CHAN1" in hdu.header
    return False


def record_of_header(record: Record, header: fits.Header) -> Record:
    """Say what the image of a header is, or what is wrong with it; `record` says where it lies."""
    try:
        if "CHAN1" in header:
            return replace(record, problem=CUBE)
        identified = identify(header, record.path)
        if identified is None:
            return replace(record, problem=foreign_problem(header, record.path))
        name, when = identified
        header = standard_header(header, record.path)
        record = replace(record, name=name, time=when.isoformat(), problem=header_problem(header) or "",
                         level=_level(header, name), missing=int(_number(header, "NMISSING", "MISSVALS")),
                         cadence=_number(header, "CADENCE"), pixels=int(header["NAXIS1"]) * int(header["NAXIS2"]))
        return record if record.problem else replace(record, longitude=_longitude(header, name))
    # Headers can be wrong in any way, and SunPy and wcslib raise anything.
    except Exception as error:
        return replace(record, problem=without_path(str(error), record.path) or type(error).__name__)


def without_path(message: str, path: str) -> str:
    """Return a `UserError`'s reason alone, where the path has its own column."""
    return message.removeprefix("cannot read ").removeprefix(path).removeprefix(":").lstrip()


def _number(header: fits.Header, *keywords: str) -> float:
    return next((float(value) for keyword in keywords if is_number(value := header.get(keyword))), 0.0)


def _level(header: fits.Header, name: str) -> float:
    # EUVI has no level keyword; OFFSETCR is the bias that SolarSoft's secchi_prep took off (level 1).
    level = _number(header, "LVL_NUM") if "LVL_NUM" in header else float(_number(header, "OFFSETCR") > 0)
    provisional = spacecraft_of(name) is SDO and is_near_real_time(header, "HMI" if name == MAGNETOGRAM else "AIA")
    return level - 10 if provisional else level


def _longitude(header: fits.Header, name: str) -> float:
    if spacecraft_of(name) is SDO:
        return 0.0
    if "HGLN_OBS" in header:
        return float(header["HGLN_OBS"])
    return float(registered_header(header, 64)["HGLN_OBS"])      # from other coordinates, by SunPy


def _index_format() -> list[str]:
    return [*(field.name for field in fields(Record)), f"rules {RULES}"]


def load_index(path: str | os.PathLike) -> dict[str, Record]:
    """Read the remembered records by path; a missing, older or damaged index is an empty one."""
    records = {}
    with contextlib.suppress(OSError, ValueError, TypeError), open(path, encoding="utf-8") as lines:
        if json.loads(next(lines, "null")) == _index_format():
            for line in lines:
                record = Record(*json.loads(line))
                records[record.path] = record
    return records


def save_index(path: str | os.PathLike, records: Iterable[Record]) -> None:
    """Write `records` over what is remembered at `path`; what other jobs remembered there meanwhile stays."""
    merged = load_index(path) | {record.path: record for record in records}
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(json.dumps(_index_format()) + "\n")
        file.writelines(json.dumps(list(vars(record).values())) + "\n" for record in merged.values())


def index_archive(folders: Iterable[str | os.PathLike[str]], index_path: str | os.PathLike | None = None, *,
                  n_workers: int = 1, exclude: str | os.PathLike[str] | None = None, progress: bool = True,
                  shard: tuple[int, int] = (1, 1)) -> list[Record]:
    """Return a record of every FITS file under `folders`, as `find_files` does, read or remembered at `index_path`.

    Of several jobs that begin together, each reads another part of the files first, `shard` (its number, how many), and
    then what the others have not remembered at `index_path` by then.
    """
    files = find_files(folders, exclude)
    number, parts = shard
    ends = [len(files) * k // parts for k in range(parts + 1)]
    known: dict[str, Record] = {}
    for k in range(parts):
        part = (number - 1 + k) % parts
        known |= _remembered(files, index_path) if index_path or not k else {}
        share = files[ends[part]:ends[part + 1]]
        known |= _read([file for file in share if file.path not in known], index_path, n_workers, progress)
    return [known[file.path] for file in files]


def _remembered(files: Iterable[Record], index_path: str | os.PathLike | None) -> dict[str, Record]:
    """Return what is remembered of files that have not changed since."""
    remembered = load_index(index_path) if index_path else {}
    return {file.path: record for file in files if (record := remembered.get(file.path)) is not None
            and (record.size, record.mtime) == (file.size, file.mtime)}


def _read(unread: list[Record], index_path: str | os.PathLike | None, n_workers: int,
          progress: bool) -> dict[str, Record]:
    """Read headers, and remember them at `index_path` while that goes on."""
    fresh: dict[str, Record] = {}
    if not unread:
        return fresh
    results = in_parallel(read_record, unread, n_workers, block=64, preload=PRELOAD)
    hidden, saved = None if progress else True, time.monotonic()
    try:
        for record in tqdm(results, "headers", len(unread), unit="file", disable=hidden):
            fresh[record.path] = record
            if index_path and time.monotonic() - saved > _SAVE_EVERY_S:
                save_index(index_path, fresh.values())
                saved = time.monotonic()
    finally:
        results.close()
        if index_path:
            save_index(index_path, fresh.values())
    return fresh
