"""Which files make the map of which time, by their headers alone."""
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from astropy.io import fits
from whole_suns import active_sun, hmi, product, whole_sun

from pix2pixcc.synthetic_sun.sun import SyntheticSun
from pix2pixcc.utils import UserError
from pix2pixcc.whole_sun.exports import export_gong
from pix2pixcc.whole_sun.magnetograms import Place
from pix2pixcc.whole_sun.maps import LEFT_OUT
from pix2pixcc.whole_sun.merging import Merge
from pix2pixcc.whole_sun.planning import Entry, Plan, find_entries, make_map, plan_of, read_entry, times_of
from pix2pixcc.whole_sun.recipe import Recipe

TIME = datetime(2011, 3, 5, 12)
RECIPE = Recipe(90, 46, merge=Merge(split_degrees=8.0))
SUN = SyntheticSun(7)


def entry(name="SDO", hours=0.0, generated=False, path=None):
    time = TIME + timedelta(hours=hours)
    return Entry(path or f"{name}{hours:g}{generated}", (1, 1), time, Place(name, time, 0.0, 0.0, 215.0, generated))


def chart(hours):
    return Entry(f"chart{hours:g}", (1, 1), TIME + timedelta(hours=hours), is_chart=True)


def paths(entries):
    return [each.path for each in entries]


def test_the_nearest_of_each_observer_is_taken():
    fronts = [entry(hours=-2), entry(hours=1), entry(hours=5), entry("PHI", 3), entry("PHI", -8)]
    fars = [entry("STEREO-A", 0.1, True), entry("STEREO-A", 0.5, True), entry("STEREO-B", -7, True)]
    plan = plan_of(TIME, fronts, fars, [], RECIPE)
    assert paths(plan.frontside) == ["SDO1False", "PHI3False"] and paths(plan.farside) == ["STEREO-A0.1True"]
    assert plan.stem == "synchronic_20110305_1200" and not plan.problem


def test_an_observation_is_taken_before_what_a_model_made_of_the_same_observer():
    plan = plan_of(TIME, [entry()], [entry(hours=0.0, generated=True), entry("STEREO-A", 0, True)], [], RECIPE)
    assert [each.place.label for each in plan.frontside + plan.farside] == ["SDO", "STEREO-A (AI)"]
    plan = plan_of(TIME, [entry(generated=True)], [entry("STEREO-A", 0, True)], [], RECIPE)
    assert "no observed magnetogram of the frontside" in plan.problem


@pytest.mark.parametrize("order", [1, -1])
def test_two_of_one_time_are_refused_where_they_would_be_taken_and_nowhere_else(order):
    twins = [entry("STEREO-A", 3, True, path="one"), entry("STEREO-A", 3, True, path="two")]
    nearer = entry("STEREO-A", 0, True)
    plan = plan_of(TIME, [entry()], [*twins, nearer][::order], [], RECIPE)
    assert not plan.problem and paths(plan.farside) == [nearer.path]
    plan = plan_of(TIME, [entry()], twins[::order], [], RECIPE)
    assert "are both magnetograms of STEREO-A at 2011-03-05T15:00:00: give one of them" in plan.problem
    assert "one" in plan.problem and "two" in plan.problem


def test_maps_are_of_the_frontsides_times():
    fronts = [entry(hours=hours) for hours in (-24, -12, 0, 12)]
    fars = [entry("STEREO-A", 0.1, True), entry("STEREO-B", 0.4, True), entry("STEREO-A", -23, True)]
    assert times_of(fronts, fars, 6.0) == [TIME - timedelta(days=1), TIME]
    assert times_of(fronts, [], 6.0) == [each.time for each in fronts]
    assert times_of(fronts, [entry("STEREO-A", 300, True)], 6.0) == [TIME + timedelta(hours=300)]
    everything = fronts + fars                  # one folder for all
    assert times_of(everything, everything[4:], 6.0) == [TIME - timedelta(days=1), TIME]


