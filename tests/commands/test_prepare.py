"""Raw files become cubes: `pix2pixCC_Prepare.py`, from the folder of downloads to what training and generation read."""
import csv
import importlib.resources
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from running import run

import pix2pixCC_Prepare as command
from pix2pixcc.images.cubes import read_channel_cards
from pix2pixcc.preparation import cubes as preparation
from pix2pixcc.preparation import index as archive
from pix2pixcc.preparation.cubes import IncompleteGroup, prepare_group
from pix2pixcc.preparation.pairing import farside_channels, farside_groups
from pix2pixcc.solar.geometry import disk_mask
from pix2pixcc.solar.instruments import MAGNETOGRAM
from pix2pixcc.solar.orbits import observer_at
from pix2pixcc.synthetic_sun.archives import (
    AIA_OFFSET,
    EUVI_OFFSET,
    INSTRUMENTS,
    raw_camera,
    raw_name,
    write_aia,
    write_euvi,
    write_hmi,
)
from pix2pixcc.synthetic_sun.datasets import write_raw
from pix2pixcc.synthetic_sun.sun import SyntheticSun
from pix2pixcc.utils import UserError

NOON = datetime(2011, 3, 5, 12)
SIZE = 32
ROOT = Path(command.__file__).parent


def scene(camera):
    """A disk with structure, median near 100, and a corona."""
    west, north = camera.sky()
    distance = np.hypot(west, north)
    return np.where(distance < 1, 100 + 50 * np.sin(5 * west) * np.cos(4 * north), 20 * np.exp(5 * (1 - distance)))


def write_archive(folder, times, spacecraft=("SDO",), passbands=("304", "193", "171"), size=64):
    """The files of `times` as archives name and nest them; quick, of a scene that is no Sun."""
    random = np.random.default_rng(0)
    for when in times:
        for name in spacecraft:
            observer = observer_at(name, when.replace(minute=0))
            for passband in [*passbands, MAGNETOGRAM] if name == "SDO" else ["304", "195", "171"]:
                if passband == MAGNETOGRAM:
                    camera = raw_camera(INSTRUMENTS["HMI"], observer, size)
                    path = folder / raw_name(name, "magnetogram", when)
                    write_hmi(path, 4 * scene(camera) - 400, camera, observer, when, random)
                    continue
                moment = when + timedelta(seconds=(AIA_OFFSET if name == "SDO" else EUVI_OFFSET)[passband])
                camera = raw_camera(INSTRUMENTS["AIA" if name == "SDO" else name], observer, size)
                write = write_aia if name == "SDO" else write_euvi
                path = folder / raw_name(name, passband, moment)
                write(path, scene(camera), camera, observer, moment, passband, random)
    return folder


def copy_of(folder, target):
    return Path(shutil.copytree(folder, target))


@pytest.fixture(scope="module")
def two_times(tmp_path_factory):
    return write_archive(tmp_path_factory.mktemp("two"), [NOON, NOON + timedelta(days=3)])


@pytest.fixture(scope="module")
def stereo(tmp_path_factory):
    return write_archive(tmp_path_factory.mktemp("stereo"), [NOON], ("STEREO-A", "STEREO-B"))


@pytest.fixture(scope="module")
def twenty_days(tmp_path_factory):
    days = [NOON + timedelta(days=day) for day in range(20)]
    return write_archive(tmp_path_factory.mktemp("twenty"), days, passbands=["171"])


def prepare(kind, raw, out, *flags, n_workers=1):
    return command.main([kind, "--raw", str(raw), "--out", str(out), "--size", str(SIZE),
                         "--n_workers", str(n_workers), *flags])


def skipped(out):
    with open(out / "skipped.csv", newline="") as file:
        return {os.path.basename(row["path"]): row["reason"] for row in csv.DictReader(file)}


def cubes(folder):
    return sorted(path.name for path in Path(folder).rglob("*.fits"))


def file_of(raw, *words):
    return next(path for path in sorted(raw.rglob("*.f*ts")) if all(word in str(path) for word in words))


