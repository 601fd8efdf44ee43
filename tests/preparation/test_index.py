"""A raw archive is indexed once."""
import gzip
import importlib.resources
import os
import re
import shutil
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from astropy.io import fits

from pix2pixcc.preparation import index as archive
from pix2pixcc.preparation.index import Record, find_files, index_archive, load_index, save_index
from pix2pixcc.solar.instruments import MAGNETOGRAM
from pix2pixcc.utils import UserError

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
    level_15 = fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(aia[0].astype("f4"), header)])
    level_15.writeto(folder / "SDO" / "AIA" / "2011" / "x.fits.fz")
    with fits.open(SUNPY / "resampled_hmi.fits") as hdus:
        hdus[0].header["CONTENT"], hdus[0].header["BUNIT"] = "MAGNETOGRAM", "Gauss"
        hdus.writeto(folder / "SDO" / "hmi.m_45s.fits", output_verify="silentfix+ignore")
    (folder / "SDO" / "notes.txt").write_text("not an image")
    return folder


def by_name(records):
    return {record.name: record for record in records}


def test_every_instrument_level_compression_and_extension_is_found(raw):
    records = index_archive([raw], progress=False)
    assert sorted(record.name for record in records) == [
        "SDO/AIA 171", "SDO/AIA 171", "SDO/HMI magnetogram", "STEREO/EUVI-A 171", "STEREO/EUVI-B 171"]
    assert [record.problem for record in records] == [""] * 5
    assert sorted(record.level for record in records if record.name == "SDO/AIA 171") == [1.0, 1.5]
    assert by_name(records)["STEREO/EUVI-A 171"].longitude == pytest.approx(87.0596, abs=1e-3)
    assert by_name(records)["STEREO/EUVI-B 171"].when == datetime(2011, 2, 15, 0, 14, 0, 6000) or (
        by_name(records)["STEREO/EUVI-B 171"].when - datetime(2011, 2, 15, 0, 14)) < timedelta(minutes=1)
    assert by_name(records)[MAGNETOGRAM].cadence == 45.0


def test_a_second_scan_opens_no_file_and_a_changed_file_is_read_again(raw, tmp_path, monkeypatch):
    first = index_archive([raw], tmp_path / "index", progress=False)
    opened = []
    real = archive.read_record
    monkeypatch.setattr(archive, "read_record", lambda record: opened.append(record.path) or real(record))
    assert index_archive([raw], tmp_path / "index", progress=False) == first
    assert opened == []
    touched = raw / "SDO" / "aia.fit"
    os.utime(touched, (1e9, 1e9))
    index_archive([raw], tmp_path / "index", progress=False)
    assert opened == [str(touched)]


@pytest.mark.parametrize("damage", ["not json\n", '["another", "format"]\n', "", "older rules"])
def test_a_damaged_index_is_made_anew(raw, tmp_path, damage):
    if damage == "older rules":
        save_index(tmp_path / "index", [replace(one, problem="by older rules") for one in find_files([raw])])
        damage = re.sub(r', "rules \d+"\]', "]", (tmp_path / "index").read_text(), count=1)
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
    assert "the header has no keyword TELESCOP, INSTRUME, DETECTOR" in problems["other.fits"]
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


def test_jobs_that_begin_together_each_read_another_part_first(tmp_path, monkeypatch):
    """And of the rest what the others have not remembered by then: here, all have read their own part by then."""
    (tmp_path / "raw").mkdir()
    for number in range(12):
        fits.PrimaryHDU(np.ones((2, 2), np.float32)).writeto(tmp_path / "raw" / f"{number:02}.fits")
    index, read = tmp_path / "headers.jsonl", []
    read_record = archive.read_record

    def reading(record):
        read.append(os.path.basename(record.path))
        return read_record(record)

    monkeypatch.setattr(archive, "read_record", reading)
    files = find_files([tmp_path / "raw"])
    others = [read_record(record) for record in files[:4] + files[8:]]
    load = archive.load_index

    def meanwhile(path):
        """What another job remembers once this one has read its own part."""
        if len(read) == 4:
            with monkeypatch.context() as patch:
                patch.setattr(archive, "load_index", load)
                save_index(path, others)
        return load(path)

    monkeypatch.setattr(archive, "load_index", meanwhile)
    records = index_archive([tmp_path / "raw"], index, shard=(2, 3))
    assert read == [f"{number:02}.fits" for number in range(4, 8)]
    assert [record.path for record in records] == [record.path for record in files]
    monkeypatch.setattr(archive, "load_index", load)
    index.unlink()
    read.clear()
    assert index_archive([tmp_path / "raw"], index, shard=(3, 3)) == records
    assert sorted(read) == [f"{number:02}.fits" for number in range(12)] and read[0] == "08.fits"
    read.clear()
    assert index_archive([tmp_path / "raw"], index, shard=(1, 3)) == records and read == []
