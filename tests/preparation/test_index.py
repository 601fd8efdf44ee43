"""A raw archive is indexed once, and its files are grouped by observer and time."""
import gzip
import importlib.resources
import json
import os
import shutil
from datetime import datetime, timedelta

import pytest
from astropy.io import fits

from pix2pixcc.preparation import index as archive
from pix2pixcc.preparation.holdout import TestDays, near_test, split_pairs
from pix2pixcc.preparation.index import FOREIGN, Record, index_archive, load_index, save_index
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

START = datetime(2011, 3, 5, 12)
SECCHI = importlib.resources.files("reproject.tests") / "data"
SUNPY = importlib.resources.files("sunpy.data.test")


@pytest.fixture
def raw(tmp_path):
    """Real observations of all kinds, nested, compressed and renamed as archives have them."""
    folder = tmp_path / "raw"
    (folder / "SDO" / "AIA" / "2011").mkdir(parents=True)
    (folder / "secchi" / "a").mkdir(parents=True)
    shutil.copy(SECCHI / "secchi_l0_a.fits", folder / "secchi" / "a" / "20110215_001400_n4euA.fts")
    with open(SECCHI / "secchi_l0_b.fits", "rb") as source, gzip.open(folder / "secchi" / "b.FITS.GZ", "wb") as target:
        shutil.copyfileobj(source, target)
    aia = fits.getdata(SUNPY / "aia_171_level1.fits"), fits.getheader(SUNPY / "aia_171_level1.fits")
    with fits.open(SUNPY / "aia_171_level1.fits") as hdus:
        hdus.writeto(folder / "SDO" / "aia.fit")
    header = aia[1].copy()
    header["LVL_NUM"], header["DATE-OBS"] = 1.5, "2011-02-15T00:12:00.34"
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(aia[0].astype("f4"), header)]).writeto(folder / "SDO" / "AIA" / "2011" / "x.fits.fz")
    with fits.open(SUNPY / "resampled_hmi.fits") as hdus:
        hdus[0].header["CONTENT"], hdus[0].header["BUNIT"] = "MAGNETOGRAM", "Gauss"
        hdus.writeto(folder / "SDO" / "hmi.m_45s.fits", output_verify="silentfix+ignore")
    (folder / "SDO" / "notes.txt").write_text("not an image")
    return folder


def by_name(records):
    return {record.name: record for record in records}


def test_every_instrument_level_compression_and_extension_is_found(raw):
    records = index_archive([raw], progress=False)
    assert sorted(record.name for record in records) == ["SDO/AIA 171", "SDO/AIA 171", "SDO/HMI magnetogram", "STEREO/EUVI-A 171",
                                                          "STEREO/EUVI-B 171"]
    assert [record.problem for record in records] == [""] * 5
    assert sorted(record.level for record in records if record.name == "SDO/AIA 171") == [1.0, 1.5]
    assert by_name(records)["STEREO/EUVI-A 171"].longitude == pytest.approx(87.0596, abs=1e-3)
    assert by_name(records)["STEREO/EUVI-B 171"].when == datetime(2011, 2, 15, 0, 14, 0, 6000) or (
        by_name(records)["STEREO/EUVI-B 171"].when - datetime(2011, 2, 15, 0, 14)) < timedelta(minutes=1)
    assert by_name(records)[MAGNETOGRAM].cadence == 45.0


def test_a_second_scan_opens_no_file_and_a_changed_file_is_read_again(raw, tmp_path, monkeypatch):
    first = index_archive([raw], tmp_path / "index", progress=False)
    opened = []
    monkeypatch.setattr(archive, "read_record", lambda record, real=archive.read_record: opened.append(record.path) or real(record))
    assert index_archive([raw], tmp_path / "index", progress=False) == first
    assert opened == []
    touched = raw / "SDO" / "aia.fit"
    os.utime(touched, (1e9, 1e9))
    index_archive([raw], tmp_path / "index", progress=False)
    assert opened == [str(touched)]


@pytest.mark.parametrize("damage", ["not json\n", '["another", "format"]\n', ""])
def test_a_damaged_index_is_made_anew(raw, tmp_path, damage):
    (tmp_path / "index").write_text(damage)
    records = index_archive([raw], tmp_path / "index", progress=False)
    assert load_index(tmp_path / "index") == {record.path: record for record in records}


