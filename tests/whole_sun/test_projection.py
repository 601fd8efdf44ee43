"""Where a place on the Sun comes to lie on a map, whoever looks, however the image lies, and whenever it was taken."""
from datetime import datetime, timedelta

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from sunpy.coordinates import HeliographicCarrington, HeliographicStonyhurst, Helioprojective, get_earth
from sunpy.map import Map, all_coordinates_from_map
from sunpy.map.header_helper import make_fitswcs_header
from sunpy.sun.models import differential_rotation

from pix2pixcc.images.files import Image
from pix2pixcc.whole_sun.grid import LAWS, Grid
from pix2pixcc.whole_sun.magnetograms import magnetogram_of
from pix2pixcc.whole_sun.projection import place, project

MARCH, SEPTEMBER = datetime(2011, 3, 5, 12), datetime(2011, 9, 8, 12)      # B0 -7.2 and +7.2 degrees
WIDTH, STRENGTH = 3.0, 400.0                                               # of a spot: degrees, gauss


def spot_image(time, longitude=0.0, latitude=None, distance=1.0, roll=0.0, pointing=(0.0, 0.0), size=512,
               spots=((-26.0, 15.0, 1), (-8.0, 18.0, -1))):
    """An image of radial spots, made by SunPy's coordinates alone, and their Carrington longitudes.

    `longitude` (Stonyhurst), `latitude` and `distance` (au) are of the observer; spots are (degrees west of its
    meridian, latitude, polarity).
    """
    earth = get_earth(time)
    observer = SkyCoord(longitude * u.deg, earth.lat if latitude is None else latitude * u.deg, distance * u.au,
                        frame=HeliographicStonyhurst(obstime=time))
    centre = SkyCoord(*pointing * u.arcsec, frame=Helioprojective(observer=observer, obstime=time))
    radius = np.degrees(np.arcsin((1 * u.solRad / observer.radius).to_value(""))) * 3600
    scale = u.Quantity([radius / (0.4 * size)] * 2, u.arcsec / u.pix)
    header = make_fitswcs_header((size, size), centre, scale=scale, rotation_angle=roll * u.deg, unit=u.G)
    header["obsrvtry"] = "SolO"
    view = Map(np.zeros((size, size), np.float32), header)
    with np.errstate(invalid="ignore"):
        places = all_coordinates_from_map(view).transform_to(HeliographicCarrington(observer=earth, obstime=time))
    lon, lat = places.lon.to_value("rad"), places.lat.to_value("rad")
    own = observer.transform_to(HeliographicCarrington(observer=earth, obstime=time))
    on_sun = places.cartesian.xyz / places.cartesian.norm()
    away = own.cartesian.xyz[:, None, None] / places.cartesian.norm() - on_sun
    mu = ((on_sun * away).sum(0) / np.sqrt((away ** 2).sum(0))).to_value("")
    field, middles = np.zeros((size, size)), []
    for west, north, polarity in spots:
        spot = own.lon.to_value("rad") + np.radians(west)
        middles.append((np.degrees(spot) % 360, north, polarity))
        at = np.radians(north)
        cosine = np.sin(lat) * np.sin(at) + np.cos(lat) * np.cos(at) * np.cos(lon - spot)
        field += polarity * STRENGTH * np.exp((cosine - 1) / np.radians(WIDTH) ** 2)
    return Map(np.where(np.isfinite(mu) & (mu > 0), field * mu, np.nan).astype(np.float32), header), middles


def on_map(view, grid, **choices):
    """The radial field of a view on a map, gauss."""
    with np.errstate(all="ignore"):
        image = Image(view.data[None], fits.Header(view.fits_header), None, False)
    settings = {"mu_limit": 0.2, "mu_power": 2.0} | choices
    strip = project(magnetogram_of(image, 512), grid.columns, grid.rows, **settings)
    layers = place(strip, grid)
    return layers.mean("field"), layers


def centroid(field, grid, polarity):
    """Carrington longitude and latitude of the flux of a polarity, degrees."""
    weight = np.clip(polarity * field, 0, None)
    weight = np.where(weight > 0.2 * weight.max(), weight, 0)
    turn = (weight * np.exp(1j * np.radians(grid.longitude))[None]).sum()
    sine = (weight * np.sin(np.radians(grid.latitude))[:, None]).sum() / weight.sum()
    return np.degrees(np.angle(turn)) % 360, np.degrees(np.arcsin(sine))


