"""pix2pixCC_Map.py: from folders of magnetograms to maps, again and again, and what is wrong said in a line."""
import csv
import os
import random
import re
import shutil
from datetime import datetime, timedelta

import numpy as np
import pytest
import sunpy.map
from astropy.io import fits
from whole_suns import hmi, product

import pix2pixcc
import pix2pixCC_Map
from pix2pixcc.synthetic_sun.sun import SyntheticSun
from pix2pixcc.utils import UserError
from pix2pixcc.whole_sun.maps import read_map

TIME = datetime(2011, 3, 5, 12)
SMALL = ["--shape", "90", "46", "--split_degrees", "8"]
SUN = SyntheticSun(7)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """HMI files of 28 days, and products of both STEREO spacecraft of the last two."""
    folder = tmp_path_factory.mktemp("archive")
    hmi(folder / "hmi", SUN, [TIME - timedelta(days=day) for day in range(28)], size=64)
    for day in (0, 1):
        for name in ("STEREO-A", "STEREO-B"):
            time = TIME - timedelta(days=day) + timedelta(minutes=4)
            stem = f"{name.lower().replace('-', '_')}_{time:%Y%m%d_%H%M%S}_AI"
            product(folder / "farside" / f"{stem}.fits", SUN, name, time)
    return folder


