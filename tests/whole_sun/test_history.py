"""The chart of what was known before: magnetograms chosen and aged, and the synoptic maps of observatories."""
from datetime import datetime, timedelta

import numpy as np
import pytest
from astropy.io import fits
from sunpy.coordinates.sun import carrington_rotation_number, carrington_rotation_time
from whole_suns import magnetogram, places, strips, whole_sun

from pix2pixcc.synthetic_sun.sun import SyntheticSun
from pix2pixcc.utils import UserError
from pix2pixcc.whole_sun.exports import export_gong
from pix2pixcc.whole_sun.history import chart_of_map, chart_of_strips, choose, read_chart
from pix2pixcc.whole_sun.maps import Recipe

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


@pytest.mark.parametrize("write", [gong, hmi, adapt])
@pytest.mark.filterwarnings("ignore::Warning")
def test_a_synoptic_map_keeps_its_places(tmp_path, write):
    write(tmp_path / "chart.fits")
    layers = chart_of_map(read_chart(tmp_path / "chart.fits"), GRID, 4.0)
    assert_spot(layers)
    known = layers.weight > 0
    assert known[5:-5].all() and known.all() == (write is not hmi)
    age = layers.mean("age")[known] / 24
    if write is adapt:
        assert age == pytest.approx(0, abs=1e-3)
    elif write is gong:
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
