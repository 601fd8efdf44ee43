"""Registration, and the channels of a cube."""
from __future__ import annotations

import warnings

import numpy as np
import pytest
import sunpy.map
from astropy.io import fits
from astropy.wcs import WCS
from observation_files import (
    AIA,
    EUVI_A,
    EUVI_B,
    EUVI_HEADER,
    HMI,
    correlation,
    disk_image,
    fitted_limb,
    magnetogram_header,
    pointed,
    real_header,
    rescaled,
)

from pix2pixcc.solar import registration
from pix2pixcc.solar.geometry import RADIUS_FRACTION, disk_mask
from pix2pixcc.solar.headers import registered_header
from pix2pixcc.solar.observations import calibrate, read_observation
from pix2pixcc.solar.registration import normalise_euv, prepare_channel
from pix2pixcc.utils import UserError


def register(*arguments):
    return registration.register(*arguments)[0]


REAL_FILES = pytest.mark.parametrize("path", [EUVI_A, EUVI_B, AIA], ids=["EUVI-A", "EUVI-B", "AIA"])


@pytest.mark.parametrize("path", [EUVI_A, EUVI_B, AIA, HMI, EUVI_HEADER], ids=lambda path: path.name)
@pytest.mark.parametrize("size", [128, 1024])
def test_the_registered_wcs_has_the_sun_in_the_middle_with_radius_450_of_1024(path, size):
    header = registered_header(real_header(path), size)
    wcs = WCS(header)
    centre = np.array(wcs.wcs_world2pix(0, 0, 0))
    np.testing.assert_allclose(centre, (size - 1) / 2, atol=1e-6)
    angle = np.rad2deg(np.arcsin(695.7e6 / header["DSUN_OBS"]))
    limb = [np.array(wcs.wcs_world2pix(*place, 0)) - centre for place in ((angle, 0), (0, angle))]
    np.testing.assert_allclose(limb, 450 * size / 1024 * np.eye(2), atol=0.01)


@REAL_FILES
def test_real_images_agree_with_sunpys_reproject_to(path):
    observation = read_observation(path)
    header = registered_header(observation.header, 128)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reprojected = sunpy.map.Map(observation.data, observation.header).reproject_to(header).data
    image = register(observation.data, observation.header, 128)
    assert correlation(image, reprojected, disk_mask(128)) >= 0.995
    assert np.median(image[disk_mask(128)] / reprojected[disk_mask(128)]) == pytest.approx(1, abs=0.01)


def test_a_real_aia_image_agrees_with_aiapys_register():
    from aiapy.calibrate import register as aiapy_register

    observation = read_observation(AIA)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        level_15 = aiapy_register(sunpy.map.Map(observation.data, observation.header))
        expected = level_15.reproject_to(registered_header(observation.header, 128)).data
    assert correlation(register(observation.data, observation.header, 128), expected, disk_mask(128)) >= 0.995


@REAL_FILES
def test_a_real_limb_lies_on_the_circle_that_the_header_promises(path):
    observation = read_observation(path)
    image = register(calibrate(observation), observation.header, 256)
    rows, columns = np.indices(image.shape) - 127.5
    distance, angle = np.hypot(rows, columns), np.arctan2(rows, columns)
    peaks = []
    for start in np.linspace(-np.pi, np.pi, 24, endpoint=False):
        sector = (angle >= start) & (angle < start + np.pi / 12)
        profile = [np.median(image[sector & (abs(distance - radius) < 1)]) for radius in range(80, 126)]
        peaks.append(80 + np.argmin(np.diff(profile)) + 0.5)
    # the corona falls off steepest a little above the photosphere, by the same amount on opposite sides
    assert 0.99 < np.median(peaks) / (RADIUS_FRACTION * 256) < 1.06
    opposite = np.array(peaks[:12]) - np.array(peaks[12:])
    assert abs(np.median(opposite)) < 3


@pytest.mark.parametrize(("path", "roll", "centre", "scale"), [
    (EUVI_A, 6.8, (250.0, 262.5), 6.35), (EUVI_B, -7.7, (263.3, 248.1), 6.36), (EUVI_A, 187.2, (255.5, 255.5), 6.0),
    (AIA, 0.02, (253.2, 257.9), 4.8), (AIA, 91.0, (255.5, 250.0), 5.3), (HMI, 179.93, (254.4, 256.7), 4.03)])
