"""Raw AIA, HMI and EUVI FITS, as downloaded, to model-ready cubes.

    python pix2pixCC_Prepare.py train --raw AIA_FOLDER HMI_FOLDER --out datasets/NAME --test_months 9 10
    python pix2pixCC_Prepare.py train --raw FOLDER --out datasets/NAME --frontside_reference --cadence 12h
    python pix2pixCC_Prepare.py farside --raw EUVI_FOLDER --out datasets/NAME/farside

Headers are indexed once (`headers.jsonl` in the output folder). Files that could not be used are listed in `skipped.csv`, times that
lack a passband in `missing.csv`. Repeat a stopped command to go on; `--shard 3/10` does the third tenth of the work.
"""
from __future__ import annotations

from options import prepare_parser

if __name__ == "__main__":
    prepare_parser().parse_args()           # --help and mistyped flags are answered before SunPy is loaded

import argparse
import csv
import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tqdm import tqdm

from archive import FOREIGN, Record, in_parallel, index_archive, save_index
from holdout import TestDays, check_earlier_training, split_pairs, times_in
from pairing import (
    MAGNETOGRAM,
    SPACECRAFT,
    Missing,
    describe_missing,
    farside_channels,
    farside_groups,
    frontside_names,
    frontside_pairs,
    tracks_of,
)
from preparation import Job, Outcome, Settings, make_cubes
from utils import UserError, atomic_path, run_command

INDEX_NAME = "headers.jsonl"
AIA_PASSBANDS = ("94", "131", "171", "193", "211", "304", "335", "1600", "1700", "4500")
EUVI_PASSBANDS = ("171", "195", "284", "304")
SHOWN = 10                         # lines of a list that is in a file as a whole


@dataclass
class Plan:
    """What is to be written, and what was found wanting on the way."""

    jobs: list[Job]
    missing: list[Missing]
    note: str