@pytest.mark.parametrize("view", [
    {"time": MARCH}, {"time": SEPTEMBER}, {"time": MARCH, "roll": 33.0}, {"time": SEPTEMBER, "roll": 180.01},
    {"time": MARCH, "pointing": (60.0, -45.0)}, {"time": MARCH, "longitude": 110.0, "latitude": 4.0, "distance": 0.3},
    {"time": SEPTEMBER, "longitude": 3.0, "latitude": 6.0, "distance": 0.96},
    {"time": MARCH, "longitude": -94.0, "latitude": -6.5, "distance": 1.05, "roll": -7.7},
    {"time": MARCH, "spots": ((50.0, -30.0, 1), (32.0, -25.0, -1))},
], ids=["B0 -7", "B0 +7", "roll 33", "roll 180", "pointing", "0.3 au", "3 degrees from Earth", "STEREO-B", "near limb"])
def test_a_bipole_lies_where_it_is(view):
    image, spots = spot_image(**view)
    grid = Grid(360, 180, view["time"])
    field, _ = on_map(image, grid)
    for longitude, latitude, polarity in spots:
        found = centroid(field, grid, polarity)
        off = (found[0] - longitude + 180) % 360 - 180
        assert abs(off) * np.cos(np.radians(latitude)) < 0.5 and abs(found[1] - latitude) < 0.5, "half a pixel"
        peak = (polarity * field).max()
        assert peak == pytest.approx(STRENGTH, rel=0.05)


@pytest.mark.parametrize("month", [1, 4, 7, 10])
def test_a_bipole_lies_where_it_is_around_the_year(month):
    time = datetime(2012, month, 20, 6)
    image, spots = spot_image(time)
    grid = Grid(360, 180, time)
    field, _ = on_map(image, grid)
    for longitude, latitude, polarity in spots:
        found = centroid(field, grid, polarity)
        assert abs((found[0] - longitude + 180) % 360 - 180) < 0.5 and abs(found[1] - latitude) < 0.5


@pytest.mark.parametrize("law", LAWS)
def test_the_sun_turns_between_the_image_and_the_map(law):
    image, spots = spot_image(MARCH)
    grid = Grid(360, 180, MARCH + timedelta(days=5), rotation=law)
    field, layers = on_map(image, grid)
    for longitude, latitude, polarity in spots:
        turned = differential_rotation(1 * u.day, latitude * u.deg, model=law).to_value("deg") * 5 - 5 * 14.1844
        found = centroid(field, grid, polarity)
        assert abs((found[0] - longitude - turned + 180) % 360 - 180) < 0.5
    assert layers.mean("age")[layers.weight > 0] == pytest.approx(120.0, rel=1e-3)


def test_a_stonyhurst_map_is_the_same_field_with_the_earth_in_the_middle():
    image, spots = spot_image(MARCH)
    carrington, stonyhurst = Grid(360, 180, MARCH), Grid(360, 180, MARCH, frame="stonyhurst")
    for grid in (carrington, stonyhurst):
        field, _ = on_map(image, grid)
        found = Map(field, grid.header())
        row, column = np.unravel_index(np.argmax(field), field.shape)
        there = found.pixel_to_world(column * u.pix, row * u.pix).transform_to(
            HeliographicCarrington(observer=get_earth(MARCH), obstime=MARCH))
        longitude, latitude, _ = spots[0]
        assert abs((there.lon.deg - longitude + 180) % 360 - 180) < 1 and abs(there.lat.deg - latitude) < 1
    middle = Map(field, stonyhurst.header()).pixel_to_world(179.5 * u.pix, 89.5 * u.pix)
    assert abs(middle.lon.deg) < 1e-6


def test_limb_cut_and_weights_are_as_asked():
    image, _ = spot_image(MARCH)
    grid = Grid(180, 90, MARCH)
    _, wide = on_map(image, grid, mu_limit=0.2, mu_power=4.0)
    _, narrow = on_map(image, grid, mu_limit=0.6, mu_power=4.0)
    assert wide.mean("mu")[wide.weight > 0].min() >= 0.2 and narrow.mean("mu")[narrow.weight > 0].min() >= 0.6
    full = wide.mean("mu") > 0.7
    assert wide.weight[full] == pytest.approx(wide.mean("mu")[full] ** 4, rel=0.02)
