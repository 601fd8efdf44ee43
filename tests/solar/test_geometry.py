"""One disk, however it is asked for: from a header, without one, on the sphere, by a camera, by a picture's view."""
from __future__ import annotations

import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from observation_files import AIA, EUVI_A, EUVI_B, EUVI_HEADER, HMI, disk_image, pointed, real_header, rescaled

from pix2pixcc.solar.geometry import (
    LIMB,
    RADIUS_FRACTION,
    RSUN_METRES,
    disk_mask,
    disk_of_header,
    is_helioprojective,
    registered_disk,
)
from pix2pixcc.solar.headers import registered_header
from pix2pixcc.synthetic_sun.camera import Camera
from pix2pixcc.utils import UserError
from pix2pixcc.visuals.view import View

CARDS_WITHOUT_MATRIX = {"PC1_1", "PC1_2", "PC2_1", "PC2_2"}


@pytest.mark.parametrize("path", [EUVI_A, EUVI_B, AIA, HMI], ids=lambda path: path.name)
@pytest.mark.parametrize("size", [64, 255, 512, 1024])
def test_every_view_of_a_registered_image_has_the_same_disk_to_the_pixel(path, size):
    header = registered_header(real_header(path), size)
    expected = disk_mask(size)
    np.testing.assert_array_equal(disk_of_header(header, (size, size)).mask(), expected)
    np.testing.assert_array_equal(np.isfinite(View.of_header(header).on_disk(np.ones((size, size)))), expected)
    np.testing.assert_array_equal(np.hypot(*Camera.registered(size).sky()) <= LIMB, expected)
    np.testing.assert_array_equal(registered_disk((size, size)).distance <= LIMB, expected)


def test_the_disk_mask_covers_the_area_of_a_disk_of_098_radii():
    for size in (64, 128, 1024):
        area = np.pi * (LIMB * RADIUS_FRACTION * size) ** 2
        assert disk_mask(size).sum() == pytest.approx(area, rel=0.01)
        assert (disk_mask(size) == disk_mask(size)[::-1, ::-1].T).all()


def elongation_sine(header, shape):
    """sin(theta) of each pixel by wcslib and a sphere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        longitude, latitude = np.radians(WCS(header, naxis=2).pixel_to_world_values(*np.indices(shape)[::-1]))
    return np.hypot(np.cos(latitude) * np.sin(longitude), np.sin(latitude)) * header["DSUN_OBS"] / RSUN_METRES


@pytest.mark.parametrize("path", [EUVI_A, AIA], ids=lambda path: path.name)
def test_distances_in_a_registered_image_are_those_on_the_sphere(path):
    header = registered_header(real_header(path), 128)
    disk = disk_of_header(header, (128, 128))
    np.testing.assert_allclose(disk.distance, elongation_sine(header, (128, 128)), rtol=1e-9)       # angles of float64
    assert disk.centre == pytest.approx((63.5, 63.5), abs=1e-6)
    assert disk.radius == pytest.approx(RADIUS_FRACTION * 128, rel=1e-9)


@pytest.mark.parametrize("path", [EUVI_A, EUVI_B, AIA, HMI], ids=lambda path: path.name)
def test_distances_in_a_raw_image_are_those_on_the_sphere_to_a_hundredth_of_a_pixel(path):
    header = pointed(rescaled(real_header(path), 256), centre=(140.0, 120.0), roll=30.0)
    disk = disk_of_header(header, (256, 256))
    off = (disk.distance - elongation_sine(header, (256, 256))) * disk.radius
    assert np.abs(off)[disk.mask(1.1)].max() < 0.01             # what a tangent plane bends over CRVAL


def test_a_pixel_covers_its_solid_angle_at_the_suns_distance():
    header = registered_header(real_header(AIA), 128)
    side = np.radians(header["CDELT1"] / 3600) * header["DSUN_OBS"] * 100
    assert disk_of_header(header, (128, 128)).pixel_area == pytest.approx(side ** 2, rel=1e-9)
    side = 100 * RSUN_METRES / (RADIUS_FRACTION * 128)
    assert registered_disk((128, 128)).pixel_area == pytest.approx(side ** 2, rel=1e-12)


def test_the_disk_of_a_raw_header_is_found_off_centre_and_rolled():
    header = pointed(rescaled(real_header(EUVI_A), 256), centre=(140.0, 120.0), roll=30.0)
    radius = np.rad2deg(np.arcsin(695.7e6 / header["DSUN_OBS"])) * 3600 / header["CDELT1"]
    expected = disk_image((256, 256), (140.0, 120.0), radius) > 0.5
    disk = disk_of_header(header, (256, 256))
    assert (disk.mask(1.0) != expected).sum() <= 8
    np.testing.assert_array_equal(disk.mask(1.0, step=3), disk.mask(1.0)[::3, ::3])


def test_a_roll_has_a_sign():
    header = pointed(rescaled(real_header(EUVI_A), 256), centre=(100.0, 90.0), roll=30.0)
    north = disk_of_header(header, (256, 256)).scale @ np.array([-np.sin(np.radians(-30.0)), np.cos(np.radians(-30.0))])
    assert north[0] == pytest.approx(0, abs=1e-9) and north[1] > 0


def test_secchis_roll_keyword_is_understood_without_a_matrix():
    with_matrix = real_header(EUVI_A)
    without = with_matrix.copy()
    for keyword in CARDS_WITHOUT_MATRIX:
        del without[keyword]
    expected, found = disk_of_header(with_matrix, (128, 128)), disk_of_header(without, (128, 128))
    assert found.centre == pytest.approx(expected.centre, abs=1e-3)
    np.testing.assert_allclose(found.scale, expected.scale, atol=1e-6)


def test_a_scale_given_as_a_cd_matrix_is_understood():
    header = registered_header(real_header(EUVI_A), 64)
    for axis in "12":
        header[f"CD{axis}_{axis}"] = header.pop(f"CDELT{axis}")
    for keyword in CARDS_WITHOUT_MATRIX:
        del header[keyword]
    np.testing.assert_array_equal(disk_of_header(header, (64, 64)).mask(), disk_mask(64))


def test_a_disk_without_a_distance_uses_the_radius_and_without_either_says_so():
    header = registered_header(real_header(AIA), 64)
    expected = disk_of_header(header, (64, 64))
    del header["DSUN_OBS"]
    found = disk_of_header(header, (64, 64))
    assert found.angular_radius == expected.angular_radius and found.pixel_area == expected.pixel_area
    del header["RSUN_OBS"]
    with pytest.raises(UserError, match="neither DSUN_OBS .metres. nor RSUN_OBS .arcsec."):
        disk_of_header(header, (64, 64))


def test_a_scale_that_is_missing_and_axes_that_contradict_are_named():
    header = registered_header(real_header(AIA), 64)
    header["CTYPE2"] = "HPLT-CAR"
    with pytest.raises(UserError, match="the header's coordinates cannot be used"):
        disk_of_header(header, (64, 64))
    del header["CDELT1"]
    with pytest.raises(UserError, match="keyword CDELT1 is missing"):
        disk_of_header(header, (64, 64))


def test_without_a_header_the_disk_is_the_registered_one():
    disk = disk_of_header(None, (64, 64))
    assert (disk.centre, disk.angular_radius) == ((31.5, 31.5), 0.0) and disk.radius == pytest.approx(28.125, rel=1e-12)


def test_helioprojective_axes_are_known_by_their_name():
    assert is_helioprojective(real_header(EUVI_HEADER))
    assert not is_helioprojective(None) and not is_helioprojective(fits.Header({"CTYPE1": "CRLN-CEA"}))
