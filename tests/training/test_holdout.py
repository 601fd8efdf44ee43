"""Validation pairs lie in blocks over the whole time range, away from what is trained on."""
import itertools
import json
import re
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from pix2pixcc.training.folder import RunFolder
from pix2pixcc.training.holdout import hold_out
from pix2pixcc.utils import UserError, time_in_name


def pairs_of(number, step_days, name="sdo_{:%Y%m%d_%H%M%S}.fits"):
    names = [name.format(datetime(2011, 1, 1) + timedelta(days=k * step_days)) for k in range(number)]
    return [(Path("Input") / each, Path("Target") / each) for each in names]


def days(pairs):
    return [(time_in_name(pair[0].name) - datetime(2011, 1, 1)) / timedelta(days=1) for pair in pairs]


def test_blocks_spread_over_the_time_range_with_a_gap_around_each():
    pairs = pairs_of(2500, 1)
    training, validation, words = hold_out(pairs[::-1], 0.1, 13.6)
    assert len(validation) == 250
    held = days(validation)
    assert held == sorted(held) and sum(after - before > 1 for before, after in itertools.pairwise(held)) == 7
    assert held[0] < 200 and held[-1] > 2300                              # the first year and the last
    assert min(abs(day - other) for day in days(training) for other in held) == 14
    dropped = len(pairs) - len(training) - len(validation)
    assert dropped == 8 * 2 * 13
    assert words == f"validation in 8 blocks of time; {dropped} pairs within 13.6 days of it are left out (--val_gap)"
    assert training == [pair for pair in pairs[::-1] if pair in set(training)]      # in the order that they came in


def test_a_shorter_range_has_fewer_blocks_so_that_the_gaps_do_not_eat_it():
    training, validation, words = hold_out(pairs_of(365, 1), 0.1, 13.6)
    assert words.startswith("validation in 3 blocks") and len(validation) == 36
    assert len(training) == 365 - 36 - 3 * 2 * 13
    training, validation, words = hold_out(pairs_of(60, 1), 0.1, 13.6)
    assert words.startswith("validation in 1 block of") and days(validation) == list(range(54, 60))
    assert max(days(training)) == 40


@pytest.mark.parametrize(("pairs", "gap", "why"), [
    (pairs_of(40, 1), 0, "--val_gap 0"), (pairs_of(20, 0.5), 13.6, "most pairs of 10 days; its scores will flatter"),
    ([*pairs_of(300, 1)[:-1], (Path("z.fits"), Path("z.fits"))], 13.6, "not every file's name has a time")])
def test_without_room_or_times_for_a_gap_it_is_the_latest_share_and_that_is_said(pairs, gap, why):
    training, validation, words = hold_out(pairs, 0.1, gap)
    assert len(validation) == len(pairs) // 10 and len(training) == len(pairs) - len(validation)
    assert re.fullmatch(rf"validation is the latest share, without a gap .*{why}.*", words)


def test_the_latest_in_time_are_held_out_whatever_their_names():
    pairs = [(Path(f"aia_2011{month:02d}01_000000.fits"), Path(f"hmi_{month}.fits")) for month in (5, 1, 9, 3)]
    training, validation, _ = hold_out(pairs, 0.5, 0)
    assert [pair[0].name[8:10] for pair in training] == ["01", "03"]
    assert [pair[0].name[8:10] for pair in validation] == ["05", "09"]


@pytest.mark.parametrize(("recorded", "gap"), [
    ({"val_fraction": 0.1}, 0.0), ({"val_fraction": 0.1, "val_gap": 5.0}, 5.0), ({"val_fraction": None}, 13.6),
    ({"val_fraction": 0.1, "val_gap": "x"}, 13.6), (None, 13.6)])
def test_a_run_goes_on_with_the_gap_that_it_began_with(tmp_path, recorded, gap):
    folder = RunFolder("run", tmp_path)
    folder.path.mkdir()
    if recorded is not None:
        folder.options.write_text(json.dumps({"options": recorded}))
    assert folder.recorded_val_gap(13.6) == gap
    folder.options.write_text("damaged")
    assert folder.recorded_val_gap(13.6) == 13.6


def test_something_must_be_left_to_train_on():
    with pytest.raises(UserError, match="--val_fraction"):
        hold_out(pairs_of(4, 30), 0.99, 13.6)
