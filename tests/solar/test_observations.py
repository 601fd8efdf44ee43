"""Which instrument and when, reading in every wrapping, calibration, and files that are broken."""
from __future__ import annotations

import gzip
from datetime import datetime

import numpy as np
import pytest
from astropy.io import fits
from observation_files import AIA, EUVI_A, EUVI_B, EUVI_HEADER, HMI, magnetogram_header, real_header

from pix2pixcc.solar.observations import (
    Observation,
    calibrate,
    identify,
    is_missing,
    mean_time,
    parse_utc,
    read_header,
    read_observation,
)
from pix2pixcc.utils import UserError


def euvi(data: np.ndarray, **cards: object) -> Observation:
    header = real_header(EUVI_A)
    for keyword, value in cards.items():
        header[keyword] = value
    return Observation(data.astype(np.float32), header, None, "STEREO/EUVI-A 171", datetime(2011, 2, 15))


@pytest.mark.parametrize(("path", "name", "time"), [
    (EUVI_A, "STEREO/EUVI-A 171", datetime(2011, 2, 15, 0, 14, 0, 6000)),
    (EUVI_B, "STEREO/EUVI-B 171", datetime(2011, 2, 15, 0, 14, 33, 645000)),
    (AIA, "SDO/AIA 171", datetime(2011, 2, 15, 0, 0, 0, 340000)),
    (EUVI_HEADER, "STEREO/EUVI-A 171", datetime(2009, 6, 15, 0, 9, 0, 6000))],
    ids=lambda value: getattr(value, "name", None))
def test_real_headers_say_what_they_are_and_when(path, name, time):
    assert identify(real_header(path)) == (name, time)


def test_hmi_magnetograms_are_known_and_other_hmi_images_are_not():
    assert identify(magnetogram_header()) == ("SDO/HMI magnetogram", datetime(2014, 3, 1, 0, 0, 27, 900000))
    assert identify(real_header(HMI)) is None          # continuum intensity


@pytest.mark.parametrize("cards", [{"CONTENT": "HMI observable"}, {"CONTENT": "FIELD STRENGTH"},
                                   {"CONTENT": "RADIAL MAGNETOGRAM"}, {"CONTENT": "MAGNETOGRAM ERROR"},
                                   {"CONTENT": "", "BUNIT": "kG"}, {"BUNIT": "deg"}, {"CTYPE1": "CRLN-CEA"}])
def test_what_is_no_magnetogram_by_its_cards_is_not_taken_for_one(cards):
    header = magnetogram_header()
    header.update({"BUNIT": "Mx/cm^2"} | cards)
    assert identify(header) is None


@pytest.mark.parametrize(("name", "known"), [
    ("hmi.M_720s.20110301_000000_TAI.3.magnetogram.fits", True), ("hmi_m_45s_2011_03_01_tai_magnetogram.fits", True),
    ("magnetogram.fits", True), ("hmi.m_720s_nrt.20110301_TAI.magnetogram.fits", True),
    ("hmi.B_720s.20110301_000000_TAI.field.fits", False), ("hmi.b_720s.20110301_000000_TAI.field_err.fits", False),
    ("hmi.ME_720s_fd10.20110301_TAI.inclination.fits", False), ("hmi.Mr_720s.20110301_TAI.3.Mr_720s.fits", False),
    ("20110301.inclination_err.fits", False), ("x.Br.fits", False), ("hmi_b_720s_2011_03_01_field.fits", False)])
def test_jsocs_names_of_series_and_segments_tell_magnetograms_from_vectors(name, known):
    assert (identify(magnetogram_header(), f"/hmi.B_720s/{name}") is not None) is known


@pytest.mark.parametrize("name", ["hmi_synoptic.header", "lasco_c3.header", "gong_magnetogram.header",
                                  "cor1_20090615_000500_s4c1A.header"])
def test_other_instruments_and_synoptic_charts_are_not_taken_for_ours(name):
    assert identify(real_header(EUVI_HEADER.with_name(name))) is None


def test_an_observation_knows_its_instrument_and_passband():
    observation = read_observation(EUVI_B)
    assert (observation.instrument, observation.passband, observation.is_magnetogram) == ("STEREO/EUVI-B", "171", False)


def test_times_of_fits_and_of_jsoc_are_utc():
    assert parse_utc("2011-02-15T00:00:01.34Z") == datetime(2011, 2, 15, 0, 0, 1, 340000)
    assert parse_utc("2011.02.13_10:36:00_TAI") == datetime(2011, 2, 13, 10, 35, 26)
    with pytest.raises(ValueError, match="noon"):
        parse_utc("noon")


def test_the_mean_time_of_the_published_inputs():
    times = [datetime(2011, 3, 5, 11, 56, 43), datetime(2011, 3, 5, 12, 0, 58), datetime(2011, 3, 5, 12, 14, 28)]
    assert mean_time(times) == datetime(2011, 3, 5, 12, 4, 3)
    with pytest.raises(ValueError, match="no times"):
        mean_time([])


# Reading

def test_a_rice_compressed_image_in_hdu_1_is_read(tmp_path):
    data = np.arange(64 * 64, dtype=np.int16).reshape(64, 64)
    header = real_header(AIA)
    compressed = fits.CompImageHDU(data, header, compression_type="RICE_1")
    fits.HDUList([fits.PrimaryHDU(), compressed]).writeto(tmp_path / "aia.fits")
    observation = read_observation(tmp_path / "aia.fits")
    assert observation.name == "SDO/AIA 171" and observation.data.dtype == np.float32
    np.testing.assert_array_equal(observation.data, data)
    assert read_header(tmp_path / "aia.fits")["NAXIS1"] == 64


