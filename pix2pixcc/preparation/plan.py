"""The plan of a command: which pairs, or which farside inputs, are to be made of the files of an archive."""
from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pix2pixcc.preparation import pairing
from pix2pixcc.preparation.cubes import Job
from pix2pixcc.preparation.holdout import TestDays, check_earlier_training, split_pairs, times_in
from pix2pixcc.preparation.index import Record
from pix2pixcc.preparation.report import SHOWN, bad_headers, near_misses
from pix2pixcc.preparation.settings import Settings
from pix2pixcc.solar.instruments import AIA_PASSBANDS, EUVI, EUVI_PASSBANDS, MAGNETOGRAM, SDO, STEREO, STEREO_A
from pix2pixcc.utils import UserError


@dataclass(frozen=True)
class Request:
    """What is asked for: the folder of the cubes, their channels and settings, and how images are paired in time."""

    out: Path
    passbands: list[str]            # as by `checked_passbands`
    reference: bool                 # whether each input holds the frontside, too
    settings: Settings
    timing: dict[str, Any]          # keywords of `farside_groups` and `frontside_pairs`


@dataclass
class Plan:
    """What is to be written, and what was found wanting on the way: what times lack, and which images nearly fitted."""

    jobs: list[Job]
    missing: list[pairing.Missing]
    near: dict[str, str]
    note: str


def training_names(request: Request) -> set[str]:
    """Return the passbands that training pairs are made of, as `Channel.name`."""
    return {*pairing.frontside_names(request.passbands), MAGNETOGRAM}


def farside_names(request: Request) -> set[str]:
    """Return the passbands that farside inputs are made of, as `Channel.name`."""
    names = {f"{spacecraft.euv} {one}" for one in request.passbands for spacecraft in STEREO}
    return names | training_names(request) if request.reference else names


def plan_training(records: list[Record], request: Request, test_days: TestDays, gap_days: float) -> Plan:
    """Plan pairs of AIA images and magnetograms, divided into those to train and to test on.

    Training pairs within `gap_days` of a test time are dropped; a negative gap keeps all.
    """
    out, reference = request.out, request.reference
    pairs, missing = pairing.frontside_pairs(records, request.passbands, reference=reference, **request.timing)
    if not pairs:
        raise UserError(nothing_complete(records, training_names(request), missing))
    train, test, dropped = split_pairs(pairs, [pair.time in test_days for pair in pairs], reference=reference,
                                       gap_days=gap_days, other_tests=times_in(out / "Test" / "Input"))
    if not train and not test:
        raise UserError(f"all {dropped} pairs lie within --test_gap {gap_days:g} days of a test time "
                        f"that is already in {out / 'Test'}")
    if gap_days >= 0:      # other files may have moved both times by the tolerance
        earlier_gap = gap_days - request.timing["tolerance"] / 720
        check_earlier_training(out, [pair.time for pair in test], reference, earlier_gap)
    jobs = [Job((pair.input, pair.target), (str(out / part / "Input"), str(out / part / "Target")), request.settings)
            for part, some in (("Train", train), ("Test", test)) for pair in some]
    note = f"pairs        {len(train)} to train, {len(test)} to test"
    if dropped:
        note += (f"; {dropped} dropped, which saw the Sun within {gap_days:g} days of a test pair "
                 "(--test_gap, --allow_overlap)")
    return Plan(jobs, missing, near_misses(jobs, missing, len(request.passbands) + 1), note)


def plan_farside(records: list[Record], request: Request) -> Plan:
    """Plan inputs of the farside: EUVI images by spacecraft and time."""
    channels = [f"{EUVI} {one}" for one in request.passbands]
    if request.reference:
        channels = pairing.farside_channels([*channels, *channels, MAGNETOGRAM])
    groups, missing = pairing.farside_groups(records, channels, **request.timing)
    if not groups:
        raise UserError(nothing_complete(records, farside_names(request), missing))
    jobs = [Job((group,), (str(request.out),), request.settings) for group in groups]
    counts = sorted(Counter(group.observer for group in groups).items())
    return Plan(jobs, missing, near_misses(jobs, missing, len(request.passbands)),
                "inputs       " + ", ".join(f"{count} of {observer}" for observer, count in counts))


def nothing_complete(records: list[Record], names: set[str], missing: list[pairing.Missing]) -> str:
    """Say why there is nothing to write."""
    counts = Counter(record.name for record in records if not record.problem)
    found = ", ".join(f"{counts[name]} of {name}" for name in sorted(names))
    return "\n".join([f"no time has all that is needed. Good files: {found}",
                      *(f"  {line}" for line in pairing.describe_missing(missing, SHOWN)),
                      *(f"  {path}: {reason}" for path, reason in list(bad_headers(records, names).items())[:SHOWN]),
                      "  Look at --raw and --channels, or widen --tolerance or --reference_tolerance"])


def checked_passbands(passbands: Sequence[str], command: str) -> list[str]:
    """Return the passbands of `--channels` as AIA (to train) or EUVI calls them; refuse one that it does not have."""
    instrument, spacecraft = ("AIA", SDO) if command == "train" else ("EUVI", STEREO_A)
    known = AIA_PASSBANDS if command == "train" else EUVI_PASSBANDS
    wanted = [spacecraft.passband(one) for one in passbands]
    for one in wanted:
        if one not in known:
            raise UserError(f"--channels {one}: {instrument} has no such passband; it has {', '.join(known)}")
    if len(set(wanted)) < len(wanted):
        raise UserError(f"--channels {' '.join(passbands)}: a passband stands there twice")
    return wanted


def parse_shard(text: str | None) -> tuple[int, int]:
    """Read `--shard`: `'3/10'` is (3, 10), no shard (1, 1)."""
    match = re.fullmatch(r"(\d+)/(\d+)", text or "1/1")
    part, parts = (int(group) for group in match.groups()) if match else (0, 0)
    if not 1 <= part <= parts:
        raise UserError(f"--shard {text}: it should be I/N with I from 1 to N, such as 3/10")
    return part, parts


def parse_hours(text: str | None) -> float | None:
    """Read `--cadence` in hours: `'12h'`, `'30m'`, `'1d'`; its times must be the same every day, or every few days."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(m|min|h|d)", text)
    hours = float(match[1]) * {"m": 1 / 60, "min": 1 / 60, "h": 1, "d": 24}[match[2]] if match else 0
    if hours <= 0:
        raise UserError(f"--cadence {text}: it should be a number and a unit, such as 12h, 30m or 1d")
    divides = abs(24 / hours - round(24 / hours)) < 1e-9 if hours < 24 else hours % 24 in (0, 12)
    if not divides:
        raise UserError(f"--cadence {text}: it should divide a day, such as 6h, 8h or 12h: counted from 0 UT, it would "
                        "fall on other hours each day")
    return hours
