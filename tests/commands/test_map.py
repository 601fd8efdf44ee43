"""pix2pixCC_Map.py: from folders of magnetograms to maps, again and again, and what is wrong said in a line."""
import csv
import os
import random
import re
import shutil
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
import sunpy.map
import torch
from astropy.io import fits
from models import write_run
from running import run, tree
from whole_suns import active_sun, hmi, product, whole_sun

import pix2pixcc
import pix2pixCC_Map
from pix2pixcc.synthetic_sun.datasets import write_raw
from pix2pixcc.synthetic_sun.sun import SyntheticSun
from pix2pixcc.utils import UserError
from pix2pixcc.whole_sun.exports import export_gong
from pix2pixcc.whole_sun.maps import Input, read_map, write_map

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


NOON = ["--time", "2011-03-05T12:00"]


def test_what_is_added_later_leaves_the_rest_as_it_is(here):
    """A corona does not make the exports again; a picture older than its corona, or a damaged corona, is made again."""
    pytest.importorskip("sunkit_magex")
    flags = [*NOON, "--shells", 8, "--export", "hipft"]
    stem = "synchronic_20110305_1200"
    assert make(*flags) == 0
    first = states(here / "maps")
    assert make(*flags, "--pfss") == 0
    second = states(here / "maps")
    changed = {name for name in second if second[name] != first.get(name)}
    assert changed == {f"{stem}.png", f"{stem}_pfss.fits", f"{stem}_pfss.json", "hipft.csv"}
    corona = here / "maps" / f"{stem}_pfss.fits"
    for spoil in (lambda: corona.write_bytes(corona.read_bytes()[:4000]),
                  lambda: os.utime(here / "maps" / f"{stem}.png", ns=(1, first[f"{stem}.fits"]))):
        before = states(here / "maps")
        spoil()
        assert make(*flags, "--pfss") == 0
        after = states(here / "maps")
        assert after[f"{stem}.png"] != before[f"{stem}.png"] and after[f"{stem}.h5"] == first[f"{stem}.h5"]
        assert after[f"{stem}.fits"] == first[f"{stem}.fits"] and fits.getheader(corona)["SHELLS"] == 8


def test_no_card_is_too_long_for_its_comment(here, recwarn):
    pytest.importorskip("sunkit_magex")
    flags = ["--frontside", "hmi", "--history", "hmi", "--out", "maps", *NOON, "--pfss", "--shells", "5"]
    assert pix2pixCC_Map.main([*flags, "--export", "gong", "hipft", "--no_figures"]) == 0
    assert not [str(warning.message) for warning in recwarn if "too long" in str(warning.message)]


@pytest.mark.parametrize("flags, message", [
    (["--export", "gong"], "--export gong: 90 x 46 cells cannot become GONG's 360 x 180; give --shape 360 180"),
    (["--export", "hipft", "--frame", "stonyhurst"], "models want maps that begin at Carrington longitude 0"),
    (["--strong", "0"], "strong"), (["--fine_share", "2"], "fine_share"), (["--net_degrees", "400"], "above 180"),
    (["--net_degrees", "nan"], "--net_degrees: nan"), (["--time", "yesterday"], "is no time such as 2011-03-05T12:00"),
    (["--dataset_name", "none"], "checkpoints/none"),
])
def test_flags_that_cannot_be_followed_are_refused_before_anything_is_made(here, flags, message):
    pytest.importorskip("h5py")
    result = run("Map", "--frontside", "hmi", "--farside", "farside", "--out", "maps", *SMALL, *flags)
    assert result.status == 2 and message in result.err and "Traceback" not in result.err
    assert len(result.err.splitlines()) <= 2 and not (here / "maps").exists()


def test_a_time_may_say_its_zone(here):
    assert make("--no_figures", "--time", "2011-03-05T13:00+01:00", "2011-03-05T12:00Z") == 0
    assert list(states(here / "maps")) == ["synchronic_20110305_1200.fits"]


