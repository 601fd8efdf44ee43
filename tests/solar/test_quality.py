"""Which raw observations are refused, and in which words."""
from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest
from observation_files import AIA, EUVI_A, EUVI_B, magnetogram_header, real_header, rescaled

from pix2pixcc.solar import quality
from pix2pixcc.solar.geometry import disk_of_header
from pix2pixcc.solar.observations import Observation, read_observation
from pix2pixcc.solar.quality import header_problem


def quality_problem(observation, max_missing=0.01):
    return quality.quality_problem(observation, max_missing=max_missing)


@pytest.mark.parametrize("path", [EUVI_A, EUVI_B, AIA], ids=lambda path: path.name)
def test_real_observations_are_good(path):
    assert quality_problem(read_observation(path)) is None
    assert header_problem(real_header(path)) is None


def magnetogram(field: np.ndarray) -> Observation:
    header = rescaled(magnetogram_header(), field.shape[0])
    return Observation(field.astype(np.float32), header, None, "SDO/HMI magnetogram", datetime(2014, 3, 1))


def test_a_magnetogram_with_nan_off_the_disk_is_good():
    good = magnetogram(np.random.default_rng(0).normal(0, 10, (256, 256)))
    good.data[~disk_of_header(good.header, (256, 256)).mask(1.0)] = np.nan
    assert quality_problem(good) is None


@pytest.mark.parametrize(("make", "cards", "reason"), [
    (AIA, {"QUALITY": 0x40002000}, "QUALITY = 0x40002000, not 0: eclipse"),
    (AIA, {"QUALITY": -2147483648}, "QUALITY = 0x80000000, not 0: no image"),
    (AIA, {"QUALITY": "0x00010000"}, "dark image"), (AIA, {"QUALITY": "bad"}, "QUALITY = 'bad' should be 32 bits"),
    (AIA, {"QUALITY": 1e30}, "should be 32 bits"), (AIA, {"QUALITY": 1.5}, "should be 32 bits"),
    (EUVI_A, {"SEB_PROG": "DARK"}, "SEB_PROG = DARK: a calibration frame"),
    (EUVI_A, {"SEB_PROG": "Contin"}, "SEB_PROG = CONTIN"), (EUVI_B, {"SEB_PROG": "LED"}, "SEB_PROG = LED"),
    (EUVI_A, {"DOORSTAT": 0}, "DOORSTAT = 0: the door was not open"), (EUVI_A, {"DOORSTAT": "1"}, "DOORSTAT = 1"),
    (EUVI_A, {"OBS_PROG": "focus sweep"}, "OBS_PROG = FOCUS SWEEP: a calibration frame"),
    (EUVI_A, {"OBSMODE": "CALIB"}, "OBSMODE = CALIB: a calibration frame"),
    (EUVI_A, {"PC1_1": 9.0}, "PC1_1 = 9, PC1_2 = -0.118274, PC2_1 = 0.118274, PC2_2 = 0.992981 is no rotation"),
    (EUVI_A, {"DSUN_OBS": 0.96}, "keyword DSUN_OBS = 0.96 should be metres"),
    (EUVI_A, {"DSUN_OBS": 0.0}, "keyword DSUN_OBS = 0.0 should be metres"),
    (AIA, {"CUNIT1": "furlong"}, "keyword CUNIT1 = 'furlong' should be arcsec or deg"),
    (AIA, {"IMG_TYPE": "DARK"}, "IMG_TYPE = DARK, not LIGHT"), (AIA, {"EXPTIME": 0.0}, "EXPTIME = 0.0, not above zero"),
    (EUVI_A, {"NMISSING": 5}, "NMISSING = 5: more than 4 segments were lost"),
    (EUVI_A, {"LEDCOLOR": "BLUE"}, "LEDCOLOR = BLUE"), (EUVI_B, {"EXPTIME": -1.0}, "EXPTIME = -1.0, not above zero"),
    (EUVI_A, {"NAXIS2": 32}, "a partial image of 128 x 32 pixels"),
    (EUVI_A, {"CRVAL1": 900.0}, "the disk does not fit in the frame"),
    (EUVI_A, {"CDELT1": 80.0, "CDELT2": 80.0}, "CDELT1 is wrong"),
    (AIA, {"DETECTOR": "XRT", "INSTRUME": "XRT", "TELESCOP": "HINODE"}, "no AIA, HMI or EUVI image")])