def test_a_scan_that_is_interrupted_remembers_what_it_read(raw, tmp_path, monkeypatch):
    real, read = archive.read_record, []

    def interrupted(record):
        if len(read) == 3:
            raise KeyboardInterrupt
        read.append(record.path)
        return real(record)
    monkeypatch.setattr(archive, "read_record", interrupted)
    with pytest.raises(KeyboardInterrupt):
        index_archive([raw], tmp_path / "index", progress=False)
    assert sorted(load_index(tmp_path / "index")) == sorted(read)
    assert len(read) == 3


def test_several_processes_find_what_one_finds(raw):
    for k in range(40):
        os.link(raw / "SDO" / "aia.fit", raw / f"{k}.fits")
    one = index_archive([raw], progress=False)
    assert index_archive([raw], n_workers=2, progress=False) == one
    assert len(one) == 45


def test_two_jobs_that_share_an_index_lose_nothing_of_each_other(tmp_path):
    save_index(tmp_path / "index", [Record("a", 1, 1.0, "SDO/AIA 171")])
    save_index(tmp_path / "index", [Record("b", 2, 2.0)])
    assert list(load_index(tmp_path / "index")) == ["a", "b"]
    assert len((tmp_path / "index").read_text().splitlines()) == 3


def test_a_hundred_thousand_remembered_headers_load_within_seconds(tmp_path):
    lines = [json.dumps([field.name for field in archive.fields(Record)])]
    row = list(vars(Record("x", 1, 1.0, "SDO/AIA 171", "2011-02-15T00:00:00")).values())
    lines += [json.dumps([f"/archive/{k}.fits", *row[1:]]) for k in range(100_000)]
    (tmp_path / "index").write_text("\n".join(lines))
    before = archive.time.process_time()
    assert len(load_index(tmp_path / "index")) == 100_000
    assert archive.time.process_time() - before < 5


def test_what_is_no_raw_image_says_why(tmp_path):
    (tmp_path / "text.fits").write_text("hello")
    whole = (SECCHI / "secchi_l0_a.fits").read_bytes()
    (tmp_path / "short.fts").write_bytes(whole[:-60_000])
    with gzip.open(tmp_path / "short.fits.gz", "wb") as file:
        file.write(whole)
    (tmp_path / "short.fits.gz").write_bytes((tmp_path / "short.fits.gz").read_bytes()[:500])
    fits.PrimaryHDU().writeto(tmp_path / "empty.fits")
    fits.PrimaryHDU([[1.0]]).writeto(tmp_path / "other.fits")
    fits.PrimaryHDU([[1.0]], fits.Header({"CHAN1": "SDO/AIA 171"})).writeto(tmp_path / "cube.fits")
    problems = {os.path.basename(record.path): record.problem for record in index_archive([tmp_path], progress=False)}
    assert problems["other.fits"] == FOREIGN
    assert problems["cube.fits"] == "a prepared cube, not a raw observation"
    assert "truncated" in problems["short.fts"]
    assert "no HDU with an image" in problems["empty.fits"]
    assert "not a FITS file" in problems["text.fits"]
    assert "image" in problems["short.fits.gz"]
    assert not any(str(tmp_path) in problem for problem in problems.values())


def test_folders_that_are_missing_empty_linked_in_circles_or_given_twice(raw, tmp_path):
    with pytest.raises(UserError, match="nowhere: there is no such folder"):
        index_archive([tmp_path / "nowhere"])
    (tmp_path / "void").mkdir()
    with pytest.raises(UserError, match="no FITS file lies there"):
        index_archive([tmp_path / "void"])
    os.symlink(raw, raw / "SDO" / "again")
    assert len(index_archive([raw, raw / "SDO"], progress=False)) == 5


def test_the_output_within_the_archive_is_not_taken_for_raw_files(raw):
    (raw / "out").mkdir()
    shutil.copy(raw / "SDO" / "aia.fit", raw / "out")
    assert len(index_archive([raw], exclude=raw / "out", progress=False)) == 5
    assert len(index_archive([raw], exclude=raw, progress=False)) == 6


# Grouping and pairing, on records that no file stands behind

def record(name, minutes=0.0, **facts):
    when = START + timedelta(minutes=minutes)
    return Record(facts.pop("path", f"{name} {minutes:g}"), 1, 1.0, name, when.isoformat(), **facts)


def sdo(minutes=0.0, passbands=("304", "193", "171")):
    return [record(f"SDO/AIA {passband}", minutes) for passband in passbands] + [record(MAGNETOGRAM, minutes)]


