"""Panels: colours, units, limb and grid, and that all words can be read."""
import numpy as np
import pytest
from pictures import EUVI, FRONTSIDE, SIZE, make_euv, make_header, make_magnetogram, overlaps, panels, words
from PIL import Image

from pix2pixcc.visuals.sheets import preview, sample_sheet
from pix2pixcc.visuals.story import story


def test_each_passband_has_its_own_colours_and_magnetograms_are_grey_in_gauss(drawn, tmp_path):
    magnetogram = make_magnetogram()[None]
    sample_sheet(tmp_path / "sheet.png", make_euv(7), magnetogram, magnetogram, EUVI + FRONTSIDE, header=make_header())
    shown = {name: axes.images[0] for name, axes in panels(drawn[0]).items()}
    from sunpy.visualization.colormaps import cmlist

    for name, colours in (("EUVI-B 304 Å", "euvi304"), ("EUVI-B 171 Å", "euvi171"), ("AIA 193 Å", "sdoaia193")):
        assert np.array_equal(shown[name].cmap(np.linspace(0, 1, 9)), cmlist[colours](np.linspace(0, 1, 9)))
    for name in ("HMI magnetogram", "real", "generated"):
        assert shown[name].cmap.name == "gray"
        assert shown[name].get_clim() == (-100, 100)
        assert shown[name].colorbar.ax.get_ylabel() == "G"
    assert shown["AIA 193 Å"].colorbar.ax.get_ylabel() == "disk median = 100"


def test_solar_north_is_up(drawn, tmp_path):
    image = make_magnetogram()
    sample_sheet(tmp_path / "sheet.png", make_euv(1), None, image[None], EUVI[:1], header=make_header())
    axes = panels(drawn[0])["generated"]
    picture = axes.images[0]
    last_row = (picture.get_transform() - axes.transData).transform((32, SIZE - 1))
    assert last_row[1] > 900
    assert axes.get_ylim()[0] < axes.get_ylim()[1]


def test_the_disk_is_round_and_black_around(drawn, tmp_path):
    full = np.full((1, SIZE, SIZE), 100.0, dtype=np.float32)
    sample_sheet(tmp_path / "sheet.png", make_euv(1), None, full, EUVI[:1], header=make_header())
    axes = panels(drawn[0])["generated"]
    box = axes.get_window_extent()
    assert box.width == pytest.approx(box.height)
    pixels = np.asarray(Image.open(tmp_path / "sheet.png").convert("L"))
    region = pixels[-int(box.y1):-int(box.y0), int(box.x0):int(box.x1)]
    white = region > 240
    rows, columns = np.nonzero(white)
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=2)
    assert region[10:20, 10:20].max() == 0


def test_a_reference_from_elsewhere_has_a_limb_but_not_the_observers_grid(drawn, tmp_path):
    sample_sheet(tmp_path / "sheet.png", make_euv(7), None, make_magnetogram()[None], EUVI + FRONTSIDE,
                 header=make_header())
    lines = {name: len(axes.lines) for name, axes in panels(drawn[0]).items()}
    assert lines["EUVI-B 304 Å"] == lines["generated"] == 2
    assert lines["AIA 304 Å"] == lines["HMI magnetogram"] == 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, 1e30])
def test_a_generator_gone_wrong_is_still_drawn(tmp_path, value):
    wrong = np.full((1, SIZE, SIZE), value, dtype=np.float32)
    sample_sheet(tmp_path / "sheet.png", wrong, wrong, wrong, EUVI[:1], header=make_header())
    sample_sheet(tmp_path / "plain.png", wrong, wrong, wrong, None)
    assert (tmp_path / "sheet.png").stat().st_size > 10000


def test_a_title_with_dollar_signs_and_of_any_length_is_drawn_as_it_is(drawn, tmp_path):
    sample_sheet(tmp_path / "sheet.png", make_euv(1), None, make_magnetogram()[None], EUVI[:1], header=make_header(),
                 title="$x_{ " * 40)
    assert drawn[0].texts[0].get_text().count("$x_{") == 40
    assert all(box.x1 <= drawn[0].bbox.x1 for _, box in words(drawn[0]))


def draw_sheet(path, count, header):
    magnetogram = make_magnetogram()[None]
    sample_sheet(path, make_euv(count), magnetogram, magnetogram, (EUVI + FRONTSIDE)[:count], header=header,
                 title="iteration 400000")


def draw_preview(path, count, header):
    euv = make_euv(count) if count else None
    preview(path, make_magnetogram(), header, euv=euv, channels=(EUVI + FRONTSIDE)[:count])


def draw_story(path, count, header):
    euv = make_euv(count) if count else None
    story(path, make_magnetogram(), header, euv=euv, channels=(EUVI + FRONTSIDE)[:count], truth=make_magnetogram())


@pytest.mark.parametrize(("draw", "count"), [
    (draw_sheet, 1), (draw_sheet, 3), (draw_sheet, 7), (draw_preview, 0), (draw_preview, 1), (draw_preview, 3),
    (draw_story, 0), (draw_story, 1), (draw_story, 7)])
def test_no_word_is_clipped_or_written_over_another(drawn, tmp_path, draw, count):
    draw(tmp_path / "picture.png", count, make_header())
    placed = words(drawn[0])
    page = drawn[0].bbox
    for text, box in placed:
        assert page.x0 <= box.x0 < box.x1 <= page.x1, text
        assert page.y0 <= box.y0 < box.y1 <= page.y1, text
    assert overlaps(placed) == []
