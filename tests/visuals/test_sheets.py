"""Sheets, plain samples and previews: what is drawn where, in which range and format."""
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pictures import EUVI, FRONTSIDE, make_disk, make_euv, make_header, make_magnetogram, panels
from PIL import Image

from pix2pixcc.images.cubes import Channel
from pix2pixcc.utils import UserError
from pix2pixcc.visuals.sheets import preview, sample_picture, sample_sheet


def test_a_sheet_shows_inputs_real_generated_and_difference(drawn, tmp_path):
    magnetogram = make_magnetogram()[None]
    sample_sheet(tmp_path / "sheet.png", make_euv(7), magnetogram, magnetogram / 2, EUVI + FRONTSIDE,
                 header=make_header(), title="iteration 5000")
    shown = panels(drawn[0])
    assert list(shown) == ["EUVI-B 304 Å", "EUVI-B 195 Å", "EUVI-B 171 Å", "AIA 304 Å", "AIA 193 Å", "AIA 171 Å",
                           "HMI magnetogram", "real", "generated", "generated \u2212 real"]
    difference = shown["generated \u2212 real"].images[0].get_array()
    assert np.allclose(difference.compressed(), -magnetogram[0][make_disk() > 0] / 2)
    assert drawn[0].texts[0].get_text().startswith("iteration 5000,  STEREO-B,  2011-03-05 12:04 UT")
    assert Image.open(tmp_path / "sheet.png").size[0] > 1200


@pytest.mark.parametrize(("options", "limit"), [
    ({}, 100), ({"target_range": 250}, 250), ({"colormap": "hmimag"}, 1500)])
def test_the_range_of_magnetograms_is_what_was_asked(drawn, tmp_path, options, limit):
    magnetogram = make_magnetogram()[None]
    sample_sheet(tmp_path / "sheet.png", make_euv(1), magnetogram, magnetogram, EUVI[:1], header=make_header(),
                 **options)
    image = panels(drawn[0])["generated"].images[0]
    assert image.get_clim() == (-limit, limit)
    assert [text.get_text() for text in image.colorbar.ax.get_yticklabels()][-1] == str(limit)


def test_an_unknown_colour_map_is_refused_with_those_that_are_known(tmp_path):
    with pytest.raises(UserError, match="gray, hmimag"):
        sample_sheet(tmp_path / "sheet.png", make_euv(1), None, make_magnetogram()[None], EUVI[:1], colormap="jet")


def test_looks_of_one_night_stand_in_one_row_and_of_another_rotation_in_the_next(drawn, tmp_path):
    times = ["2011-03-09T23:58:00", "2011-03-10T00:03:00", "2011-02-10T17:00:00"]
    channels = [Channel.euv(f"SDO/AIA {passband}", time) for passband, time in zip((304, 193, 171), times, strict=True)]
    magnetogram = make_magnetogram()[None]
    sample_sheet(tmp_path / "sheet.png", make_euv(3), magnetogram, magnetogram, channels, header=make_header())
    shown = panels(drawn[0])
    bottoms = [round(shown[f"AIA {passband} Å"].get_position().y0, 3) for passband in (304, 193, 171)]
    assert bottoms[0] == bottoms[1] > bottoms[2]


def test_images_that_are_not_solar_get_a_grey_sheet_with_pixel_axes(drawn, tmp_path):
    rng = np.random.default_rng(0)
    input, real, generated = (rng.random((channels, 16, 16)) for channels in (3, 2, 2))
    sample_sheet(tmp_path / "sheet.png", input, real, generated, None)
    shown = panels(drawn[0])
    assert {"input 3", "real 2", "generated 1"} <= set(shown)
    assert shown["real 2"].get_xlabel() == "x (pixel)"
    assert shown["real 2"].get_ylim() == (15.5, -0.5)
    assert {axes.images[0].cmap.name for name, axes in shown.items() if "\u2212" not in name} == {"gray"}


def test_several_targets_are_named_by_their_channels(drawn, tmp_path):
    target = np.stack([make_disk(), make_disk(50)])
    sample_sheet(tmp_path / "sheet.png", make_euv(1), target, target, EUVI[:1], header=make_header(),
                 target_channels=FRONTSIDE[:2])
    assert {"real AIA 304 Å", "generated AIA 193 Å"} <= set(panels(drawn[0]))


