"""Raw AIA, HMI and EUVI FITS, as downloaded, to model-ready cubes.

    python pix2pixCC_Prepare.py train --raw AIA_FOLDER HMI_FOLDER --out datasets/NAME --test_months 9 10
    python pix2pixCC_Prepare.py train --raw FOLDER --out datasets/NAME --frontside_reference --cadence 12h
    python pix2pixCC_Prepare.py farside --raw EUVI_FOLDER --out datasets/NAME/farside

Headers are indexed once (`headers.jsonl` in the output folder). Files that could not be used are listed in
`skipped.csv`, times that lack a passband in `missing.csv`. Repeat a stopped command to go on; `--shard 3/10` does the
third of ten parts.
"""
from __future__ import annotations

import argparse

from pix2pixcc.options import COUNT, POSITIVE, Help, command_parser, share
from pix2pixcc.preparation.settings import (
    MAX_MISSING,
    REFERENCE_TOLERANCE_MINUTES,
    SIZE,
    TEST_GAP_DAYS,
    TOLERANCE_MINUTES,
)
from pix2pixcc.solar.instruments import AIA_OF_EUVI, EUVI_OF_AIA
from pix2pixcc.utils import UserError, available_cores, leave_when_asked, limit_spinning, run_command, stop_status


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command's two kinds of work."""
    name = "pix2pixCC_Prepare.py"
    parser = command_parser(name, "Raw AIA, HMI and EUVI FITS, as downloaded, to model-ready cubes. What is already "
                            "there, made of the same files under the same flags, is not made again: repeat a stopped "
                            "command to go on.")
    parser.usage = "%(prog)s {train,farside} [flags]"
    parser.formatter_class = argparse.HelpFormatter
    kinds = parser.add_subparsers(dest="command", required=True, metavar="{train,farside}", prog=name)
    train = kinds.add_parser("train", help="pairs of AIA images and HMI magnetograms, to train and to test",
                             description="Pair AIA images with HMI magnetograms: Train/Input, Train/Target, "
                             "Test/Input, Test/Target.",
                             usage=f"{name} train [flags]", formatter_class=Help, allow_abbrev=False)
    farside = kinds.add_parser("farside", help="inputs from STEREO EUVI images, to generate farside magnetograms",
                               description="Group EUVI images by spacecraft and time: one input a time and spacecraft.",
                               usage=f"{name} farside [flags]", formatter_class=Help, allow_abbrev=False)
    add_flags(train, "AIA passbands in channel order, any number", list(EUVI_OF_AIA), TOLERANCE_MINUTES["train"])
    add_flags(farside, "EUVI passbands in channel order", list(AIA_OF_EUVI), TOLERANCE_MINUTES["farside"])
    add = train.add_argument_group("test set").add_argument
    add("--test_months", nargs="+", default=[], metavar="MONTH",
        help="months to test on: 9 10 (of every year), or 2014-09 (default: none)")
    add("--test_dates", nargs="+", default=[], metavar="DATE",
        help="days to test on: 2011-03-05, or 2011-03-01:2011-03-31 (default: none)")
    add("--test_gap", type=POSITIVE, default=TEST_GAP_DAYS,
        help="drop training pairs within this many days of a test time, also by way of references (half a rotation: no "
        "active region is shared)")
    add("--allow_overlap", action="store_true", help="keep them all")
    return parser


def add_flags(parser: argparse.ArgumentParser, channels: str, passbands: list[str], tolerance: float) -> None:
    """Add the flags that both kinds of work have."""
    add = parser.add_argument_group("files").add_argument
    add("--raw", nargs="+", required=True, metavar="DIR", help="folders of raw files, in any nesting")
    add("--out", required=True, metavar="DIR", help="where to write, such as datasets/NAME")
    add = parser.add_argument_group("what a cube holds").add_argument
    add("--channels", nargs="+", default=passbands, metavar="PASSBAND",
        help=f"{channels} (default: {' '.join(passbands)})")
    add("--frontside_reference", action="store_true",
        help="add the AIA images and the magnetogram of when the same longitudes last faced Earth (27.2753 days "
        "before, in training)")
    add("--size", type=COUNT, default=SIZE, help="pixels on a side")
    add = parser.add_argument_group("pairing in time").add_argument
    add("--tolerance", type=POSITIVE, default=tolerance, help="minutes that an image may lie off the others")
    add("--reference_tolerance", type=POSITIVE, default=REFERENCE_TOLERANCE_MINUTES,
        help="minutes that a reference image may lie off the reference time; the nearest is taken")
    add("--cadence", default=None,
        help="times to take: 12h, 30m, 1d, the same every day from 0 UT (default: all that are there)")
    add = parser.add_argument_group("quality").add_argument
    add("--max_missing", type=share, default=MAX_MISSING, help="greatest share of missing pixels on the disk")
    add("--strict", action="store_true", help="stop at the first bad file instead of skipping it")
    add = parser.add_argument_group("work").add_argument
    add("--n_workers", type=COUNT, default=min(8, available_cores()), help="processes")
    add("--shard", default=None, metavar="I/N", help="do only part I of N (1/N to N/N), for job arrays")
    add("--dry_run", action="store_true", help="index the headers, say what would be written, and stop")


