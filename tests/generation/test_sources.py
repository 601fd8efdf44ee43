"""What is generated from: the images of a folder, model-ready or raw."""
import gzip
import importlib.resources
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from running import write_cubes

from pix2pixcc.generation.sources import Kept, Source, Unreadable, find_sources, holds_raw_files, load_source
from pix2pixcc.images.cubes import Channel
from pix2pixcc.pipeline import Scaling
from pix2pixcc.utils import UserError

EUV = [Channel.euv("SDO/AIA 171", "")]


@pytest.fixture
def raw(tmp_path):
    for name in ("secchi_l0_a.fits", "secchi_l0_b.fits", "aia_171_level1.fits"):
        shutil.copy(importlib.resources.files("reproject.tests") / "data" / name, tmp_path)
    return tmp_path


def find(folder, channels=1, described=EUV, data_format="fits", size=64):
    return find_sources(str(folder), data_format, channels, described=described, size=size, data_size=None,
                        tolerance=30, n_workers=0)


def test_cubes_are_taken_as_they_are(tmp_path):
    inputs, _ = write_cubes(tmp_path / "data", count=2)
    sources, missing = find(inputs, size=48)
    assert [source.name for source in sources] == ["sun_20110301_120403", "sun_20110302_120403"] and missing == []
    assert sources[0].read().data.shape == (1, 48, 48)


def test_raw_euvi_files_are_registered_to_the_models_size(raw):
    sources, _ = find(raw)
    assert [source.name for source in sources] == ["secchi_l0_a", "secchi_l0_b"]
    image = sources[0].read()
    assert image.data.shape == (1, 64, 64) and image.channels[0].name == "STEREO/EUVI-A 171"
    assert np.median(image.data[image.data > 0]) == pytest.approx(100, rel=0.02) and image.data[0, 0, 0] == 0


def test_a_product_is_called_after_a_raw_file_only_where_no_other_can_fill_in(raw):
    shutil.copy(raw / "secchi_l0_a.fits", raw / "again.fits")
    sources, _ = find(raw)
    assert [source.name for source in sources] == ["stereo_a_20110215_001400", "secchi_l0_b"]


def test_a_damaged_raw_file_is_not_replaced_by_the_image_of_another_time(raw):
    with fits.open(raw / "secchi_l0_a.fits") as hdus:
        data, header = hdus[0].data.copy(), hdus[0].header.copy()
    header.remove("BLANK", ignore_missing=True)
    header["DATE-OBS"] = header["DATE-AVG"] = "2011-02-15T00:34:00"
    fits.PrimaryHDU(data, header).writeto(raw / "later.fits")
    header["DATE-OBS"] = header["DATE-AVG"] = "2011-02-15T00:14:00"
    data[50:80, 50:80] = 0                                     # lost blocks
    fits.PrimaryHDU(data, header).writeto(raw / "secchi_l0_a.fits", overwrite=True)
    sources = {source.name: source for source in find(raw)[0]}
    with pytest.raises(UserError, match=r"secchi_l0_a\.fits: .*of the disk is missing"):
        sources["secchi_l0_a"].read()
    assert sources["later"].read().channels[0].time == "2011-02-15T00:34:00"


def test_raw_files_need_a_model_that_says_what_its_channels_are(raw):
    sources, _ = find(raw, described=None)
    assert len(sources) == 3                                   # taken as model-ready files, three of them


def test_what_a_model_of_three_passbands_lacks_is_listed(raw):
    described = [Channel.euv(f"SDO/AIA {passband}", "") for passband in ("304", "193", "171")]
    with pytest.raises(UserError) as refused:
        find(raw, channels=3, described=described)
    assert str(refused.value).splitlines() == [
        f"{raw}: no time has all that this model needs, STEREO/EUVI 304, STEREO/EUVI 195, STEREO/EUVI 171",
        "2011-02-15T00:14 STEREO-A lacks STEREO/EUVI-A 304, STEREO/EUVI-A 195: there is no good image at all",
        "2011-02-15T00:14 STEREO-B lacks STEREO/EUVI-B 304, STEREO/EUVI-B 195: there is no good image at all"]


def test_a_folder_of_cubes_and_raw_files_gives_both(raw):
    inputs, _ = write_cubes(raw / "data", count=2)
    for path in inputs.glob("*.fits"):
        shutil.copy(path, raw)
    shutil.rmtree(raw / "data")
    sources, missing = find(raw, size=48)
    names = {source.name for source in sources}
    assert names == {"sun_20110301_120403", "sun_20110302_120403", "secchi_l0_a", "secchi_l0_b"}
    assert not any("cube" in line for line in missing)
    assert all(source.read().data.shape == (1, 48, 48) for source in sources)
    for path in raw.glob("secchi_*"):
        path.unlink()
    sources, _ = find(raw, size=48)                        # one raw file is left, of AIA, which makes no farside
    assert len(sources) == 2


def test_what_lies_below_a_folder_of_cubes_is_said(raw):
    inputs, _ = write_cubes(raw / "data", count=2)
    (inputs / "more").mkdir()
    shutil.copy(raw / "secchi_l0_a.fits", inputs / "more")
    sources, missing = find(inputs, size=48)
    assert len(sources) == 2
    assert missing == [f"1 files in folders below {inputs}, such as {inputs / 'more' / 'secchi_l0_a.fits'}, are left "
                       "out: give their own folder"]


