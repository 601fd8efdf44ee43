"""Raw AIA, HMI and EUVI FITS, as downloaded, to model-ready cubes.

    python pix2pixCC_Prepare.py train --raw AIA_FOLDER HMI_FOLDER --out datasets/NAME --test_months 9 10
    python pix2pixCC_Prepare.py train --raw FOLDER --out datasets/NAME --frontside_reference --cadence 12h
    python pix2pixCC_Prepare.py farside --raw EUVI_FOLDER --out datasets/NAME/farside

Headers are indexed once (`headers.jsonl` in the output folder). Files that could not be used are listed in `skipped.csv`, times that
lack a passband in `missing.csv`. Repeat a stopped command to go on; `--shard 3/10` does the third tenth of the work.
"""
from __future__ import annotations

import argparse

from pix2pixcc.options import COUNT, POSITIVE, Help, command_parser, share
from pix2pixcc.utils import UserError, available_cores, limit_spinning, run_command


def make_parser() -> argparse.ArgumentParser:
    parser = command_parser("pix2pixCC_Prepare.py", "Raw AIA, HMI and EUVI FITS, as downloaded, to model-ready cubes. What is already "
                            "there, made of the same files under the same flags, is not made again: repeat a stopped command to go on.")
    parser.usage = "%(prog)s {train,farside} [flags]"
    parser.formatter_class = argparse.HelpFormatter
    commands = parser.add_subparsers(dest="command", required=True, metavar="{train,farside}", prog="pix2pixCC_Prepare.py")
    train = commands.add_parser("train", help="pairs of AIA images and HMI magnetograms, to train and to test",
                                description="Pair AIA images with HMI magnetograms: Train/Input, Train/Target, Test/Input, Test/Target.",
                                usage="pix2pixCC_Prepare.py train [flags]", formatter_class=Help, allow_abbrev=False)
    farside = commands.add_parser("farside", help="inputs from STEREO EUVI images, to generate farside magnetograms",
                                  description="Group EUVI images by spacecraft and time: one input a time and spacecraft.",
                                  usage="pix2pixCC_Prepare.py farside [flags]", formatter_class=Help, allow_abbrev=False)
    add_flags(train, "AIA passbands in channel order, any number", ["304", "193", "171"], tolerance=10.0)
    add_flags(farside, "EUVI passbands in channel order", ["304", "195", "171"], tolerance=20.0)
    add = train.add_argument_group("test set").add_argument
    add("--test_months", nargs="+", default=[], metavar="MONTH", help="months to test on: 9 10 (of every year), or 2014-09 (default: none)")
    add("--test_dates", nargs="+", default=[], metavar="DATE", help="days to test on: 2011-03-05, or 2011-03-01:2011-03-31 (default: none)")
    add("--test_gap", type=POSITIVE, default=1.0,
        help="drop training pairs within this many days of a test time (13.6: no active region is shared), also by way of references")
    add("--allow_overlap", action="store_true", help="keep them all")
    return parser


def add_flags(parser: argparse.ArgumentParser, channels: str, passbands: list[str], tolerance: float) -> None:
    add = parser.add_argument_group("files").add_argument
    add("--raw", nargs="+", required=True, metavar="DIR", help="folders of raw files, in any nesting")
    add("--out", required=True, metavar="DIR", help="where to write, such as datasets/NAME")
    add = parser.add_argument_group("what a cube holds").add_argument
    add("--channels", nargs="+", default=passbands, metavar="PASSBAND", help=f"{channels} (default: {' '.join(passbands)})")
    add("--frontside_reference", action="store_true",
        help="add the AIA images and the magnetogram of when the same longitudes last faced Earth (27.2753 days before, in training)")
    add("--size", type=COUNT, default=1024, help="pixels on a side")
    add = parser.add_argument_group("pairing in time").add_argument
    add("--tolerance", type=POSITIVE, default=tolerance, help="minutes that an image may lie off the others")
    add("--reference_tolerance", type=POSITIVE, default=390.0,
        help="minutes that a reference image may lie off the reference time; the nearest is taken")
    add("--cadence", default=None, help="times to take: 12h, 30m, 1d, counted from 0 UT (default: all that are there)")
    add = parser.add_argument_group("quality").add_argument
    add("--max_missing", type=share, default=0.01, help="greatest share of missing pixels on the disk")
    add("--strict", action="store_true", help="stop at the first bad file instead of skipping it")
    add = parser.add_argument_group("work").add_argument
    add("--n_workers", type=COUNT, default=min(8, available_cores()), help="processes")
    add("--shard", default=None, metavar="I/N", help="do only part I of N (1/N to N/N), for job arrays")
    add("--dry_run", action="store_true", help="index the headers, say what would be written, and stop")


if __name__ == "__main__":
    make_parser().parse_args()              # --help and mistyped flags are answered before SunPy is loaded
limit_spinning()

