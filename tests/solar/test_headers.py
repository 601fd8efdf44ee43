"""Observers, and the headers of registered images and stacks."""
from __future__ import annotations

import warnings

import astropy.units as u
import numpy as np
import pytest
import sunpy.map
from astropy.coordinates import angular_separation
from astropy.io import fits
from astropy.wcs import WCS
from observation_files import AIA, EUVI_A, EUVI_B, EUVI_HEADER, HMI, real_header

from pix2pixcc.solar.headers import has_observer, mean_header, registered_header, sky_of_header
from pix2pixcc.utils import UserError

REAL_HEADERS = pytest.mark.parametrize("path", [EUVI_A, EUVI_B, AIA, HMI, EUVI_HEADER], ids=lambda path: path.name)


@REAL_HEADERS
def test_the_observer_is_sunpys_within_an_arcsecond(path):
    header = real_header(path)
    empty = np.zeros((header["NAXIS2"], header["NAXIS1"]), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = sunpy.map.Map(empty, header).observer_coordinate
    registered = registered_header(header, 64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = sunpy.map.Map(np.zeros((64, 64), np.float32), registered).observer_coordinate
        WCS(registered)
    assert angular_separation(found.lon, found.lat, expected.lon, expected.lat) < 1 * u.arcsec
    assert found.radius.to_value("m") == pytest.approx(expected.radius.to_value("m"), rel=1e-9)


def test_a_registered_header_keeps_what_the_observation_was():
    header = registered_header(real_header(EUVI_B), 64)
    kept = [header[key] for key in ("OBSRVTRY", "TELESCOP", "DETECTOR", "WAVELNTH", "WAVEUNIT")]
    assert kept == ["STEREO_B", "STEREO", "EUVI", 171, "Angstrom"]
    assert header["DATE-OBS"] == "2011-02-15T00:14:33.645" and header["DATE-AVG"] == "2011-02-15T00:14:41.651"
    assert registered_header(real_header(AIA), 64)["OBSRVTRY"] == "SDO"


def test_hmis_mid_observation_is_t_obs_in_utc():
    assert registered_header(real_header(HMI), 64)["DATE-AVG"] == "2014-03-01T00:00:50"       # 00:01:25 TAI


def test_has_observer_wants_place_scale_and_time():
    assert all(has_observer(real_header(path)) for path in (EUVI_A, AIA, HMI))
    assert not has_observer(fits.Header())
    for keyword in ("HGLN_OBS", "CDELT1", "DATE-OBS"):
        header = registered_header(real_header(EUVI_A), 64)
        del header[keyword]
        if keyword == "DATE-OBS":
            del header["DATE-AVG"]
        assert not has_observer(header)


def test_the_header_of_a_stack_is_at_the_mean_time_and_place():
    headers = [registered_header(real_header(EUVI_B), 64) for _ in range(3)]
    places, starts = ((179.9, 1.5e11), (-179.9, 1.51e11), (-179.7, 1.52e11)), (43, 58, 88)
    for header, (longitude, distance), start in zip(headers, places, starts, strict=True):
        header["HGLN_OBS"], header["DSUN_OBS"] = longitude, distance
        header["DATE-OBS"] = f"2011-03-05T12:{start // 60:02d}:{start % 60:02d}"
    mean = mean_header(headers)
    assert mean["HGLN_OBS"] == pytest.approx(-179.9) and mean["DSUN_OBS"] == 1.51e11
    assert mean["DATE-OBS"] == "2011-03-05T12:01:03"
    assert mean["RSUN_OBS"] / mean["CDELT1"] == pytest.approx(450 / 16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sunpy.map.Map(np.zeros((64, 64), np.float32), mean).observatory == "STEREO B"


def test_the_time_of_a_stack_is_the_second_that_its_file_is_called_after():
    headers = [registered_header(real_header(EUVI_B), 64) for _ in range(3)]
    for header, second in zip(headers, ("43.900", "44.900", "45.400"), strict=True):
        header["DATE-OBS"] = f"2011-03-05T12:00:{second}"
    assert mean_header(headers)["DATE-OBS"] == "2011-03-05T12:00:45"


def test_the_published_plate_scale():
    header = registered_header(real_header(EUVI_B), 1024)
    header["DSUN_OBS"] = 152041499485.0
    assert mean_header([header])["CDELT1"] == pytest.approx(2.09736489, abs=2e-6)


@REAL_HEADERS
def test_any_header_can_be_written_in_one_spelling(path):
    header = real_header(path)
    if path != EUVI_HEADER:
        header.remove("WAVELNTH")                # as in a stack of several
    header["NAXIS"], header["NAXIS3"] = 3, 7
    sky = sky_of_header(header)
    points = np.array([[0.0, 10], [50, 40], [99, 0]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = sunpy.map.Map(np.zeros((header["NAXIS2"], header["NAXIS1"])), real_header(path))
        expected = whole.wcs.wcs_pix2world(points, 0)
    np.testing.assert_allclose(WCS(sky).wcs_pix2world(points, 0), expected, atol=1e-9)
    assert sky["NAXIS"] == 2 and "NAXIS3" not in sky


def test_a_scale_given_as_a_cd_matrix_is_understood():
    header = registered_header(real_header(EUVI_A), 64)
    expected = sky_of_header(header)
    for axis in "12":
        header[f"CD{axis}_{axis}"] = header.pop(f"CDELT{axis}")
    for keyword in ("PC1_1", "PC1_2", "PC2_1", "PC2_2"):
        del header[keyword]
    assert has_observer(header)
    found = sky_of_header(header)
    np.testing.assert_allclose(WCS(found).pixel_scale_matrix, WCS(expected).pixel_scale_matrix, atol=1e-12)


def test_an_observer_that_is_not_told_is_asked_for_by_keyword():
    header = registered_header(real_header(EUVI_A), 64)
    del header["HGLT_OBS"]
    with pytest.raises(UserError, match="keyword HGLT_OBS is missing"):
        sky_of_header(header)
