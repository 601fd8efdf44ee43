"""The finished product, judged by astropy and SunPy."""
from __future__ import annotations

import hashlib
import warnings
from dataclasses import replace

import astropy.units as u
import numpy as np
import pytest
import sunpy.map
from astropy.coordinates import angular_separation
from astropy.io import fits
from astropy.wcs import WCS
from observation_files import AIA, EUVI_A, EUVI_B, real_header
from sunpy.map.header_helper import make_heliographic_header

from pix2pixcc.generation.products import input_name, inputs_of, product_header, unit_of, write_product
from pix2pixcc.images.cubes import Channel, write_cube
from pix2pixcc.solar.geometry import disk_mask
from pix2pixcc.solar.headers import mean_header, registered_header
from pix2pixcc.utils import VERSION

PUBLISHED = ["STEREO/EUVI-B_304a_2011-03-05T11:56:43", "STEREO/EUVI-B_195a_2011-03-05T12:00:58",
             "STEREO/EUVI-B_171a_2011-03-05T12:14:28", "SDO/AIA_304a_2011-02-13T09:19:20",
             "SDO/AIA_193a_2011-02-13T09:19:19", "SDO/AIA_171a_2011-02-13T09:19:24",
             "SDO/HMI_M720s_2011-02-13T10:34:12"]
CHANNELS = [
    Channel.euv("STEREO/EUVI-B 304", "2011-03-05T11:56:43"), Channel.euv("STEREO/EUVI-B 195", "2011-03-05T12:00:58"),
    Channel.euv("STEREO/EUVI-B 171", "2011-03-05T12:14:28"), Channel.euv("SDO/AIA 304", "2011-02-13T09:19:20"),
    Channel.euv("SDO/AIA 193", "2011-02-13T09:19:19"), Channel.euv("SDO/AIA 171", "2011-02-13T09:19:24"),
    Channel.magnetogram("SDO/HMI magnetogram", "2011-02-13T10:34:12")]
SHA256 = hashlib.sha256(b"weights").hexdigest()


def published_cube_header(size=128) -> fits.Header:
    """Of a cube with the published product's observer."""
    headers = []
    for channel in CHANNELS[:3]:
        header = registered_header(real_header(EUVI_B), size)
        header["HGLN_OBS"], header["HGLT_OBS"], header["DSUN_OBS"] = -94.782, 1.0769, 152041499485.0
        header["DATE-OBS"], header["DATE-AVG"] = channel.time, channel.time + ".500"
        headers.append(header)
    return mean_header(headers)


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    folder = tmp_path_factory.mktemp("product")
    size = 128
    write_cube(folder / "cube.fits", np.zeros((7, size, size)), published_cube_header(size), CHANNELS)
    header = product_header(fits.getheader(folder / "cube.fits"), CHANNELS,
                            checkpoint="checkpoints/X/Model/400000_G.pt",
                            checkpoint_sha256=SHA256, iteration=400000)
    field = np.random.default_rng(0).normal(0, 50, (1, size, size))
    write_product(folder / "stereo_b_AI.fits", field, header)
    return folder / "stereo_b_AI.fits"


def test_the_header_says_what_the_published_one_says(product):
    header = fits.getheader(product)
    assert header["DATE-OBS"] == "2011-03-05T12:04:03" and header["DATE-AVG"].startswith("2011-03-05T12:04:03.5")
    assert (header["INPUTDAT"], header["OBSRVTRY"], header["BUNIT"]) == ("STEREO_B", "STEREO_B", "G")
    place = [header[keyword] for keyword in ("HGLN_OBS", "HGLT_OBS", "DSUN_OBS")]
    assert place == pytest.approx([-94.782, 1.0769, 152041499485.0])
    axes = [header[keyword] for keyword in ("CTYPE1", "CTYPE2", "CRPIX1", "CRPIX2")]
    assert axes == ["HPLN-TAN", "HPLT-TAN", 64.5, 64.5]
    assert header["CDELT1"] == pytest.approx(2.09736489 * 8, rel=1e-6) and header["RSUN_REF"] == 695.7e6
    assert header["RSUN_OBS"] == pytest.approx(2.09736489 * 450, rel=1e-6)


def test_the_header_says_what_made_it(product):
    header = fits.getheader(product)
    made_by = [header[keyword] for keyword in ("MODEL", "CKPTFILE", "CKPTSHA", "ITERATN")]
    assert made_by == ["pix2pixCC", "400000_G.pt", SHA256, 400000]
    assert header["VERS_SW"] == VERSION


def test_it_is_one_float32_hdu_with_nan_off_the_disk_and_checksums(product):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(product, checksum=True) as hdus:
            hdus.verify("exception")
            assert len(hdus) == 1 and hdus[0].header["BITPIX"] == -32 and "BLANK" not in hdus[0].header
            assert "CHECKSUM" in hdus[0].header and "DATASUM" in hdus[0].header
            np.testing.assert_array_equal(np.isfinite(hdus[0].data), disk_mask(128))
        WCS(fits.getheader(product))


def test_a_damaged_product_fails_its_checksum(product, tmp_path):
    content = bytearray(product.read_bytes())
    content[-2880 * 3] ^= 0xff
    (tmp_path / "damaged.fits").write_bytes(content)
    with warnings.catch_warnings(record=True) as caught, fits.open(tmp_path / "damaged.fits", checksum=True) as hdus:
        warnings.simplefilter("always")
        assert hdus[0].header["BUNIT"] == "G"
    assert any("Datasum verification failed" in str(warning.message) for warning in caught)


