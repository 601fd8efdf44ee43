"""Pictures: what is drawn where, in which colours and units, and that all words can be read."""
import csv
import math
import time
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image
from sunpy.coordinates import HeliographicStonyhurst, Helioprojective

from pix2pixcc.images.cubes import Channel
from pix2pixcc.utils import UserError
from pix2pixcc.visuals import curves
from pix2pixcc.visuals import sheets as visuals
from pix2pixcc.visuals.curves import loss_curves
from pix2pixcc.visuals.sheets import preview, sample_images, sample_sheet
from pix2pixcc.visuals.story import story
from pix2pixcc.visuals.view import RSUN_METRES, View, caption, graticule, place, project, signed, spacecraft_name

SIZE = 64
DISTANCE = 1.0163 * 149597870700.0
TIME = "2011-03-05T12:04:03"
EUVI = [Channel.euv(f"STEREO/EUVI-B {passband}", "2011-03-05T11:56:43") for passband in (304, 195, 171)]
FRONTSIDE = [Channel.euv(f"SDO/AIA {passband}", "2011-02-13T09:19:20") for passband in (304, 193, 171)]
FRONTSIDE.append(Channel.magnetogram("SDO/HMI magnetogram", "2011-02-13T10:34:12"))


def make_header(size=SIZE, roll=0.0, shift=(0.0, 0.0)):
    scale = 3600 * math.degrees(math.asin(RSUN_METRES / DISTANCE)) / (450 / 1024 * size)
    cosine, sine = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    cards = {"NAXIS": 2, "NAXIS1": size, "NAXIS2": size, "CTYPE1": "HPLN-TAN", "CTYPE2": "HPLT-TAN", "CUNIT1": "arcsec", "CUNIT2": "arcsec",
             "CRPIX1": (size + 1) / 2 + shift[0], "CRPIX2": (size + 1) / 2 + shift[1], "CRVAL1": 0.0, "CRVAL2": 0.0,
             "CDELT1": scale, "CDELT2": scale, "PC1_1": cosine, "PC1_2": -sine, "PC2_1": sine, "PC2_2": cosine,
             "HGLN_OBS": -94.782, "HGLT_OBS": 1.0769, "DSUN_OBS": DISTANCE, "DATE-OBS": TIME, "OBSRVTRY": "STEREO_B"}
    header = fits.Header()
    header.update(cards)
    return header


def make_disk(value=100.0, size=SIZE):
    rows, columns = np.indices((size, size))
    radius = np.hypot(rows - (size - 1) / 2, columns - (size - 1) / 2) / (450 / 1024 * size)
    return np.where(radius <= 0.98, value, 0.0).astype(np.float32)


def make_euv(count):
    rng = np.random.default_rng(1)
    return np.stack([make_disk() * rng.lognormal(0, 0.5, (SIZE, SIZE)).astype(np.float32) for _ in range(count)])


def make_magnetogram():
    return make_disk(1.0) * np.random.default_rng(2).normal(0, 60, (SIZE, SIZE)).astype(np.float32)


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """The figures that were saved, in order, saved all the same."""
    figures = []

    def keep(figure, path, save=visuals._save):
        save(figure, path)
        figures.append(figure)

    monkeypatch.setattr(visuals, "_save", keep)
    return figures


def panels(figure):
    """The panels by the first line of their titles; colour bars have none."""
    return {axes.get_title().splitlines()[0]: axes for axes in figure.axes if axes.get_title()}


