"""What became of the files and the times: how many cubes there are, what is missing, what was skipped and why."""
from __future__ import annotations

import bisect
import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from pix2pixcc.preparation.cubes import Job, Outcome
from pix2pixcc.preparation.index import Record, save_index
from pix2pixcc.preparation.pairing import Missing, describe_missing, tracks_of
from pix2pixcc.preparation.settings import Settings
from pix2pixcc.solar.quality import FOREIGN
from pix2pixcc.utils import UserError, atomic_path, time_in_name

SHOWN = 10                         # lines of a list that is in a file as a whole


@dataclass
class Tally:
    """What became of the jobs (how many of each `state`), the times (`missing`) and the files (`skipped`, by path)."""

    jobs: Counter[str] = field(default_factory=Counter)
    missing: list[Missing] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    pixel_problems: dict[str, str] = field(default_factory=dict)
    replaced: dict[str, str] = field(default_factory=dict)      # path of a bad file -> path of what was taken instead
    used: set[str] = field(default_factory=set)
    cubes: set[Path] = field(default_factory=set)

    def add(self, outcome: Outcome) -> None:
        """Count the outcome of a job."""
        self.jobs[outcome.state] += 1
        self.pixel_problems |= outcome.problems
        self.replaced |= outcome.replaced
        self.used |= set(outcome.sources)
        self.cubes |= {Path(path) for path in outcome.paths}
        if outcome.missing is not None:
            self.missing.append(outcome.missing)


def bad_pixels(tally: Tally) -> dict[str, str]:
    """Return the files whose pixels were bad, and what was taken in their place."""
    return {path: f"{reason}; replaced by {tally.replaced[path]}" if path in tally.replaced else reason
            for path, reason in tally.pixel_problems.items()}


def bad_headers(records: list[Record], names: set[str]) -> dict[str, str]:
    """Return the files that their headers rule out, of the wanted passbands or of none that is known."""
    return {record.path: record.problem for record in records
            if record.problem and (not record.name or record.name in names)}


def near_misses(jobs: Sequence[Job], missing: Sequence[Missing], n_images: int) -> dict[str, str]:
    """Return the images that would complete a time but lie outside the tolerance, up to a day off.

    Times with fewer than half of their `n_images` are left out.
    """
    choices = [choice for job in jobs for group in job.groups for choice in group.choices]
    used = {record.path for choice in choices for record in choice.candidates}
    wanted = [one for one in missing if not one.is_reference]
    lacking = Counter((one.observer, one.time) for one in wanted)
    return {one.nearest.path: f"a time off the group: {one.why}" for one in wanted
            if one.nearest is not None and one.nearest.path not in used and one.minutes_off < 1440
            and 2 * lacking[one.observer, one.time] <= n_images}


def duplicates(records: list[Record], names: set[str], tally: Tally) -> dict[str, str]:
    """Return the files of an exposure of which another was taken."""
    return {record.path: f"duplicate of {exposure[0].path}"
            for name, track in tracks_of(records).items() if name in names
            for exposure in track.exposures for record in exposure[1:]
            if record.path not in tally.used and record.path not in tally.pixel_problems}


def of_same_time(cubes: set[Path], tolerance: float) -> list[tuple[Path, Path]]:
    """Return older cubes of the folder, observer and time (to `tolerance` minutes) of one of `cubes`, with that one.

    Other raw files have given them another mean time.
    """
    found = []
    for folder in {path.parent for path in cubes}:
        mine = sorted((*_observer_and_time(path), path) for path in cubes if path.parent == folder)
        for path in sorted(set(folder.glob("[!.]*.fits")) - cubes):
            own_observer, own_time = _observer_and_time(path)
            k = bisect.bisect(mine, (own_observer, own_time, path))
            found += [(path, other) for observer, time, other in mine[max(k - 1, 0):k + 1]
                      if observer == own_observer and abs(time - own_time) <= timedelta(minutes=tolerance)][:1]
    return found


def _observer_and_time(path: Path) -> tuple[str, datetime]:
    return path.stem[:-15], time_in_name(path.name) or datetime.min


def refuse(skipped: dict[str, str]) -> None:
    """Stop with a `UserError` at what would be skipped (--strict); images of other instruments are not a fault."""
    skipped = {path: reason for path, reason in skipped.items() if not reason.startswith(FOREIGN)}
    for path, reason in skipped.items():
        more = f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else ""
        raise UserError(f"--strict: {path}: {reason}{more}")


def remember_pixels(index_path: Path, records: list[Record], tally: Tally, settings: Settings) -> None:
    """Note in the index which files' pixels are bad, so that they are not read again."""
    if tally.pixel_problems:
        save_index(index_path, [replace(record, pixel_problem=tally.pixel_problems[record.path],
                                        max_missing=settings.max_missing)
                                for record in records if record.path in tally.pixel_problems])


def write_lists(out: Path, tally: Tally, suffix: str) -> None:
    """Write skipped.csv and missing.csv."""
    missing = sorted((one.time.isoformat(timespec="seconds"), one.observer, one.name,
                      one.wanted.isoformat(timespec="seconds"), one.why) for one in tally.missing)
    rows: dict[str, list] = {"skipped": [("path", "reason"), *sorted(tally.skipped.items())],
                             "missing": [("time", "observer", "passband", "wanted", "reason"), *missing]}
    for name, lines in rows.items():      # names of files need not be UTF-8
        with (atomic_path(out / f"{name}{suffix}.csv") as temporary,
              open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as file):
            csv.writer(file).writerows(lines)


def print_summary(out: Path, tally: Tally, suffix: str) -> None:
    """Print what was done, what is missing, and what was skipped and why."""
    print("written      {written}, already there {present}, no good image {incomplete}".format_map(tally.jobs))
    if tally.missing:
        print(f"missing      {len(tally.missing)} images, listed in {out / f'missing{suffix}.csv'}")
        print("\n".join("  " + line for line in describe_missing(tally.missing, SHOWN)))
    for path, other in list(tally.replaced.items())[:SHOWN]:
        print(f"replaced     {path} by {other}: {tally.pixel_problems.get(path, 'it is bad')}")
    if tally.skipped:
        print(f"skipped      {len(tally.skipped)} files, listed in {out / f'skipped{suffix}.csv'}")
        for kind, count in Counter(kind_of(reason) for reason in tally.skipped.values()).most_common():
            print(f"  {count:6d}  {kind}")


def kind_of(reason: str) -> str:
    """Return a reason without its numbers and details."""
    return re.sub(r"\d[\w.%]*", "…", re.split(r"[:;=(]| of /", reason)[0]).strip()
