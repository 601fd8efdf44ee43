"""The map of one moment, against synthetic Suns that are known all round; its file, in SunPy, and its check."""
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
import sunpy.map
from astropy.io import fits
from whole_suns import magnetogram, strips

from pix2pixcc.synthetic_sun.sun import SyntheticSun
from pix2pixcc.utils import UserError
from pix2pixcc.whole_sun.history import chart_of_strips
from pix2pixcc.whole_sun.maps import Input, WholeSunMap, read_map, synchronic, verify_map, write_map
from pix2pixcc.whole_sun.merging import Merge
from pix2pixcc.whole_sun.projection import Layers, side_for
from pix2pixcc.whole_sun.recipe import Recipe

TIME = datetime(2012, 6, 20, 12)               # SDO and both STEREO see all of the Sun between them
RECIPE = Recipe(180, 90)
INPUTS = [Input("frontside", "SDO.fits", "SDO", "2012-06-20T12:00:00", "0" * 64)]


def seen_by_all(seed, recipe=RECIPE, size=256, time=TIME, **changes):
    """The map of a Sun from the true magnetograms of three observers, and the Sun."""
    sun = SyntheticSun(seed)
    views = [magnetogram(sun, name, time, size) for name in ("SDO", "STEREO-A", "STEREO-B")]
    before = [magnetogram(sun, "SDO", time - timedelta(days=day), 64) for day in (3, 7, 10, 13, 16, 20, 24)]
    history = chart_of_strips(strips(before, recipe), recipe.grid(time), recipe.fading)
    return synchronic(strips(views, recipe), [], history, time, replace(recipe, **changes), INPUTS), sun


@pytest.fixture(scope="module")
def made():
    return seen_by_all(3)


def source_surface(field):
    """The field at 2.5 solar radii from the harmonics up to degree 9, and the open flux in the map's units."""
    from scipy.special import sph_harm_y
    from whole_suns import places

    sine, longitude = places(field.shape)
    total = np.zeros(field.shape)
    for degree in range(1, 10):
        weaker = (2 * degree + 1) * 2.5 ** -(degree + 2) / (degree + 1 + degree * 2.5 ** -(2 * degree + 1))
        for order in range(degree + 1):
            wave = sph_harm_y(degree, order, np.arccos(sine), 0).real * np.exp(1j * order * longitude)
            share = (field * wave.conj()).mean() * 4 * np.pi * weaker
            total += ((2 if order else 1) * share * wave).real
    return total, np.abs(total).sum()


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_true_magnetograms_all_round_make_the_true_map_and_corona(seed, made):
    whole, sun = made if seed == 3 else seen_by_all(seed)
    truth = sun.radial_map(TIME, 180, 90)
    assert np.corrcoef(whole.data.ravel(), truth.ravel())[0, 1] >= 0.95
    own, true = source_surface(whole.data), source_surface(truth)
    assert np.corrcoef(own[0].ravel(), true[0].ravel())[0, 1] >= 0.985
    assert own[1] == pytest.approx(true[1], rel=0.03)


def test_the_unsigned_flux_of_what_is_seen_is_the_true_one():
    """As raw files are registered for such a map, where little mixed polarity cancels within a pixel."""
    sun, recipe = SyntheticSun(3), Recipe()
    image = magnetogram(sun, "SDO", TIME, side_for(recipe.columns, history=False))
    whole = synchronic(strips([image], recipe), [], Layers.empty((180, 360)) + _known(),
                       TIME, replace(recipe, merge=Merge(balance="none")))
    seen = (whole.layers["SOURCE"] == 2) & (whole.layers["MU"] > 0.4)
    truth = sun.radial_map(TIME, 360, 180)
    assert np.abs(whole.data[seen]).sum() == pytest.approx(np.abs(truth[seen]).sum(), rel=0.02)
    assert np.corrcoef(whole.data[seen], truth[seen])[0, 1] > 0.98


def _known():
    """A history that is 0 everywhere."""
    one = np.ones((180, 360), np.float32)
    return Layers(one, 0 * one, one, one, 0 * one)


def test_there_is_no_seam_between_observers(made):
    """The mean jump from cell to cell across the lines where one observer's view gives way to another's."""
    ratios = []
    for seed in (3, 4, 5):
        whole, _ = made if seed == 3 else seen_by_all(seed)
        jumps = np.abs(np.diff(whole.data, axis=1, append=whole.data[:, :1]))
        source = whole.layers["SOURCE"]
        across = (source != np.roll(source, -1, axis=1)) & (source > 1) & (np.roll(source, -1, axis=1) > 1)
        low = np.abs(np.arange(90) - 44.5)[:, None] < 36
        quiet = jumps < 60                      # of the network: an active region on the line says nothing of a seam
        ratios.append(jumps[across & low & quiet].mean() / jumps[~across & low & quiet].mean())
    assert np.mean(ratios) <= 1.1


def test_a_map_is_whole_balanced_and_says_what_it_is_of(made):
    whole, _ = made
    assert whole.data.dtype == np.float32 and np.isfinite(whole.data).all()
    assert abs(whole.data.sum(dtype=float)) < 1e-6 * np.abs(whole.data).sum(dtype=float)
    assert whole.name == "pix2pixCC synchronic map 2012-06-20 12:00:00" and whole.unit == "G"
    assert whole.sources == ["polar fill", "history", "SDO", "STEREO-A", "STEREO-B"]
    source, age = whole.layers["SOURCE"], whole.layers["AGE"]
    assert set(np.unique(source[20:70])) == {2, 3, 4} and not age[source > 1].any()
    assert whole.layers["MU"][source > 1].min() > 0.15 and (age[source == 0] == -1).all()
    for k, name in enumerate(whole.sources):
        if k > 1:
            nearest = np.unravel_index(np.argmax(np.where(source == k, whole.layers["MU"], 0)), source.shape)
            longitude = (nearest[1] + 0.5) * 2
            off = (longitude - whole.meta[f"srcln{k}"] + 180) % 360 - 180
            assert abs(off) < 4, name