def test_magnetograms_are_a_history_before_synoptic_maps_and_the_nearest_of_these():
    charts = [chart(-300), chart(-100), chart(-9000)]
    assert paths(plan_of(TIME, [entry()], [], charts, RECIPE).history) == ["chart-100"]
    days = [entry(hours=-24 * day) for day in range(40)]
    assert paths(plan_of(TIME, [entry()], [], [*charts, *days], RECIPE).history) == paths(days[1:28])
    # One of another year is planned, so that its reading says why it is of no use.
    assert paths(plan_of(TIME, [entry()], [], charts[2:], RECIPE).history) == ["chart-9000"]


def test_a_key_changes_with_all_that_decides_about_a_map():
    plan = Plan(TIME, (entry(),), (entry("STEREO-A", 0, True),), (entry(hours=-24),))
    others = [plan.key(replace(RECIPE, fading=5.0)), plan.key(replace(RECIPE, merge=Merge("naive", split_degrees=8.0))),
              replace(plan, time=TIME + timedelta(minutes=1)).key(RECIPE), replace(plan, history=()).key(RECIPE),
              replace(plan, frontside=(replace(entry(), state=(1, 2)),)).key(RECIPE)]
    assert len({plan.key(RECIPE), *others}) == 6
    assert plan.key(RECIPE) == replace(plan).key(Recipe(90, 46, merge=Merge(split_degrees=8.0)))


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A history of a rotation, and a farside, in files."""
    folder = tmp_path_factory.mktemp("archive")
    hmi(folder / "hmi", SUN, [TIME - timedelta(days=day) for day in range(28)], size=64)
    product(folder / "farside" / "STÉRÉO A.fits", SUN, "STEREO-A", TIME)
    return folder


def test_files_are_told_apart_by_their_headers(archive, tmp_path):
    export_gong(tmp_path / "chart.fits", whole_sun(active_sun((180, 360))))
    fits.writeto(tmp_path / "aia.fits", np.zeros((8, 8), np.float32), fits.Header({"INSTRUME": "AIA_3"}))
    (tmp_path / "text.fits").write_text("no FITS file")
    found = {name: read_entry(str(tmp_path / name)) for name in ("chart.fits", "aia.fits", "text.fits", "none.fits")}
    assert found["chart.fits"].is_chart and found["chart.fits"].time == TIME and found["aia.fits"].is_other
    assert "not a FITS file" in found["text.fits"].problem and found["none.fits"].problem == "No such file or directory"
    entries = find_entries([str(archive), str(tmp_path / "chart.fits")], 1, exclude=str(archive / "hmi"))
    assert [(each.place.label if each.place else "chart") for each in entries] == ["STEREO-A (AI)", "chart"]
    with pytest.raises(UserError, match="nowhere: there is no such file or folder"):
        find_entries([str(tmp_path / "nowhere")], 1)


def test_what_cannot_be_used_of_the_history_is_left_out_and_said(archive, tmp_path):
    """And names of files may have letters that FITS headers have not."""
    entries = find_entries([str(archive)], 1)
    seen = [each for each in entries if not each.place.generated]
    plan = plan_of(TIME, seen, entries, seen, RECIPE)
    assert len(plan.history) == 27
    spoilt = tmp_path / "dark.fits"
    with fits.open(plan.history[4].path) as hdus:
        fits.ImageHDU(np.where(np.arange(64)[:, None] < 30, np.nan, hdus[1].data), hdus[1].header).writeto(spoilt)
    bad = replace(plan.history[4], path=str(spoilt))
    whole, left_out = make_map(replace(plan, history=(*plan.history[:4], bad, *plan.history[5:])), RECIPE)
    assert len(left_out) == 1 and str(spoilt) in left_out[0] and "of the disk is missing" in left_out[0]
    assert [given.name for given in whole.inputs if given.role == LEFT_OUT] == ["dark.fits"]
    assert len([given for given in whole.inputs if given.role == "history"]) == 26
    names = [given.name for given in whole.inputs if given.role == "farside"]
    assert names == ["ST\\xc9R\\xc9O A.fits"] and names[0] in whole.meta["history"]
    with pytest.raises(UserError, match=r"nobody saw .* --history; .*dark.fits.* is missing"):
        make_map(replace(plan, history=(bad,)), RECIPE)
