"""What a map takes from whom: fine and strong fields of the model, weak fields and net flux of the days before."""
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
from scipy.special import sph_harm_y
from whole_suns import active_sun, places

from pix2pixcc.utils import UserError
from pix2pixcc.whole_sun.grid import Grid
from pix2pixcc.whole_sun.merging import BALANCES, Merge, balanced, merged
from pix2pixcc.whole_sun.projection import Layers
from pix2pixcc.whole_sun.sphere import smoothed

SHAPE = (90, 180)
GRID = Grid(180, 90, datetime(2011, 3, 5, 12))


def layers(field, where, sigma=0.0):
    """Sums of one view that sees `field` in some columns, with weight 1."""
    weight = np.zeros(SHAPE, np.float32)
    weight[:, where] = 1
    field = np.broadcast_to(np.asarray(field, np.float32), SHAPE)
    return Layers(weight, weight * field, weight, 0 * weight, weight * np.float32(sigma) ** 2)


FRONT, BACK, ALL = slice(0, 90), slice(90, 180), slice(0, 180)


def net(field):
    return abs(field.sum(dtype=np.float64)) / np.abs(field).sum(dtype=np.float64)


@pytest.mark.parametrize("balance", BALANCES)
def test_a_balanced_map_has_no_net_flux(balance):
    field = active_sun(SHAPE) + 1.5
    doubt = np.full(SHAPE, 0.02)
    doubt[:, BACK] = 1.0
    result = balanced(field, doubt, balance)
    assert result.dtype == np.float32
    if balance == "none":
        assert np.array_equal(result, field.astype(np.float32))
    else:
        assert net(result) < 1e-6
    changed = np.abs(result - field)
    if balance == "weighted":
        assert changed[:, BACK].sum() > 20 * changed[:, FRONT].sum()
        assert np.all(np.sign(result) == np.sign(field))
    if balance == "additive":
        assert changed == pytest.approx(1.5, abs=1e-4)


def test_a_greater_imbalance_than_doubtful_cells_can_bear_is_shared_by_all():
    field = np.full(SHAPE, 10.0)
    field[:45] = -8.0
    doubt = np.zeros(SHAPE)
    doubt[0, 0] = 1.0
    result = balanced(field, doubt, "weighted")
    assert net(result) < 1e-6 and np.all(np.sign(result) == np.sign(field))


@pytest.mark.parametrize("degree, order", [(0, 0), (1, 1), (3, 2), (8, 5)])
@pytest.mark.parametrize("degrees", [4.0, 15.0])
def test_smoothing_weakens_a_harmonic_as_a_bell_on_the_sphere_does(degree, order, degrees):
    sine, longitude = places((180, 360))
    field = sph_harm_y(degree, order, np.arccos(sine), longitude).real * np.ones((180, 360))
    expected = np.exp(-degree * (degree + 1) * np.radians(degrees) ** 2 / 2) * field
    # The two bells, of von Mises and Fisher and of Gauss, differ by a term of the order of the width squared.
    assert smoothed(field, degrees) == pytest.approx(expected, abs=0.03 * np.abs(field).max())


def test_the_net_flux_of_the_history_replaces_that_of_the_model():
    true = active_sun(SHAPE).astype(np.float32)
    wrong = np.where(true > 0, 1.5, 1.0) * true              # all positive flux half as strong again
    front, behind, before = layers(true, FRONT), layers(wrong, BACK), layers(true, ALL)
    off = {}
    for method in ("naive", "scales"):
        result = merged(front, behind, before, GRID, Merge(method, balance="none")).field
        off[method] = np.abs(smoothed(result - true, 20.0)).mean()
    assert off["scales"] < 0.35 * off["naive"]


def test_strong_regions_are_the_models_and_weak_large_fields_the_historys():
    sine, longitude = places(SHAPE)
    old = 3 * np.cos(2 * longitude) * np.ones(SHAPE)                        # a weak large-scale pattern, now as before
    region = np.zeros(SHAPE)
    for sign, middle in ((1, 4.5), (-1, 4.8)):                              # a new bipole behind
        squared = (longitude - middle) ** 2 * (1 - sine ** 2) + (sine - 0.2) ** 2
        region += sign * 300 * np.exp(-squared / 2 / 0.07 ** 2)
    result = merged(layers(old, FRONT), layers(region, BACK), layers(old, ALL), GRID, Merge()).field
    at_bipole = np.abs(region) > 60
    assert np.corrcoef(result[at_bipole], region[at_bipole])[0, 1] > 0.98
    slope = np.polyfit(region[at_bipole], result[at_bipole], 1)[0]
    assert slope > 0.6                                                      # what is fine is shared with the history
    quiet = smoothed(np.abs(region), 6.0) < 0.5
    quiet[:, FRONT] = False
    assert np.corrcoef(result[quiet], old[quiet])[0, 1] > 0.95


def test_an_uncertain_model_moves_the_map_to_the_history():
    true, other = active_sun(SHAPE, 1).astype(np.float32), active_sun(SHAPE, 2).astype(np.float32)
    distance = []
    for sigma in (0.0, 30.0, 1000.0):
        result = merged(layers(true, FRONT), layers(other, BACK, sigma), layers(true, ALL), GRID, Merge()).field
        distance.append(np.abs(result - true)[:, 95:175].mean())
    assert distance[0] > 1.5 * distance[1] and distance[1] > 1.5 * distance[2]


def test_an_observation_outweighs_a_model_that_sees_the_same():
    field = active_sun(SHAPE).astype(np.float32)
    result = merged(layers(field, ALL), layers(0, ALL), Layers.empty(SHAPE), GRID, Merge("naive", balance="none"))
    assert result.field == pytest.approx(field / 1.02, rel=1e-5) and result.generated == pytest.approx(0.02 / 1.02)


def test_without_history_the_model_is_taken_as_it_is():
    field = active_sun(SHAPE).astype(np.float32)
    result = merged(layers(field, FRONT), layers(2 * field, BACK), Layers.empty(SHAPE), GRID, Merge(balance="none"))
    assert result.field[:, BACK] == pytest.approx(2 * field[:, BACK], rel=1e-6)


def test_a_gap_is_said_with_its_longitudes():
    with pytest.raises(UserError, match=r"nobody saw 50.0% .* longitudes 181 to 359: give .* --history"):
        merged(layers(1, FRONT), Layers.empty(SHAPE), Layers.empty(SHAPE), GRID, Merge())
    hole = layers(1, ALL)
    hole.weight[:, 20:30] = hole.weight[:, 60:62] = 0
    with pytest.raises(UserError, match="longitudes 41 to 59, 121 to 123"):
        merged(layers(1, BACK), Layers.empty(SHAPE), hole, GRID, replace(Merge(), balance="none"))


def test_a_pole_that_nobody_sees_is_filled_with_the_mean_of_the_rows_below():
    field = np.where(np.arange(90)[:, None] > 80, 7.0, 1.0) * np.ones(SHAPE)
    seen = layers(field, ALL)
    seen.weight[86:] = 0
    result = merged(seen, Layers.empty(SHAPE), Layers.empty(SHAPE), GRID, Merge(balance="none"))
    assert np.all(result.filled[86:]) and not result.filled[:86].any()
    assert result.field[86:] == pytest.approx(7.0, rel=1e-5)