def test_sunpy_opens_it_without_a_warning_and_finds_the_observer_within_an_arcsecond(product):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        magnetogram = sunpy.map.Map(product)
        observer = magnetogram.observer_coordinate
        assert magnetogram.unit == u.G and magnetogram.date.isot == "2011-03-05T12:04:03.000"
        centre = magnetogram.world_to_pixel(magnetogram.center)
    assert angular_separation(observer.lon, observer.lat, -94.782 * u.deg, 1.0769 * u.deg) < 1 * u.arcsec
    assert observer.radius.to_value("m") == pytest.approx(152041499485.0)
    assert (centre.x.value, centre.y.value) == pytest.approx((63.5, 63.5))


def test_a_heliographic_map_of_720_by_1440_can_be_made(product):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        magnetogram = sunpy.map.Map(product)
        header = make_heliographic_header(magnetogram.date, magnetogram.observer_coordinate, (720, 1440),
                                          frame="stonyhurst")
        chart = magnetogram.reproject_to(header)
    assert chart.data.shape == (720, 1440)
    longitudes = np.linspace(-180, 180, 1440)[np.isfinite(chart.data).any(axis=0)]
    seen = (longitudes + 94.782 + 180) % 360 - 180
    assert seen.min() == pytest.approx(-80, abs=10) and seen.max() == pytest.approx(80, abs=10)


def test_the_inputs_are_read_back_in_channel_order_from_astropy_and_sunpy(product):
    assert inputs_of(fits.getheader(product)) == PUBLISHED
    assert inputs_of(sunpy.map.Map(product).meta) == PUBLISHED
    assert "".join(fits.getheader(product)["HISTORY"]).split(",") == PUBLISHED        # as the published notebook does
    assert inputs_of(fits.Header()) == []


def test_a_45_second_magnetogram_can_be_named():
    assert input_name(CHANNELS[-1]) == "SDO/HMI_M720s_2011-02-13T10:34:12"
    assert input_name(replace(CHANNELS[-1], series="M45s")) == "SDO/HMI_M45s_2011-02-13T10:34:12"


@pytest.mark.parametrize(("path", "spacecraft"), [(EUVI_A, "STEREO_A"), (EUVI_B, "STEREO_B"), (AIA, "SDO")])
def test_a_product_of_one_channel_has_its_observer_and_time(tmp_path, path, spacecraft):
    cube_header = registered_header(real_header(path), 64)
    channel = Channel.euv(f"{'SDO/AIA' if spacecraft == 'SDO' else 'STEREO/EUVI-' + spacecraft[-1]} 171",
                          cube_header["DATE-OBS"][:19])
    header = product_header(cube_header, [channel])
    write_product(tmp_path / "p.fits", np.ones((64, 64)), header)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        magnetogram = sunpy.map.Map(tmp_path / "p.fits")
    assert magnetogram.meta["inputdat"] == spacecraft and magnetogram.date.isot[:19] == cube_header["DATE-OBS"][:19]
    assert header["DATE-AVG"] == cube_header["DATE-AVG"]
    for keyword in ("CDELT1", "DSUN_OBS", "HGLN_OBS"):
        assert header[keyword] == pytest.approx(cube_header[keyword], rel=1e-12)


def test_without_channels_the_cubes_own_time_and_place_count():
    header = product_header(published_cube_header(), None)
    assert (header["DATE-OBS"], header["INPUTDAT"]) == ("2011-03-05T12:04:03", "STEREO_B") and "HISTORY" not in header


@pytest.mark.parametrize("channels, expected", [
    ([("STEREO/EUVI-A 304", "2023-09-01T00:00:00"), ("SDO/AIA 304", "2023-08-31T17:30:00")], "2023-09-01T00:00:00"),
    ([("SDO/AIA 304", "2023-08-31T17:30:00"), ("STEREO/EUVI-A 304", "2023-09-01T00:00:00")], "2023-09-01T00:00:00"),
    ([("SDO/HMI magnetogram", "2023-08-31T22:00:00"), ("STEREO/EUVI-A 304", "2023-09-01T00:00:00")],
     "2023-09-01T00:00:00"),
    ([("SDO/AIA 304", "2023-09-01T00:00:00"), ("SDO/AIA 193", "2023-09-01T00:00:04"),
      ("SDO/HMI magnetogram", "2023-08-31T23:00:00"), ("SDO/AIA 304", "2023-08-04T17:00:00")], "2023-09-01T00:00:02"),
    ([("SDO/HMI magnetogram", "2023-09-01T00:00:00")], "2023-09-01T00:00:00")])
def test_the_time_is_that_of_the_observers_own_images(channels, expected):
    """A frontside reference can be hours old: STEREO-A passed between the Sun and the Earth in August 2023."""
    header = published_cube_header()
    header["DATE-OBS"] = "2023-09-01T00:00:00"
    made = product_header(header, [Channel(name, time) for name, time in channels])
    assert made["DATE-OBS"] == expected
    assert made["OBSRVTRY"] == ("STEREO_A" if "STEREO" in str(channels) else "SDO")


@pytest.mark.parametrize("names, unit", [
    (["SDO/HMI magnetogram"], "G"), (["SDO/HMI magnetogram", "SDO/AIA 171"], ""), (["SDO/HMI continuum"], ""),
    (None, "")])
def test_only_magnetograms_are_in_gauss(names, unit):
    assert unit_of(names and [Channel(name) for name in names]) == unit


def test_an_image_of_another_size_than_its_header_is_refused(tmp_path):
    with pytest.raises(ValueError, match="64"):
        write_product(tmp_path / "p.fits", np.ones((64, 64)), product_header(published_cube_header(), CHANNELS))
    assert not (tmp_path / "p.fits").exists()