import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from pix2pixcc.parallel.workers import in_parallel
from pix2pixcc.preparation.cubes import Job, Settings, make_cubes
from pix2pixcc.preparation.holdout import TestDays, check_earlier_training, split_pairs, times_in
from pix2pixcc.preparation.index import PRELOAD, Record, index_archive
from pix2pixcc.preparation.pairing import (
    Missing,
    describe_missing,
    farside_channels,
    farside_groups,
    frontside_names,
    frontside_pairs,
)
from pix2pixcc.preparation.report import (
    SHOWN,
    Tally,
    bad_headers,
    duplicates,
    images_off_group,
    of_same_time,
    print_summary,
    refuse,
    remember_pixels,
    write_lists,
)
from pix2pixcc.solar.instruments import MAGNETOGRAM, STEREO_A, STEREO_B

INDEX_NAME = "headers.jsonl"
AIA_PASSBANDS = ("94", "131", "171", "193", "211", "304", "335", "1600", "1700", "4500")
EUVI_PASSBANDS = ("171", "195", "284", "304")


@dataclass
class Plan:
    """What is to be written, and what was found wanting on the way."""

    jobs: list[Job]
    missing: list[Missing]
    note: str


def main(argv: list[str] | None = None) -> int | None:
    opt = make_parser().parse_args(argv)
    shard, passbands, cadence = parse_shard(opt.shard), checked_passbands(opt.channels, opt.command), parse_hours(opt.cadence)
    is_training = opt.command == "train"
    test_days = TestDays.parse(opt.test_months, opt.test_dates) if is_training else None
    names = {*frontside_names(passbands), MAGNETOGRAM} if is_training else farside_names(passbands, opt.frontside_reference)
    out, settings = Path(opt.out), Settings(opt.size, opt.max_missing)

    with terminate_like_interrupt():
        try:
            records = index_archive(opt.raw, out / INDEX_NAME, n_workers=opt.n_workers, exclude=out)
        except KeyboardInterrupt:
            print("stopped while reading headers; repeat the command to go on", file=sys.stderr)
            return 128 + signal.SIGINT
        tally = Tally(skipped=bad_headers(records, names))
        if opt.strict:
            refuse(tally.skipped)
        timing = {"tolerance": opt.tolerance, "reference_tolerance": opt.reference_tolerance, "cadence": cadence}
        if test_days is not None:
            gap = -1.0 if opt.allow_overlap else max(opt.test_gap, (opt.tolerance + opt.reference_tolerance) / 1440)
            plan = plan_training(records, out, passbands, opt.frontside_reference, settings, timing, test_days, gap)
        else:
            plan = plan_farside(records, out, passbands, opt.frontside_reference, settings, timing)
        off_group = images_off_group(plan.jobs, plan.missing, len(passbands) + is_training)
        if opt.strict:
            refuse(off_group)
        tally.skipped |= off_group
        tally.missing += plan.missing
        jobs = plan.jobs[shard[0] - 1::shard[1]]
        print(f"files        {len(records)}, of which {sum(record.name in names and not record.problem for record in records)} can be used")
        print(plan.note)
        if shard[1] > 1:
            print(f"shard        {shard[0]} of {shard[1]}: {len(jobs)} of {len(plan.jobs)} times")
        finished = opt.dry_run or work(jobs, opt.n_workers, opt.strict, tally)
        remember_pixels(out / INDEX_NAME, records, tally, settings)
        tally.skipped |= tally.pixel_problems | duplicates(records, names, tally)
        suffix = f"_{shard[0]}of{shard[1]}" if shard[1] > 1 else ""
        write_lists(out, tally, suffix)
        print_summary(out, tally, suffix)
    if not finished:
        left = len(jobs) - tally.written - tally.present - tally.incomplete
        print(f"stopped: {left} of {len(jobs)} times are left; repeat the command to go on", file=sys.stderr)
        return 128 + signal.SIGINT
    if not opt.dry_run:
        finish(opt, out, tally, is_whole=shard[1] == 1, n_channels=len(passbands) * (1 + opt.frontside_reference) + opt.frontside_reference)
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
    names = {f"{spacecraft.euv} {one}" for one in passbands for spacecraft in (STEREO_A, STEREO_B)}
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
        with closing(in_parallel(make_cubes, jobs, n_workers, preload=PRELOAD)) as outcomes:
            for outcome in tqdm(outcomes, "cubes", len(jobs), unit="time", disable=None):
                tally.add(outcome)
                if strict:
                    refuse(outcome.problems)
    except KeyboardInterrupt:
        return False
    return True


def finish(opt: argparse.Namespace, out: Path, tally: Tally, *, is_whole: bool, n_channels: int) -> None:
    """Point out what is there twice, and say which command takes the cubes further."""
    if is_whole and not tally.cubes:
        raise UserError(f"no time has a good image of every passband; {out / 'skipped.csv'} says why")
    for path, other in of_same_time(tally.cubes, opt.tolerance)[:SHOWN if is_whole else 0]:
        print(f"twice        {path} is of the same time as {other.name} and was made earlier, of other files: remove one of them")
    formats = f"--data_format_input fits --data_format_target fits --input_ch {n_channels}"
    if opt.command == "train":
        print(f"next         python pix2pixCC_Train.py --dataset_name {out.name} {formats} "
              f"--input_dir_train {out}/Train/Input --target_dir_train {out}/Train/Target")
    else:
        print(f"next         python pix2pixCC_Test.py --dataset_name NAME {formats} --input_dir_test {out}")


if __name__ == "__main__":
    run_command(main)
