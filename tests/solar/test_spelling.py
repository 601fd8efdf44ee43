"""Whatever way a header is spelled, SunPy is told the same."""
from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest
from observation_files import AIA, EUVI_A, EUVI_B, HMI, real_header

from pix2pixcc.solar.geometry import disk_of_header
from pix2pixcc.solar.headers import has_observer, registered_header, sunpy_map
from pix2pixcc.solar.observations import identify
from pix2pixcc.solar.spelling import standard_header, utc_of
from pix2pixcc.utils import UserError

PC = ("PC1_1", "PC1_2", "PC2_1", "PC2_2")
TIMES = ("DATE-OBS", "DATE-AVG", "DATE-END", "T_OBS", "T_REC", "DATE-BEG")


def respelled(path, remove, cards):
    header = real_header(path)
    for keyword in remove:
        header.remove(keyword, ignore_missing=True)
    header.update(cards)
    return header


def where(header):
    """What decides a registered image: the WCS by SunPy, the disk, and the registered header's place."""
    wcs, registered, disk = sunpy_map(header).wcs.wcs, registered_header(header, 64), disk_of_header(
        standard_header(header), (header["NAXIS2"], header["NAXIS1"]))
    place = [registered[key] for key in ("HGLN_OBS", "HGLT_OBS")]
    return np.array([*wcs.get_pc().ravel(), *(3600 * wcs.get_cdelt()), *(3600 * wcs.crval), *disk.centre, disk.radius,
                     *place])


def rotated(path, kind):
    header = real_header(path)
    pc = np.array([header[key] for key in PC]).reshape(2, 2)
    angle, scale = float(np.degrees(np.arctan2(pc[1, 0], pc[0, 0]))), header["CDELT1"]
    cd = dict(zip(("CD1_1", "CD1_2", "CD2_1", "CD2_2"), (pc * scale).ravel(), strict=True))
    return {"CROTA2": {"CROTA2": angle}, "CROTA": {"CROTA": angle}, "text": {"CROTA2": f"{angle}"},
            "both axes": {"CROTA1": angle, "CROTA2": angle}, "CD": cd,
            "PC as text": {key: str(value) for key, value in zip(PC, pc.ravel(), strict=True)},
            "blank PC": {**dict.fromkeys(PC, ""), "CROTA2": angle}}[kind]


@pytest.mark.parametrize("kind", ["CROTA2", "CROTA", "text", "both axes", "CD", "PC as text", "blank PC"])
@pytest.mark.parametrize("path", [EUVI_A, EUVI_B], ids=["A", "B"])
def test_a_rotation_is_found_in_every_spelling(path, kind):
    gone = (*PC, "CROTA", *(("CDELT1", "CDELT2") if kind == "CD" else ()))
    header = respelled(path, gone, rotated(path, kind))
    np.testing.assert_allclose(where(header), where(real_header(path)), rtol=1e-6, atol=1e-6)   # CROTA has 12 digits


@pytest.mark.parametrize("cards", [
    {"CUNIT1": "ARCSEC", "CUNIT2": "arcseconds"}, {"CDELT1": "25.40438461296", "CRPIX1": "64.5"},
    {"CTYPE1": "solar-x", "CTYPE2": "SOLAR_Y"}, {"DSUN_OBS": "1.43667689819D11"}, {"WAVEUNIT": "(MISSING)"},
    {"WAVELNTH": 17.1, "WAVEUNIT": "nm"}, {"WAVELNTH": "171"}, {"HAEX_OBS": "nan"}, {"RSUN_REF": "", "BUNIT": 5}])
def test_units_numbers_and_names_are_found_in_every_spelling(cards):
    header = respelled(EUVI_A, (), cards)
    np.testing.assert_allclose(where(header), where(real_header(EUVI_A)), rtol=1e-9)
    assert identify(header)[0] == "STEREO/EUVI-A 171"


def test_degrees_are_the_same_place_as_arcseconds():
    header = respelled(EUVI_A, (), {"CUNIT1": "Degree", "CUNIT2": "deg"})
    for keyword in ("CDELT1", "CDELT2", "CRVAL1", "CRVAL2"):
        header[keyword] /= 3600
    np.testing.assert_allclose(where(header)[4:], where(real_header(EUVI_A))[4:], rtol=1e-9)


OBSERVERS = ("HGLN_OBS", "HGLT_OBS", "CRLN_OBS", "CRLT_OBS",
             *(f"{frame}{axis}_OBS" for frame in ("HEQ", "HEE", "HAE", "HCI") for axis in "XYZ"))


@pytest.mark.parametrize("kept", [("HGLN", "HGLT", "DSUN"), ("CRLN", "CRLT", "DSUN"), ("HEQX", "HEQY", "HEQZ"),
                                  ("HEEX", "HEEY", "HEEZ"), ("HAEX", "HAEY", "HAEZ"), ("HCIX", "HCIY", "HCIZ")])
@pytest.mark.parametrize("path", [EUVI_A, EUVI_B], ids=["A", "B"])
def test_an_observer_is_found_in_every_system(path, kept):
    """SECCHI's own cards of one place; the systems differ by the light's travel and the epoch of the ecliptic."""
    whole = real_header(path)
    gone = [keyword for keyword in (*OBSERVERS, "DSUN_OBS") if keyword[:4] not in kept]
    header = registered_header(respelled(path, gone, {}), 64)
    assert header["HGLN_OBS"] == pytest.approx(whole["HGLN_OBS"], abs=0.3)
    assert header["HGLT_OBS"] == pytest.approx(whole["HGLT_OBS"], abs=0.05)
    assert header["DSUN_OBS"] == pytest.approx(whole["DSUN_OBS"], rel=1e-6)
    assert has_observer(respelled(path, gone, {})) and not has_observer(respelled(path, [*gone, *OBSERVERS], {}))


