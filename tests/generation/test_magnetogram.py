"""The product in SunPy: its name, its class and its colours, with and without this project at hand."""
import subprocess
import sys
import warnings

import astropy.units as u
import numpy as np
import pytest
import sunpy.map
from running import observer_header

from pix2pixcc.generation.magnetogram import FarsideMagnetogram
from pix2pixcc.generation.products import product_header, title_of, write_product


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    path = tmp_path_factory.mktemp("product") / "p.fits"
    write_product(path, np.random.default_rng(0).normal(0, 50, (32, 32)), product_header(observer_header(32), None))
    return path


def test_sunpy_makes_a_farside_magnetogram_of_a_product(product):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        magnetogram = sunpy.map.Map(product)
    assert type(magnetogram) is FarsideMagnetogram
    assert magnetogram.name == magnetogram.latex_name == "pix2pixCC farside magnetogram, STEREO-B 2011-03-05 12:04:03"
    assert (magnetogram.nickname, magnetogram.measurement) == ("pix2pixCC", "farside magnetogram, STEREO-B")
    norm = magnetogram.plot_settings["norm"]
    assert (magnetogram.plot_settings["cmap"], norm.vmin, norm.vmax) == ("gray", -100, 100)


def test_what_sunpy_makes_of_it_is_one_too(product):
    magnetogram = sunpy.map.Map(product)
    for made in (magnetogram.submap([8, 8] * u.pix, top_right=[23, 23] * u.pix), magnetogram.rotate(10 * u.deg)):
        assert type(made) is FarsideMagnetogram
        assert made.plot_settings["norm"].vmax == 100


def test_the_header_alone_gives_sunpy_the_same_name_without_a_warning(product):
    script = ("import warnings, sys; warnings.simplefilter('error'); import sunpy.map; m = sunpy.map.Map(sys.argv[1]); "
              "print(type(m).__name__, m.plot_settings['cmap'], m.name, sep='|'); "
              "assert 'pix2pixcc' not in sys.modules")
    said = subprocess.run([sys.executable, "-c", script, str(product)], capture_output=True, text=True,
                          check=True).stdout
    assert said.strip() == "GenericMap|gray|pix2pixCC farside magnetogram, STEREO-B 2011-03-05 12:04:03"


def test_no_other_image_is_taken_for_a_product():
    header = observer_header(32)
    header["CONTENT"] = "MAGNETOGRAM"
    assert type(sunpy.map.Map(np.ones((32, 32)), header)) is sunpy.map.GenericMap


@pytest.mark.parametrize("longitude, keyword, title", [
    (-94.8, "STEREO_B", "farside magnetogram, STEREO-B"), (265.2, "STEREO_B", "farside magnetogram, STEREO-B"),
    (60.0, "STEREO_A", "farside magnetogram, STEREO-A"), (6.6, "STEREO_A", "magnetogram, STEREO-A"),
    (0.0, "SDO", "magnetogram, SDO"),
    (120.0, "", "farside magnetogram")])
def test_farside_is_where_a_quarter_of_the_disk_cannot_be_seen_from_the_earth(longitude, keyword, title):
    assert title_of({"HGLN_OBS": longitude, "OBSRVTRY": keyword}) == title