def set_cards(path, **cards):
    with fits.open(path, mode="update", disable_image_compression=True) as hdus:
        for name, value in cards.items():
            if value is None:
                del hdus[-1].header[name]
            else:
                hdus[-1].header[name] = value


def set_pixels(path, change):
    """Rewrite an image with other pixels."""
    header, data = fits.getheader(path, -1), fits.getdata(path, -1).astype("f4")
    data = change(data)
    for name in ("BZERO", "BSCALE", "ZBLANK", "BLANK"):
        header.remove(name, ignore_missing=True)
    fits.PrimaryHDU(data, header).writeto(path, overwrite=True, output_verify="silentfix+ignore")


# Training sets

def test_pairs_become_cubes_of_one_name_in_the_folders_that_train_and_test_read(two_times, tmp_path, capsys):
    assert prepare("train", two_times, tmp_path, "--test_dates", "2011-03-08", "--test_gap", "1") == 0
    for side in ("Input", "Target"):
        assert cubes(tmp_path / "Train" / side) == ["sdo_20110305_120004.fits"]
        assert cubes(tmp_path / "Test" / side) == ["sdo_20110308_120004.fits"]
    image, header = fits.getdata(tmp_path / "Train/Input/sdo_20110305_120004.fits", header=True)
    assert image.shape == (3, SIZE, SIZE)
    assert image.dtype == np.dtype(">f4")
    assert np.median(image[:, disk_mask(SIZE)], axis=1) == pytest.approx([100] * 3, rel=1e-3)
    assert not image[:, ~disk_mask(SIZE)].any()
    channels = read_channel_cards(header, 3)
    assert [(channel.name, channel.time, channel.scale) for channel in channels] == [
        ("SDO/AIA 304", "2011-03-05T12:00:06", "log10"), ("SDO/AIA 193", "2011-03-05T12:00:06", "log10"),
        ("SDO/AIA 171", "2011-03-05T11:59:59", "log10")]
    assert header["FILE3"] == "aia.lev1_euv_12s.2011-03-05T120000Z.171.image_lev1.fits"
    magnetogram, header = fits.getdata(tmp_path / "Train/Target/sdo_20110305_120004.fits", header=True)
    assert magnetogram.shape == (1, SIZE, SIZE)
    assert (header["CHAN1"], header["CLOW1"], header["CHIGH1"], header["BUNIT"]) == (MAGNETOGRAM, -1500, 1500, "G")
    disk = disk_mask(SIZE)
    assert np.corrcoef(magnetogram[0][disk], image[2][disk])[0, 1] > 0.95        # HMI was upside down
    printed = capsys.readouterr().out
    assert "1 to train, 1 to test" in printed
    assert "written      2, already there 0" in printed
    assert "--input_ch 3" in printed


@pytest.mark.parametrize("passbands", [["171"], ["94", "131", "335", "171", "211", "304"]])
def test_any_list_of_passbands_in_its_order(tmp_path, passbands):
    raw = write_archive(tmp_path / "raw", [NOON], passbands=sorted(passbands))
    assert prepare("train", raw, tmp_path / "out", "--channels", *passbands) == 0
    header = fits.getheader(next((tmp_path / "out/Train/Input").iterdir()))
    channels = read_channel_cards(header, len(passbands))
    assert [channel.name for channel in channels] == [f"SDO/AIA {one}" for one in passbands]