@pytest.fixture
def here(archive, tmp_path, monkeypatch):
    """A copy of the archive as the working directory."""
    for name in ("hmi", "farside"):
        shutil.copytree(archive / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(*flags, frontside=("hmi",), farside=("farside",), history=("hmi",), out="maps"):
    given = [word for flag, paths in (("--frontside", frontside), ("--farside", farside), ("--history", history))
             if paths for word in (flag, *map(str, paths))]
    return pix2pixCC_Map.main([*given, "--out", str(out), *SMALL, *map(str, flags)])


def states(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def front(here, day=0):
    return next((here / "hmi").rglob(f"*.{TIME - timedelta(days=day):%Y%m%d}_*.fits"))


def test_folders_become_maps_with_all_that_was_asked_for(here, capsys):
    pytest.importorskip("sunkit_magex")
    assert make("--pfss", "--export", "hipft", "--shells", 8) == 0
    assert "2 maps made, 0 already there, 0 skipped: maps" in capsys.readouterr().out
    stems = ["synchronic_20110304_1200", "synchronic_20110305_1200"]
    expected = {f"{stem}{end}" for stem in stems for end in (".fits", ".png", "_pfss.fits", "_pfss.json", ".h5")}
    assert set(states(here / "maps")) == expected | {"hipft.csv"}
    whole = read_map(here / "maps" / "synchronic_20110305_1200.fits")
    assert whole.sources == ["polar fill", "history", "SDO", "STEREO-A (AI)", "STEREO-B (AI)"]
    roles = [given.role for given in whole.inputs]
    assert roles == ["frontside", *["farside"] * 2, *["history"] * 27]
    with open(here / "maps" / "hipft.csv", encoding="utf-8") as table:
        assert [row["map_path"] for row in csv.DictReader(table)] == [f"{stem}.h5" for stem in stems]


def test_what_is_there_is_kept_and_what_changed_is_made_again(here, capsys):
    assert make() == 0
    first = states(here / "maps")
    assert make() == 0 and states(here / "maps") == first
    assert "0 maps made, 2 already there" in capsys.readouterr().out
    (here / "maps" / "synchronic_20110304_1200.png").unlink()
    assert make() == 0
    second = states(here / "maps")
    assert second["synchronic_20110304_1200.fits"] == first["synchronic_20110304_1200.fits"]
    assert second.keys() == first.keys()
    os.utime(front(here))
    assert make() == 0
    third = states(here / "maps")
    changed = {name for name in third if third[name] != second[name]}
    assert changed == {"synchronic_20110305_1200.fits", "synchronic_20110305_1200.png"}
    assert make("--merge", "naive") == 0
    assert all(states(here / "maps")[name] != third[name] for name in third)
    assert read_map(here / "maps" / "synchronic_20110305_1200.fits").meta["merge"] == "naive"
    damaged = here / "maps" / "synchronic_20110305_1200.fits"
    damaged.write_bytes(damaged.read_bytes()[:5000])
    assert make("--merge", "naive") == 0
    assert read_map(damaged).data.shape == (46, 90)


def test_a_corona_asked_for_later_is_added_to_the_map_that_is_there(here):
    pytest.importorskip("sunkit_magex")
    time = ["--time", "2011-03-05T12:00", "--shells", 8]
    assert make(*time) == 0
    first = states(here / "maps")
    assert make(*time, "--pfss") == 0
    second = states(here / "maps")
    assert second["synchronic_20110305_1200.fits"] == first["synchronic_20110305_1200.fits"]
    assert second["synchronic_20110305_1200.png"] != first["synchronic_20110305_1200.png"]
    assert make(*time, "--pfss") == 0 and states(here / "maps") == second
    assert make(*time, "--pfss", "--source_surface", 3) == 0
    assert fits.getheader(here / "maps" / "synchronic_20110305_1200_pfss.fits")["RSS"] == 3


def test_two_processes_make_the_same_maps(here):
    assert make("--no_figures") == 0 and make("--no_figures", "--n_workers", 2, out="others") == 0
    for name in states(here / "maps"):
        one, other = (read_map(here / folder / name) for folder in ("maps", "others"))
        np.testing.assert_array_equal(one.data, other.data)
        same = [{key: value for key, value in each.meta.items() if key not in ("date", "checksum", "keycomments")}
                for each in (one, other)]
        assert same[0] == same[1]


def test_python_makes_the_same_map(here):
    time = ["--time", "2011-03-05T12:00", "--no_figures"]
    assert make(*time) == 0
    whole = read_map(here / "maps" / "synchronic_20110305_1200.fits")
    products = sorted((here / "farside").glob("*0305*"))
    before = [front(here, day) for day in range(1, 28)]
    choices = {"time": TIME, "shape": (90, 46), "split_degrees": 8.0}
    made = pix2pixcc.synchronic_map(front(here), products, before, **choices)
    np.testing.assert_array_equal(made.data, whole.data)
    assert [given.name for given in made.inputs] == [given.name for given in whole.inputs]
    maps = [sunpy.map.Map(path) for path in products]
    loaded = pix2pixcc.synchronic_map(sunpy.map.Map(front(here)), maps, [sunpy.map.Map(path) for path in before],
                                      **choices)
    np.testing.assert_array_equal(loaded.data, whole.data)


def test_a_map_of_before_is_a_history(here):
    assert make("--no_figures", "--time", "2011-03-04T12:00") == 0
    old = here / "maps" / "synchronic_20110304_1200.fits"
    assert make("--no_figures", "--time", "2011-03-05T12:00", history=[old], out="next") == 0
    whole = read_map(here / "next" / "synchronic_20110305_1200.fits")
    assert [(given.role, given.name) for given in whole.inputs][-1] == ("history", old.name)
    assert whole.layers["AGE"][whole.layers["SOURCE"] == 1] == pytest.approx(24, abs=0.1)


@pytest.mark.parametrize("farside", [["farside/stereo_a_20110305_120400_AI.fits"], []])
def test_one_spacecraft_or_none_is_enough_with_a_history(here, farside):
    assert make("--no_figures", "--time", "2011-03-05T12:00", farside=farside) == 0
    whole = read_map(here / "maps" / "synchronic_20110305_1200.fits")
    assert whole.sources[3:] == ["STEREO-A (AI)"] * len(farside)
    truth = SUN.radial_map(TIME, 90, 46)
    assert np.corrcoef(whole.data.ravel(), truth.ravel())[0, 1] > 0.6


def test_bad_files_are_named_and_the_others_do(here, capsys):
    spoilt = front(here, 5)
    spoilt.write_bytes(spoilt.read_bytes()[:4000])
    foreign = front(here, 6)
    with fits.open(foreign, mode="update") as hdus:
        hdus[1].header["CONTENT"] = "FIELD STRENGTH"
    unplaced = here / "farside" / "stereo_b_20110304_120400_AI.fits"
    with fits.open(unplaced, mode="update") as hdus:
        del hdus[0].header["HGLN_OBS"]
    fits.writeto(here / "hmi" / "aia.fits", np.zeros((8, 8), np.float32),
                 fits.Header([("INSTRUME", "AIA_3"), ("TELESCOP", "SDO/AIA"), ("WAVELNTH", 171)]))
    assert make("--no_figures") == 2
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == "2 maps made, 0 already there, 0 skipped: maps"
    assert "1 files are EUV images" in said.out
    lines = [line for line in said.err.splitlines() if line.startswith("skipped")]
    assert len(lines) == 3 and "Traceback" not in said.err
    for path, reason in ((spoilt, ": "), (foreign, "FIELD STRENGTH"), (unplaced, "HGLN_OBS")):
        assert any(str(path) in line and reason in line for line in lines)
    assert len(read_map(here / "maps" / "synchronic_20110305_1200.fits").inputs) == 28


def test_times_that_cannot_be_made_are_named(here, capsys):
    assert make("--no_figures", "--time", "2011-03-05T12:00", "2011-05-01T00:00") == 2
    said = capsys.readouterr()
    assert "skipped synchronic_20110501_0000: no observed magnetogram of the frontside within 6 hours" in said.err
    assert "(the nearest is 1356.0 hours off)" in said.err and "1 maps made" in said.out
    assert make("--no_figures", history=(), out="gaps") == 2
    said = capsys.readouterr()
    assert said.err.count("nobody saw") == 2 and "--history" in said.err and "0 maps made" in said.out
    twin = here / "farside" / "twin.fits"
    shutil.copy(here / "farside" / "stereo_a_20110305_120400_AI.fits", twin)
    assert make("--no_figures", out="twins") == 2
    said = capsys.readouterr()
    assert "are both magnetograms of STEREO-A at 2011-03-05T12:04:00: give one of them" in said.err
    assert "1 maps made" in said.out


@pytest.mark.parametrize("flags, message", [
    ({"frontside": ()}, "--frontside and --out are needed"), ({"frontside": ("nowhere",)}, "nowhere: there is no such"),
    ({"frontside": ("farside",), "farside": ()}, "no line-of-sight magnetogram|no observed"),
])
def test_what_is_missing_is_said(here, flags, message, capsys):
    try:
        status = make("--no_figures", **flags)
    except UserError as error:
        status, said = 2, str(error)
    else:
        said = capsys.readouterr().err
    assert status == 2 and re.search(message, said)


def test_maps_are_checked_with_their_inputs(here, capsys):
    assert make("--no_figures", "--time", "2011-03-05T12:00") == 0
    path = str(here / "maps" / "synchronic_20110305_1200.fits")
    capsys.readouterr()
    assert pix2pixCC_Map.main(["--verify", path]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"ok  {path}: CHECKSUM and DATASUM hold" and len(said) == 31
    assert all(line.startswith("not checked") for line in said[1:])
    assert pix2pixCC_Map.main(["--verify", path, "--frontside", "hmi", "--farside", "farside"]) == 0
    assert all(line.startswith("ok ") for line in capsys.readouterr().out.splitlines())
    with open(front(here, 3), "ab") as file:
        file.write(b"\0" * 2880)
    assert pix2pixCC_Map.main(["--verify", path, "--frontside", "hmi"]) == 2
    said = capsys.readouterr().out
    assert said.count("BAD") == 1 and f"{front(here, 3).name} is NOT what it was" in said


ODD = ["", "text", "nan", "(MISSING)", 1e300, -1, True, "2011-13-45", 10**18]


def test_no_header_ends_a_run(here, capsys):
    """Keywords of one magnetogram of each kind, blank, text, nan, absurd, of a wrong type: a map or a reason."""
    assert make("--no_figures", "--time", "2011-03-04T12:00", out="before") == 0
    chance = random.Random(1)
    kinds = {"hmi": (front(here), 1), "product": (here / "farside" / "stereo_a_20110305_120400_AI.fits", 0)}
    capsys.readouterr()
    keywords = ["HGLN_OBS", "HGLT_OBS", "DSUN_OBS", "DATE-OBS", "DATE-AVG", "T_OBS", "CRPIX1", "CDELT1", "CDELT2",
                "CTYPE1", "CUNIT1", "CROTA2", "PC1_1", "CRVAL1", "BUNIT", "CONTENT", "OBSRVTRY", "TELESCOP", "QUALITY"]
    for number in range(60):
        path, hdu = kinds[chance.choice(list(kinds))]
        good = path.read_bytes()
        keyword, value = chance.choice(keywords), chance.choice(ODD)
        with fits.open(path, mode="update") as hdus:
            hdus[hdu].header[keyword] = value
        status = make("--no_figures", "--time", "2011-03-05T12:00", out=f"fuzz{number}", frontside=[front(here)],
                      history=["before"])
        said = capsys.readouterr().err
        assert status in (0, 2) and "Traceback" not in said, (keyword, value, said)
        if status == 2:
            assert any(word in said for word in (path.name, "nobody saw", "no observed")), (keyword, value, said)
        path.write_bytes(good)
