"""The chart of what was known before: magnetograms chosen and aged, and the synoptic maps of observatories."""
from datetime import datetime, timedelta

import numpy as np
import pytest
import sunpy.map
from astropy.io import fits
from sunpy.coordinates.sun import carrington_rotation_number, carrington_rotation_time
from whole_suns import magnetogram, places, strips, whole_sun

from pix2pixcc.synthetic_sun.sun import SyntheticSun
from pix2pixcc.utils import UserError
from pix2pixcc.whole_sun.exports import export_gong
from pix2pixcc.whole_sun.history import chart_of_map, chart_of_strips, choose, read_chart
from pix2pixcc.whole_sun.maps import CONTENT
from pix2pixcc.whole_sun.recipe import Recipe

NOW = datetime(2011, 3, 5, 12)
GRID = Recipe(360, 180, rotation="rigid").grid(NOW)
SPOT = (200.0, 20.0)                          # Carrington longitude and latitude


def spotted(shape, equal_area=True):
    """A spot of 300 G and 4 degrees on a weak field, on cells of equal area or of equal latitude."""
    sine, longitude = places(shape)
    latitude = np.arcsin(sine) if equal_area else (sine * np.pi / 2)
    at = np.radians(SPOT[1])
    cosine = (np.sin(latitude) * np.sin(at) + np.cos(latitude) * np.cos(at) * np.cos(longitude - np.radians(SPOT[0])))
    return (300 * np.exp((cosine - 1) / np.radians(4) ** 2) - 1).astype(np.float32)


def assert_spot(layers, grid=GRID, at=SPOT, tolerance=1.0):
    field = layers.mean("field")
    weight = np.where(field > 100, field, 0)
    longitude = np.degrees(np.angle((weight * np.exp(1j * np.radians(grid.longitude))).sum())) % 360
    latitude = np.degrees(np.arcsin((weight * np.sin(np.radians(grid.latitude))[:, None]).sum() / weight.sum()))
    assert abs(longitude - at[0]) < tolerance and abs(latitude - at[1]) < tolerance
    assert field.max() == pytest.approx(299, rel=0.06)


def gong(path):
    export_gong(path, whole_sun(spotted((180, 360)), time=NOW.isoformat()))


def gong_hourly(path):
    """GONG's own map of an hour: it begins 60 degrees past the meridian, and says CAR_ROT of its left edge."""
    left = 310
    header = fits.Header([
        ("TELESCOP", "NSO-GONG"), ("DATE-OBS", f"{NOW:%Y-%m-%d}"), ("TIME-OBS", f"{NOW:%H:%M}"),
        ("CAR_ROT", int(carrington_rotation_number(NOW))), ("CTYPE1", "CRLN-CEA"), ("CTYPE2", "CRLT-CEA"),
        ("CRPIX1", 180.5), ("CRPIX2", 90.5), ("CRVAL1", (left + 180) % 360), ("CRVAL2", 0.0), ("CDELT1", 1.0),
        ("CDELT2", 0.0111111), ("LONG0", left), ("BUNIT", "Gauss"), ("MAPTIME", f"{NOW:%H:%M}")])
    fits.PrimaryHDU(np.roll(spotted((180, 360)), -left, axis=1), header).writeto(path)


def hmi(path):
    """HMI's synoptic chart: sine of latitude, a negative CDELT1, no poles, and the number of its rotation."""
    rotation = int(carrington_rotation_number(NOW)) - 1
    field = spotted((720, 1440))
    field[:8] = field[-8:] = np.nan
    middle = carrington_rotation_time(rotation + 0.5).utc.to_datetime()
    header = fits.Header([
        ("TELESCOP", "SDO/HMI"), ("INSTRUME", "HMI_SIDE1"), ("CONTENT", "Carrington Synoptic Chart Of Br Field"),
        ("BUNIT", "Mx/cm^2"), ("CTYPE1", "CRLN-CEA"), ("CTYPE2", "CRLT-CEA"), ("CRPIX1", 720.5), ("CRPIX2", 360.5),
        ("CRVAL1", 180.0), ("CRVAL2", 0.0), ("CDELT1", -0.25), ("CDELT2", 2 / 720), ("CUNIT1", "Degree"),
        ("CUNIT2", "Sine Latitude"), ("CAR_ROT", rotation), ("T_OBS", f"{middle:%Y.%m.%d_%H:%M:%S}_TAI"),
        ("WAVELNTH", 6173.0), ("WAVEUNIT", "angstrom")])
    fits.CompImageHDU(field, header).writeto(path)


