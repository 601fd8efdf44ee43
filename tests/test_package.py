"""The package as a library: light to import, and its functions give what the commands write."""
import csv
import importlib.resources
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sunpy.map
from astropy.io import fits
from running import run, write_cubes

import pix2pixcc
import pix2pixCC_Prepare
from pix2pixcc.images.cubes import read_channel_cards
from pix2pixcc.utils import VERSION, UserError

ROOT = Path(__file__).resolve().parents[1]
DATA = importlib.resources.files("reproject.tests") / "data"
EUVI = [DATA / "secchi_l0_a.fits", DATA / "secchi_l0_b.fits"]


def test_the_import_is_light():
    script = ("import sys; before = set(sys.modules); import pix2pixcc; "
              "print(*sorted(set(sys.modules) - before), pix2pixcc.__version__)")
    said = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    *names, version = said.split()
    assert "pix2pixcc.utils" in names
    heavy = {"torch", "sunpy", "astropy", "numpy", "scipy", "matplotlib"}
    assert not {name.partition(".")[0] for name in names} & heavy
    assert version == VERSION
    assert pix2pixcc.UserError is UserError


def test_prepare_makes_the_cube_that_the_command_writes(tmp_path):
    for number, file in enumerate(EUVI):
        raw = tmp_path / f"raw{number}"
        raw.mkdir()
        (raw / file.name).write_bytes(file.read_bytes())
        pix2pixCC_Prepare.main(["farside", "--raw", str(raw), "--out", str(tmp_path / f"out{number}"),
                                "--channels", "171", "--size", "64", "--n_workers", "1"])
        (written,) = (tmp_path / f"out{number}").glob("*.fits")
        for given in (file, sunpy.map.Map(file)):
            cube = pix2pixcc.prepare(given, 64)
            data, header = fits.getdata(written, header=True)
            np.testing.assert_array_equal(cube.data, data)
            own = ("PREPKEY", "FILE1", "CHECKSUM", "DATASUM", "SIMPLE", "BITPIX", "EXTEND", "NAXIS", "NAXIS3")
            expected = {card.keyword: card.value for card in header.cards if card.keyword not in own}
            assert {keyword: cube.header[keyword] for keyword in expected} == expected


def test_a_cube_of_prepare_is_kept_with_its_channels(tmp_path):
    cube = pix2pixcc.prepare(EUVI[0], 32)
    fits.writeto(tmp_path / "cube.fits", cube.data, cube.header)
    kept = fits.getheader(tmp_path / "cube.fits")
    assert read_channel_cards(kept, 1) == cube.channels
    assert (cube.channels[0].name, kept["OBSRVTRY"], kept["NAXIS3"]) == ("STEREO/EUVI-A 171", "STEREO_A", 1)


def test_prepare_stacks_a_tuple_and_lists_a_list():
    first, second = pix2pixcc.prepare([EUVI[0], EUVI[1]], 32)
    assert (first.channels[0].name, second.channels[0].name) == ("STEREO/EUVI-A 171", "STEREO/EUVI-B 171")
    both = pix2pixcc.prepare((EUVI[1], DATA / "aia_171_level1.fits"), 32)
    assert [channel.name for channel in both.channels] == ["STEREO/EUVI-B 171", "SDO/AIA 171"]
    assert both.header["HGLN_OBS"] == pytest.approx(-93.73, abs=0.01)             # SDO's image is a reference
    np.testing.assert_array_equal(both.data[:1], second.data)


@pytest.mark.parametrize("image, words", [
    ("nowhere.fits", "cannot read nowhere.fits: No such file"), (pix2pixcc.__file__, "prepared cube, or no FITS file"),
    ((np.ones((32, 32)), fits.Header({"TELESCOP": "SOHO", "INSTRUME": "EIT"})), r"array: neither EUVI, .* SOHO EIT\)")])
def test_what_cannot_be_prepared_is_named(image, words):
    with pytest.raises(UserError, match=words):
        pix2pixcc.prepare(image, 32)


@pytest.fixture
def magnetograms(tmp_path):
    """Two true magnetograms and two generated ones, as the paths of the command."""
    _, real = write_cubes(tmp_path / "data", count=2)
    generated = tmp_path / "generated"
    generated.mkdir()
    for path in sorted(real.iterdir()):
        data, header = fits.getdata(path, header=True)
        noise = np.random.default_rng(3).normal(0, 30, data.shape)
        fits.writeto(generated / f"{path.stem}_AI.fits", (0.9 * data + noise).astype(np.float32)[0], header)
    return generated, real


@pytest.mark.parametrize("take", [str, lambda path: sunpy.map.Map(path) if "_AI" in path.name else path,
                                  lambda path: fits.getdata(path, header=True)], ids=["path", "Map", "header"])
def test_evaluate_gives_the_scores_that_the_command_writes(magnetograms, take):
    generated, real = magnetograms
    assert run("evaluate", "--generated", generated, "--real", real, "--binning", 4, "--no_figures").status == 0
    with open(generated / "evaluation" / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    pairs = [[take(path) for path in sorted(folder.glob("*.fits"))] for folder in (generated, real)]
    scored = pix2pixcc.evaluate(*pairs, binning=4)
    one = pix2pixcc.evaluate(pairs[0][0], pairs[1][0], binning=4)
    assert one == pytest.approx(scored[0], nan_ok=True, abs=0, rel=0)
    for row, scores in zip(rows, scored, strict=True):
        assert {name: f"{value:.8g}" for name, value in scores.items()} == {name: row[name] for name in scores}
    assert 0.8 < scored[0]["full_cc"] < 1


def test_magnetograms_that_cannot_be_compared_are_refused(magnetograms):
    generated, _ = magnetograms
    path = next(generated.glob("*.fits"))
    data, header = fits.getdata(path, header=True)
    with pytest.raises(UserError, match="unequal sizes: generated 48 x 48, true 32 x 32"):
        pix2pixcc.evaluate(path, (data[8:40, 8:40], header))
    left = np.arange(48) < 24
    with pytest.raises(UserError, match="no pixel within 0.98 solar radii has a value in both"):
        pix2pixcc.evaluate((np.where(left, data, np.nan), header), (np.where(left, np.nan, data), header))
    moved = header.copy()
    moved["CRPIX1"] += 3
    with pytest.raises(UserError, match="two disks differ by 3.0 pixels"):
        pix2pixcc.evaluate(path, (data, moved))
