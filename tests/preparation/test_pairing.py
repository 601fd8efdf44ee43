"""Files are grouped by observer and time, on records that no file stands behind."""
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from records import START, record, sdo

from pix2pixcc.preparation.pairing import (
    Track,
    describe_missing,
    farside_channels,
    farside_groups,
    frontside_pairs,
    tracks_of,
)
from pix2pixcc.solar.instruments import MAGNETOGRAM
from pix2pixcc.utils import UserError


def euvi(letter, *minutes, longitude=-94.782):
    return [record(f"STEREO/EUVI-{letter} {passband}", minute, longitude=longitude)
            for passband, minute in zip(("304", "195", "171"), minutes, strict=True)]


def paths(group):
    return [choice.candidates[0].path for choice in group.choices]


def test_channels_come_in_the_order_that_was_asked_for():
    records = sdo(passbands=("94", "131", "171", "193", "211", "304"))
    pairs, missing = frontside_pairs(records, ["304", "211", "94", "171", "131", "193"])
    assert paths(pairs[0].input) == [f"SDO/AIA {one} 0" for one in ("304", "211", "94", "171", "131", "193")]
    assert paths(pairs[0].target) == [f"{MAGNETOGRAM} 0"]
    assert missing == []
    assert paths(frontside_pairs(sdo(), ["171"])[0][0].input) == ["SDO/AIA 171 0"]


def test_images_are_paired_within_the_tolerance_and_what_is_missing_is_named():
    records = [record("SDO/AIA 304", 0), record("SDO/AIA 171", 9), record(MAGNETOGRAM, 4)]
    records += [record("SDO/AIA 304", 720), record(MAGNETOGRAM, 735)]
    pairs, missing = frontside_pairs(records, ["304", "171"], tolerance=10)
    assert [pair.time for pair in pairs] == [START + timedelta(minutes=4.5)]
    assert describe_missing(missing) == [
        "2011-03-06T00:00 SDO lacks SDO/AIA 171: the nearest is 711 min off (--tolerance 10)",
        "2011-03-06T00:00 SDO lacks SDO/HMI magnetogram: the nearest is 15 min off (--tolerance 10)"]


def test_an_image_serves_one_time_and_the_closest_together_are_taken_first():
    records = [record("SDO/AIA 171", minute) for minute in (0, 6, 12)]
    records += [record(MAGNETOGRAM, minute) for minute in (5, 13)]
    pairs, missing = frontside_pairs(records, ["171"], tolerance=10)
    assert [(paths(pair.input), paths(pair.target)) for pair in pairs] == [
        (["SDO/AIA 171 6"], [f"{MAGNETOGRAM} 5"]), (["SDO/AIA 171 12"], [f"{MAGNETOGRAM} 13"])]
    assert missing == []


def test_a_cadence_takes_the_nearest_to_each_of_its_times():
    records = [one for minute in range(-60, 1500, 20) for one in sdo(minute + 3)]
    pairs, _ = frontside_pairs(records, ["304", "193", "171"], cadence=12)
    assert [pair.time for pair in pairs] == [START + timedelta(minutes=minute) for minute in (3, 723, 1443)]


def test_of_one_exposure_the_higher_level_then_the_more_complete_then_the_larger_file_is_the_better():
    name = "SDO/AIA 171"
    files = [record(name, 0.01, path="small", level=1.0, pixels=4),
             record(name, 0, path="holes", level=1.0, missing=9, pixels=16),
             record(name, 0.02, path="large", level=1.0, pixels=16),
             record(name, 0, path="higher", level=1.5, missing=99)]
    exposures = Track.of(name, files).exposures
    assert [[one.path for one in exposure] for exposure in exposures] == [["higher", "large", "small", "holes"]]
    assert len(Track.of(name, [record(name, 0), record(name, 0.2)]).exposures) == 2        # AIA's cadence is 12 s


def test_a_720_s_magnetogram_is_preferred_to_a_45_s_one_within_12_minutes_and_else_the_nearest_is_the_nearest():
    fast, slow = record(MAGNETOGRAM, 0, path="45 s", cadence=45.0), record(MAGNETOGRAM, 3, path="720 s", cadence=720.0)
    pairs, _ = frontside_pairs([record("SDO/AIA 171", 0), fast, slow], ["171"])
    assert [one.path for one in pairs[0].target.choices[0].candidates] == ["720 s"]
    far = record(MAGNETOGRAM, 13, path="far 720 s", cadence=720.0)
    others = [record(MAGNETOGRAM, minutes, path=f"{minutes} min", cadence=720.0) for minutes in (12, -300)]
    near = Track.of(MAGNETOGRAM, [fast, far, *others]).near((START - datetime(1970, 1, 1)).total_seconds(), 390 * 60)
    assert [exposure[0].path for exposure in near] == ["12 min", "45 s", "far 720 s", "-300 min"]