def test_a_frontside_reference_makes_seven_channels_and_keeps_the_test_unseen(tmp_path, capsys):
    days = [0, 27.25, 54.5, 58]
    raw = write_archive(tmp_path / "raw", [NOON + timedelta(days=day) for day in days])
    assert prepare("train", raw, tmp_path / "out", "--frontside_reference", "--test_dates", "2011-04-01",
                   "--test_gap", "1") == 0
    assert cubes(tmp_path / "out" / "Test" / "Input") == ["sdo_20110401_180004.fits"]
    header = fits.getheader(tmp_path / "out/Test/Input/sdo_20110401_180004.fits")
    assert header["NAXIS3"] == 7
    assert [(one.name, one.time[:13]) for one in read_channel_cards(header, 7)] == [
        ("SDO/AIA 304", "2011-04-01T18"), ("SDO/AIA 193", "2011-04-01T18"), ("SDO/AIA 171", "2011-04-01T17"),
        ("SDO/AIA 304", "2011-03-05T12"), ("SDO/AIA 193", "2011-03-05T12"), ("SDO/AIA 171", "2011-03-05T11"),
        (MAGNETOGRAM, "2011-03-05T11")]
    # The reference of day 54.5 is the test; day 58 has none.
    assert cubes(tmp_path / "out" / "Train") == []
    assert "1 dropped, which saw the Sun within 1 days of a test pair" in capsys.readouterr().out
    flags = ["--frontside_reference", "--test_dates", "2011-04-01", "--allow_overlap"]
    assert prepare("train", raw, tmp_path / "told", *flags) == 0
    assert cubes(tmp_path / "told" / "Train" / "Input") == ["sdo_20110429_000004.fits"]


def test_no_pair_of_the_default_training_set_shows_the_disk_of_a_test_pair(two_times, tmp_path, capsys):
    assert prepare("train", two_times, tmp_path, "--test_dates", "2011-03-08") == 0
    assert cubes(tmp_path / "Train") == [] and cubes(tmp_path / "Test" / "Input") == ["sdo_20110308_120004.fits"]
    assert "1 dropped, which saw the Sun within 13.6 days of a test pair" in capsys.readouterr().out


def test_a_test_set_chosen_after_its_pairs_were_written_for_training_is_refused(two_times, tmp_path):
    prepare("train", two_times, tmp_path)
    message = "already holds 1 pairs that show the Sun of the test set, the first of 2011-03-08T12:00"
    with pytest.raises(UserError, match=message):
        prepare("train", two_times, tmp_path, "--test_dates", "2011-03-08", "--test_gap", "1")
    assert cubes(tmp_path / "Test") == []


# Farside inputs

def test_euvi_images_become_one_cube_a_spacecraft_named_by_their_mean_time(stereo, tmp_path):
    assert prepare("farside", stereo, tmp_path) == 0
    assert cubes(tmp_path) == ["stereo_a_20110305_120137.fits", "stereo_b_20110305_120137.fits"]
    for letter in "AB":
        image, header = fits.getdata(tmp_path / f"stereo_{letter.lower()}_20110305_120137.fits", header=True)
        observer = observer_at(f"STEREO-{letter}", NOON)
        assert image.shape == (3, SIZE, SIZE)
        names = [channel.name for channel in read_channel_cards(header, 3)]
        assert names == [f"STEREO/EUVI-{letter} {one}" for one in ("304", "195", "171")]
        assert header["DATE-OBS"][:19] == "2011-03-05T12:01:37"
        assert header["OBSRVTRY"] == f"STEREO_{letter}"
        assert header["HGLN_OBS"] == pytest.approx(observer.longitude, abs=0.01)
        assert header["DSUN_OBS"] == pytest.approx(observer.distance * 149597870700, rel=1e-5)


def test_the_real_euvi_images_of_one_time_become_inputs_of_both_sides(tmp_path):
    data = importlib.resources.files("reproject.tests") / "data"
    assert prepare("farside", data, tmp_path, "--channels", "171") == 0
    assert cubes(tmp_path) == ["stereo_a_20110215_001400.fits", "stereo_b_20110215_001434.fits"]
    header = fits.getheader(tmp_path / "stereo_b_20110215_001434.fits")
    assert (header["FILE1"], header["CHAN1"]) == ("secchi_l0_b.fits", "STEREO/EUVI-B 171")
    assert header["HGLN_OBS"] == pytest.approx(-93.7295, abs=1e-4)
    assert skipped(tmp_path)["galactic_2d.fits"] == "no AIA, HMI or EUVI image"