def adapt(path):
    """ADAPT's twelve realisations, in degrees of latitude."""
    field = spotted((180, 360), equal_area=False)
    header = fits.Header([
        ("MODEL", "ADAPT"), ("CTYPE1", "Long"), ("CTYPE2", "Lat"), ("CUNIT1", "deg"), ("CUNIT2", "deg"),
        ("CRPIX1", 180.5), ("CRPIX2", 90.5), ("CRVAL1", 180.0), ("CRVAL2", 0.0), ("CDELT1", 1.0), ("CDELT2", 1.0),
        ("MAPTIME", f"{NOW:%Y-%m-%dT%H:%M:%S}"), ("BUNIT", "Gauss")])
    extra = fits.ImageHDU(np.zeros((3, 12), np.float32))
    fits.HDUList([fits.PrimaryHDU(np.stack([field] * 12), header), extra]).writeto(path)


def mdi(path):
    """MDI's small synoptic chart: its middle is counted over all rotations, and its step in latitude is too great."""
    rotation = int(carrington_rotation_number(NOW)) - 1
    middle = carrington_rotation_time(rotation + 0.5).utc.to_datetime()
    header = fits.Header([
        ("TELESCOP", "SOHO"), ("INSTRUME", "MDI"), ("CONTENT", "Carrington Synoptic Chart Of Br Field"),
        ("BUNIT", "Mx/cm^2"), ("CTYPE1", "CRLN-CEA"), ("CTYPE2", "CRLT-CEA"), ("CRPIX1", 360.4), ("CRPIX2", 180.5),
        ("CRVAL1", 360.0 * rotation - 180), ("CRVAL2", 0.0), ("CDELT1", -0.5), ("CDELT2", 0.006944),
        ("CUNIT1", "Degree"), ("CUNIT2", "Sine Latitude"), ("CAR_ROT", rotation),
        ("T_OBS", f"{middle:%Y.%m.%d_%H:%M:%S}_TAI")])
    fits.PrimaryHDU(spotted((360, 720)), header).writeto(path)


def own(frame):
    def write(path):
        grid = Recipe(360, 180, frame=frame).grid(NOW)
        field = np.roll(spotted((180, 360)), round((180 - (grid.left_edge + 180)) % 360), axis=1)
        header = grid.header()
        header["CONTENT"] = CONTENT
        fits.PrimaryHDU(field, header).writeto(path)
    write.__name__ = frame
    return write


@pytest.mark.parametrize("write", [gong, gong_hourly, hmi, mdi, adapt, own("carrington"), own("stonyhurst")])
@pytest.mark.filterwarnings("ignore::Warning")
def test_a_synoptic_map_keeps_its_places(tmp_path, write):
    write(tmp_path / "chart.fits")
    layers = chart_of_map(read_chart(tmp_path / "chart.fits"), GRID, 4.0)
    assert_spot(layers)
    known = layers.weight > 0
    assert known[5:-5].all() and known.all() == (write is not hmi)
    age = layers.mean("age")[known] / 24
    if write not in (gong, gong_hourly, hmi, mdi):
        assert age == pytest.approx(0, abs=1e-3)
    elif write in (gong, gong_hourly):
        assert age.min() < 0.2 and 26 < age.max() < 27.4
    else:                                                   # of the rotation before, which ended some days ago
        assert age.min() > 1 and 27 < age.max() < 55


@pytest.mark.filterwarnings("ignore::Warning")
def test_a_synoptic_map_ages_by_the_law_of_rotation(tmp_path):
    adapt(tmp_path / "chart.fits")
    grid = Recipe(360, 180, rotation="howard").grid(NOW + timedelta(days=10))
    days = grid.drift(10.0)[np.argmin(np.abs(grid.latitude - SPOT[1]))]
    assert abs(days) > 0.5
    assert_spot(chart_of_map(read_chart(tmp_path / "chart.fits"), grid, 4.0), grid, (SPOT[0] + days, SPOT[1]))


@pytest.mark.filterwarnings("ignore::Warning")
def test_a_synoptic_map_of_another_year_is_refused(tmp_path):
    gong(tmp_path / "chart.fits")
    grid = Recipe(rotation="rigid").grid(NOW + timedelta(days=400))
    with pytest.raises(UserError, match=r"chart.fits is of 2011-03-05, 400 days from the map's time 2012-04-08"):
        chart_of_map(read_chart(tmp_path / "chart.fits"), grid, 4.0, "chart.fits")


def test_what_is_no_synoptic_map_is_refused(tmp_path):
    (tmp_path / "chart.fits").write_bytes(b"SIMPLE  = nothing")
    with pytest.raises(UserError, match="chart.fits"):
        read_chart(tmp_path / "chart.fits")