if __name__ == "__main__":
    leave_when_asked()
    make_parser().parse_args()              # --help and mistyped flags are answered before SunPy is loaded
limit_spinning()

import sys
from contextlib import closing
from pathlib import Path

from tqdm import tqdm

from pix2pixcc.parallel.workers import in_parallel
from pix2pixcc.preparation import plan, report
from pix2pixcc.preparation.cubes import Job, make_cubes
from pix2pixcc.preparation.holdout import TestDays
from pix2pixcc.preparation.index import PRELOAD, index_archive
from pix2pixcc.preparation.settings import Settings

INDEX_NAME = "headers.jsonl"


def main(argv: list[str] | None = None) -> int | None:
    """Index the raw files, plan the cubes, make them, and say what became of every file."""
    opt = make_parser().parse_args(argv)
    part, parts = plan.parse_shard(opt.shard)
    is_training, out = opt.command == "train", Path(opt.out)
    timing = {"tolerance": opt.tolerance, "reference_tolerance": opt.reference_tolerance,
              "cadence": plan.parse_hours(opt.cadence)}
    request = plan.Request(out, plan.checked_passbands(opt.channels, opt.command), opt.frontside_reference,
                           Settings(opt.size, opt.max_missing), timing)
    test_days = TestDays.parse(opt.test_months, opt.test_dates) if is_training else None
    names = plan.training_names(request) if is_training else plan.farside_names(request)

    try:
        records = index_archive(opt.raw, out / INDEX_NAME, n_workers=opt.n_workers, exclude=out,
                                shard=(part, parts))
    except KeyboardInterrupt as stop:
        print("stopped while reading headers; repeat the command to go on", file=sys.stderr)
        return stop_status(stop)
    tally = report.Tally(skipped=report.bad_headers(records, names))
    if opt.strict:
        report.refuse(tally.skipped)
    if test_days is not None:
        gap = -1.0 if opt.allow_overlap else max(opt.test_gap, (opt.tolerance + opt.reference_tolerance) / 1440)
        planned = plan.plan_training(records, request, test_days, gap)
    else:
        planned = plan.plan_farside(records, request)
    if opt.strict:
        report.refuse(planned.near)
    tally.skipped |= planned.near
    tally.missing += planned.missing
    jobs = planned.jobs[part - 1::parts]
    usable = [record for record in records if record.name in names and not record.problem]
    print(f"files        {len(records)}, of which {len(usable)} can be used")
    print(planned.note)
    if parts > 1:
        print(f"shard        {part} of {parts}: {len(jobs)} of {len(planned.jobs)} times")
    stopped = 0 if opt.dry_run else work(jobs, opt.n_workers, opt.strict, tally)
    report.remember_pixels(out / INDEX_NAME, records, tally, request.settings)
    tally.skipped |= report.bad_pixels(tally) | report.duplicates(records, names, tally)
    suffix = f"_{part}of{parts}" if parts > 1 else ""
    report.write_lists(out, tally, suffix)
    report.print_summary(out, tally, suffix)
    if stopped:
        left = len(jobs) - tally.jobs.total()
        print(f"stopped: {left} of {len(jobs)} times are left; repeat the command to go on", file=sys.stderr)
        return stopped
    if not opt.dry_run:
        n_channels = 2 * len(request.passbands) + 1 if request.reference else len(request.passbands)
        finish(opt, out, tally, is_whole=parts == 1, n_channels=n_channels)
    return 0


def work(jobs: list[Job], n_workers: int, strict: bool, tally: report.Tally) -> int:
    """Do the jobs, and return 0, or the exit status if that was stopped."""
    try:
        with closing(in_parallel(make_cubes, jobs, n_workers, preload=PRELOAD)) as outcomes:
            for outcome in tqdm(outcomes, "cubes", len(jobs), unit="time", disable=None):
                tally.add(outcome)
                if strict:
                    report.refuse(outcome.problems)
    except KeyboardInterrupt as stop:
        return stop_status(stop)
    return 0


def finish(opt: argparse.Namespace, out: Path, tally: report.Tally, *, is_whole: bool, n_channels: int) -> None:
    """Point out what is there twice, and say which command takes the cubes further."""
    if is_whole and not tally.cubes:
        raise UserError(f"no time has a good image of every passband; {out / 'skipped.csv'} says why")
    for path, other in report.of_same_time(tally.cubes, opt.tolerance)[:report.SHOWN if is_whole else 0]:
        print(f"twice        {path} is of the same time as {other.name} and was made earlier, of other files: "
              "remove one of them")
    formats = f"--data_format_input fits --data_format_target fits --input_ch {n_channels}"
    if opt.command == "train":
        print(f"next         python pix2pixCC_Train.py --dataset_name {out.name} {formats} "
              f"--input_dir_train {out}/Train/Input --target_dir_train {out}/Train/Target")
    else:
        print(f"next         python pix2pixCC_Test.py --dataset_name NAME {formats} --input_dir_test {out}")


if __name__ == "__main__":
    run_command(main)