def test_farside_inputs_take_the_frontside_of_when_that_longitude_faced_earth(tmp_path):
    raw = write_archive(tmp_path / "raw", [NOON], ("STEREO-B",))
    write_archive(raw, [datetime(2011, 2, 13, 9, 19), datetime(2011, 2, 13, 15)])
    assert prepare("farside", raw, tmp_path / "out", "--frontside_reference") == 0
    header = fits.getheader(next((tmp_path / "out").glob("*.fits")))
    assert [(one.name, one.time) for one in read_channel_cards(header, 7)][3:] == [
        ("SDO/AIA 304", "2011-02-13T09:19:06"), ("SDO/AIA 193", "2011-02-13T09:19:06"),
        ("SDO/AIA 171", "2011-02-13T09:18:59"), (MAGNETOGRAM, "2011-02-13T09:17:55")]
    assert header["OBSRVTRY"] == "STEREO_B"


def test_the_same_is_done_in_memory_for_a_model_by_its_channels(stereo):
    channels = farside_channels(["SDO/AIA 304", "SDO/AIA 193", "SDO/AIA 171"])
    groups, missing = farside_groups(archive.index_archive([stereo], progress=False), channels)
    prepared = prepare_group(groups[1], SIZE)
    assert missing == []
    assert prepared.data.shape == (3, SIZE, SIZE)
    names = [channel.name for channel in prepared.channels]
    assert names == ["STEREO/EUVI-B 304", "STEREO/EUVI-B 195", "STEREO/EUVI-B 171"]
    assert prepared.time.replace(microsecond=0) == datetime(2011, 3, 5, 12, 1, 37)


def test_what_is_missing_is_listed_by_time_and_passband(stereo, tmp_path, capsys):
    raw = copy_of(stereo, tmp_path / "raw")
    file_of(raw, "STEREO_A", "115958").unlink()
    assert prepare("farside", raw, tmp_path / "out") == 0
    assert cubes(tmp_path / "out") == ["stereo_b_20110305_120137.fits"]
    assert "2011-03-05T12:02 STEREO-A lacks STEREO/EUVI-A 195: there is no good image at all" in capsys.readouterr().out
    with open(tmp_path / "out" / "missing.csv", newline="") as file:
        row, = csv.DictReader(file)
    assert (row["time"], row["observer"], row["passband"]) == ("2011-03-05T12:02:30", "STEREO-A", "STEREO/EUVI-A 195")


# Quality control

def black_blocks(data):
    data[20:36] = 0
    return data


def half_lost(data):
    return np.where(np.arange(64)[:, None] < 30, np.nan, data)