@dataclass
class Tally:
    """What became of the jobs and the files: `missing` by time, `skipped` by path."""

    written: int = 0
    present: int = 0
    incomplete: int = 0
    missing: list[Missing] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    pixel_problems: dict[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def add(self, outcome: Outcome) -> None:
        self.written += outcome.state == "written"
        self.present += outcome.state == "present"
        self.incomplete += outcome.state == "incomplete"
        self.pixel_problems |= outcome.problems
        self.used |= set(outcome.sources)
        if outcome.missing is not None:
            self.missing.append(outcome.missing)


def main(argv: list[str] | None = None) -> int | None:
    opt = prepare_parser().parse_args(argv)
    part, parts = parse_shard(opt.shard)
    passbands = checked_passbands(opt.channels, opt.command)
    timing = {"tolerance": opt.tolerance, "reference_tolerance": opt.reference_tolerance, "cadence": parse_hours(opt.cadence)}
    settings, out = Settings(opt.size, opt.max_missing), Path(opt.out)
    is_training = opt.command == "train"
    test_days = TestDays.parse(opt.test_months, opt.test_dates) if is_training else None
    names = {*frontside_names(passbands), MAGNETOGRAM} if is_training else farside_names(passbands, opt.frontside_reference)

    with terminate_like_interrupt():
        try:
            records = index_archive(opt.raw, out / INDEX_NAME, n_workers=opt.n_workers, exclude=out)
        except KeyboardInterrupt:
            print("stopped while reading headers; repeat the command to go on", file=sys.stderr)
            return 128 + signal.SIGINT
        tally = Tally(skipped=bad_headers(records, names))
        if opt.strict:
            refuse(tally.skipped)
        if test_days is not None:
            gap = -1.0 if opt.allow_overlap else max(opt.test_gap, (opt.tolerance + opt.reference_tolerance) / 1440)
            plan = plan_training(records, out, passbands, opt.frontside_reference, settings, timing, test_days, gap)
        else:
            plan = plan_farside(records, out, passbands, opt.frontside_reference, settings, timing)
        tally.missing += plan.missing
        off_group = images_off_group(plan, len(passbands) + is_training)
        tally.skipped |= off_group
        if opt.strict:
            refuse(off_group)
        jobs = plan.jobs[part - 1::parts]
        print(f"files        {len(records)}, of which {sum(record.name in names and not record.problem for record in records)} can be used")
        print(plan.note)
        if parts > 1:
            print(f"shard        {part} of {parts}: {len(jobs)} of {len(plan.jobs)} times")
        finished = opt.dry_run or work(jobs, opt.n_workers, opt.strict, tally)
        remember_pixels(out / INDEX_NAME, records, tally, settings)
        tally.skipped |= tally.pixel_problems | duplicates(records, names, tally)
        suffix = f"_{part}of{parts}" if parts > 1 else ""
        write_lists(out, tally, suffix)
    print_summary(out, tally, suffix)
    if not finished:
        left = len(jobs) - tally.written - tally.present - tally.incomplete
        print(f"stopped: {left} of {len(jobs)} times are left; repeat the command to go on", file=sys.stderr)
        return 128 + signal.SIGINT
    if not opt.dry_run:
        print_next_step(opt, out, 2 * len(passbands) + 1 if opt.frontside_reference else len(passbands))
    return 0


# Flags

def parse_shard(text: str | None) -> tuple[int, int]:
    """`'3/10'` -> (3, 10)."""
    match = re.fullmatch(r"(\d+)/(\d+)", text or "1/1")
    part, parts = (int(group) for group in match.groups()) if match else (0, 0)
    if not 1 <= part <= parts:
        raise UserError(f"--shard {text}: it should be I/N with I from 1 to N, such as 3/10")
    return part, parts


def parse_hours(text: str | None) -> float | None:
    """`'12h'`, `'30m'`, `'1d'` -> hours."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(m|min|h|d)", text)
    hours = float(match[1]) * {"m": 1 / 60, "min": 1 / 60, "h": 1, "d": 24}[match[2]] if match else 0
    if hours <= 0:
        raise UserError(f"--cadence {text}: it should be a number and a unit, such as 12h, 30m or 1d")
    return hours


def checked_passbands(passbands: Sequence[str], command: str) -> list[str]:
    """The passbands by the instrument's own names (EUVI's 195 is AIA's 193)."""
    mine, known, other = (("AIA", AIA_PASSBANDS, {"195": "193"}) if command == "train" else ("EUVI", EUVI_PASSBANDS, {"193": "195"}))
    wanted = [other.get(one, one) for one in passbands]
    for one in wanted:
        if one not in known:
            raise UserError(f"--channels {one}: {mine} has no such passband; it has {', '.join(known)}")
    if len(set(wanted)) < len(wanted):
        raise UserError(f"--channels {' '.join(passbands)}: a passband stands there twice")
    return wanted


# The plan

def farside_names(passbands: Sequence[str], reference: bool) -> set[str]:
    """The passbands that farside inputs are made of, as `cubes.Channel.name`."""
    names = {f"{SPACECRAFT[observer]} {one}" for one in passbands for observer in ("STEREO-A", "STEREO-B")}
    return names | ({*frontside_names(passbands), MAGNETOGRAM} if reference else set())


def plan_training(records: list[Record], out: Path, passbands: Sequence[str], reference: bool, settings: Settings, timing: dict,
                  test_days: TestDays, gap_days: float) -> Plan:
    """Pairs of AIA images and magnetograms, divided in those to train and to test on; a negative gap keeps all."""
    pairs, missing = frontside_pairs(records, passbands, reference=reference, **timing)
    if not pairs:
        raise UserError(nothing_complete(records, {*frontside_names(passbands), MAGNETOGRAM}, missing))
    earlier_test = times_in(out / "Test" / "Input")
    train, test, dropped = split_pairs(pairs, [pair.time in test_days for pair in pairs], reference=reference, gap_days=gap_days,
                                       other_tests=earlier_test)
    if not train and not test:
        raise UserError(f"all {dropped} pairs lie within --test_gap {gap_days:g} days of a test time that is already in {out / 'Test'}")
    if gap_days >= 0:
        check_earlier_training(out, [pair.time for pair in test], reference, gap_days - timing["tolerance"] / 720)
    jobs = [Job((pair.input, pair.target), (str(out / part / "Input"), str(out / part / "Target")), settings)
            for part, some in (("Train", train), ("Test", test)) for pair in some]
    note = f"pairs        {len(train)} to train, {len(test)} to test"
    if dropped:
        note += f"; {dropped} dropped, which saw the Sun within {gap_days:g} days of a test pair (--test_gap, --allow_overlap)"
    return Plan(jobs, missing, note)


def plan_farside(records: list[Record], out: Path, passbands: Sequence[str], reference: bool, settings: Settings, timing: dict) -> Plan:
    """Inputs of the farside: EUVI images by spacecraft and time."""
    channels = [f"STEREO/EUVI {one}" for one in passbands]
    if reference:
        channels = farside_channels([*channels, *channels, MAGNETOGRAM])
    groups, missing = farside_groups(records, channels, **timing)
    if not groups:
        raise UserError(nothing_complete(records, farside_names(passbands, reference), missing))
    counts = Counter(group.observer for group in groups)
    return Plan([Job((group,), (str(out),), settings) for group in groups], missing,
                "inputs       " + ", ".join(f"{count} of {observer}" for observer, count in sorted(counts.items())))


def nothing_complete(records: list[Record], names: set[str], missing: list[Missing]) -> str:
    """Why there is nothing to write."""
    counts = Counter(record.name for record in records if not record.problem)
    found = ", ".join(f"{counts[name]} of {name}" for name in sorted(names))
    bad = bad_headers(records, names)
    return "\n".join([f"no time has all that is needed. Good files: {found}",
                      *("  " + line for line in describe_missing(missing, SHOWN)),
                      *(f"  {path}: {reason}" for path, reason in list(bad.items())[:SHOWN]),
                      "  Look at --raw and --channels, or widen --tolerance or --reference_tolerance"])


# Files that are not used

def bad_headers(records: list[Record], names: set[str]) -> dict[str, str]:
    """Files that their headers rule out, of the wanted passbands or of none that is known."""
    return {record.path: record.problem for record in records if record.problem and (not record.name or record.name in names)}


def images_off_group(plan: Plan, n_images: int) -> dict[str, str]:
    """Images for want of which a time, with at least half of its `n_images` there, is incomplete, because they lie too far off it."""
    used = {record.path for job in plan.jobs for group in job.groups for choice in group.choices for record in choice.candidates}
    lacking = Counter((one.observer, one.time) for one in plan.missing if not one.is_reference)
    return {one.nearest.path: f"a time off the group: {one.why}" for one in plan.missing
            if one.nearest is not None and not one.is_reference and one.nearest.path not in used and one.minutes_off < 1440
            and 2 * lacking[one.observer, one.time] <= n_images}


def duplicates(records: list[Record], names: set[str], tally: Tally) -> dict[str, str]:
    """Files of an exposure of which another was taken."""
    return {record.path: f"duplicate of {exposure[0].path}" for name, track in tracks_of(records).items() if name in names
            for exposure in track.exposures for record in exposure[1:]
            if record.path not in tally.used and record.path not in tally.pixel_problems}


def refuse(skipped: dict[str, str]) -> None:
    """Stop at what would be skipped (--strict); images of other instruments are no fault."""
    skipped = {path: reason for path, reason in skipped.items() if reason != FOREIGN}
    for path, reason in skipped.items():
        more = f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else ""
        raise UserError(f"--strict: {path}: {reason}{more}")


def remember_pixels(index_path: Path, records: list[Record], tally: Tally, settings: Settings) -> None:
    """Note in the index which files' pixels are bad, so that they are not read again."""
    if tally.pixel_problems:
        save_index(index_path, [replace(record, pixel_problem=tally.pixel_problems[record.path], max_missing=settings.max_missing)
                                for record in records if record.path in tally.pixel_problems])


# The work

@contextmanager
def terminate_like_interrupt() -> Iterator[None]:
    """A batch system's SIGTERM ends the work as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def work(jobs: list[Job], n_workers: int, strict: bool, tally: Tally) -> bool:
    """Do the jobs; False if interrupted."""
    try:
        with closing(in_parallel(make_cubes, jobs, n_workers)) as outcomes:
            for outcome in tqdm(outcomes, "cubes", len(jobs), unit="time", disable=None):
                tally.add(outcome)
                if strict:
                    refuse(outcome.problems)
    except KeyboardInterrupt:
        return False
    return True


# What is said at the end

def write_lists(out: Path, tally: Tally, suffix: str) -> None:
    """Write skipped.csv and missing.csv."""
    rows: dict[str, list] = {"skipped": [("path", "reason"), *sorted(tally.skipped.items())],
            "missing": [("time", "observer", "passband", "wanted", "reason"),
                        *sorted((f"{one.time:%Y-%m-%dT%H:%M:%S}", one.observer, one.name, f"{one.wanted:%Y-%m-%dT%H:%M:%S}", one.why)
                                for one in tally.missing)]}
    for name, lines in rows.items():
        with atomic_path(out / f"{name}{suffix}.csv") as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(lines)


def print_summary(out: Path, tally: Tally, suffix: str) -> None:
    """Print what was done, what is missing, and what was skipped and why."""
    print(f"written      {tally.written}, already there {tally.present}, no good image {tally.incomplete}")
    if tally.missing:
        print(f"missing      {len(tally.missing)} images, listed in {out / f'missing{suffix}.csv'}")
        print("\n".join("  " + line for line in describe_missing(tally.missing, SHOWN)))
    if tally.skipped:
        print(f"skipped      {len(tally.skipped)} files, listed in {out / f'skipped{suffix}.csv'}")
        for kind, count in Counter(kind_of(reason) for reason in tally.skipped.values()).most_common():
            print(f"  {count:6d}  {kind}")


def kind_of(reason: str) -> str:
    """A reason without its numbers and details."""
    return re.sub(r"\d[\w.%]*", "…", re.split(r"[:;=(,]| of /", reason)[0]).strip()


def print_next_step(opt: argparse.Namespace, out: Path, n_channels: int) -> None:
    """Say which command takes the cubes further."""
    if opt.command == "train":
        print(f"next         python pix2pixCC_Train.py --dataset_name {out.name} --data_format_input fits --data_format_target fits "
              f"--input_ch {n_channels} --input_dir_train {out}/Train/Input --target_dir_train {out}/Train/Target")
    else:
        print(f"next         python pix2pixCC_Test.py --dataset_name NAME --data_format_input fits --data_format_target fits "
              f"--input_ch {n_channels} --input_dir_test {out}")


if __name__ == "__main__":
    run_command(main)