def test_there_is_one_map_a_minute(here, capsys):
    hmi(here / "hmi", SUN, [TIME + timedelta(seconds=45)], size=64)
    for became in ("1 maps made, 0 already there", "0 maps made, 1 already there"):
        assert make("--no_figures", "--time", "2011-03-05T12:00", "2011-03-05T12:00:45") == 0
        assert became in capsys.readouterr().out
    assert read_map(here / "maps" / "synchronic_20110305_1200.fits").inputs[0].time == "2011-03-05T12:00:00"


def test_maps_are_not_taken_for_what_they_are_made_of(here, capsys):
    """The folder of the maps may lie among the magnetograms."""
    assert make("--no_figures", *NOON, out="farside/maps") == 0
    (here / "farside" / "maps" / "broken.fits").write_text("no FITS file")
    assert make("--no_figures", *NOON, frontside=["."], farside=["."], history=["."], out="farside/maps") == 0
    said = capsys.readouterr()
    assert not said.err and "1 already there" in said.out


def test_a_synoptic_map_of_another_year_is_said(here, capsys):
    export_gong(here / "old.fits", whole_sun(active_sun((180, 360)), time="2009-03-05T12:00:00"))
    assert make("--no_figures", *NOON, history=["old.fits"]) == 2
    said = capsys.readouterr().err
    assert "nobody saw" in said and "old.fits is of 2009-03-05, 730 days from the map's time" in said
    export_gong(here / "new.fits", whole_sun(active_sun((180, 360)), time="2011-03-03T12:00:00"))
    assert make("--no_figures", *NOON, history=["old.fits", "new.fits"]) == 0
    said = capsys.readouterr()
    assert "assum" not in said.out + said.err                   # SunPy's guesses are not the user's concern


def test_a_file_of_the_history_that_cannot_be_used_is_named_once_and_every_time(here, capsys):
    path = front(here, 3)
    with fits.open(path) as hdus:
        data, header = np.where(np.arange(64)[:, None] < 30, np.nan, hdus[1].data), hdus[1].header
        fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(data, header)]).writeto(path, overwrite=True)
    for words in ("of the disk is missing", "could not be used when"):
        assert make("--no_figures") == 2                        # two maps want it
        said = capsys.readouterr()
        assert said.err.count("skipped") >= 1 and words in said.err and path.name in said.err
        assert " 0 skipped: maps" in said.out
    assert len(read_map(here / "maps" / "synchronic_20110305_1200.fits").inputs) == 30


