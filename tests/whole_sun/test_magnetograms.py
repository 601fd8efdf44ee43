"""What counts as a magnetogram, whose it is, and how uncertain."""
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from whole_suns import hmi, magnetogram, product, strips

from pix2pixcc.images.files import Image
from pix2pixcc.solar.orbits import observer_at
from pix2pixcc.synthetic_sun.sun import SyntheticSun
from pix2pixcc.utils import UserError
from pix2pixcc.whole_sun.magnetograms import GREATEST_SIGMA, is_euv, magnetogram_of, read_magnetogram
from pix2pixcc.whole_sun.maps import synchronic
from pix2pixcc.whole_sun.projection import Layers
from pix2pixcc.whole_sun.recipe import Recipe

TIME = datetime(2011, 3, 5, 12)
SUN = SyntheticSun(7)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return hmi(tmp_path_factory.mktemp("hmi"), SUN, [TIME], size=64)[0]


@pytest.fixture
def generated(tmp_path):
    product(tmp_path / "a.fits", SUN, "STEREO-A", TIME)
    return tmp_path / "a.fits"


def with_sigma(path, hdu):
    with fits.open(path) as hdus:
        first = fits.PrimaryHDU(hdus[0].data.copy(), hdus[0].header)
    fits.HDUList([first, hdu]).writeto(path, overwrite=True)


def test_a_raw_magnetogram_is_registered_and_a_product_taken_as_it_is(raw, generated):
    observed, made = read_magnetogram(raw, 48), read_magnetogram(generated, 48)
    assert observed.data.shape == (48, 48) and made.data.shape == (64, 64)
    assert observed.place.label == "SDO" and made.place.label == "STEREO-A (AI)"
    assert observed.place.longitude == pytest.approx(0, abs=0.1)
    assert observed.disk.radius == pytest.approx(48 * 450 / 1024)
    assert observed.place.time == TIME and made.source == "a.fits" and made.sigma is None
    on_disk = np.isfinite(made.data)
    truth = SUN.magnetogram(observer_at("STEREO-A", TIME), TIME, 64)
    np.testing.assert_array_equal(made.data[on_disk], truth[on_disk])


def test_the_uncertainty_of_a_product_is_read_and_has_a_value_everywhere(generated):
    sigma = np.full((64, 64), 20, np.float32)
    sigma[30:34] = np.nan
    sigma[40], sigma[41] = np.inf, -1
    sigma[20, 20] = 50
    with_sigma(generated, fits.ImageHDU(sigma, name="SIGMA"))
    found = read_magnetogram(generated, 64).sigma
    assert found[10, 10] == 20 and found[20, 20] == 50
    assert (found[30:34] == 50).all() and (found[40:42] == 50).all()      # no better known than the worst


@pytest.mark.parametrize("hdu", [
    fits.ImageHDU(np.zeros((32, 32), np.float32), name="SIGMA"),
    fits.ImageHDU(np.full((64, 64), np.nan, np.float32), name="SIGMA"),
    fits.BinTableHDU.from_columns([fits.Column("A", "E", array=[1.0])], name="SIGMA"),
], ids=["of another size", "without a value", "a table"])
def test_what_is_no_uncertainty_is_left(generated, hdu):
    with_sigma(generated, hdu)
    assert read_magnetogram(generated, 64).sigma is None


def test_a_map_holds_the_uncertainty_and_is_finite_however_great_it_is(generated):
    recipe, known = Recipe(90, 46), np.ones((46, 90), np.float32)
    history = Layers(known, 0 * known, known, known, 0 * known)
    front = magnetogram(SUN, "SDO", TIME, 64)
    sigmas = []
    for value in (20.0, 1e30):
        with_sigma(generated, fits.ImageHDU(np.full((64, 64), value, np.float32), name="SIGMA"))
        behind = read_magnetogram(generated, 64)
        whole = synchronic(strips([front], recipe), strips([behind], recipe), history, TIME, recipe)
        product(generated, SUN, "STEREO-A", TIME)
        assert np.isfinite(whole.data).all()
        sigma, source = whole.layers["SIGMA"], whole.layers["SOURCE"]
        assert np.isfinite(sigma[source == 3]).all() and np.isnan(sigma[source == 1]).all()
        sigmas.append(np.nanmin(sigma))
        central = sigma[source == 3][whole.layers["MU"][source == 3] > 0.99]
        assert central == pytest.approx(min(value, GREATEST_SIGMA), rel=0.02)      # of the radial field: over mu
    assert sigmas[1] > 100 * sigmas[0]


@pytest.mark.parametrize("cards, message", [
    ({"CONTENT": "FIELD STRENGTH"}, "CONTENT = FIELD STRENGTH"),
    ({"CONTENT": "INCLINATION", "BUNIT": "degree"}, "CONTENT = INCLINATION"),
    ({"BUNIT": "cm/s"}, "BUNIT = cm/s, not gauss"), ({"BTYPE": "BINC"}, "BTYPE = BINC, no line-of-sight field"),
    ({"CHAN1": "SDO/AIA 171"}, "a cube of SDO/AIA 171, no magnetogram"),
    ({"CTYPE1": "CRLN-CEA"}, "CTYPE1 = CRLN-CEA, no image of the disk"),
    ({"DSUN_OBS": 1.0}, "DSUN_OBS"), ({"HGLT_OBS": 300.0}, "HGLT_OBS"), ({"DATE-OBS": "never"}, "DATE-OBS"),
])
def test_what_is_no_magnetogram_of_an_observer_is_refused_with_its_file(raw, cards, message):
    with fits.open(raw) as hdus:
        data, header = hdus[1].data, hdus[1].header.copy()
    header.update(cards)
    with pytest.raises(UserError, match=f"^dir/file.fits.*{message}") as caught:
        magnetogram_of(Image(data[None], header, None, False, Path("dir/file.fits")), 48)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("cards, expected", [
    ({"INSTRUME": "AIA_3"}, True), ({"INSTRUME": "SECCHI", "DETECTOR": "EUVI"}, True),
    ({"CHAN1": "STEREO/EUVI-A 304", "CHAN2": "STEREO/EUVI-A 171"}, True), ({"CHAN1": "SDO/HMI magnetogram"}, False),
    ({"INSTRUME": "HMI_COMBINED"}, False), ({}, False)])
def test_euv_images_are_told_apart(cards, expected):
    assert is_euv(fits.Header(cards)) is expected