def test_a_magnetogram_a_day_is_chosen_from_the_rotation_before():
    times = [NOW - timedelta(hours=hours) for hours in range(-48, 24 * 40, 6)]
    chosen = [times[k] for k in choose(times, NOW, 24.0)]
    assert chosen == [NOW - timedelta(days=day) for day in range(1, 28)]
    halved = [times[k] for k in choose(times, NOW, 12.0)]
    assert len(halved) == 54 and min(halved) >= NOW - timedelta(days=27.3)
    assert choose([NOW + timedelta(days=1)], NOW, 24.0) == [] == choose([], NOW, 24.0)
    assert choose([NOW - timedelta(days=9, hours=3)] * 2, NOW, 24.0) == [0]


def test_the_latest_view_of_a_place_counts_most():
    sun, recipe = SyntheticSun(3), Recipe(90, 46)
    days = (1, 4)
    images = [magnetogram(sun, "SDO", NOW - timedelta(days=day), 64, data=np.full((64, 64), float(day), np.float32))
              for day in days]
    chart = chart_of_strips(strips(images, recipe), recipe.grid(NOW), 1.0)
    both = (chart.mean("age") > 24.5) & (chart.mean("age") < 60)
    assert both.sum() > 500
    alone = [chart_of_strips(strips([image], recipe), recipe.grid(NOW), 1.0) for image in images]
    assert (alone[0].weight / np.maximum(alone[1].weight, 1e-9))[both].max() > np.exp(3) * 0.9
    total = sum(each.weight for each in alone)
    np.testing.assert_allclose(chart.weight, total, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("shape", [(360, 180), (180, 90), (90, 46)])
def test_no_pixel_of_a_synoptic_map_is_left_out(shape):
    """The mean of a cell is that of the pixels in it, however fine the synoptic map is: noise averages out."""
    noise = np.random.default_rng(1).normal(0, 100, (1440, 3600)).astype(np.float32)
    chart = whole_sun(noise, time=NOW.isoformat())
    chart.meta["content"] = CONTENT                         # of one moment, so that every pixel weighs the same
    grid = Recipe(*shape, rotation="rigid").grid(NOW)
    field = chart_of_map(chart, grid, 4.0).mean("field")
    if 1440 % grid.rows == 0:
        mean = noise.reshape(grid.rows, 1440 // grid.rows, grid.columns, 3600 // grid.columns).mean((1, 3))
        np.testing.assert_allclose(field, mean, atol=1e-3)
    pixels = noise.size / field.size
    assert field.std() == pytest.approx(100 / np.sqrt(pixels), rel=0.1)


def test_a_synoptic_map_of_anything_but_gauss_is_refused(tmp_path):
    chart = whole_sun(spotted((90, 180)), time=NOW.isoformat())
    chart.meta["bunit"] = "DN"
    chart.save(tmp_path / "euv.fits")
    with pytest.raises(UserError, match="euv.fits: BUNIT = DN, not gauss: give a synoptic map of the magnetic field"):
        read_chart(tmp_path / "euv.fits")
    with pytest.raises(UserError, match="BUNIT = DN"):
        chart_of_map(chart, GRID, 4.0)


def test_the_oldest_view_of_a_place_is_better_than_none():
    """However fast history fades, float32 has room for the weight of a rotation's age."""
    sun, recipe = SyntheticSun(3), Recipe(90, 46)
    image = magnetogram(sun, "SDO", NOW - timedelta(days=27), 64, data=np.full((64, 64), 7.0, np.float32))
    chart = chart_of_strips(strips([image], recipe), recipe.grid(NOW), 0.1)
    slow = chart_of_strips(strips([image], recipe), recipe.grid(NOW), 4.0)
    assert ((chart.weight > 0) == (slow.weight > 0)).all()
    seen = chart.weight > 0
    np.testing.assert_allclose(chart.mean("field")[seen], slow.mean("field")[seen], rtol=1e-4)
    old = whole_sun(spotted((90, 180)), time=(NOW - timedelta(days=50)).isoformat())
    layers = chart_of_map(old, GRID, 0.1)
    assert (layers.weight > 0).all() and layers.mean("field").max() > 250


@pytest.mark.parametrize("cut, message", [((slice(None), slice(90)), "covers 90 degrees of longitude, not 360"),
                                          ((slice(45, 90), slice(None)), "covers 50% of the Sun in latitude")])
def test_a_part_of_the_sun_is_no_history(cut, message):
    chart = whole_sun(spotted((90, 180)), time=NOW.isoformat())
    part = sunpy.map.Map(chart.data[cut], chart.meta)
    if "latitude" not in message:
        part.meta["cdelt1"] = 1.0
    with pytest.raises(UserError, match=message):
        chart_of_map(part, GRID, 4.0)
