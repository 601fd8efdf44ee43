"""The corona of a map: its potential field against formulas, where it is open, and its lines."""
import gc
import math
import sys
import warnings

import numpy as np
import pytest
import sunpy.map
from astropy import units as u
from scipy.ndimage import maximum_filter, minimum_filter
from whole_suns import active_sun, harmonic, places, whole_sun

from pix2pixcc.solar.orbits import earth_carrington_longitude
from pix2pixcc.utils import UserError
from pix2pixcc.whole_sun.grid import carrington_grid
from pix2pixcc.whole_sun.pfss import corona_of

SMALL = (45, 90)


@pytest.fixture(scope="module")
def active():
    pytest.importorskip("sunkit_magex")
    return corona_of(whole_sun(active_sun()))


def ratio(degree, radius):
    """Radial field of a harmonic on the source surface over that on the photosphere (Altschuler & Newkirk 1969)."""
    return (2 * degree + 1) * radius ** -(degree + 2) / (degree + 1 + degree * radius ** -(2 * degree + 1))


@pytest.mark.parametrize(("degree", "order"), [(1, 0), (2, 1), (3, 3), (4, 2), (5, 0), (5, 1)])
def test_the_field_of_a_harmonic_on_the_source_surface_is_within_two_per_cent_of_its_formula(degree, order,
                                                                                             monkeypatch):
    pytest.importorskip("sunkit_magex")
    monkeypatch.setattr("pix2pixcc.whole_sun.pfss.MOST_TRACED", 200)      # lines are another test's business
    field = harmonic(degree, order, (180, 360))
    corona = corona_of(whole_sun(field))
    expected = ratio(degree, 2.5) * field
    assert np.sqrt(((corona.source_surface - expected) ** 2).mean() / (expected ** 2).mean()) < 0.02
    area = 4 * math.pi * (2.5 * 695.7e8) ** 2
    assert corona.open_flux == pytest.approx(np.abs(expected).mean() * area, rel=0.02)


def test_another_source_surface_follows_the_formula_too():
    pytest.importorskip("sunkit_magex")
    field = harmonic(3, 1)
    corona = corona_of(whole_sun(field), source_surface=2.0)
    slope = (corona.source_surface * field).sum() / (field ** 2).sum()
    assert slope == pytest.approx(ratio(3, 2.0), rel=0.02)
    assert max(line.radius.max() for line in corona.lines) == pytest.approx(2.0)


def test_the_harmonics_of_a_tilted_dipole_and_of_a_quadrupole_come_back():
    pytest.importorskip("sunkit_magex")
    sine, longitude = places(SMALL)
    cosine, tilt, axis = np.sqrt(1 - sine ** 2), np.radians(70), np.radians(130)
    dipole = sine * np.sin(tilt) + cosine * np.cos(tilt) * np.cos(longitude - axis)
    quadrupole = math.sqrt(3) / 2 * cosine ** 2 * np.sin(2 * longitude)
    factors = [degree + 1 + degree * 2.5 ** -(2 * degree + 1) for degree in (1, 2)]
    corona = corona_of(whole_sun(4 * factors[0] * dipole + 3 * factors[1] * quadrupole))
    # The sums over 45 rows in place of integrals: 1 / 45^2.
    assert corona.dipole == pytest.approx((4, 130, 70), rel=1e-3)
    assert corona.harmonics["h22"] == pytest.approx(3, rel=1e-3)
    assert corona.quadrupole == pytest.approx(3, rel=1e-3)


def test_a_dipole_is_open_at_its_poles_where_its_lines_say_and_has_one_neutral_line():
    pytest.importorskip("sunkit_magex")
    corona = corona_of(whole_sun(harmonic(1, 0)))
    # The flux within the boundary of an axial dipole's open area is that of half the source surface.
    sine = math.sqrt(1 - ratio(1, 2.5) * 2.5 ** 2)
    row = (np.arange(90) + 0.5) / 45 - 1
    assert (corona.open_field[row > sine + 0.03] == 1).all() and (corona.open_field[row < -sine - 0.03] == -1).all()
    assert (corona.open_field[np.abs(row) < sine - 0.03] == 0).all()
    assert len(corona.neutral_lines()) == 1
    assert corona.numbers()["neutral_line_latitudes_deg"] == pytest.approx([0, 0], abs=0.1)
    for line in corona.lines:
        first, last = line.radius[[0, -1]]
        assert line.polarity == (0 if abs(first - last) < 0.1 else np.sign(line.latitude[np.argmin(line.radius)]))
        assert max(first, last) > 2.45 or line.polarity == 0


def test_field_lines_keep_to_the_field_of_a_dipole(active):
    corona = corona_of(whole_sun(harmonic(1, 0)))
    tested = 0
    for line in corona.lines:
        # Along a line of an axial dipole below a source surface (r^2 + 2 r^-1 R^-3...) the flux function is constant.
        sine2 = np.cos(np.radians(line.latitude)) ** 2
        flux = sine2 * (1 / line.radius + line.radius ** 2 / (2 * 2.5 ** 3))
        if flux.max() > 0.1:                       # not the polar axis, where the grid is singular
            assert np.ptp(flux) < 0.05 * flux.max()
            tested += 1
    assert tested > 300


def test_open_lines_are_open_where_the_map_of_open_areas_is(active):
    lowest, highest = (extreme(active.open_field, 5, mode=("nearest", "wrap")) for extreme in
                       (minimum_filter, maximum_filter))
    agree = []
    for line in active.lines:
        for k in {0, len(line.radius) - 1}:
            row = min(int((np.sin(np.radians(line.latitude[k])) + 1) * 45), 89)
            column = int(line.longitude[k] / 2) % 180
            if line.radius[k] < 1.03 and lowest[row, column] == highest[row, column]:     # no boundary is near
                agree.append(active.open_field[row, column] == line.polarity)
    assert len(agree) > 300 and np.mean(agree) > 0.99        # spots smaller than a cell are open too