def euvi(letter, *minutes, longitude=-94.782):
    return [record(f"STEREO/EUVI-{letter} {passband}", minute, longitude=longitude)
            for passband, minute in zip(("304", "195", "171"), minutes, strict=True)]


def paths(group):
    return [choice.candidates[0].path for choice in group.choices]


def test_channels_come_in_the_order_that_was_asked_for():
    pairs, missing = frontside_pairs(sdo(passbands=("94", "131", "171", "193", "211", "304")), ["304", "211", "94", "171", "131", "193"])
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
    records = [record("SDO/AIA 171", minute) for minute in (0, 6, 12)] + [record(MAGNETOGRAM, minute) for minute in (5, 13)]
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
    files = [record(name, 0.01, path="small", level=1.0, pixels=4), record(name, 0, path="holes", level=1.0, missing=9, pixels=16),
             record(name, 0.02, path="large", level=1.0, pixels=16), record(name, 0, path="higher", level=1.5, missing=99)]
    exposures = Track.of(name, files).exposures
    assert [[one.path for one in exposure] for exposure in exposures] == [["higher", "large", "small", "holes"]]
    assert len(Track.of(name, [record(name, 0), record(name, 0.2)]).exposures) == 2        # AIA's cadence is 12 s


def test_magnetograms_of_720_s_go_before_those_of_45_s():
    fast, slow = record(MAGNETOGRAM, 0, path="45 s", cadence=45.0), record(MAGNETOGRAM, 3, path="720 s", cadence=720.0)
    pairs, _ = frontside_pairs([record("SDO/AIA 171", 0), fast, slow], ["171"])
    assert [one.path for one in pairs[0].target.choices[0].candidates] == ["720 s", "45 s"]


def test_bad_headers_take_no_part():
    bad, good = record(MAGNETOGRAM, 0, problem="QUALITY"), record(MAGNETOGRAM, 5)
    assert list(tracks_of([bad, good])) == [MAGNETOGRAM]
    assert paths(frontside_pairs([record("SDO/AIA 171"), bad, good], ["171"])[0][0].target) == [f"{MAGNETOGRAM} 5"]


def test_the_published_example_of_stereo_b():
    euv = [record("STEREO/EUVI-B 304", -3 - 17 / 60, longitude=-94.782), record("STEREO/EUVI-B 195", 58 / 60, longitude=-94.782),
           record("STEREO/EUVI-B 171", 14 + 28 / 60, longitude=-94.782)]
    days = (datetime(2011, 2, 13, 9, 19, 20) - START).total_seconds() / 60
    front = [record(f"SDO/AIA {one}", days) for one in ("304", "193", "171")] + [record(MAGNETOGRAM, days + 75)]
    channels = farside_channels(["SDO/AIA 304", "SDO/AIA 193", "SDO/AIA 171"] * 2 + [MAGNETOGRAM])
    groups, missing = farside_groups(euv + front + sdo(), channels)
    assert missing == []
    assert groups[0].observer == "STEREO-B"
    assert groups[0].time == datetime(2011, 3, 5, 12, 4, 3)
    assert [choice.name for choice in groups[0].choices] == [
        "STEREO/EUVI-B 304", "STEREO/EUVI-B 195", "STEREO/EUVI-B 171", "SDO/AIA 304", "SDO/AIA 193", "SDO/AIA 171", MAGNETOGRAM]
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


# What is kept for the test

def pairs_of_days(*days):
    return frontside_pairs([one for day in days for one in sdo(1440 * day)], ["304", "193", "171"])[0]


def days_of(pairs):
    return [(pair.time - START) / timedelta(days=1) for pair in pairs]


def test_test_months_and_dates():
    days = TestDays.parse(["9", "2014-12"], ["2011-03-05", "2012-01-30:2012-02-01"])
    inside = [datetime(2011, 9, 1), datetime(2016, 9, 30, 23), datetime(2014, 12, 31, 23), datetime(2011, 3, 5, 12), datetime(2012, 1, 31)]
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
    assert (days_of(train), dropped) == ([20, 30, 60], 2)        # day 54.6's reference is the test; the test's reference is day 0
    assert days_of(split_pairs(pairs, is_test, reference=False, gap_days=1)[0]) == [0, 20, 30, 54.6, 60]
    assert near_test([START], [], reference=True, gap_days=1) == [False]
