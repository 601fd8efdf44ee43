"""A Sun with a known farside: magnetograms and EUV images for any observer at any time, the same for the same seed.

    python synthetic_sun.py --out datasets/demo --pairs 150 --size 128 --passbands 171
    python synthetic_sun.py --out raw/demo --raw --size 512 --passbands 304 193 171 --days 3

This is the command, and the place to import from; what it offers lives in `synthetic_field.py` (magnetic flux), `synthetic_view.py`
(observers, cameras), `synthetic_images.py` (magnetograms, EUV), `synthetic_data.py` (data sets) and `synthetic_files.py` (raw formats).
"""
from __future__ import annotations

import importlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from options import parse, sun_parser
from utils import run_command

if TYPE_CHECKING:
    from synthetic_data import write_pairs, write_raw
    from synthetic_images import PASSBANDS, SyntheticSun
    from synthetic_view import SPACECRAFT, Camera, Observer, observer_at

__all__ = ["Camera", "Observer", "PASSBANDS", "SPACECRAFT", "SyntheticSun", "observer_at", "write_pairs", "write_raw"]

HOMES = {"Camera": "synthetic_view", "Observer": "synthetic_view", "SPACECRAFT": "synthetic_view", "observer_at": "synthetic_view",
         "PASSBANDS": "synthetic_images", "SyntheticSun": "synthetic_images",
         "write_pairs": "synthetic_data", "write_raw": "synthetic_data"}


def __getattr__(name: str) -> Any:
    """Import a name from its home when it is first asked for: SunPy takes a second, and --help should not."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(HOMES[name]), name)


def main(argv: list[str] | None = None) -> None:
    """Write a data set of synthetic Suns."""
    opt = parse(sun_parser(), argv)
    from synthetic_data import write_pairs, write_raw

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
