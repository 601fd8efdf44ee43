"""Which pairs are kept for the test, and which training pairs would give their fields away.

A model is tested on a Sun that it has not seen. Active regions live for weeks and turn by 13 degrees a day: pairs a day
apart are nearly the same picture, pairs half a rotation (13.6 days) apart share no disk.
"""
from __future__ import annotations

import calendar
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import numpy as np

from pix2pixcc.preparation.pairing import Pair
from pix2pixcc.solar.orbits import SYNODIC_PERIOD_DAYS
from pix2pixcc.utils import UserError, time_in_name


@dataclass(frozen=True)
class TestDays:
    """Which times are kept for the test: months of every year, months of one year, spans of days."""

    __test__ = False               # not pytest's
    months: frozenset[int]
    spans: tuple[tuple[date, date], ...]

    @classmethod
    def parse(cls, months: Sequence[str], dates: Sequence[str]) -> TestDays:
        """Read `--test_months 9 2014-10` and `--test_dates 2011-03-05 2012-01-01:2012-01-31`."""
        of_every_year, spans = set(), []
        for text in months:
            match = re.fullmatch(r"(?:(\d{4})-)?(\d{1,2})", text)
            if not match or not 1 <= int(match[2]) <= 12:
                raise UserError(f"--test_months {text}: it should be a month of every year (9) or of one (2014-09)")
            if match[1]:
                year, month = int(match[1]), int(match[2])
                spans.append((date(year, month, 1), date(year, month, calendar.monthrange(year, month)[1])))
            else:
                of_every_year.add(int(match[2]))
        for text in dates:
            first, _, last = text.partition(":")
            try:
                spans.append((date.fromisoformat(first), date.fromisoformat(last or first)))
            except ValueError as error:
                raise UserError(f"--test_dates {text}: it should be a day (2011-03-05) or a span "
                                "(2011-03-01:2011-03-31)") from error
        return cls(frozenset(of_every_year), tuple(spans))

    def __contains__(self, time: datetime) -> bool:
        return time.month in self.months or any(first <= time.date() <= last for first, last in self.spans)


def near_test(times: Sequence[datetime], test_times: Sequence[datetime], *, reference: bool,
              gap_days: float) -> list[bool]:
    """Return which of `times`, trained on, would show the Sun as it is within `gap_days` of a test time.

    With `reference` a pair shows the Sun twice: at its time and one rotation before. So does a test pair.
    """
    if not test_times:
        return [False] * len(times)
    tests = _days(test_times)
    shifts = (0.0, -SYNODIC_PERIOD_DAYS, SYNODIC_PERIOD_DAYS) if reference else (0.0,)
    return [any(np.abs(tests - day - shift).min() <= gap_days for shift in shifts) for day in _days(times)]


def _days(times: Sequence[datetime]) -> np.ndarray:
    return np.array([(time - datetime(2000, 1, 1)).total_seconds() / 86400 for time in times])


def split_pairs(pairs: Sequence[Pair], is_test: Sequence[bool], *, reference: bool, gap_days: float,
                other_tests: Sequence[datetime] = ()) -> tuple[list[Pair], list[Pair], int]:
    """Return pairs to train on, pairs to test, and how many were dropped so that no test field is seen in training.

    `is_test` says of each pair whether it is tested. Dropped are training pairs within `gap_days` of one that is, or of
    `other_tests`, times of tests that exist already; a negative gap drops none. With a frontside `reference` a training
    pair is dropped also when its reference falls on a test time, or its time on the reference of a test pair.
    """
    tests = [pair for pair, test in zip(pairs, is_test, strict=True) if test]
    others = [pair for pair, test in zip(pairs, is_test, strict=True) if not test]
    if gap_days < 0:
        return others, tests, 0
    test_times = [*(pair.time for pair in tests), *other_tests]
    near = near_test([pair.time for pair in others], test_times, reference=reference, gap_days=gap_days)
    train = [pair for pair, drop in zip(others, near, strict=True) if not drop]
    return train, tests, len(others) - len(train)


def times_in(folder: Path) -> list[datetime]:
    """Return the times of the cubes in a folder, from their names."""
    return [time for path in sorted(folder.glob("[!.]*.fits")) if (time := time_in_name(path.name))]


def check_earlier_training(out: Path, test_times: list[datetime], reference: bool, gap_days: float) -> None:
    """Refuse test times that training pairs, written earlier under other flags, have seen."""
    earlier = times_in(out / "Train" / "Input")
    near = near_test(earlier, test_times, reference=reference, gap_days=gap_days)
    seen = [time for time, is_near in zip(earlier, near, strict=True) if is_near]
    if seen:
        raise UserError(f"{out / 'Train'} already holds {len(seen)} pairs that show the Sun of the test set, "
                        f"the first of {seen[0]:%Y-%m-%dT%H:%M}: choose another --out, remove that folder, "
                        "or give --allow_overlap")