def test_only_files_of_one_exposure_may_fill_a_channel_and_for_a_reference_other_times():
    twice = [record("STEREO/EUVI-B 304", minutes, path=path, longitude=-94.782)
             for minutes, path in ((0, "a"), (0.05, "b"), (5, "c"))]
    days = -20.09 * 1440
    front = [record(MAGNETOGRAM, days, path="near"), record(MAGNETOGRAM, days + 60, path="hour")]
    groups, _ = farside_groups([*twice, *front], ["STEREO/EUVI 304", MAGNETOGRAM], tolerance=20)
    assert [[one.path for one in group.choices[0].candidates] for group in groups] == [["a", "b"], ["c"]]
    assert {one.path for one in groups[0].choices[1].candidates} == {"near", "hour"}


def test_bad_headers_take_no_part():
    bad, good = record(MAGNETOGRAM, 0, problem="QUALITY"), record(MAGNETOGRAM, 5)
    assert list(tracks_of([bad, good])) == [MAGNETOGRAM]
    assert paths(frontside_pairs([record("SDO/AIA 171"), bad, good], ["171"])[0][0].target) == [f"{MAGNETOGRAM} 5"]


def test_the_published_example_of_stereo_b():
    euv = euvi("B", -3 - 17 / 60, 58 / 60, 14 + 28 / 60)
    days = (datetime(2011, 2, 13, 9, 19, 20) - START).total_seconds() / 60
    front = [record(f"SDO/AIA {one}", days) for one in ("304", "193", "171")] + [record(MAGNETOGRAM, days + 75)]
    channels = farside_channels(["SDO/AIA 304", "SDO/AIA 193", "SDO/AIA 171"] * 2 + [MAGNETOGRAM])
    groups, missing = farside_groups(euv + front + sdo(), channels)
    assert missing == []
    assert groups[0].observer == "STEREO-B"
    assert groups[0].time == datetime(2011, 3, 5, 12, 4, 3)
    assert [choice.name for choice in groups[0].choices] == [
        "STEREO/EUVI-B 304", "STEREO/EUVI-B 195", "STEREO/EUVI-B 171", "SDO/AIA 304", "SDO/AIA 193", "SDO/AIA 171",
        MAGNETOGRAM]
    assert groups[0].choices[6].candidates[0].when == datetime(2011, 2, 13, 10, 34, 20)


def test_spacecraft_are_grouped_apart_and_incomplete_times_are_listed():
    records = euvi("A", 0, 5, 10) + euvi("B", 1, 5, 40) + euvi("A", 120, 121, 122)[:2]
    groups, missing = farside_groups(records, ["STEREO/EUVI 304", "STEREO/EUVI 195", "STEREO/EUVI 171"], tolerance=20)
    assert [(group.observer, group.time) for group in groups] == [("STEREO-A", START + timedelta(minutes=5))]
    assert describe_missing(missing) == [
        "2011-03-05T12:03 STEREO-B lacks STEREO/EUVI-B 171: the nearest is 39 min off (--tolerance 20)",
        "2011-03-05T14:00 STEREO-A lacks STEREO/EUVI-A 171: the nearest is 110 min off (--tolerance 20)"]


def test_a_missing_reference_is_listed_with_the_time_at_which_it_is_wanted():
    _, missing = farside_groups(euvi("B", 0, 0, 0) + sdo(), ["STEREO/EUVI 304", MAGNETOGRAM])
    assert describe_missing(missing) == ["2011-03-05T12:00 STEREO-B lacks SDO/HMI magnetogram of 2011-02-13T09:44: "
                                         "the nearest is 20.1 days off (--reference_tolerance 390)"]


def test_the_channels_of_a_model_tell_what_a_farside_input_needs():
    aia = ["SDO/AIA 304", "SDO/AIA 193", "SDO/AIA 171"]
    now = ["STEREO/EUVI 304", "STEREO/EUVI 195", "STEREO/EUVI 171"]
    assert farside_channels(aia) == now
    assert farside_channels([*aia, *aia, MAGNETOGRAM]) == [*now, *aia, MAGNETOGRAM]
    of_a_farside_cube = ["STEREO/EUVI-B 304", "STEREO/EUVI-B 195", "SDO/AIA 304", MAGNETOGRAM]
    assert farside_channels(of_a_farside_cube) == [*now[:2], "SDO/AIA 304", MAGNETOGRAM]
    assert farside_channels(["SDO/AIA 171"]) == ["STEREO/EUVI 171"]
    with pytest.raises(UserError, match=r"SDO/AIA 131.*EUVI has no such passband"):
        farside_channels(["SDO/AIA 131"])


def test_pairing_does_not_pay_for_sunpy():
    code = "import sys, pix2pixcc.preparation.pairing; print(sorted({'sunpy', 'scipy', 'torch'} & set(sys.modules)))"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True).stdout == "[]\n"