def test_a_gzipped_file_is_read(tmp_path):
    (tmp_path / "euvi.fts.gz").write_bytes(gzip.compress(EUVI_A.read_bytes()))
    np.testing.assert_array_equal(read_observation(tmp_path / "euvi.fts.gz").data, read_observation(EUVI_A).data)


def test_a_card_that_breaks_the_standard_does_not_cost_the_file(tmp_path):
    content = AIA.read_bytes()
    start = content.index(b"OSCNRMS =")
    card = b"OSCNRMS =                 1.0.0".ljust(80)
    (tmp_path / "aia.fits").write_bytes(content[:start] + card + content[start + 80:])
    observation = read_observation(tmp_path / "aia.fits")
    assert observation.name == "SDO/AIA 171" and "OSCNRMS" not in observation.header


def broken(tmp_path, kind):
    path = tmp_path / f"{kind}.fits"
    if kind == "truncated":
        path.write_bytes(AIA.read_bytes()[:60000])
    elif kind == "text":
        path.write_text("no FITS file, but a page of an archive that was down\n" * 100)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated gzip":
        path = tmp_path / "truncated.fits.gz"
        path.write_bytes(gzip.compress(AIA.read_bytes())[:20000])
    elif kind == "table":
        table = fits.BinTableHDU.from_columns([fits.Column("a", "E", array=[1.0])])
        fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)
    elif kind == "damaged tile":
        image = np.random.default_rng(0).integers(0, 2000, (128, 128)).astype(np.int16)
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(image, compression_type="RICE_1")]).writeto(path)
        path.write_bytes(path.read_bytes()[:-10000] + 10000 * b"\xff")
    elif kind == "unknown":
        fits.PrimaryHDU(np.ones((8, 8))).writeto(path)
    return path


@pytest.mark.parametrize(("kind", "message"), [
    ("truncated", "is truncated"), ("text", "is not a FITS file"), ("empty", "is not a FITS file"),
    ("missing", "No such file"),
    ("truncated gzip", "it is damaged, or not FITS"),
    ("damaged tile", "it is damaged, or not FITS .decompression error"),
    ("table", "no HDU with an image"), ("unknown", "neither EUVI, nor AIA")])
def test_a_broken_file_is_named_in_one_line(tmp_path, kind, message):
    path = broken(tmp_path, kind)
    with pytest.raises(UserError, match=message) as caught:
        read_observation(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


# Calibration

def test_the_euvi_bias_is_subtracted_once_and_the_exposure_divided_out():
    observation = read_observation(EUVI_A)
    np.testing.assert_allclose(calibrate(observation), (observation.data - 725.242) / 16.0074, rtol=1e-5, atol=1e-4)
    assert observation.data.min() > 600           # the observation itself is as it was


@pytest.mark.parametrize("cards", [{"OFFSETCR": 725.242}, {"IP_00_19": " 41 76103 94" + "  0" * 16}])
def test_a_bias_that_is_gone_is_not_subtracted_again(cards):
    assert calibrate(euvi(np.full((4, 4), 1000), EXPTIME=4.0, **cards)) == pytest.approx(250)


def test_a_bias_card_is_not_needed_where_the_bias_is_gone():
    observation = euvi(np.full((4, 4), 1000), EXPTIME=4.0, OFFSETCR=725.0)
    del observation.header["BIASMEAN"]
    assert calibrate(observation) == pytest.approx(250)


def test_pixels_summed_on_board_carry_the_bias_of_each():
    assert calibrate(euvi(np.full((4, 4), 4 * 725.242 + 32), EXPTIME=16.0, IPSUM=2.0)) == pytest.approx(2, abs=1e-3)


def test_a_division_by_two_on_board_is_undone_before_the_bias_goes():
    halved = euvi(np.full((4, 4), (725.242 + 32) / 2), EXPTIME=16.0, DIV2CORR=False)
    assert calibrate(halved) == pytest.approx(2, abs=1e-3)


def test_lost_blocks_of_euvi_have_no_value():
    data = np.full((8, 8), 1000.0)
    data[2:4, 2:4] = 0
    observation = euvi(data)
    assert np.isnan(calibrate(observation)).sum() == 4 == is_missing(observation).sum()
    assert not is_missing(euvi(data, OFFSETCR=725.0)).any()           # without the bias, 0 is a value
    assert is_missing(euvi(data, OFFSETCR=725.0, NMISSING=2)).sum() == 4      # unless blocks were lost


def test_jsocs_missing_value_has_none_in_a_file_of_floats_too():
    aia = Observation(np.array([[-32768, 7]], np.float32), real_header(AIA), None, "SDO/AIA 171", datetime(2011, 2, 15))
    assert np.isnan(calibrate(aia)).tolist() == [[True, False]]


def test_aia_is_divided_by_its_exposure_and_a_magnetogram_stays_in_gauss():
    observation = read_observation(AIA)
    np.testing.assert_allclose(calibrate(observation), observation.data / 2.000191, rtol=1e-5)
    field = Observation(np.array([[-5.5, np.nan]], np.float32), magnetogram_header(), None, "SDO/HMI magnetogram",
                        datetime(2014, 3, 1))
    np.testing.assert_array_equal(calibrate(field), field.data)


def test_an_exposure_of_zero_is_an_error():
    with pytest.raises(UserError, match="EXPTIME = 0 should be above zero"):
        calibrate(euvi(np.ones((4, 4)), EXPTIME=0.0))