def test_open_flux_of_the_photosphere_is_that_of_the_source_surface(active):
    field = active_sun()
    area = 4 * math.pi * 695.7e8 ** 2
    through_open_cells = (field * active.open_field).sum() / field.size * area
    assert through_open_cells == pytest.approx(active.open_flux, rel=0.05)       # cells that a boundary crosses
    opened = active.open_field != 0
    assert (np.sign(field) == active.open_field)[opened].mean() > 0.9            # network is weaker than the caps


def test_a_map_from_another_meridian_and_in_stonyhurst_longitude_has_the_same_corona(active):
    whole = whole_sun(active_sun())
    turn = 37
    shifted = sunpy.map.Map(np.roll(whole.data, -turn, axis=1), {**whole.meta, "crval1": 180 + 2 * turn})
    stonyhurst = whole_sun(np.roll(whole.data, -turn, axis=1), frame="stonyhurst")
    left = earth_carrington_longitude(stonyhurst.date.to_datetime()) - 180
    for other, start in ((shifted, 74.0), (stonyhurst, left)):
        corona = corona_of(other)
        np.testing.assert_allclose(np.roll(corona.source_surface, turn, axis=1), active.source_surface, atol=1e-9)
        assert (np.roll(corona.open_field, turn, axis=1) != active.open_field).mean() < 0.002
        assert corona.dipole[1] == pytest.approx((active.dipole[1] + start - 74) % 360, abs=1e-6)
        assert carrington_grid(other)[0][0] == pytest.approx((start + 1) % 360)
        for line in corona.lines[:50]:
            assert ((line.longitude >= 0) & (line.longitude < 360)).all()


def test_lines_of_a_stonyhurst_map_stand_at_their_carrington_longitudes():
    """The field of a dipole that points at the Earth leaves the Sun on the side of the Earth."""
    pytest.importorskip("sunkit_magex")
    sine, longitude = places(SMALL)
    stonyhurst = whole_sun(np.sqrt(1 - sine ** 2) * np.cos(longitude - np.pi), frame="stonyhurst")
    earth, corona = earth_carrington_longitude(stonyhurst.date.to_datetime()), corona_of(stonyhurst)
    assert corona.dipole[1:] == pytest.approx((earth, 0), abs=1e-6)
    opened = [line for line in corona.lines if line.polarity]
    assert len(opened) > 200
    for line in opened:
        assert np.sign(np.cos(np.radians(line.longitude[np.argmin(line.radius)] - earth))) == line.polarity


def test_the_mean_that_no_potential_field_has_is_told():
    pytest.importorskip("sunkit_magex")
    corona = corona_of(whole_sun(harmonic(1, 0, SMALL) + 0.5))
    assert corona.mean_field == pytest.approx(0.5)
    assert corona.source_surface.mean() == pytest.approx(0, abs=1e-6)


def test_a_large_map_is_traced_from_fewer_starts_and_says_so(active, monkeypatch):
    monkeypatch.setattr("pix2pixcc.whole_sun.pfss.MOST_TRACED", 90 * 180 // 4)
    corona = corona_of(whole_sun(active_sun()))
    assert corona.open_field.shape == (90, 180) and corona.traced == (45, 90)
    assert corona.numbers()["open_area_traced_from"] == {"rows": 45, "columns": 90}
    # Only cells that a boundary crosses differ.
    edge = (np.abs(np.diff(active.open_field, axis=1, prepend=active.open_field[:, -1:])) > 0).mean()
    assert (corona.open_field != active.open_field).mean() < 2 * edge


def test_what_is_no_whole_sun_map_is_refused_in_words():
    whole = whole_sun(harmonic(1, 0, SMALL))
    with pytest.raises(UserError, match="covers 180.0 degrees"):
        corona_of(whole.submap([0, 0] * u.pix, top_right=[44, 44] * u.pix))
    with pytest.raises(UserError, match="CTYPE1, CTYPE2 = CRLN-CAR, CRLT-CAR"):
        corona_of(sunpy.map.Map(whole.data, {**whole.meta, "ctype1": "CRLN-CAR", "ctype2": "CRLT-CAR"}))
    gap = whole.data.copy()
    gap[3, 5] = np.nan
    with pytest.raises(UserError, match="1 pixels of the map are NaN"):
        corona_of(sunpy.map.Map(gap, whole.meta))
    with pytest.raises(UserError, match="source surface at 1 solar radii"):
        corona_of(whole, source_surface=1)


def test_without_sunkit_magex_a_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sunkit_magex", None)
    with pytest.raises(UserError, match='pip install "pix2pixcc.pfss."') as caught:
        corona_of(whole_sun(harmonic(1, 0, SMALL)))
    assert "pip install sunkit-magex" in str(caught.value)


def test_nothing_is_warned_of():
    pytest.importorskip("sunkit_magex")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        corona_of(whole_sun(harmonic(1, 0, SMALL)))


def test_solutions_do_not_pile_up_in_memory():
    """A year of maps would keep 19 MB a map in the caches of sunkit-magex."""
    output = pytest.importorskip("sunkit_magex.pfss").Output
    for shells in (6, 7, 8):
        corona_of(whole_sun(harmonic(1, 0, SMALL)), shells=shells)
    gc.collect()
    assert not [each for each in gc.get_objects() if isinstance(each, output)]