def test_a_fit_to_the_limb_finds_a_shifted_rolled_rescaled_disk_in_the_middle(path, roll, centre, scale):
    header = pointed(rescaled(real_header(path), 512), centre=centre, roll=roll, scale=scale)
    radius = np.rad2deg(np.arcsin(695.7e6 / header["DSUN_OBS"])) * 3600 / scale
    image = np.nan_to_num(register(disk_image((512, 512), centre, radius), header, 256))
    assert fitted_limb(image) == pytest.approx((127.5, 127.5, RADIUS_FRACTION * 256), abs=0.3)


@pytest.mark.parametrize(("path", "roll"), [(EUVI_A, 30.0), (EUVI_B, -7.7), (AIA, 45.0), (HMI, 179.93)])
def test_solar_north_comes_out_up_and_west_right(path, roll):
    header = pointed(rescaled(real_header(path), 256), centre=(127.5, 127.5), roll=roll, scale=9.0)
    north = np.deg2rad(90 - roll)        # of the raw frame: a positive roll turns the Sun clockwise in it
    spot = np.zeros((256, 256), np.float32)
    spot[round(127.5 + 60 * np.sin(north)), round(127.5 + 60 * np.cos(north))] = 1
    row, column = np.unravel_index(np.nanargmax(register(spot, header, 256)), (256, 256))
    assert abs(column - 127.5) <= 2 and row > 180
    spot = np.zeros((256, 256), np.float32)
    spot[round(127.5 + 60 * np.sin(north - np.pi / 2)), round(127.5 + 60 * np.cos(north - np.pi / 2))] = 1
    row, column = np.unravel_index(np.nanargmax(register(spot, header, 256)), (256, 256))
    assert abs(row - 127.5) <= 2 and column > 180


def test_an_upside_down_magnetogram_is_turned_and_keeps_its_sign(tmp_path):
    header = pointed(rescaled(magnetogram_header(), 256), centre=(127.5, 127.5), roll=180.0)
    field = np.zeros((256, 256), np.float32)
    field[60:80, 120:136] = 500            # below the middle of the file: solar north
    field[180:200, 120:136] = -300
    fits.PrimaryHDU(field, header).writeto(tmp_path / "hmi.fits", output_verify="ignore")
    image, channel, registered = prepare_channel(tmp_path / "hmi.fits", 256)
    assert image[170:190, 120:136].max() == pytest.approx(500, rel=0.01)
    assert image[:120].min() == pytest.approx(-300, rel=0.01)
    assert image[128:].min() >= 0 and image[:120].max() <= 0
    assert (channel.name, channel.lower, channel.upper, channel.scale) == ("SDO/HMI magnetogram", -1500, 1500, "linear")
    assert registered["BUNIT"] == "G"


def test_the_nan_beyond_hmis_limb_does_not_bleed_onto_the_disk():
    header = pointed(rescaled(magnetogram_header(), 512), centre=(255.5, 255.5), roll=180.0)
    radius = np.rad2deg(np.arcsin(695.7e6 / header["DSUN_OBS"])) * 3600 / header["CDELT1"]
    rows, columns = np.indices((512, 512)) - 255.5
    field = np.where(np.hypot(rows, columns) < radius, np.float32(100), np.float32(np.nan))
    for size in (128, 256):
        image = register(field, header, size)
        assert image[disk_mask(size)] == pytest.approx(100, rel=1e-5)
        assert np.isnan(image[~disk_mask(size, 1.02)]).all()


def test_a_lost_block_stays_where_it_is():
    header = rescaled(real_header(AIA), 256)
    data = np.full((256, 256), 7, np.float32)
    data[100:116, 100:116] = np.nan
    image = register(data, header, 256)
    values = image[np.isfinite(image)]
    assert values == pytest.approx(7, rel=1e-5)
    lost = np.isnan(image[disk_mask(256)]).sum() * (registered_header(header, 256)["CDELT1"] / header["CDELT1"]) ** 2
    assert lost == pytest.approx(256, rel=0.15)


@pytest.mark.parametrize("checker", [1, 2])
def test_fine_checkers_at_4096_come_out_grey(checker):
    header = rescaled(real_header(AIA), 4096)
    stripes = np.arange(4096) // checker % 2
    image = register((stripes[:, None] ^ stripes[None, :]).astype(np.float32), header, 1024)
    assert image[disk_mask(1024)] == pytest.approx(0.5, abs=0.02)


