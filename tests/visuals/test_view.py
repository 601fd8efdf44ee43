"""Limb, grid and captions, held against SunPy and astropy."""
import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from pictures import EUVI, FRONTSIDE, SIZE, TIME, make_disk, make_header
from sunpy.coordinates import HeliographicStonyhurst, Helioprojective

from pix2pixcc.solar.geometry import RSUN_METRES
from pix2pixcc.visuals.view import View, caption, graticule, place, project, signed, spacecraft_name


def test_limb_and_grid_agree_with_sunpy_to_a_hundredth_of_an_arcsecond():
    view = View.of_header(make_header())
    longitude, latitude = np.array([-94.0, -60.0, -140.0, -30.0]), np.array([0.0, 35.0, -50.0, 10.0])
    stonyhurst = HeliographicStonyhurst(obstime=TIME)
    observer = SkyCoord(view.longitude * u.deg, view.latitude * u.deg, view.distance * u.m, frame=stonyhurst)
    points = SkyCoord(longitude * u.deg, latitude * u.deg, RSUN_METRES * u.m, frame=stonyhurst)
    seen = points.transform_to(Helioprojective(observer=observer, obstime=TIME))
    ours = project(view, longitude, latitude)
    assert np.abs(ours[0] - seen.Tx.to_value(u.arcsec)).max() < 0.01
    assert np.abs(ours[1] - seen.Ty.to_value(u.arcsec)).max() < 0.01


def test_points_behind_the_sun_are_not_drawn():
    view = View.of_header(make_header())
    assert np.isnan(project(view, np.array([85.0]), np.array([0.0]))).all()
    curves_drawn = graticule(view)
    assert np.nanmax(np.hypot(*curves_drawn)) <= view.radius * 1.000001


def test_an_image_that_is_rolled_and_off_centre_is_put_where_its_header_says():
    header = make_header(roll=30, shift=(7.5, -4.0))
    view = View.of_header(header)
    pixels = np.array([[0, 0], [10, 50], [63, 20]])
    world = 3600 * ((WCS(header, fix=False).wcs_pix2world(pixels, 0) + 180) % 360 - 180)
    ours = np.column_stack([pixels, np.ones(3)]) @ view.matrix.T
    assert np.abs(ours - world).max() < 0.1


def test_a_registered_image_has_its_limb_at_450_of_1024():
    view = View.of_header(make_header())
    assert view.radius / view.matrix[0, 0] == pytest.approx(450 / 1024 * SIZE)
    masked = view.on_disk(np.ones((SIZE, SIZE)))
    assert np.array_equal(np.isfinite(masked), make_disk() > 0)


@pytest.mark.parametrize("missing", ["HGLN_OBS", "DSUN_OBS", "CTYPE1"])
def test_without_an_observer_or_coordinates_there_is_no_view(missing):
    header = make_header()
    del header[missing]
    if missing == "CTYPE1":
        del header["CTYPE2"]
    assert View.of_header(header) is None
    assert View.of_header(None) is None


def test_the_title_names_spacecraft_time_and_place():
    assert place(make_header(), EUVI) == (
        "STEREO-B,  2011-03-05 12:04 UT,  Stonyhurst longitude \u221294.8°,  latitude +1.1°")


@pytest.mark.parametrize(("degrees", "text"), [(-94.78, "\u221294.8°"), (30, "+30°"), (-0.01, "0°"), (-180, "180°")])
def test_angles_carry_their_sign(degrees, text):
    assert signed(degrees) == text


@pytest.mark.parametrize(("keyword", "value", "name"), [
    ("OBSRVTRY", "STEREO_A", "STEREO-A"), ("INPUTDAT", "STEREO_B", "STEREO-B"), ("TELESCOP", "SDO/AIA", "SDO"),
    ("OBSRVTRY", "Solar_Orbiter", "Solar Orbiter")])
def test_the_spacecraft_is_known_from_the_header(keyword, value, name):
    assert spacecraft_name(fits.Header([(keyword, value)])) == name


def test_passbands_are_captioned_with_their_wavelength_and_time():
    assert caption(EUVI[0]) == "EUVI-B 304 Å\n2011-03-05 11:56"
    assert caption(FRONTSIDE[3]) == "HMI magnetogram\n2011-02-13 10:34"