FAULTS = {
    "QUALITY": (("171",), lambda path: set_cards(path, QUALITY=0x40002000), "QUALITY = 0x40002000"),
    "missing keyword": (("171",), lambda path: set_cards(path, EXPTIME=None), "keyword EXPTIME is missing"),
    "missing pointing": (("171",), lambda path: set_cards(path, CDELT1=None), "CDELT1 is missing"),
    "odd system of time": (("171",), lambda path: set_cards(path, TIMESYS="MARS"), "keyword TIMESYS = 'MARS' is no"),
    "field strength": (("HMI",), lambda path: set_pixels(path, np.abs), "no negative pixel on the disk"),
    "zero exposure": (("171",), lambda path: set_cards(path, EXPTIME=0.0), "EXPTIME = 0"),
    "truncated": (("171",), lambda path: path.write_bytes(path.read_bytes()[:-3000]), "truncated"),
    "unreadable": (("171",), lambda path: path.write_text("404 not found"), "not a FITS file"),
    "constant": (("HMI",), lambda path: set_pixels(path, lambda data: 0 * np.nan_to_num(data)), "constant"),
    "median": (("171",), lambda path: set_pixels(path, lambda data: data - 1000), "the median on the disk is"),
    "partial": (("171",), lambda path: set_pixels(path, lambda data: data[:16]), "a partial image of 64 x 16 pixels"),
    "disk": (("171",), lambda path: set_cards(path, CRPIX1=5.0), "the disk does not fit in the frame"),
    "missing blocks": (("HMI",), lambda path: set_pixels(path, half_lost), "of the disk is missing"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_file_is_skipped_with_its_reason_and_its_time_is_incomplete(two_times, tmp_path, fault, capsys):
    words, spoil, reason = FAULTS[fault]
    raw = copy_of(two_times, tmp_path / "raw")
    bad = file_of(raw, *words)
    spoil(bad)
    assert prepare("train", raw, tmp_path / "out") == 0
    assert reason in skipped(tmp_path / "out")[bad.name]
    assert list(skipped(tmp_path / "out")) == [bad.name]
    assert cubes(tmp_path / "out" / "Train" / "Input") == ["sdo_20110308_120004.fits"]
    assert "skipped      1 files" in capsys.readouterr().out
    with pytest.raises(UserError, match=f"--strict: .*{bad.name}: .*{reason}"):
        prepare("train", raw, tmp_path / "strict", "--strict")


def test_lost_segments_and_blocks_of_euvi_are_noticed(stereo, tmp_path):
    raw = copy_of(stereo, tmp_path / "raw")
    lost, black = file_of(raw, "STEREO_A", "115958"), file_of(raw, "STEREO_B", "115958")
    set_cards(lost, NMISSING=9)
    set_pixels(black, black_blocks)
    with pytest.raises(UserError, match="--strict"):
        prepare("farside", raw, tmp_path / "out", "--strict")
    with pytest.raises(UserError, match=r"no time has a good image of every passband; .*skipped.csv says why"):
        prepare("farside", raw, tmp_path / "out")
    assert "NMISSING = 9" in skipped(tmp_path / "out")[lost.name]
    assert "% of the disk is missing, more than 1.0%" in skipped(tmp_path / "out")[black.name]
    assert cubes(tmp_path / "out") == []
    assert prepare("farside", raw, tmp_path / "out", "--max_missing", "0.9") == 0
    assert cubes(tmp_path / "out") == ["stereo_b_20110305_120137.fits"]


def test_an_image_whose_time_is_off_the_group_is_skipped(two_times, tmp_path):
    raw = copy_of(two_times, tmp_path / "raw")
    stray = file_of(raw, "171", "2011-03-05")
    set_cards(stray, **{"DATE-OBS": "2011-03-05T12:25:00"})
    assert prepare("train", raw, tmp_path / "out") == 0
    assert skipped(tmp_path / "out") == {stray.name: "a time off the group: the nearest is 26 min off (--tolerance 10)"}
    with pytest.raises(UserError, match=r"--strict: .*a time off the group"):
        prepare("train", raw, tmp_path / "out", "--strict")


def test_where_an_image_is_bad_another_file_of_its_exposure_takes_its_place(two_times, tmp_path, capsys):
    raw = copy_of(two_times, tmp_path / "raw")
    bad = file_of(raw, "171", "2011-03-05")
    shutil.copy(bad, raw / "spare.fits")
    set_pixels(bad, lambda data: 0 * data + 7)
    set_cards(bad, LVL_NUM=1.5)                         # the better file, if its pixels were good
    for _ in range(2):                                  # the second time it is known
        assert prepare("train", raw, tmp_path / "out") == 0
        assert f"replaced     {bad} by {raw / 'spare.fits'}: a constant image" in capsys.readouterr().out
        assert skipped(tmp_path / "out") == {bad.name: f"a constant image; replaced by {raw / 'spare.fits'}"}
    assert fits.getheader(tmp_path / "out/Train/Input/sdo_20110305_120004.fits")["FILE3"] == "spare.fits"


def missing(out):
    with open(out / "missing.csv", newline="") as file:
        return [(row["time"], row["passband"], row["reason"]) for row in csv.DictReader(file)]


def test_an_image_of_another_time_takes_nobodys_place(two_times, tmp_path, capsys):
    """Neither of a minute that no group has, nor of the next group, under whose name it lies already."""
    raw = copy_of(two_times, tmp_path / "raw")
    bad = file_of(raw, "171", "2011-03-05")
    shutil.copy(bad, raw / "spare.fits")
    set_cards(raw / "spare.fits", **{"DATE-OBS": "2011-03-05T12:04:00", "T_OBS": "2011-03-05T12:04:01Z"})
    set_pixels(bad, lambda data: 0 * data + 7)
    assert prepare("train", raw, tmp_path / "out") == 0
    assert cubes(tmp_path / "out" / "Train" / "Input") == ["sdo_20110308_120004.fits"]
    assert missing(tmp_path / "out") == [("2011-03-05T12:00:03", "SDO/AIA 171", "no good image")]
    assert skipped(tmp_path / "out")[bad.name] == "a constant image"


def test_of_two_times_close_together_the_damaged_one_is_missing_and_the_other_made_once(stereo, tmp_path, capsys):
    raw = copy_of(stereo, tmp_path / "raw")
    good = file_of(raw, "STEREO_B", "120928")
    bad = good.with_name("20110305_115428_n4euB.fts")
    shutil.copy(good, bad)
    set_cards(bad, **{"DATE-OBS": "2011-03-05T11:54:20.000", "DATE-AVG": "2011-03-05T11:54:28.000"})
    set_pixels(bad, black_blocks)
    for letter in "AB":
        for path in raw.rglob(f"*n4eu{letter}.fts"):
            if path not in (good, bad):
                path.unlink()
    assert prepare("farside", raw, tmp_path / "out", "--channels", "171") == 0
    assert cubes(tmp_path / "out") == ["stereo_b_20110305_120920.fits"]
    assert missing(tmp_path / "out") == [("2011-03-05T11:54:20", "STEREO/EUVI-B 171", "no good image")]
    assert "written      1, already there 0, no good image 1" in capsys.readouterr().out


def test_of_a_duplicate_the_better_file_is_taken(two_times, tmp_path):
    raw = copy_of(two_times, tmp_path / "raw")
    plain = file_of(raw, "171", "2011-03-05")
    shutil.copy(plain, raw / "level15.fits")
    set_cards(raw / "level15.fits", LVL_NUM=1.5)
    assert prepare("train", raw, tmp_path / "out", "--strict") == 0
    assert fits.getheader(tmp_path / "out/Train/Input/sdo_20110305_120004.fits")["FILE3"] == "level15.fits"
    assert skipped(tmp_path / "out") == {plain.name: f"duplicate of {raw / 'level15.fits'}"}


def test_a_cube_of_the_same_time_that_other_files_made_before_is_pointed_out(two_times, tmp_path, capsys):
    raw, out = copy_of(two_times, tmp_path / "raw"), tmp_path / "out"
    prepare("train", raw, out)
    assert "twice" not in capsys.readouterr().out
    set_cards(file_of(raw, "171", "2011-03-05"), **{"DATE-OBS": "2011-03-05T12:01:00"})
    prepare("train", raw, out)
    assert "Input/sdo_20110305_120004.fits is of the same time as sdo_20110305_120024.fits" in capsys.readouterr().out


def test_nothing_complete_is_an_error_that_says_what_there_is(two_times, tmp_path, capsys):
    message = "no time has all that is needed. Good files: 0 of SDO/AIA 211, 2 of SDO/HMI magnetogram"
    with pytest.raises(UserError, match=message):
        prepare("train", two_times, tmp_path, "--channels", "211")
    with pytest.raises(UserError, match="0 of STEREO/EUVI-A 171"):
        prepare("farside", two_times, tmp_path)


@pytest.mark.parametrize(("flags", "message"), [
    (["--channels", "172"], "--channels 172: AIA has no such passband"),
    (["--channels", "193", "195"], "stands there twice"), (["--shard", "0/3"], "--shard 0/3"),
    (["--shard", "half"], "--shard half"), (["--cadence", "often"], "--cadence often"),
    (["--test_months", "0"], "--test_months 0"), (["--raw", "/nowhere"], "/nowhere: there is no such folder")])
def test_flags_that_make_no_sense_are_refused_by_name(two_times, tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        prepare("train", two_times, tmp_path / "out", *flags)
    assert not (tmp_path / "out").exists()


# At scale

def test_what_is_there_is_not_made_again_unless_its_files_or_settings_changed(two_times, tmp_path, capsys, monkeypatch):
    raw, out = copy_of(two_times, tmp_path / "raw"), tmp_path / "out"
    prepare("train", raw, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.fits")}
    opened, real = [], preparation.read_observation
    monkeypatch.setattr(preparation, "read_observation", lambda path: opened.append(path) or real(path))
    prepare("train", raw, out)
    assert "written      0, already there 2" in capsys.readouterr().out
    assert opened == []
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.fits")} == before

    (out / "Train/Input/sdo_20110305_120004.fits").unlink()
    os.utime(file_of(raw, "171", "2011-03-08"), (1.5e9, 1.5e9))
    prepare("train", raw, out)
    assert "written      2, already there 0" in capsys.readouterr().out
    prepare("train", raw, out, "--size", "16")
    assert "written      2, already there 0" in capsys.readouterr().out
    whole = (out / "Train/Target/sdo_20110305_120004.fits").read_bytes()
    (out / "Train/Target/sdo_20110305_120004.fits").write_bytes(whole[:2900])
    prepare("train", raw, out, "--size", "16")
    assert "written      1, already there 1" in capsys.readouterr().out
    assert (out / "Train/Target/sdo_20110305_120004.fits").stat().st_size == len(whole)


def test_bad_pixels_are_remembered_and_still_listed(two_times, tmp_path, monkeypatch):
    raw, out = copy_of(two_times, tmp_path / "raw"), tmp_path / "out"
    bad = file_of(raw, "171", "2011-03-05")
    shutil.copy(bad, raw / "spare.fits")
    set_pixels(bad, lambda data: 0 * data + 7)
    prepare("train", raw, out)
    opened, real = [], preparation.read_observation
    monkeypatch.setattr(preparation, "read_observation", lambda path: opened.append(path) or real(path))
    prepare("train", raw, out)
    assert opened == []
    assert skipped(out) == {bad.name: f"a constant image; replaced by {raw / 'spare.fits'}"}


def test_shards_are_disjoint_and_complete_and_the_same_as_one_run(tmp_path):
    raw = write_archive(tmp_path / "raw", [NOON + timedelta(days=day) for day in range(5)], passbands=["171"])
    prepare("train", raw, tmp_path / "whole", "--channels", "171")
    written = []
    for part in (1, 2, 3):
        prepare("train", raw, tmp_path / f"part{part}", "--channels", "171", "--shard", f"{part}/3")
        prepare("train", raw, tmp_path / "together", "--channels", "171", "--shard", f"{part}/3")
        written += cubes(tmp_path / f"part{part}/Train/Input")
    assert sorted(written) == cubes(tmp_path / "whole/Train/Input") == cubes(tmp_path / "together/Train/Input")
    assert len(set(written)) == 5
    for path in (tmp_path / "whole" / "Train").rglob("*.fits"):
        other = tmp_path / "together" / path.relative_to(tmp_path / "whole")
        assert fits.FITSDiff(path, other, ignore_keywords=["CHECKSUM"], ignore_comments=["*"]).identical
    assert (tmp_path / "together" / "skipped_2of3.csv").exists()


def test_a_dry_run_indexes_and_writes_no_cube(two_times, tmp_path, capsys):
    assert prepare("train", two_times, tmp_path, "--dry_run") == 0
    assert cubes(tmp_path) == []
    assert len(archive.load_index(tmp_path / "headers.jsonl")) == 8
    assert "2 to train, 0 to test" in capsys.readouterr().out


@pytest.mark.parametrize(("blow", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_leaves_whole_files_and_says_how_to_go_on(two_times, tmp_path, capsys, monkeypatch, heard,
                                                                  blow, status):
    real, calls = preparation.write_cube, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            os.kill(os.getpid(), blow)
        real(*arguments)
    monkeypatch.setattr(preparation, "write_cube", interrupted)
    stopped = run("prepare", "train", "--raw", two_times, "--out", tmp_path, "--size", SIZE, "--n_workers", 1)
    assert stopped.status == status and "stopped: 1 of 2 times are left; repeat the command to go on" in stopped.err
    assert len(cubes(tmp_path)) == 3                                 # the pair of the second time lacks its input
    assert prepare("train", two_times, tmp_path) == 0
    assert "written      1, already there 1" in capsys.readouterr().out
    assert len(cubes(tmp_path)) == 4


@pytest.mark.parametrize(("blow", "n_workers"), [(signal.SIGINT, 2), (signal.SIGKILL, 1)])
def test_a_killed_run_leaves_no_half_cube_and_goes_on_where_it_stopped(twenty_days, tmp_path, blow, n_workers):
    out = tmp_path / "out"
    flags = ["train", "--raw", str(twenty_days), "--out", str(out), "--channels", "171", "--size", "256", "--n_workers"]
    process = subprocess.Popen([sys.executable, str(ROOT / "pix2pixCC_Prepare.py"), *flags, str(n_workers)],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(list((out / "Train" / "Input").glob("sdo*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(blow)
    _, errors = process.communicate(timeout=60)
    if blow == signal.SIGINT:
        assert process.returncode == 130
        assert "of 20 times are left; repeat the command to go on" in errors
        assert "Traceback" not in errors
        assert list(out.rglob(".part-*")) == []
    done = [path for path in (out / "Train").rglob("*.fits") if not path.name.startswith(".")]
    assert 4 <= len(done) < 40
    assert all(fits.getdata(path).shape == (1, 256, 256) for path in done)
    before = {path: path.stat().st_mtime_ns for path in (out / "Train" / "Input").glob("sdo*")}
    command.main([*flags, "1"])
    assert len(list((out / "Train" / "Input").glob("sdo*"))) == len(list((out / "Train" / "Target").glob("sdo*"))) == 20
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_an_incomplete_group_in_memory_names_the_files_that_failed(stereo, tmp_path):
    raw = copy_of(stereo, tmp_path / "raw")
    bad = file_of(raw, "STEREO_B", "115958")
    set_pixels(bad, lambda data: 0 * data + 700)
    groups, _ = farside_groups(archive.index_archive([raw], progress=False), ["STEREO/EUVI 195"])
    with pytest.raises(IncompleteGroup, match=f"STEREO-B lacks STEREO/EUVI-B 195: .*{bad.name}: a constant image"):
        prepare_group(groups[1], SIZE)


# The whole chain, on the synthetic Sun

def scaled(image, channel):
    """As a model is fed."""
    clipped = np.clip(image, channel.lower, channel.upper)
    return np.log10(clipped) if channel.scale == "log10" else clipped


def test_cubes_from_raw_files_agree_with_the_sun_itself(tmp_path):
    """Pixel by pixel, in data units and as a model is fed. (A small Sun lacks the texture of a large one.)"""
    size = 512
    write_raw(tmp_path / "raw", times=[NOON], size=2 * size, passbands=("304", "193", "171"), n_workers=1,
              progress=False)
    flags = ["--raw", str(tmp_path / "raw"), "--size", str(size), "--n_workers", "1"]
    command.main(["train", *flags, "--out", str(tmp_path / "sdo")])
    command.main(["farside", *flags, "--out", str(tmp_path / "stereo")])
    sun, disk = SyntheticSun(0), disk_mask(size)
    paths = [*(tmp_path / "sdo" / "Train").rglob("*.fits"), *(tmp_path / "stereo").glob("*.fits")]
    assert len(paths) == 4
    for path in paths:
        data, header = fits.getdata(path, header=True)
        for image, channel in zip(data, read_channel_cards(header, len(data)), strict=True):
            when, passband = datetime.fromisoformat(channel.time), channel.name.split()[-1]
            observer = observer_at(header["OBSRVTRY"].replace("_", "-"), when)
            truth = (sun.magnetogram(observer, when, size) if passband == "magnetogram"
                     else sun.euv(passband, observer, when, size))
            assert np.corrcoef(image[disk], truth[disk])[0, 1] >= 0.99, channel.name
            assert np.corrcoef(scaled(image, channel)[disk], scaled(truth, channel)[disk])[0, 1] >= 0.99, channel.name
