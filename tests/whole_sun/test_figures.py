"""The page of a whole-Sun map."""
import dataclasses

import numpy as np
import pytest
from whole_suns import SOURCES, active_sun, harmonic, layers, places, whole_sun

from pix2pixcc.solar.orbits import earth_carrington_longitude
from pix2pixcc.whole_sun.figures import whole_sun_figure, whole_sun_page
from pix2pixcc.whole_sun.pfss import Corona, FieldLine, corona_of

pytestmark = pytest.mark.filterwarnings("error")
EARTH = earth_carrington_longitude(whole_sun(harmonic(1, 0, (6, 12))).date.to_datetime())


def words(figure):
    """All that is written on a page."""
    artists = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    titles = [axes.get_title(loc) for axes in figure.axes for loc in ("left", "center")]
    legends = [legend for axes in figure.axes if (legend := axes.get_legend())] + figure.legends
    return [text.get_text() for text in artists] + titles + [text.get_text() for each in legends
                                                             for text in each.get_texts()]


def views(figure):
    return [axes for axes in figure.axes if axes.get_title().startswith("seen from")]


def test_the_page_with_a_corona_names_sources_observers_and_numbers(tmp_path):
    pytest.importorskip("sunkit_magex")
    whole = whole_sun(active_sun())
    corona = corona_of(whole)
    figure = whole_sun_figure(whole, layers(), corona)
    written = words(figure)
    assert {"SDO", "STEREO-A (AI)", "STEREO-B (AI)", "history", "Earth", "STEREO-A", "STEREO-B"} <= set(written)
    assert any("polar fill" in text for text in written)
    assert [axes.get_title() for axes in views(figure)] == [f"seen from {name}" for name in
                                                            ("Earth", "STEREO-A", "STEREO-B")]
    assert "The whole Sun on 2011-03-05, 12:00 UT" in written
    assert any(f"dipole {corona.dipole[0]:.2f} G" in text for text in written)
    whole_sun_page(tmp_path / "page.png", whole, layers(), corona)
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("frame", ["carrington", "stonyhurst"])
def test_what_lies_below_the_earth_is_in_the_middle_of_its_view(frame):
    shape = (90, 180)
    sine, longitude = places(shape)
    start = 0.0 if frame == "carrington" else EARTH - 180
    apart = (np.degrees(longitude) + start - EARTH + 180) % 360 - 180
    field = np.where((np.abs(apart) < 15) & (np.abs(sine) < 0.3), 80.0, -7.0)
    figure = whole_sun_figure(whole_sun(field, frame), {})
    earth, stereo_a, _ = views(figure)
    pictures = [np.asarray(axes.images[0].get_array()) for axes in (earth, stereo_a)]
    middle = pictures[0].shape[0] // 2
    assert pictures[0][middle, middle] == pytest.approx(80) and pictures[1][middle, middle] == pytest.approx(-7)
    # STEREO-A, 88 degrees ahead, sees it at its east limb, on the left.
    row = pictures[1][middle]
    assert np.nanmax(row[:40]) == pytest.approx(80) and np.nanmax(row[-40:]) == pytest.approx(-7)
    marker = next(text for text in figure.axes[0].texts if text.get_text() == "Earth")
    assert marker.xy[0] == pytest.approx(EARTH if frame == "carrington" else 0.0, abs=1e-6)


def test_lines_behind_the_sun_are_hidden_and_others_stand_where_they_are():
    radius = np.linspace(1, 2.5, 20)
    lines = [FieldLine(np.full(20, (EARTH + turn) % 360), np.zeros(20), radius, polarity)
             for turn, polarity in ((90, 1), (180, -1))]
    corona = Corona(harmonic(1, 0, (45, 90)), np.zeros((45, 90), np.int8), (45, 90), 2.5, 35,
                    dict.fromkeys(("g10", "g11", "h11", "g20", "g21", "h21", "g22", "h22"), 0.5), 0.0, lines)
    earth = views(whole_sun_figure(whole_sun(harmonic(1, 0, (45, 90))), {}, corona))[0]
    drawn = {}
    for line in earth.lines:
        x, y = (np.asarray(values, float) for values in line.get_data())
        shown = np.isfinite(x) & np.isfinite(y)
        drawn.setdefault(line.get_color(), []).append(np.stack([x[shown], y[shown]]))
    west, far = (np.hstack(drawn[colour]) for colour in ("#b5331e", "#1f5f8b"))
    assert west.shape[1] == 20 and west[0].max() == pytest.approx(2.5) and np.abs(west[1]).max() < 0.2
    assert far.shape[1] == 0


def test_the_page_without_corona_without_layers_and_of_one_observer_is_drawn():
    only_earth = whole_sun(active_sun((30, 60)), sources={"SDO": SOURCES["SDO"]})
    figure = whole_sun_figure(only_earth, {})
    assert [axes.get_title() for axes in views(figure)] == ["seen from Earth", "seen from behind",
                                                            "seen from the north"]
    north = np.asarray(views(figure)[2].images[0].get_array())
    assert np.isfinite(north[300, 300]) and np.isnan(north[0, 0])
    nothing = whole_sun(np.zeros((30, 60)), sources={})
    assert len(views(whole_sun_figure(nothing, {"SOURCE": np.zeros((30, 60), np.int16)}))) == 3


def test_an_observer_of_another_name_has_its_own_colour_and_view():
    sources = {"SDO": SOURCES["SDO"], "Solar Orbiter/PHI": (300.0, 3.0, 9e10)}
    figure = whole_sun_figure(whole_sun(active_sun((30, 60)), sources=sources), {})
    assert "seen from Solar Orbiter/PHI" in [axes.get_title() for axes in views(figure)]
    assert "Solar Orbiter/PHI" in words(figure)


def test_a_corona_of_no_field_at_all_still_has_its_page(tmp_path):
    pytest.importorskip("sunkit_magex")
    corona = dataclasses.replace(corona_of(whole_sun(harmonic(1, 0, (30, 60)))), source_surface=np.zeros((30, 60)),
                                 open_field=np.zeros((30, 60), np.int8), lines=[])
    whole_sun_page(tmp_path / "page.png", whole_sun(np.zeros((30, 60))), {}, corona)
    assert (tmp_path / "page.png").stat().st_size > 20_000
