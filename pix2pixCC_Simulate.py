"""A Sun with a known farside: magnetograms and EUV images for any observer at any time, the same for the same seed.

    python pix2pixCC_Simulate.py --out datasets/demo --pairs 150 --size 128 --passbands 171
    python pix2pixCC_Simulate.py --out raw/demo --raw --size 512 --passbands 304 193 171 --days 3
"""
from __future__ import annotations

import argparse
from datetime import datetime, timedelta

from pix2pixcc.options import COUNT, POSITIVE, WHOLE, at_least, command_parser, parse
from pix2pixcc.utils import leave_when_asked, limit_spinning, run_command


def make_parser() -> argparse.ArgumentParser:
    """Build the parser of the command's flags."""
    parser = command_parser("pix2pixCC_Simulate.py", "Write a data set of synthetic Suns, whose farside is known: "
                            "model-ready pairs to train and to test on, or the raw files of one Sun as AIA, HMI and "
                            "EUVI would have taken them (--raw).")
    add = parser.add_argument_group("data set").add_argument
    add("--out", required=True, metavar="DIR", help="where to write, such as datasets/demo")
    add("--size", type=at_least(16), default=128, help="pixels on a side")
    add("--passbands", nargs="+", choices=("304", "171", "193", "195", "211", "284", "335", "131", "94"),
        default=["171"], metavar="PASSBAND",
        help="EUV passbands in channel order: 304 171 193 211 335 131 94; EUVI takes 195 for 193")
    add("--frontside_reference", action="store_true",
        help="add what SDO saw of the same longitudes when they last faced Earth: EUV images and magnetogram")
    add("--seed", type=WHOLE, default=0, help="other seeds give other Suns")
    add("--n_workers", type=COUNT, default=None, help="processes (default: one a core)")
    add = parser.add_argument_group("pairs").add_argument
    add("--pairs", type=COUNT, default=150, help="training pairs, each of another Sun: Train/Input, Train/Target")
    add("--test_suns", type=WHOLE, default=30,
        help="farside views of unseen Suns, with the truth: Test/Input, Test/Target")
    add("--both_cycles", action="store_true",
        help="every second two Suns are of the next cycle, with every polarity turned round, which no EUV image shows")
    add = parser.add_argument_group("raw files").add_argument
    add("--raw", action="store_true", help="write AIA level 1, HMI 720 s and EUVI level 0 files of one Sun")
    add("--spacecraft", nargs="+", choices=("SDO", "STEREO-A", "STEREO-B"), metavar="NAME",
        default=["SDO", "STEREO-A", "STEREO-B"], help="SDO (AIA and HMI), STEREO-A, STEREO-B (EUVI)")
    add("--start", type=_date, default=_date("2011-03-01"), help="first time, UTC: 2011-03-01, or 2011-03-01T12:00")
    add("--days", type=POSITIVE, default=1.0, help="how long to observe")
    add("--cadence", type=at_least(0.1, float), default=12.0, help="hours from one observation to the next")
    return parser


def _date(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no date such as 2011-03-01 or 2011-03-01T12:00") from error


def main(argv: list[str] | None = None) -> None:
    """Write a data set of synthetic Suns."""
    opt = parse(make_parser(), argv)
    limit_spinning()
    from pix2pixcc.synthetic_sun.datasets import write_pairs, write_raw

    shared = {"size": opt.size, "passbands": opt.passbands, "frontside_reference": opt.frontside_reference,
              "seed": opt.seed, "n_workers": opt.n_workers}
    if opt.raw:
        count = max(1, round(opt.days * 24 / opt.cadence))
        times = [opt.start + timedelta(hours=opt.cadence * step) for step in range(count)]
        written = write_raw(opt.out, times=times, spacecraft=opt.spacecraft, **shared)
        print(f"{len(written)} raw files of one Sun in {opt.out}")
    else:
        write_pairs(opt.out, pairs=opt.pairs, test_suns=opt.test_suns, both_cycles=opt.both_cycles, **shared)
        print(f"{opt.pairs} training pairs and {opt.test_suns} unseen farsides in {opt.out}")


if __name__ == "__main__":
    leave_when_asked()
    run_command(main)
