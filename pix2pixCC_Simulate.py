"""A Sun with a known farside: magnetograms and EUV images for any observer at any time, the same for the same seed.

    python pix2pixCC_Simulate.py --out datasets/demo --pairs 150 --size 128 --passbands 171
    python pix2pixCC_Simulate.py --out raw/demo --raw --size 512 --passbands 304 193 171 --days 3
"""
from __future__ import annotations

from datetime import timedelta

from pix2pixcc.options import parse, sun_parser
from pix2pixcc.utils import run_command


def main(argv: list[str] | None = None) -> None:
    """Write a data set of synthetic Suns."""
    opt = parse(sun_parser(), argv)
    from pix2pixcc.synthetic_sun.datasets import write_pairs, write_raw

    shared = {"size": opt.size, "passbands": opt.passbands, "frontside_reference": opt.frontside_reference, "seed": opt.seed,
              "n_workers": opt.n_workers}
    if opt.raw:
        times = [opt.start + timedelta(hours=opt.cadence * step) for step in range(max(1, round(opt.days * 24 / opt.cadence)))]
        written = write_raw(opt.out, times=times, spacecraft=opt.spacecraft, **shared)
        print(f"{len(written)} raw files of one Sun in {opt.out}")
    else:
        write_pairs(opt.out, pairs=opt.pairs, test_suns=opt.test_suns, both_cycles=opt.both_cycles, **shared)
        print(f"{opt.pairs} training pairs and {opt.test_suns} unseen farsides in {opt.out}")


if __name__ == "__main__":
    run_command(main)