@pytest.mark.parametrize("cards", [
    {"DATE_OBS": "2011-02-15T00:14:00.006"}, {"DATE__OBS": "2011-02-15T00:14:00.006Z"},
    {"DATE-OBS": "2011-02-15t00:14:00.006"}, {"DATE-OBS": "2011-02-15 00:14:00.006"},
    {"DATE-OBS": "2011/02/15 00:14:00.006"}, {"DATE-OBS": "2011-02-15T02:14:00.006+02:00"},
    {"DATE-OBS": "2011-02-15", "TIME-OBS": "00:14:00.006"}, {"DATE_OBS": "2011/02/15", "TIME_OBS": "00:14:00.006"},
    {"T_OBS": "2011.02.15_00:14:34.006_TAI"}, {"T_REC": "2011.02.15_00:14:00.006_UTC"},
    {"DATE-OBS": "2011-02-15T00:14:34.006", "TIMESYS": "TAI"}, {"DATE-OBS": "2011-02-15T00:14:00.006", "TIMESYS": ""},
    {"DATE-OBS": "2011-02-15T00:14:00.006", "TIMESYS": "(MISSING)", "DATE_OBS": "1999-01-01T00:00:00"},
    {"DATE-OBS": "2011-02-15T00:15:06.190", "TIMESYS": "TT"}, {"DATE-OBS": "", "DATE-BEG": "2011-02-15T00:14:00.006"},
    {"DATE-OBS": "2011-02-15T00:14:00.006", "T_OBS": "-4712.01.01_11:59:28_TAI", "DATE-AVG": "noon"}])
def test_a_time_is_found_in_every_spelling_and_is_what_sunpy_uses(cards):
    header = respelled(EUVI_A, (*TIMES, "TIMESYS"), cards)
    moment = datetime(2011, 2, 15, 0, 14, 0, 6000)
    assert identify(header) == ("STEREO/EUVI-A 171", moment)
    assert sunpy_map(header).date.utc.to_datetime() == moment
    assert registered_header(header, 64)["DATE-OBS"] == "2011-02-15T00:14:00.006"


@pytest.mark.parametrize(("cards", "message"), [
    ({"DATE-OBS": "noon"}, "keyword DATE-OBS = 'noon' is no time"),
    ({"DATE-OBS": "2011-02-15"}, "keyword DATE-OBS = '2011-02-15' has no time of day, and TIME-OBS is missing"),
    ({"DATE_OBS": "9999-02-15T00:00:00"}, "keyword DATE_OBS = '9999-02-15T00:00:00' is no time"),
    ({"T_OBS": "-4712.01.01_11:59:28_TAI"}, "keyword T_OBS = '-4712"), ({}, "keyword DATE-OBS is missing"),
    ({"DATE-OBS": "2011-02-15T00:14:00", "TIMESYS": "MARS"}, "keyword TIMESYS = 'MARS' is no system of time")])
def test_a_time_that_cannot_be_read_is_named(cards, message):
    with pytest.raises(UserError, match=message):
        identify(respelled(EUVI_A, TIMES, cards))


def test_a_leap_second_is_the_first_second_of_the_next_day():
    assert utc_of("2016-12-31T23:59:60.5Z") == datetime(2017, 1, 1, 0, 0, 0, 500000)
    assert utc_of("2017.01.01_00:00:37_TAI") == datetime(2017, 1, 1)


@pytest.mark.parametrize("path", [EUVI_A, EUVI_B, AIA, HMI], ids=lambda path: path.name)
def test_the_headers_of_archives_keep_their_times_and_numbers(path):
    header, standard = real_header(path), standard_header(real_header(path))
    assert standard_header(standard) is standard
    for keyword in ("DATE-OBS", "CRPIX1", "CRVAL2", "CDELT1", "DSUN_OBS", "PC1_2", "HAEX_OBS", "CRLN_OBS", "WAVELNTH"):
        if keyword in header:
            assert standard[keyword] == header[keyword]


@pytest.mark.parametrize(("cards", "message"), [
    ({"CROTA2": "nan"}, "keyword CROTA2 is missing"), ({"CD1_1": 0.0}, "keyword CD1_1 = 0 should be the plate scale"),
    ({"CROTA2": "north"}, "keyword CROTA2 = 'north' should be a number"),
    ({"PC1_1": "nan", "PC1_2": 0.1}, "keyword PC1_1 = 'nan' should be a number"),
    ({"CTYPE1": 5}, "keyword CTYPE1 = 5 should be HPLN-TAN"),
    ({"HGLN_OBS": 1e9}, "keyword HGLN_OBS = 1000000000.0 should be degrees"),
    ({"HGLN_OBS": "here"}, "keyword HGLN_OBS = 'here' should be degrees")])
def test_what_cannot_be_read_is_named_with_its_keyword(cards, message):
    with pytest.raises(UserError, match=message):
        standard_header(respelled(EUVI_A, (*PC, "CROTA"), cards))