def test_a_bad_header_is_refused_with_its_reason(make, cards, reason):
    header = real_header(make)
    for keyword, value in cards.items():
        header[keyword] = value
    assert reason in header_problem(header)


@pytest.mark.parametrize("value", [None, "", "nan", "(MISSING)", "  "], ids=["absent", "empty", "nan", "jsoc", "blank"])
@pytest.mark.parametrize("keyword", ["EXPTIME", "CRPIX1", "CRVAL2", "CDELT2", "CUNIT1", "CTYPE1", "DSUN_OBS",
                                     "WAVELNTH", "DATE-OBS"])
def test_a_missing_keyword_is_named(keyword, value):
    header = real_header(EUVI_A)
    instead = {"DSUN_OBS": ["HAEX_OBS", "HEEX_OBS", "HEQX_OBS", "HCIX_OBS"], "DATE-OBS": ["DATE-AVG"]}
    for one in (keyword, *instead.get(keyword, ())):
        del header[one]
        if value is not None:
            header[one] = value
    assert f"keyword {keyword} is missing" in header_problem(header)


def test_without_any_rotation_north_is_not_known():
    header = magnetogram_header()
    del header["CROTA2"]
    assert "keyword CROTA2 (or PC1_1, CD1_1) is missing" in header_problem(header)      # HMI stands upside down


def test_a_bad_quality_of_a_magnetogram_counts_too():
    header = magnetogram_header()
    header["QUALITY"] = 0x100
    assert "QUALITY = 0x00000100, not 0" in header_problem(header)
    del header["QUALITY"]
    header["QUALLEV1"] = "0x00002000"
    assert header_problem(header) == "QUALLEV1 = 0x00002000, not 0: eclipse"


@pytest.mark.parametrize("quality", [0x400, "0x00000400", "1024", 1024.0, "", "(MISSING)", 0x7C00])
def test_near_real_time_magnetograms_and_remarks_are_no_fault(quality):
    header = magnetogram_header()
    header["QUALITY"] = quality
    assert header_problem(header) is None


@pytest.mark.parametrize("quality", [0x40000000, "0x40000300", 0x100, "256"])
def test_quick_look_and_missing_pixels_of_aia_are_no_fault_of_the_header(quality):
    header = real_header(AIA)
    header["QUALITY"] = quality
    assert header_problem(header) is None


@pytest.mark.parametrize("field", [np.abs, lambda values: -np.abs(values), lambda values: 90 + 20 * np.tanh(values)])
def test_a_map_of_one_sign_is_no_line_of_sight_magnetogram(field):
    values = np.random.default_rng(0).normal(0, 10, (256, 256))
    assert "pixel on the disk: a map of strength, angle or error" in quality_problem(magnetogram(field(values)))


def euvi(data: np.ndarray) -> Observation:
    header = rescaled(real_header(EUVI_A), data.shape[0])
    return Observation(data.astype(np.float32), header, None, "STEREO/EUVI-A 171", datetime(2011, 2, 15))


def test_a_constant_image_is_refused():
    assert quality_problem(euvi(np.full((128, 128), 900))) == "a constant image"
    assert quality_problem(magnetogram(np.zeros((128, 128)))) == "a constant image"


def test_a_dark_image_is_refused():
    dark = euvi(np.random.default_rng(0).normal(720, 2, (128, 128)))
    assert "the median on the disk is -0." in quality_problem(dark)


def test_lost_blocks_count_on_the_disk_only():
    data = read_observation(EUVI_A).data.copy()
    data[:8, :8] = data[-8:, -8:] = 0
    assert quality_problem(euvi(data)) is None
    data[60:76, 60:76] = 0
    assert quality_problem(euvi(data)) == "5.5% of the disk is missing, more than 1.0%"
    assert quality_problem(euvi(data), max_missing=0.1) is None


def test_a_whole_image_without_values_is_refused():
    assert "100.0% of the disk is missing" in quality_problem(magnetogram(np.full((128, 128), np.nan)))
    assert "100.0% of the disk is missing" in quality_problem(euvi(np.zeros((128, 128))))


def test_large_images_are_judged_by_a_sample():
    data = np.random.default_rng(0).normal(900, 20, (2048, 2048))
    assert quality_problem(euvi(data)) is None
    data[900:1200, 900:1200] = 0
    assert "of the disk is missing" in quality_problem(euvi(data))