def test_pixel_checkers_of_euvi_come_out_nearly_grey():
    header = rescaled(real_header(EUVI_A), 2048)
    stripes = np.arange(2048) % 2
    image = register((stripes[:, None] ^ stripes[None, :]).astype(np.float32), header, 1024)
    assert image[disk_mask(1024)] == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(("path", "raw_size", "size"), [(AIA, 1024, 256), (AIA, 1000, 384), (EUVI_B, 512, 256),
                                                        (AIA, 128, 512)])
def test_flux_is_conserved(path, raw_size, size):
    header = rescaled(real_header(path), raw_size)
    rows, columns = np.indices((raw_size, raw_size)) / raw_size - 0.5
    data = np.exp(-((rows - 0.05) ** 2 + (columns + 0.08) ** 2) / 0.02).astype(np.float32)
    image = register(data, header, size)
    raw_flux = data.sum() * header["CDELT1"] ** 2
    assert np.nansum(image) * registered_header(header, size)["CDELT1"] ** 2 == pytest.approx(raw_flux, rel=0.01)


def test_a_telescope_that_looks_away_from_the_sun_is_refused_by_name():
    header = real_header(AIA)
    header["CRVAL1"] = 120 * 3600.0
    with pytest.raises(UserError, match=r"aia\.fits: the Sun cannot be found through its WCS"):
        register(np.ones((128, 128)), header, 128, "aia.fits")


@pytest.mark.parametrize("keyword", ["CRPIX1", "CDELT2", "DSUN_OBS", "DATE-OBS", "EXPTIME", "BIASMEAN", "WAVELNTH",
                                     "OBSRVTRY"])
def test_a_missing_keyword_is_named_with_its_file(tmp_path, keyword):
    header = real_header(EUVI_A)
    others = {"DSUN_OBS": ("HAEX_OBS", "HEEX_OBS", "HEQX_OBS", "HCIX_OBS"), "DATE-OBS": ("DATE-AVG",)}   # would do
    for gone in (keyword, *others.get(keyword, ())):
        del header[gone]
    fits.PrimaryHDU(read_observation(EUVI_A).data, header).writeto(tmp_path / "euvi.fts", output_verify="ignore")
    with pytest.raises(UserError, match=rf"euvi\.fts: keyword {keyword} is missing"):
        prepare_channel(tmp_path / "euvi.fts", 64)


# Scaling, channels

@REAL_FILES
def test_a_prepared_channel_has_disk_median_100_and_is_0_off_the_disk(path):
    image, channel, header = prepare_channel(path, 128)
    assert image.dtype == np.float32 and image.shape == (128, 128)
    assert np.median(image[disk_mask(128)]) == pytest.approx(100, rel=1e-4)
    assert not image[~disk_mask(128)].any() and image[disk_mask(128)].min() > 0
    assert (channel.lower, channel.upper, channel.scale) == (1, 200, "log10")
    assert header["NAXIS1"] == 128


def test_a_channel_says_what_it_is_and_when():
    channels = [prepare_channel(path, 32)[1] for path in (EUVI_A, EUVI_B, AIA)]
    names = [(channel.name, channel.time) for channel in channels]
    assert names == [("STEREO/EUVI-A 171", "2011-02-15T00:14:00"), ("STEREO/EUVI-B 171", "2011-02-15T00:14:33"),
                     ("SDO/AIA 171", "2011-02-15T00:00:00")]


@pytest.mark.parametrize(("cadence", "name", "series"), [
    (45.0, "x.fits", "M45s"), ("720", "x.fits", "M720s"), (None, "hmi.m_45s.20110301_TAI.magnetogram.fits", "M45s"),
    (None, "x.fits", "")])
def test_a_magnetogram_says_its_series(tmp_path, cadence, name, series):
    header = rescaled(magnetogram_header(), 64)
    del header["CADENCE"]
    if cadence is not None:
        header["CADENCE"] = cadence
    field = np.random.default_rng(0).normal(0, 10, (64, 64)).astype(np.float32)
    fits.PrimaryHDU(field, header).writeto(tmp_path / name, output_verify="ignore")
    assert prepare_channel(tmp_path / name, 32)[1].series == series


def test_a_dark_image_cannot_be_scaled():
    with pytest.raises(UserError, match="median on the disk is 0"):
        normalise_euv(np.zeros((64, 64), np.float32))