def test_a_map_is_written_read_again_and_opened_by_sunpy(made, tmp_path):
    whole, _ = made
    write_map(tmp_path / "map.fits", whole, {"GENKEY": ("key", "test")})
    again = read_map(tmp_path / "map.fits")
    np.testing.assert_array_equal(again.data, whole.data)
    assert again.inputs == tuple(INPUTS) and list(again.layers) == list(whole.layers)
    for name, values in whole.layers.items():
        np.testing.assert_array_equal(again.layers[name], values)
    opened = sunpy.map.Map(tmp_path / "map.fits")
    assert [type(each).__name__ for each in opened] == ["WholeSunMap", *["GenericMap"] * 4]
    assert isinstance(sunpy.map.Map(tmp_path / "map.fits", hdus=0), WholeSunMap)
    with fits.open(tmp_path / "map.fits", checksum=True) as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "WEIGHT", "MU", "SOURCE", "AGE", "INPUTS"]
        assert hdus[0].header["CTYPE1"] == "CRLN-CEA" and "SDO.fits" in str(hdus[0].header["HISTORY"])
        assert all(len(str(card)) == 80 for hdu in hdus for card in hdu.header.cards)
    middle = opened[0].pixel_to_world(*np.array([0, 44.5]) * opened[0].scale.axis1.unit ** 0 * _pixel())
    assert middle.lon.deg == pytest.approx(1.0) and abs(middle.lat.deg) < 1e-9


def _pixel():
    import astropy.units as u
    return u.pix


def test_a_potential_field_solver_takes_the_map_as_it_is(made):
    pfss = pytest.importorskip("sunkit_magex.pfss")
    whole, _ = made
    assert pfss.Input(whole, 20, 2.5).grid.ns == 90


def test_a_check_finds_what_has_changed(made, tmp_path):
    whole, _ = made
    path, given = tmp_path / "map.fits", tmp_path / "in" / "SDO.fits"
    write_map(path, whole)
    answers = [finding.answer for finding in verify_map(path, [])]
    assert answers == ["ok", "not checked"]
    given.parent.mkdir()
    given.write_bytes(b"another")
    assert [finding.answer for finding in verify_map(path, [str(given.parent)])] == ["ok", "BAD"]
    assert [finding.answer for finding in verify_map(path, [str(tmp_path / "none")])] == ["ok", "not checked"]
    with fits.open(path, mode="update") as hdus:
        hdus["AGE"].data[3, 3] += 1
    spoilt = path.read_bytes()
    path.write_bytes(spoilt[:9000] + bytes([spoilt[9000] ^ 1]) + spoilt[9001:])
    assert verify_map(path, [])[0].answer == "BAD"
    path.write_bytes(spoilt[:30000])
    (finding,) = verify_map(path, [])
    assert finding.answer == "BAD" and "truncated" in finding.text


@pytest.mark.parametrize("choices, message", [
    ({"merge": "best"}, "merge 'best': choose one of scales, naive, history"),
    ({"balance": "x"}, "balance 'x': choose"), ({"rotation": "x"}, "rotation 'x': choose"),
    ({"frame": "x"}, "frame 'x': choose"), ({"shape": (33, 16)}, "even numbers"), ({"shape": (32, 2)}, "even numbers"),
    ({"shape": (40, 20)}, "finer than a cell of 9.0"), ({"mu_limit": 1.5}, "mu_limit"),
    ({"colour": 1}, "colour.*pix2pixCC_Map.py --help"), ({"trust": 0}, "trust"),
])
def test_choices_that_make_no_sense_are_refused(choices, message):
    with pytest.raises(UserError, match=message):
        Recipe.of(choices.pop("shape", (360, 180)), **choices)


def test_two_magnetograms_of_one_observer_another_time_or_none_are_refused():
    sun, recipe = SyntheticSun(3), Recipe(90, 46)
    front, late = (magnetogram(sun, "SDO", TIME + timedelta(hours=hours), 64) for hours in (0, 9))
    behind = magnetogram(sun, "STEREO-A", TIME, 64, generated=True)
    empty = Layers.empty((46, 90))
    for frontside, farside, message in (
            ([], [behind], "no observed magnetogram within 6 hours: give one as --frontside"),
            ([front], [behind, behind], "are both magnetograms of STEREO-A at 2012-06-20T12:00: give one of them"),
            ([late], [behind], "SDO_20120620_2100.fits is of 2012-06-20T21:00, more than 6 hours off"),
            ([front], [behind], "nobody saw")):
        with pytest.raises(UserError, match=message):
            synchronic(strips(frontside, recipe), strips(farside, recipe), empty, TIME, recipe)


def test_a_map_of_observation_and_history_alone_names_no_model():
    sun, recipe = SyntheticSun(3), Recipe.of((90, 46), "history", split_degrees=8.0)
    front, behind = (strips([magnetogram(sun, name, TIME, 64, generated=name != "SDO")], recipe)
                     for name in ("SDO", "STEREO-A"))
    known = np.ones((46, 90), np.float32)
    before = Layers(known, 0 * known, known, known, 0 * known)
    whole, without = (synchronic(front, farside, before, TIME, recipe) for farside in (behind, []))
    np.testing.assert_array_equal(whole.data, without.data)
    for name, values in without.layers.items():
        np.testing.assert_array_equal(whole.layers[name], values)