def test_threads_draw_what_one_would_draw_alone(tmp_path):
    header = make_header()
    euv, magnetogram = make_euv(1), make_magnetogram()[None]

    def draw(name):
        sample_sheet(tmp_path / f"{name}.png", euv, magnetogram, magnetogram, EUVI[:1], header=header)

    draw("alone")
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(draw, range(3)))
    alone = np.asarray(Image.open(tmp_path / "alone.png"))
    for k in range(3):
        assert np.array_equal(np.asarray(Image.open(tmp_path / f"{k}.png")), alone)


def test_sample_images_are_scaled_clipped_and_put_north_up(tmp_path):
    real = np.array([[[-1.0, 0.0], [0.1, np.nan]]], dtype=np.float32)
    for sign, expected in ((1, [[191, 128], [0, 128]]), (-1, [[64, 128], [255, 128]])):
        sample_picture(tmp_path / "a.png", sign * real, display_scale=5, north_up=True)
        assert np.asarray(Image.open(tmp_path / "a.png")).tolist() == expected


def test_images_that_are_not_fits_keep_their_first_row_at_the_top(tmp_path):
    real = np.array([[[1.0, 1.0], [-1.0, -1.0]]])
    sample_picture(tmp_path / "a.png", real)
    assert np.asarray(Image.open(tmp_path / "a.png")).tolist() == [[255, 255], [0, 0]]


@pytest.mark.parametrize(("shape", "mode", "size"), [
    ((1, 8, 8), "L", (8, 8)), ((3, 8, 8), "RGB", (8, 8)), ((2, 8, 8), "L", (22, 12)),
    ((4, 1, 8, 8), "L", (22, 22)), ((2, 3, 8, 8), "RGB", (22, 12))])
def test_channels_and_batches_are_laid_out_on_a_grid(tmp_path, shape, mode, size):
    sample_picture(tmp_path / "a.png", np.zeros(shape))
    picture = Image.open(tmp_path / "a.png")
    assert (picture.mode, picture.size) == (mode, size)


@pytest.mark.parametrize(("image_mode", "kind"), [
    ("png", "PNG"), ("jpg", "JPEG"), ("jpeg", "JPEG"), ("tif", "TIFF"), ("tiff", "TIFF")])
def test_sample_images_come_in_the_format_asked_for(tmp_path, image_mode, kind):
    path = tmp_path / f"a.{image_mode}"
    sample_picture(path, np.zeros((1, 8, 8)))
    assert Image.open(path).format == kind


def test_a_preview_shows_the_observers_own_images_and_numbered_meridians(drawn, tmp_path):
    preview(tmp_path / "preview.png", make_magnetogram()[None], make_header(), euv=make_euv(7),
            channels=EUVI + FRONTSIDE)
    shown = panels(drawn[0])
    assert list(shown) == ["EUVI-B 304 Å", "EUVI-B 195 Å", "EUVI-B 171 Å", "generated magnetogram"]
    numbers = [text.get_text() for text in shown["generated magnetogram"].texts]
    assert numbers == ["\u2212120°", "\u221290°", "\u221260°"]
    bar = shown["generated magnetogram"].images[0].colorbar.ax
    assert [text.get_text() for text in bar.get_yticklabels()] == ["\u2212100", "\u221250", "0", "50", "100"]


def test_a_preview_needs_nothing_but_the_magnetogram(drawn, tmp_path):
    preview(tmp_path / "preview.png", make_magnetogram(), None)
    assert list(panels(drawn[0])) == ["generated magnetogram"]


@pytest.mark.parametrize(("bunit", "unit", "shown"), [
    (None, None, "G"), ("G", None, "G"), ("G", "", ""), (None, "", "")])
def test_only_gauss_are_shown_as_gauss(drawn, tmp_path, bunit, unit, shown):
    header = make_header()
    if bunit:
        header["BUNIT"] = bunit
    preview(tmp_path / "preview.png", make_magnetogram() / 1500, header, unit=unit)
    image = panels(drawn[0])["generated magnetogram"].images[0]
    assert image.colorbar.ax.get_ylabel() == shown
    nearly_all = np.percentile(np.abs(make_magnetogram() / 1500), 99)
    assert image.get_clim()[1] == (100 if shown else pytest.approx(nearly_all))
