"""A model used from Python gives what pix2pixCC_Test.py writes, and says as clearly what it cannot do."""
import importlib.resources
import random
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import sunpy.map
from astropy.io import fits
from models import write_run
from running import generate, write_cubes

import pix2pixcc
from pix2pixcc.generation.magnetogram import FarsideMagnetogram
from pix2pixcc.utils import write_json

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE = 48
SEVEN = ["SDO/AIA 304", "SDO/AIA 193", "SDO/AIA 171", "SDO/AIA 304", "SDO/AIA 193", "SDO/AIA 171",
         "SDO/HMI magnetogram"]
MADE_AT_WRITING = {"DATE", "CHECKSUM", "DATASUM", "GENKEY"}


def real(name):
    return importlib.resources.files("reproject.tests") / "data" / name


def opened(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                 # the real header has a BLANK, which floats have no use for
        return sunpy.map.Map(path)


def array_with_header(path):
    return fits.getdata(path), fits.getheader(path)


def assert_same(magnetogram, path):
    """The map is the product at `path`: the same numbers under the same cards, in the same order."""
    with fits.open(path) as hdus:
        cards = [card for card in hdus[0].header.cards if card.keyword not in MADE_AT_WRITING]
        np.testing.assert_array_equal(magnetogram.data, hdus[0].data)
    header = magnetogram.fits_header
    header.remove("COMMENT", ignore_missing=True)       # SunPy adds an empty one
    assert [(card.keyword, card.value, card.comment) for card in header.cards] == [
        (card.keyword, card.value, card.comment) for card in cards if card.keyword != "EXTEND" or "EXTEND" in header]


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """A folder with the run of a model of AIA 171, raw files of both EUVI, cubes, and what the command makes of it."""
    folder = tmp_path_factory.mktemp("one")
    write_run(folder / "checkpoints" / "run", ["SDO/AIA 171"], size=SIZE, checkpoints=("5_G", "9_G", "9_G_ema"))
    (folder / "raw").mkdir()
    for name in ("secchi_l0_a.fits", "secchi_l0_b.fits"):
        shutil.copy(real(name), folder / "raw")
    write_cubes(folder / "data", count=2, size=SIZE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for inputs in ("raw", "data/Input"):
            result = generate("--dataset_name", "run", "--input_dir_test", inputs, "--iteration", 9, "--no_preview")
            assert result.status == 0, result.err
    return folder


@pytest.fixture
def model(one):
    return pix2pixcc.load(one / "checkpoints" / "run", 9, device="cpu")


@pytest.fixture(scope="module")
def seven(tmp_path_factory):
    """The same for a model of seven channels, and synthetic raw files of the farside and of its frontside reference."""
    import pix2pixCC_Simulate

    folder = tmp_path_factory.mktemp("seven")
    write_run(folder / "checkpoints" / "run", SEVEN, size=SIZE)
    pix2pixCC_Simulate.main(["--raw", "--frontside_reference", "--spacecraft", "STEREO-B", "--passbands", "304", "193",
                             "171", "--out", str(folder / "raw"), "--size", "96", "--start", "2011-03-05T12:02:26",
                             "--days", "0.1", "--n_workers", "1"])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = generate("--dataset_name", "run", "--input_dir_test", "raw", "--iteration", 5, "--no_preview")
    assert result.status == 0, result.err
    return folder


def product(folder, iteration, stem="*"):
    (path,) = (folder / "checkpoints" / "run" / "Image" / "Test" / str(iteration)).glob(f"{stem}_AI.fits")
    return path


# What it takes and gives

@pytest.mark.parametrize(
    "take", [str, Path, opened, array_with_header, lambda path: (opened(path).data, opened(path).meta),
             lambda path: pix2pixcc.prepare(path, SIZE)], ids=["name", "path", "Map", "header", "meta", "cube"])
@pytest.mark.parametrize("stem", ["secchi_l0_a", "secchi_l0_b"])
def test_a_raw_image_gives_what_the_command_writes(one, model, stem, take):
    assert_same(model(take(one / "raw" / f"{stem}.fits")), product(one, 9, stem))


@pytest.mark.parametrize("take", [str, array_with_header])
def test_a_cube_gives_what_the_command_writes(one, model, take):
    stem = "sun_20110301_120403"
    assert_same(model(take(one / "data" / "Input" / f"{stem}.fits")), product(one, 9, stem))


def test_the_images_of_one_input_come_in_any_order_and_kind(seven):
    model = pix2pixcc.load(seven / "checkpoints" / "run", 5, device="cpu")
    files = sorted(path for path in (seven / "raw").rglob("*.f*ts"))
    random.Random(1).shuffle(files)
    assert_same(model(*files), product(seven, 5))
    assert_same(model(tuple(opened(path) for path in files)), product(seven, 5))
    mixed = [array_with_header(path) if path.suffix == ".fts" else path for path in files]
    assert_same(model(*mixed), product(seven, 5))


def test_a_list_gives_a_list(one, model):
    files = [one / "raw" / name for name in ("secchi_l0_a.fits", "secchi_l0_b.fits")]
    for magnetogram, stem in zip(model([files[0], opened(files[1])]), ("secchi_l0_a", "secchi_l0_b"), strict=True):
        assert_same(magnetogram, product(one, 9, stem))
    assert model([]) == []


def test_what_is_given_is_not_changed(one, model):
    cube = pix2pixcc.prepare(one / "raw" / "secchi_l0_a.fits", SIZE)
    data, header = fits.getdata(one / "data/Input/sun_20110301_120403.fits", header=True)
    before = cube.data.copy(), cube.header.copy(), data.copy(), header.copy()
    model([cube, (data, header)])
    np.testing.assert_array_equal(before[0], cube.data)
    np.testing.assert_array_equal(before[2], data)
    assert (before[1], before[3]) == (cube.header, header)


def test_masked_pixels_of_a_map_have_no_value(one, model):
    whole = opened(one / "raw" / "secchi_l0_a.fits")
    place = np.zeros(whole.data.shape, bool)
    place[60:62, 60:62] = True
    masked = sunpy.map.Map(np.where(place, 10000, whole.data), whole.meta, mask=place)
    gap = sunpy.map.Map(np.where(place, np.nan, whole.data.astype(float)), whole.meta)
    np.testing.assert_array_equal(model(masked).data, model(gap).data)
    assert not np.array_equal(model(masked).data, model(whole).data, equal_nan=True)


def test_the_magnetogram_is_a_map_of_its_own_class(one, model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        magnetogram = model(one / "data/Input/sun_20110301_120403.fits")
        model(one / "raw" / "secchi_l0_a.fits")
        written = sunpy.map.Map(product(one, 9, "sun_20110301_120403"))
    assert type(magnetogram) is type(written) is FarsideMagnetogram
    assert magnetogram.name == written.name == "pix2pixCC farside magnetogram, STEREO-B 2011-03-05 12:04:03"
    assert magnetogram.data.dtype == np.float32


# Which checkpoint

def test_the_checkpoint_is_a_number_the_best_or_an_average(one, tmp_path):
    run = shutil.copytree(one / "checkpoints" / "run", tmp_path / "run")
    assert pix2pixcc.load(run, 5).provenance["checkpoint"].endswith("5_G.pt")
    assert pix2pixcc.load(run, "9", average=True).provenance["checkpoint"].endswith("9_G_ema.pt")
    with pytest.raises(pix2pixcc.UserError, match="has no best checkpoint; train with --val_during_train"):
        pix2pixcc.load(run)
    write_json(run / "best.json", {"iteration": 9, "network": "G_ema", "cc_binned": 0.5})
    assert pix2pixcc.load(run).provenance["checkpoint"].endswith("9_G_ema.pt")


def test_the_average_of_the_best_is_taken_where_it_is_asked_for(one, tmp_path):
    run = shutil.copytree(one / "checkpoints" / "run", tmp_path / "run")
    write_json(run / "best.json", {"iteration": 9, "network": "G", "cc_binned": 0.5})
    assert pix2pixcc.load(run, average=True).provenance["checkpoint"].endswith("9_G_ema.pt")
    write_json(run / "best.json", {"iteration": 5, "network": "G", "cc_binned": 0.5})
    with pytest.raises(pix2pixcc.UserError, match="no .*5_G_ema.pt; there are 9"):
        pix2pixcc.load(run, average=True)


def test_a_run_is_loaded_through_a_link_and_from_any_folder(one, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("here").symlink_to(one / "checkpoints" / "run")
    assert pix2pixcc.load("here", 5).provenance["iteration"] == 5


@pytest.mark.parametrize("folder, iteration, words", [
    ("run", 7, "there are 5, 9"), ("run", -1, "name one of 5, 9"), ("run", "last", "'best'"),
    ("nowhere", 5, "nowhere holds no options.json")])
def test_a_checkpoint_that_is_not_there_is_named(one, folder, iteration, words):
    with pytest.raises(pix2pixcc.UserError, match=words):
        pix2pixcc.load(one / "checkpoints" / folder, iteration)


# What it refuses, and with which words

def changed(path, **cards):
    """The array of a file, and its header with other cards; None takes one out."""
    data, header = array_with_header(path)
    for keyword, value in cards.items():
        if value is None:
            header.remove(keyword, ignore_missing=True)
        else:
            header[keyword] = value
    return data, header


NO_OBSERVER = dict.fromkeys(["HGLN_OBS", "HGLT_OBS", "CRLN_OBS", "CRLT_OBS", "HAEX_OBS", "HEEX_OBS", "HEQX_OBS",
                             "HCIX_OBS"])
CUBE = "data/Input/sun_20110301_120403.fits"
RAW = "raw/secchi_l0_b.fits"


@pytest.mark.parametrize("give, words", [
    (lambda: real("aia_171_level1.fits"),
     "SDO/AIA 171 2011-02-15T00:00:00: no time has all that this model needs, STEREO/EUVI 171"),
    (lambda: changed(RAW, WAVELNTH=304), "STEREO/EUVI-B 304 .* needs, STEREO/EUVI 171"),
    (lambda: changed(RAW, DETECTOR="COR2"), r"neither EUVI, nor AIA, nor .*\(its header says: STEREO SECCHI COR2\)"),
    (lambda: changed(RAW, LEDCOLOR="BLUE"), "array: LEDCOLOR = BLUE: an image of the calibration lamp"),
    (lambda: changed(RAW, EXPTIME=None), "array: keyword EXPTIME is missing"),
    (lambda: changed(RAW, **NO_OBSERVER), "array: keyword HGLN_OBS is missing"),
    (lambda: (RAW, RAW), "needs one image of each of its 1 channels, SDO/AIA 171; 2 were given"),
    (lambda: changed(CUBE, CHAN1="SDO/AIA 304"), "array holds SDO/AIA 304; this model takes SDO/AIA 171: channel 1"),
    (lambda: changed(CUBE, CHAN1=None), "does not say what its channels are"),
    (lambda: changed(CUBE, **NO_OBSERVER), "does not say where the observer stood"),
    (lambda: pix2pixcc.prepare(RAW, 32), "32 pixels wide, this model was trained on 48"),
    (lambda: (np.ones((3, 48, 48)), fits.getheader(CUBE)), "no channel axis of length 1"),
    (lambda: "nowhere.fits", "cannot read nowhere.fits: No such file"),
    (lambda: "raw", "raw is a folder"),
    (lambda: (CUBE, RAW), "is a prepared cube")])
def test_what_the_model_does_not_take_is_refused(one, model, monkeypatch, give, words):
    monkeypatch.chdir(one)
    with pytest.raises(pix2pixcc.UserError, match=words):
        model(give())


@pytest.mark.parametrize("given", [5, None, np.ones((48, 48)), {"data": 1}])
def test_what_is_no_image_is_a_type_error(model, given):
    with pytest.raises(TypeError, match="neither a Map, nor a path"):
        model(given)
    with pytest.raises(TypeError, match="no image was given"):
        model()


def test_images_of_different_times_or_spacecraft_make_no_input(seven):
    model = pix2pixcc.load(seven / "checkpoints" / "run", 5)
    files = sorted((seven / "raw").rglob("*.f*ts"))
    late = next(path for path in files if "121154" in path.name)
    passband = fits.getheader(late)["WAVELNTH"]
    others = [path for path in files if path != late]
    with pytest.raises(pix2pixcc.UserError,
                       match=f"STEREO-B lacks STEREO/EUVI-B {passband}: the nearest is 1.. min off"):
        model(*others, changed(late, **{"DATE-OBS": "2011-03-05T14:00:00.000"}))
    with pytest.raises(pix2pixcc.UserError, match=f"lacks STEREO/EUVI-B {passband}: there is no good image at all"):
        model(*others, changed(late, OBSRVTRY="STEREO_A"))


def test_a_cube_with_its_channels_in_another_order_is_put_in_order(seven):
    model = pix2pixcc.load(seven / "checkpoints" / "run", 5)
    files = sorted((seven / "raw").rglob("*n4euB.fts"))
    cube = pix2pixcc.prepare(tuple([*files, *sorted((seven / "raw" / "SDO").rglob("*.fits"))]), SIZE)
    names = [channel.name for channel in cube.channels]
    assert names != SEVEN and len(names) == 7
    assert_same(model(cube), product(seven, 5))


def test_a_model_that_does_not_say_what_its_channels_are_takes_cubes_as_they_are_and_no_raw_images(one, tmp_path):
    model = pix2pixcc.load(write_run(tmp_path / "run", ["SDO/AIA 171"], size=SIZE, described=False), 5)
    cube = one / "data/Input/sun_20110301_120403.fits"
    assert np.isfinite(model(cube).data).any()
    plane, header = changed(cube, CHAN1=None)
    np.testing.assert_array_equal(model((plane[0], header)).data, model(cube).data)
    with pytest.raises(pix2pixcc.UserError, match="cannot take raw images"):
        model(one / "raw" / "secchi_l0_a.fits")


def test_a_model_whose_output_is_not_in_gauss_claims_no_unit(one, tmp_path):
    model = pix2pixcc.load(write_run(tmp_path / "run", ["SDO/AIA 171"], size=SIZE, target_limit=1.0), 5)
    magnetogram = model(one / "data/Input/sun_20110301_120403.fits")
    assert magnetogram.unit is None
    assert magnetogram.plot_settings["norm"].vmax == np.nanmax(np.abs(magnetogram.data))
