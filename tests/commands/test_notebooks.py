"""The notebooks run from top to bottom without an error or a warning, and stand in the repository as they were run."""
import base64
import io
import re
import runpy
from datetime import datetime
from pathlib import Path

import nbformat
import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from pix2pixcc.evaluation.scores import evaluate_image
from pix2pixcc.generation.products import input_name, inputs_of
from pix2pixcc.images.cubes import read_channel_cards
from pix2pixcc.solar.geometry import AU_METRES, disk_of_header
from pix2pixcc.solar.orbits import Observer
from pix2pixcc.synthetic_sun.sun import SyntheticSun

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks"
SAMPLE = FOLDER / "sample" / "aisfm_demo_stereo_b_20110305_120403.fits"
INPUT = SAMPLE.with_name(f"{SAMPLE.stem}_input.fits")
FIGURES = {"Coordinates": 2, "Observations": 2, "Python": 2, "Reprojections": 5, "Training": 5, "Visualizations": 4,
           "WholeSun": 2}
NAMES = sorted(FIGURES)
SAYS = {                                                   # what each must find out, as a pattern
    "Coordinates": r"faced the Earth +2011-02-13 10:\d\d UTC, 20\.\d\d days before",
    "Observations": r"7 +SDO/HMI +M720s +2011-02-13 10:\d\d:\d\d +20\.\d\d d",
    "Python": r"pix2pixCC farside magnetogram, STEREO-B 2011-02-15 00:14:34: G, longitude -93\.7 deg",
    "Reprojections": r"\(720, 1440\), CRLN-CAR, CRLT-CAR, 0\.25 deg / pix",
    "Training": r"CC, 8 x 8 +-?\d\.\d{3}",
    "Visualizations": r"256 x 256 pixels of 8\.387 arcsec, float32",
    "WholeSun": r"with the farside  correlation with the truth where STEREO-B looks: 0\.[789]",
}

executed = runpy.run_path(str(FOLDER / "execute.py"))["executed"]


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def text(notebook):
    return "".join(output.text for output in outputs(notebook) if output.output_type == "stream")


def figures(notebook):
    kinds = ("image/png", "image/jpeg")
    return [output.data[kind] for output in outputs(notebook) for kind in kinds if kind in output.get("data", {})]


def assert_as_it_should_be(notebook, name):
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
    assert [output.text for output in outputs(notebook) if output.get("name") == "stderr"] == []
    assert len(figures(notebook)) == FIGURES[name]
    assert re.search(SAYS[name], text(notebook))


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_without_an_error_or_a_warning(name):
    assert_as_it_should_be(executed(FOLDER / f"{name}.ipynb", quick=True, timeout=300), name)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_kept_with_its_outputs(name):
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1)), "run once, from top to bottom"
    assert_as_it_should_be(notebook, name)


def test_the_kept_training_is_that_of_a_whole_run_which_learned():
    said = text(nbformat.read(FOLDER / "Training.ipynb", as_version=4))
    assert "quick run" not in said and "150 training pairs" in said
    assert float(re.search(r"mean binned CC, full disk: (\d\.\d+)", said)[1]) > 0.6


@pytest.mark.parametrize("name", NAMES)
def test_a_kept_notebook_is_small_and_tells_nothing_of_the_machine_that_ran_it(name):
    path = FOLDER / f"{name}.ipynb"
    assert path.stat().st_size < 1_500_000
    notebook = nbformat.read(path, as_version=4)
    assert not re.search(r"/(?:home|root|work|tmp|Users)/", text(notebook))
    assert all(cell.metadata == {} for cell in notebook.cells)
    assert notebook.metadata.language_info == {"name": "python"}


def test_kept_figures_are_pictures_and_not_empty_frames():
    for name in NAMES:
        for figure in figures(nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)):
            with Image.open(io.BytesIO(base64.b64decode(figure))) as picture:
                assert min(picture.size) > 200
                assert np.asarray(picture.convert("L")).std() > 10


def test_the_sample_is_small_and_says_that_it_is_synthetic():
    assert sum(path.stat().st_size for path in SAMPLE.parent.iterdir()) < 500_000
    assert "demo" in SAMPLE.name
    for path in (SAMPLE, INPUT):
        with fits.open(path, checksum=True) as hdus:
            header = hdus[-1].header
        assert header["OBJECT"] == "SYNTHETIC DEMO SUN"
        assert "no instrument took the images" in str(header["COMMENT"])


def test_the_sample_is_a_product_of_seven_inputs_and_the_cube_beside_it_holds_them():
    magnetogram, header = fits.getdata(SAMPLE, header=True)
    cube, cube_header = fits.getdata(INPUT, header=True)
    assert magnetogram.shape == (256, 256)
    assert cube.shape == (7, 256, 256)
    assert header["INPUTDAT"] == "STEREO_B"
    assert header["DATE-OBS"] == "2011-03-05T12:04:03"
    assert header["BUNIT"] == "G"
    assert inputs_of(header) == [input_name(channel) for channel in read_channel_cards(cube_header, 7)]
    off_disk = np.isnan(magnetogram)
    assert 0.40 < off_disk.mean() < 0.43
    assert not cube[:, off_disk].any()
    assert np.median(cube[:6, ~off_disk], axis=1) == pytest.approx(100, rel=0.02)


def test_the_sample_shows_the_sun_that_it_names_as_the_code_makes_it_today():
    generated, header = fits.getdata(SAMPLE, header=True)
    observer = Observer("STEREO-B", header["HGLN_OBS"], header["HGLT_OBS"], header["DSUN_OBS"] / AU_METRES)
    truth = SyntheticSun(header["SUNSEED"]).magnetogram(observer, datetime.fromisoformat(header["DATE-OBS"]), 256)
    scores = evaluate_image(generated, truth, disk_of_header(header, truth.shape), disk_radius=0.98).scores
    assert scores["full_cc_binned"] > 0.5, \
        "the synthetic Sun has changed: run notebooks/make_sample.py, then notebooks/execute.py"
