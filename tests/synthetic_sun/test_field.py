"""The synthetic field keeps the Sun's laws: Hale's, Joy's, belts, rotation, and what lasts."""
import astropy.units as u
import numpy as np
import pytest
from sunpy.sun.models import differential_rotation

from pix2pixcc.synthetic_sun import field as synthetic_field

DAY = 424.0                             # of the synthetic Sun, from the start of 2010


@pytest.fixture(scope="module")
def many_regions():
    found = [synthetic_field.active_regions(seed, DAY) for seed in range(40)]
    return synthetic_field.Regions(*(np.concatenate([getattr(regions, name) for regions in found])
                                     for name in synthetic_field.Regions.__dataclass_fields__))


def test_leading_polarities_follow_hales_law_but_for_a_few_per_cent(many_regions):
    expected = np.where(many_regions.latitude > 0, -1, 1)            # solar cycle 24
    share = (many_regions.leading_sign == expected).mean()
    assert 0.9 < share < 0.995


def test_the_western_half_of_the_northern_regions_is_negative():
    west_is_negative = []
    for seed in range(12):
        regions = synthetic_field.active_regions(seed, DAY)
        regions = regions.select((regions.flux > 5e21) & (DAY - regions.birth < 12) & (regions.latitude > 0))
        for number in range(len(regions)):
            elements = synthetic_field.region_elements(regions.select(np.array([number])), DAY)
            west = elements.longitude > np.median(elements.longitude)
            west_is_negative.append(elements.flux[west].sum() < 0)
    assert len(west_is_negative) > 12
    assert np.mean(west_is_negative) > 0.85


def test_tilts_follow_joys_law(many_regions):
    latitude = np.abs(many_regions.latitude)
    low, high = many_regions.tilt[latitude < 12].mean(), many_regions.tilt[latitude > 22].mean()
    assert low == pytest.approx(32.1 * np.sin(np.radians(latitude[latitude < 12].mean())), abs=1.5)
    assert high > low + 4


def test_the_leading_polarity_lies_nearer_to_the_equator_and_is_more_compact():
    nearer, compacter = [], []
    for seed in range(30):
        regions = synthetic_field.active_regions(seed, DAY)
        regions = regions.select((regions.flux > 5e21) & (DAY - regions.birth > 2) & (DAY - regions.birth < 12))
        for number in range(len(regions)):
            elements = synthetic_field.region_elements(regions.select(np.array([number])), DAY)
            leading = np.sign(elements.flux) == regions.leading_sign[number]
            nearer.append(np.abs(elements.latitude[leading]).mean() < np.abs(elements.latitude[~leading]).mean())
            compacter.append(np.std(elements.longitude[leading]) < np.std(elements.longitude[~leading]))
    assert len(nearer) > 30
    assert np.mean(nearer) > 0.75
    assert np.mean(compacter) > 0.9


def test_regions_keep_to_two_belts_and_the_flux_balances(many_regions):
    assert np.abs(many_regions.latitude).max() < 40
    assert 0.4 < (many_regions.latitude > 0).mean() < 0.6
    regions = synthetic_field.region_elements(synthetic_field.active_regions(3, DAY), DAY)
    for elements in (regions, synthetic_field.network(3, DAY)):
        assert abs(elements.flux.sum()) < 1e-3 * np.abs(elements.flux).sum()


def test_one_polarity_prevails_over_wide_areas_for_weeks_and_not_for_a_year():
    """The network itself is another after some days: what lasts is which polarity prevails, in cells of 20 degrees."""
    def imbalance(seed, day):
        elements = synthetic_field.network(seed, day)
        low = np.abs(elements.latitude) < 50
        cell = ((elements.latitude[low] + 50) // 20 * 18 + elements.longitude[low] % 360 // 20).astype(int)
        flux = elements.flux[low]
        return np.bincount(cell, flux, 90) / np.bincount(cell, np.abs(flux), 90)

    today = {seed: imbalance(seed, DAY) for seed in (4, 5, 6)}
    assert 0.1 < np.mean(np.abs(list(today.values()))) < 0.3
    for days, low, high in ((7, 0.7, 1), (27, 0.2, 0.7), (300, -0.4, 0.3)):
        agreement = [np.corrcoef(field, imbalance(seed, DAY + days))[0, 1] for seed, field in today.items()]
        assert low < np.mean(agreement) < high, days


def test_features_rotate_as_sunpy_says():
    for latitude in (0, 20, 60):
        expected = differential_rotation(1 * u.day, latitude * u.deg, model="howard").to_value("deg")
        assert float(synthetic_field.rotation_rate(latitude)) == pytest.approx(expected, rel=1e-3)