def test_the_farside_is_generated_on_the_way_as_test_does_it(here, capsys):
    raw = {"size": 64, "passbands": ["304"], "seed": 7, "n_workers": 1, "progress": False}
    write_raw("euvi", times=[TIME], spacecraft=["STEREO-A", "STEREO-B"], **raw)
    (here / "checkpoints" / "run").mkdir(parents=True)
    write_run(here / "checkpoints" / "run", ["SDO/AIA 304"], size=64)
    flags = ["--no_figures", "--dataset_name", "run", "--iteration", 5, "--gpu_ids", "-1"]
    assert make(*flags, farside=["euvi"]) == 0
    if not torch.cuda.is_available():
        assert make(*flags[:-1], 1, farside=["euvi"], out="without_gpu") == 0
        assert "no GPU was found; working on the CPU" in capsys.readouterr().err
    made = tree(here / "maps")
    products = [name for name in made if name.startswith("farside")]
    assert len(products) == 2 and "synchronic_20110305_1200.fits" in made
    whole = read_map(here / "maps" / "synchronic_20110305_1200.fits")
    assert whole.sources[3:] == ["STEREO-A (AI)", "STEREO-B (AI)"]
    assert run("Test", "--dataset_name", "run", "--iteration", 5, "--gpu_ids", "-1", "--n_workers", 0, "--no_preview",
               "--input_dir_test", "euvi").status == 0
    for name in products:
        other, = (here / "checkpoints" / "run" / "Image" / "Test").rglob(os.path.basename(name))
        with fits.open(here / "maps" / name) as one, fits.open(other) as two:
            np.testing.assert_array_equal(one[0].data, two[0].data)
            own = ("DATE", "CHECKSUM", "DATASUM", "GENKEY")     # of when and under which settings it was written
            cards = [[str(card) for card in hdus[0].header.cards if card.keyword not in own] for hdus in (one, two)]
            assert cards[0] == cards[1]
    before = states(here / "maps" / "farside")
    assert make(*flags, farside=["euvi"]) == 0 and states(here / "maps" / "farside") == before
    # What another folder once gave is no part of the maps of this one.
    write_raw("other", times=[TIME - timedelta(days=1)], spacecraft=["STEREO-A"], **raw)
    capsys.readouterr()
    assert make(*flags, farside=["other"]) == 0
    assert "1 maps made, 0 already there" in capsys.readouterr().out
    assert read_map(here / "maps" / "synchronic_20110304_1200.fits").sources[3:] == ["STEREO-A (AI)"]
    product_as_folder = ["--farside", here / "maps" / products[0], "--dataset_name", "run"]
    result = run("Map", "--frontside", "hmi", *product_as_folder, "--out", "x")
    assert result.status == 2 and "give the folders of EUVI images" in result.err


def test_a_check_says_what_is_not_balanced_and_what_was_no_file(here, capsys):
    assert make("--no_figures", *NOON) == 0
    path = here / "maps" / "synchronic_20110305_1200.fits"
    whole = read_map(path)
    whole.inputs = (Input("frontside", "array"),)
    write_map(here / "kept.fits", whole)
    whole.data[:] += 0.01
    write_map(here / "spoilt.fits", whole)
    capsys.readouterr()
    assert pix2pixCC_Map.main(["--verify", "kept.fits", "--frontside", "hmi"]) == 0
    assert "not checked kept.fits: frontside array was not given as a file" in capsys.readouterr().out
    assert pix2pixCC_Map.main(["--verify", "spoilt.fits"]) == 2
    said = capsys.readouterr().out
    assert "BAD spoilt.fits: its net flux is" in said and "CHECKSUM and DATASUM hold" in said


def test_python_says_what_is_wrong_too(here):
    front_file, behind = front(here), here / "farside" / "stereo_a_20110305_120400_AI.fits"
    choices = {"shape": (90, 46), "split_degrees": 8.0}
    with pytest.raises(TypeError):
        pix2pixcc.synchronic_map(np.zeros((64, 64)), **choices)
    with pytest.raises(UserError, match="strong"):
        pix2pixcc.synchronic_map(front_file, strong=0, **choices)
    with pytest.raises(UserError, match="pix2pixCC_Map.py --help"):
        pix2pixcc.synchronic_map(front_file, fading="fast", **choices)
    with pytest.raises(UserError, match="there is no magnetogram of the frontside"):
        pix2pixcc.synchronic_map([], behind, **choices)
    with pytest.raises(UserError, match="nobody saw"):
        pix2pixcc.synchronic_map(front_file, behind, **choices)
    before = [front(here, day) for day in range(1, 28)]
    zone = timezone(timedelta(hours=1))
    at = pix2pixcc.synchronic_map(front_file, [], before, time=datetime(2011, 3, 5, 13, tzinfo=zone), **choices)
    plain = pix2pixcc.synchronic_map(front_file, (), before, **choices)
    np.testing.assert_array_equal(at.data, plain.data)
    with pytest.raises(UserError, match="BUNIT = DN"):
        chart = whole_sun(active_sun((90, 180)))
        chart.meta["bunit"] = "DN"
        chart.save(here / "euv.fits")
        pix2pixcc.synchronic_map(front_file, history=here / "euv.fits", **choices)