def words(figure):
    """Every piece of text that is drawn, with its rectangle in pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    canvas = FigureCanvasAgg(figure)
    with mock.patch.object(Text, "draw", autospec=True) as draw:
        canvas.draw()
    seen = [call.args[0] for call in draw.call_args_list]
    return [(text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in seen
            if text.get_visible() and text.get_text().strip()]


# ------------------------------------------------------------------------------------------------ geometry

def test_limb_and_grid_agree_with_sunpy_to_a_hundredth_of_an_arcsecond():
    view = View.of_header(make_header())
    longitude, latitude = np.array([-94.0, -60.0, -140.0, -30.0]), np.array([0.0, 35.0, -50.0, 10.0])
    observer = SkyCoord(view.longitude * u.deg, view.latitude * u.deg, view.distance * u.m, frame=HeliographicStonyhurst, obstime=TIME)
    points = SkyCoord(longitude * u.deg, latitude * u.deg, RSUN_METRES * u.m, frame=HeliographicStonyhurst, obstime=TIME)
    seen = points.transform_to(Helioprojective(observer=observer, obstime=TIME))
    ours = project(view, longitude, latitude)
    assert np.abs(ours[0] - seen.Tx.to_value(u.arcsec)).max() < 0.01
    assert np.abs(ours[1] - seen.Ty.to_value(u.arcsec)).max() < 0.01


def test_points_behind_the_sun_are_not_drawn():
    view = View.of_header(make_header())
    assert np.isnan(project(view, np.array([85.0]), np.array([0.0]))).all()
    curves_drawn = graticule(view)
    assert np.nanmax(np.hypot(*curves_drawn)) <= view.radius * 1.000001


def test_an_image_that_is_rolled_and_off_centre_is_put_where_its_header_says():
    header = make_header(roll=30, shift=(7.5, -4.0))
    view = View.of_header(header)
    pixels = np.array([[0, 0], [10, 50], [63, 20]])
    world = 3600 * ((WCS(header, fix=False).wcs_pix2world(pixels, 0) + 180) % 360 - 180)
    ours = np.column_stack([pixels, np.ones(3)]) @ view.matrix.T
    assert np.abs(ours - world).max() < 0.1


def test_a_registered_image_has_its_limb_at_450_of_1024():
    view = View.of_header(make_header())
    assert view.radius / view.matrix[0, 0] == pytest.approx(450 / 1024 * SIZE)
    masked = view.on_disk(np.ones((SIZE, SIZE)))
    assert np.array_equal(np.isfinite(masked), make_disk() > 0)


@pytest.mark.parametrize("missing", ["HGLN_OBS", "DSUN_OBS", "CTYPE1"])
def test_without_an_observer_or_coordinates_there_is_no_view(missing):
    header = make_header()
    del header[missing]
    if missing == "CTYPE1":
        del header["CTYPE2"]
    assert View.of_header(header) is None
    assert View.of_header(None) is None


# ------------------------------------------------------------------------------------------------ words

def test_the_title_names_spacecraft_time_and_place():
    assert place(make_header(), EUVI) == "STEREO-B,  2011-03-05 12:04 UT,  Stonyhurst longitude \u221294.8°,  latitude +1.1°"


@pytest.mark.parametrize(("degrees", "text"), [(-94.78, "\u221294.8°"), (30, "+30°"), (-0.01, "0°"), (-180, "180°")])
def test_angles_carry_their_sign(degrees, text):
    assert signed(degrees) == text


@pytest.mark.parametrize(("keyword", "value", "name"), [
    ("OBSRVTRY", "STEREO_A", "STEREO-A"), ("INPUTDAT", "STEREO_B", "STEREO-B"), ("TELESCOP", "SDO/AIA", "SDO"),
    ("OBSRVTRY", "Solar_Orbiter", "Solar Orbiter")])
def test_the_spacecraft_is_known_from_the_header(keyword, value, name):
    assert spacecraft_name(fits.Header([(keyword, value)])) == name


def test_passbands_are_captioned_with_their_wavelength_and_time():
    assert caption(EUVI[0]) == "EUVI-B 304 Å\n2011-03-05 11:56"
    assert caption(FRONTSIDE[3]) == "HMI magnetogram\n2011-02-13 10:34"


# ------------------------------------------------------------------------------------------------ sheets

def test_a_sheet_shows_inputs_real_generated_and_difference(drawn, tmp_path):
    magnetogram = make_magnetogram()[None]
    sample_sheet(tmp_path / "sheet.png", make_euv(7), magnetogram, magnetogram / 2, EUVI + FRONTSIDE, header=make_header(),
                 title="iteration 5000")
    shown = panels(drawn[0])
    assert list(shown) == ["EUVI-B 304 Å", "EUVI-B 195 Å", "EUVI-B 171 Å", "AIA 304 Å", "AIA 193 Å", "AIA 171 Å", "HMI magnetogram",
                           "real", "generated", "generated \u2212 real"]
    difference = shown["generated \u2212 real"].images[0].get_array()
    assert np.allclose(difference.compressed(), -magnetogram[0][make_disk() > 0] / 2)
    assert drawn[0].texts[0].get_text().startswith("iteration 5000,  STEREO-B,  2011-03-05 12:04 UT")
    assert Image.open(tmp_path / "sheet.png").size[0] > 1200


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


@pytest.mark.parametrize(("options", "limit"), [({}, 100), ({"target_range": 250}, 250), ({"colormap": "hmimag"}, 1500)])
def test_the_range_of_magnetograms_is_what_was_asked(drawn, tmp_path, options, limit):
    magnetogram = make_magnetogram()[None]
    sample_sheet(tmp_path / "sheet.png", make_euv(1), magnetogram, magnetogram, EUVI[:1], header=make_header(), **options)
    image = panels(drawn[0])["generated"].images[0]
    assert image.get_clim() == (-limit, limit)
    assert [text.get_text() for text in image.colorbar.ax.get_yticklabels()][-1] == str(limit)


def test_an_unknown_colour_map_is_refused_with_those_that_are_known(tmp_path):
    with pytest.raises(UserError, match="gray, hmimag"):
        sample_sheet(tmp_path / "sheet.png", make_euv(1), None, make_magnetogram()[None], EUVI[:1], colormap="jet")


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
    sample_sheet(tmp_path / "sheet.png", make_euv(7), None, make_magnetogram()[None], EUVI + FRONTSIDE, header=make_header())
    lines = {name: len(axes.lines) for name, axes in panels(drawn[0]).items()}
    assert lines["EUVI-B 304 Å"] == lines["generated"] == 2
    assert lines["AIA 304 Å"] == lines["HMI magnetogram"] == 1


def test_looks_of_one_night_stand_in_one_row_and_of_another_rotation_in_the_next(drawn, tmp_path):
    times = ["2011-03-09T23:58:00", "2011-03-10T00:03:00", "2011-02-10T17:00:00"]
    channels = [Channel.euv(f"SDO/AIA {passband}", time) for passband, time in zip((304, 193, 171), times, strict=True)]
    sample_sheet(tmp_path / "sheet.png", make_euv(3), make_magnetogram()[None], make_magnetogram()[None], channels, header=make_header())
    shown = panels(drawn[0])
    bottoms = [round(shown[f"AIA {passband} Å"].get_position().y0, 3) for passband in (304, 193, 171)]
    assert bottoms[0] == bottoms[1] > bottoms[2]


def test_images_that_are_not_solar_get_a_grey_sheet_with_pixel_axes(drawn, tmp_path):
    rng = np.random.default_rng(0)
    sample_sheet(tmp_path / "sheet.png", rng.random((3, 16, 16)), rng.random((2, 16, 16)), rng.random((2, 16, 16)), None)
    shown = panels(drawn[0])
    assert {"input 3", "real 2", "generated 1"} <= set(shown)
    assert shown["real 2"].get_xlabel() == "x (pixel)"
    assert shown["real 2"].get_ylim() == (15.5, -0.5)
    assert {axes.images[0].cmap.name for name, axes in shown.items() if "\u2212" not in name} == {"gray"}


def test_several_targets_are_named_by_their_channels(drawn, tmp_path):
    target = np.stack([make_disk(), make_disk(50)])
    sample_sheet(tmp_path / "sheet.png", make_euv(1), target, target, EUVI[:1], header=make_header(), target_channels=FRONTSIDE[:2])
    assert {"real AIA 304 Å", "generated AIA 193 Å"} <= set(panels(drawn[0]))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, 1e30])
def test_a_generator_gone_wrong_is_still_drawn(tmp_path, value):
    wrong = np.full((1, SIZE, SIZE), value, dtype=np.float32)
    sample_sheet(tmp_path / "sheet.png", wrong, wrong, wrong, EUVI[:1], header=make_header())
    sample_sheet(tmp_path / "plain.png", wrong, wrong, wrong, None)
    assert (tmp_path / "sheet.png").stat().st_size > 10000


def test_a_title_with_dollar_signs_and_of_any_length_is_drawn_as_it_is(drawn, tmp_path):
    sample_sheet(tmp_path / "sheet.png", make_euv(1), None, make_magnetogram()[None], EUVI[:1], header=make_header(), title="$x_{ " * 40)
    assert drawn[0].texts[0].get_text().count("$x_{") == 40
    assert all(box.x1 <= drawn[0].bbox.x1 for _, box in words(drawn[0]))


def draw_sheet(path, count, header):
    magnetogram = make_magnetogram()[None]
    sample_sheet(path, make_euv(count), magnetogram, magnetogram, (EUVI + FRONTSIDE)[:count], header=header, title="iteration 400000")


def draw_preview(path, count, header):
    preview(path, make_magnetogram(), header, euv=make_euv(count) if count else None, channels=(EUVI + FRONTSIDE)[:count])


def draw_story(path, count, header):
    story(path, make_magnetogram(), header, euv=make_euv(count) if count else None, channels=(EUVI + FRONTSIDE)[:count],
          truth=make_magnetogram())


@pytest.mark.parametrize(("draw", "count"), [(draw_sheet, 1), (draw_sheet, 3), (draw_sheet, 7), (draw_preview, 0), (draw_preview, 1),
                                             (draw_preview, 3), (draw_story, 0), (draw_story, 1), (draw_story, 7)])
def test_no_word_is_clipped_or_written_over_another(drawn, tmp_path, draw, count):
    draw(tmp_path / "picture.png", count, make_header())
    placed = words(drawn[0])
    page = drawn[0].bbox
    for text, box in placed:
        assert page.x0 <= box.x0 < box.x1 <= page.x1, text
        assert page.y0 <= box.y0 < box.y1 <= page.y1, text
    for k, (text, box) in enumerate(placed):
        for other, beside in placed[k + 1:]:
            assert not box.overlaps(beside), (text, other)


def test_a_sheet_takes_less_than_half_a_second_of_processor_time_after_the_first(tmp_path):
    header, euv, magnetogram = make_header(128), make_disk(size=128)[None], make_disk(50.0, 128)[None]
    times = []
    for _ in range(3):
        started = time.process_time()
        sample_sheet(tmp_path / "sheet.png", euv, magnetogram, magnetogram, EUVI[:1], header=header)
        times.append(time.process_time() - started)
    assert min(times[1:]) < 0.5


def test_threads_draw_what_one_would_draw_alone(tmp_path):
    header = make_header()
    draw_sheet(tmp_path / "alone.png", 1, header)
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda k: draw_sheet(tmp_path / f"{k}.png", 1, header), range(3)))
    alone = np.asarray(Image.open(tmp_path / "alone.png"))
    for k in range(3):
        assert np.array_equal(np.asarray(Image.open(tmp_path / f"{k}.png")), alone)


# ------------------------------------------------------------------------------------------------ plain pictures

def test_sample_images_are_scaled_clipped_and_put_north_up(tmp_path):
    real = np.array([[[-1.0, 0.0], [0.1, np.nan]]], dtype=np.float32)
    paths = sample_images(tmp_path, 500, real, -real, display_scale=5, north_up=True)
    assert [path.name for path in paths] == ["500_real.png", "500_fake.png"]
    assert np.asarray(Image.open(paths[0])).tolist() == [[191, 128], [0, 128]]
    assert np.asarray(Image.open(paths[1])).tolist() == [[64, 128], [255, 128]]


def test_images_that_are_not_fits_keep_their_first_row_at_the_top(tmp_path):
    real = np.array([[[1.0, 1.0], [-1.0, -1.0]]])
    path = sample_images(tmp_path, 1, real, real)[0]
    assert np.asarray(Image.open(path)).tolist() == [[255, 255], [0, 0]]


@pytest.mark.parametrize(("shape", "mode", "size"), [((1, 8, 8), "L", (8, 8)), ((3, 8, 8), "RGB", (8, 8)), ((2, 8, 8), "L", (22, 12)),
                                                     ((4, 1, 8, 8), "L", (22, 22)), ((2, 3, 8, 8), "RGB", (22, 12))])
def test_channels_and_batches_are_laid_out_on_a_grid(tmp_path, shape, mode, size):
    picture = Image.open(sample_images(tmp_path, 1, np.zeros(shape), np.zeros(shape))[0])
    assert (picture.mode, picture.size) == (mode, size)


@pytest.mark.parametrize(("image_mode", "kind"), [("png", "PNG"), ("jpg", "JPEG"), ("jpeg", "JPEG"), ("tif", "TIFF"), ("tiff", "TIFF")])
def test_sample_images_come_in_the_format_asked_for(tmp_path, image_mode, kind):
    path = sample_images(tmp_path, 7, np.zeros((1, 8, 8)), np.zeros((1, 8, 8)), image_mode=image_mode)[1]
    assert path.name == f"7_fake.{image_mode}"
    assert Image.open(path).format == kind


# ------------------------------------------------------------------------------------------------ products

def test_a_preview_shows_the_observers_own_images_and_numbered_meridians(drawn, tmp_path):
    preview(tmp_path / "preview.png", make_magnetogram()[None], make_header(), euv=make_euv(7), channels=EUVI + FRONTSIDE)
    shown = panels(drawn[0])
    assert list(shown) == ["EUVI-B 304 Å", "EUVI-B 195 Å", "EUVI-B 171 Å", "generated magnetogram"]
    numbers = [text.get_text() for text in shown["generated magnetogram"].texts]
    assert numbers == ["\u2212120°", "\u221290°", "\u221260°"]
    bar = shown["generated magnetogram"].images[0].colorbar.ax
    assert [text.get_text() for text in bar.get_yticklabels()] == ["\u2212100", "\u221250", "0", "50", "100"]


def test_a_preview_needs_nothing_but_the_magnetogram(drawn, tmp_path):
    preview(tmp_path / "preview.png", make_magnetogram(), None)
    assert list(panels(drawn[0])) == ["generated magnetogram"]


@pytest.mark.parametrize(("bunit", "unit", "shown"), [(None, None, "G"), ("G", None, "G"), ("G", "", ""), (None, "", "")])
def test_only_gauss_are_shown_as_gauss(drawn, tmp_path, bunit, unit, shown):
    header = make_header()
    if bunit:
        header["BUNIT"] = bunit
    preview(tmp_path / "preview.png", make_magnetogram() / 1500, header, unit=unit)
    image = panels(drawn[0])["generated magnetogram"].images[0]
    assert image.colorbar.ax.get_ylabel() == shown
    assert image.get_clim()[1] == (100 if shown else pytest.approx(np.percentile(np.abs(make_magnetogram() / 1500), 99)))


def test_the_story_shows_truth_and_where_the_spacecraft_stood(drawn, tmp_path):
    story(tmp_path / "story.png", make_magnetogram(), make_header(), euv=make_euv(1), channels=EUVI[2:], truth=make_magnetogram(),
          spacecraft={"STEREO-A": (87.6, 0.957)})
    assert list(panels(drawn[0]))[:3] == ["EUVI-B 171 Å", "generated magnetogram", "true magnetogram"]
    orbits = drawn[0].axes[-1]
    stood = {text.get_text(): text.xy for text in orbits.texts if hasattr(text, "xy")}
    assert set(stood) == {"Earth", "STEREO-A", "STEREO-B"}
    assert np.degrees(stood["STEREO-B"][0]) == pytest.approx(-94.782)
    assert stood["STEREO-B"][1] == pytest.approx(1.0163)
    assert np.degrees(stood["STEREO-A"][0]) == pytest.approx(87.6)
    assert stood["Earth"] == (0.0, pytest.approx(0.992, abs=0.001))
    assert orbits.get_theta_offset() == pytest.approx(1.5 * np.pi)
    assert all(line.get_fillstyle() == "full" for line in orbits.lines)


@pytest.mark.parametrize(("year", "longitude"), [(2008, 28.0), (2009, -47.0), (2011, -94.8), (2012, 130.0), (2014, -160.0), (2023, 1.2)])
def test_names_can_be_read_wherever_the_spacecraft_stand(drawn, tmp_path, year, longitude):
    header = make_header()
    header.update({"DATE-OBS": f"{year}-09-01T00:00:00", "HGLN_OBS": longitude, "OBSRVTRY": "STEREO_B" if longitude < 0 else "STEREO_A"})
    story(tmp_path / "story.png", make_magnetogram(), header)
    placed = words(drawn[0])
    for k, (text, box) in enumerate(placed):
        for other, beside in placed[k + 1:]:
            assert not box.overlaps(beside), (text, other)


def test_a_spacecraft_that_nobody_named_is_placed_by_its_orbit_and_drawn_hollow(drawn, tmp_path):
    story(tmp_path / "story.png", make_magnetogram(), make_header())
    orbits = drawn[0].axes[-1]
    stood = {text.get_text(): text.xy for text in orbits.texts if hasattr(text, "xy")}
    assert np.degrees(stood["STEREO-A"][0]) == pytest.approx(87.7, abs=1.0)
    assert [line.get_fillstyle() for line in orbits.lines].count("none") == 1


def test_a_story_without_a_place_is_refused_by_keyword(tmp_path):
    header = make_header()
    del header["HGLN_OBS"]
    with pytest.raises(UserError, match="HGLN_OBS"):
        story(tmp_path / "story.png", make_magnetogram(), header)


# ------------------------------------------------------------------------------------------------ loss curves

COLUMNS = ["iteration", "epoch", "lr", "loss_G", "loss_D", "GAN_G", "FM", "CC", "val_cc_binned", "ema_cc_binned", "val_rmse"]


def write_losses(path, count, every=100):
    with open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for k in range(1, count + 1):
            scores = [0.1 + 0.8 * k / count, 0.9 - 0.5 * k / count, 40 - k / count] if k % every == 0 else ["", "", ""]
            table.writerow([k * 10, k / 100, 2e-4, 5 + 1 / k, 0.5, 1.0, "nan" if k == 3 else 2.0, 0.5, *scores])
    return path


@pytest.fixture
def drawn_panels(monkeypatch):
    """What `loss_curves` draws: {panel: {label: (x, y)}}."""
    seen = {}

    def keep(axes, panel, drawn, draw=curves._draw):
        draw(axes, panel, drawn)
        seen[panel] = {line.get_label(): line.get_xydata() for line in axes.lines if not line.get_label().startswith("_")}

    monkeypatch.setattr(curves, "_draw", keep)
    return seen


def test_losses_scores_and_learning_rate_stand_on_one_page(drawn_panels, tmp_path):
    loss_curves(tmp_path / "losses.png", write_losses(tmp_path / "losses.csv", 1000))
    assert {name: list(lines) for name, lines in drawn_panels.items()} == {
        "losses": ["loss_G", "loss_D"], "terms": ["GAN_G", "FM", "CC"],
        "validation": ["cc_binned", "cc_binned (ema)", "best: 0.900 at 10000"], "validation, data units": ["rmse"], "learning rate": ["lr"]}
    assert len(drawn_panels["validation"]["cc_binned"]) == 10
    assert Image.open(tmp_path / "losses.png").size[0] > 1000


def test_long_noisy_curves_are_smoothed_about_their_mean(drawn_panels, tmp_path):
    path = tmp_path / "losses.csv"
    noise = np.random.default_rng(0).normal(3.0, 1.0, 2000)
    path.write_text("iteration,loss_G\n" + "\n".join(f"{k},{value}" for k, value in enumerate(noise)))
    loss_curves(tmp_path / "losses.png", path)
    smooth = drawn_panels["losses"]["loss_G"]
    assert smooth[:, 1].std() < 0.25
    assert smooth[:, 1].mean() == pytest.approx(3.0, abs=0.05)
    assert smooth[0, 0] == pytest.approx(20, abs=1)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("text", ["", "iteration,epoch,lr,loss_G\n", "iteration,epoch,lr,loss_G\n100,0.1,0.0002,5.0\n",
                                  "iteration,epoch,lr,loss_G\n100,0.1,0.0002,\n200,,,\n"])
def test_a_run_that_has_hardly_begun_has_curves_too(tmp_path, text):
    (tmp_path / "losses.csv").write_text(text)
    loss_curves(tmp_path / "losses.png", tmp_path / "losses.csv")
    assert (tmp_path / "losses.png").stat().st_size > 1000


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(UserError, match=r"missing\.csv"):
        loss_curves(tmp_path / "losses.png", tmp_path / "missing.csv")


def test_the_curves_of_a_long_run_are_drawn_within_seconds(tmp_path):
    path = write_losses(tmp_path / "losses.csv", 50000)
    started = time.process_time()
    loss_curves(tmp_path / "losses.png", path)
    assert time.process_time() - started < 5
