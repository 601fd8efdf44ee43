"""What is kept for the test, and what must not be trained on."""
from datetime import datetime, timedelta

import pytest
from records import START, sdo

from pix2pixcc.preparation.holdout import TestDays, near_test, split_pairs
from pix2pixcc.preparation.pairing import frontside_pairs
from pix2pixcc.utils import UserError


def pairs_of_days(*days):
    return frontside_pairs([one for day in days for one in sdo(1440 * day)], ["304", "193", "171"])[0]


def days_of(pairs):
    return [(pair.time - START) / timedelta(days=1) for pair in pairs]


def test_test_months_and_dates():
    days = TestDays.parse(["9", "2014-12"], ["2011-03-05", "2012-01-30:2012-02-01"])
    inside = [datetime(2011, 9, 1), datetime(2016, 9, 30, 23), datetime(2014, 12, 31, 23), datetime(2011, 3, 5, 12),
              datetime(2012, 1, 31)]
    outside = [datetime(2011, 10, 1), datetime(2013, 12, 1), datetime(2011, 3, 6), datetime(2012, 2, 2)]
    assert all(time in days for time in inside)
    assert not any(time in days for time in outside)
    with pytest.raises(UserError, match="--test_months 13"):
        TestDays.parse(["13"], [])
    with pytest.raises(UserError, match="--test_dates 2011-02-30"):
        TestDays.parse([], ["2011-02-30"])


def test_training_pairs_beside_a_test_time_are_dropped():
    pairs = pairs_of_days(0, 0.5, 1, 1.5, 2, 3)
    train, test, dropped = split_pairs(pairs, [day == 0.5 for day in days_of(pairs)], reference=False, gap_days=1)
    assert (days_of(train), days_of(test), dropped) == ([2, 3], [0.5], 3)
    train, test, dropped = split_pairs(pairs, [day == 0.5 for day in days_of(pairs)], reference=False, gap_days=-1)
    assert (len(train), len(test), dropped) == (5, 1, 0)


def test_no_reference_shows_the_test_to_the_training_nor_the_training_to_the_test():
    pairs = pairs_of_days(0, 20, 27.2, 30, 54.6, 60)
    is_test = [day == 27.2 for day in days_of(pairs)]
    train, _, dropped = split_pairs(pairs, is_test, reference=True, gap_days=1)
    # Day 54.6's reference is the test; the test's reference is day 0.
    assert (days_of(train), dropped) == ([20, 30, 60], 2)
    assert days_of(split_pairs(pairs, is_test, reference=False, gap_days=1)[0]) == [0, 20, 30, 54.6, 60]
    assert near_test([START], [], reference=True, gap_days=1) == [False]