def test_headers_of_raw_files_are_remembered_where_told(raw, monkeypatch):
    index = raw / "run" / "headers.jsonl"
    found = [find_sources(str(raw), "fits", 1, described=EUV, size=64, data_size=None, tolerance=30, n_workers=0,
                          index_path=index)[0] for _ in range(2)]
    assert [source.name for source in found[0]] == [source.name for source in found[1]]
    opened = []
    monkeypatch.setattr("pix2pixcc.preparation.index.read_header", opened.append)
    find_sources(str(raw), "fits", 1, described=EUV, size=64, data_size=None, tolerance=30, n_workers=0,
                 index_path=index)
    assert opened == []


def test_a_raw_file_whose_header_forbids_its_use_is_named_and_the_others_are_done(raw):
    with fits.open(raw / "secchi_l0_b.fits", mode="update") as hdus:
        hdus[0].header["LEDCOLOR"] = "BLUE"
    sources, missing = find(raw)
    assert [source.name for source in sources] == ["secchi_l0_a"]
    assert missing == [f"skipped {raw / 'secchi_l0_b.fits'}: LEDCOLOR = BLUE: an image of the calibration lamp"]


def test_every_bad_raw_file_is_named(raw):
    (raw / "deep").mkdir()
    (raw / "deep" / "torn.fits").write_bytes((raw / "secchi_l0_b.fits").read_bytes()[:9000])
    fits.writeto(raw / "foreign.fits", np.ones((8, 8), np.float32))
    with fits.open(raw / "secchi_l0_b.fits", mode="update") as hdus:
        hdus[0].header["LEDCOLOR"] = "BLUE"
    _, missing = find(raw)
    assert sorted(Path(line.split(":")[0].removeprefix("skipped ")).name for line in missing) == [
        "foreign.fits", "secchi_l0_b.fits", "torn.fits"]


def test_files_of_one_name_become_products_of_their_spacecraft(raw):
    for letter, name in (("a", "Sun.fits"), ("b", "sun.fits")):
        (raw / f"stereo_{letter}").mkdir()
        (raw / f"secchi_l0_{letter}.fits").rename(raw / f"stereo_{letter}" / name)
    sources, _ = find(raw)
    assert [source.name for source in sources] == ["stereo_a_20110215_001400", "stereo_b_20110215_001434"]


def test_two_inputs_of_one_name_are_refused_with_both_names(tmp_path):
    inputs, _ = write_cubes(tmp_path / "data", count=2)
    with gzip.open(inputs / "sun_20110301_120403.fits.gz", "wb") as packed:
        packed.write((inputs / "sun_20110301_120403.fits").read_bytes())
    with pytest.raises(UserError, match="_120403.fits and .*_120403.fits.gz would both become sun_20110301_120403_AI"):
        find(inputs)


def test_what_a_folder_holds_is_asked_first(raw, tmp_path_factory):
    assert holds_raw_files(raw, "fits")
    outer = tmp_path_factory.mktemp("outer")
    assert not holds_raw_files(outer, "fits") and not holds_raw_files(outer / "nowhere", "fits")
    (outer / "list.txt").write_text("")
    raw.rename(outer / "deep")
    assert holds_raw_files(outer, "fits")                      # in folders further down
    inputs, _ = write_cubes(outer / "data", count=2)
    assert not holds_raw_files(inputs, "fits")


def test_a_model_of_another_passband_is_told_so(raw):
    with pytest.raises(UserError, match="STEREO/EUVI 304"):
        find(raw, described=[Channel.euv("SDO/AIA 304", "")])


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(UserError, match=tmp_path.name):
        find(tmp_path)


@pytest.mark.parametrize("error", [UserError("bad"), TypeError("odd"), AttributeError("odd"), OverflowError("odd")])
def test_whatever_reading_raises_is_a_problem_of_that_input(error):
    def read():
        raise error

    found = load_source(Source("x", "x.fits", read), scaled=None, multiple=32)
    assert isinstance(found, Unreadable) and str(error) in found.problem


def test_what_is_finished_is_not_read():
    source = Source("x", "x.fits", None)
    assert load_source(source, scaled=None, multiple=32, is_finished=lambda asked: asked is source) == Kept(source)


def test_the_state_of_a_source_changes_when_a_file_of_it_is_written_anew(raw):
    sources, _ = find(raw)
    before = [source.state() for source in sources]
    assert [name for state in before for name, _, _ in state] == ["secchi_l0_a.fits", "secchi_l0_b.fits"]
    (raw / "secchi_l0_b.fits").touch()
    after = [source.state() for source in sources]
    assert after[0] == before[0] and after[1] != before[1]


def test_a_bad_file_does_not_stop_the_others(tmp_path):
    inputs, _ = write_cubes(tmp_path / "data", count=2)
    (inputs / "sun_20110301_120403.fits").write_text("nonsense")
    scaling = Scaling((1.0,), (200.0,), (True,))
    bad, good = (load_source(source, scaled=lambda image: scaling.scale(torch.from_numpy(image.data)), multiple=32)
                 for source in find(inputs, size=48)[0])
    assert isinstance(bad, Unreadable) and "sun_20110301" in bad.problem
    assert good.tensor.shape == (1, 64, 64) and good.tensor[good.crop].shape == (1, 48, 48)
