"""Where inputs come from, and how outputs are named and written."""
import importlib.resources
import shutil

import numpy as np
import pytest
import torch
from astropy.io import fits
from running import observer_header, write_cubes

from pix2pixcc.generation.output import Output
from pix2pixcc.generation.products import inputs_of
from pix2pixcc.generation.sources import Loaded, Source, SourceDataset, Unreadable, find_sources, raw_sources
from pix2pixcc.images.cubes import Channel
from pix2pixcc.images.files import Image
from pix2pixcc.pipeline import Scaling
from pix2pixcc.preparation.index import index_archive
from pix2pixcc.utils import UserError

PROVENANCE = {"model": "pix2pixCC", "checkpoint": "5_G.pt", "checkpoint_sha256": "0" * 64, "iteration": 5}
EUV = [Channel.euv("SDO/AIA 171", "")]


@pytest.fixture
def raw(tmp_path):
    for name in ("secchi_l0_a.fits", "secchi_l0_b.fits", "aia_171_level1.fits"):
        shutil.copy(importlib.resources.files("reproject.tests") / "data" / name, tmp_path)
    return tmp_path


def find(folder, channels=1, described=EUV, data_format="fits"):
    return find_sources(str(folder), data_format, channels, described=described, size=64, tolerance=30)


def test_cubes_are_taken_as_they_are(tmp_path):
    inputs, _ = write_cubes(tmp_path / "data", count=2)
    sources, missing = find(inputs)
    assert [source.name for source in sources] == ["sun_20110301_120403", "sun_20110302_120403"] and missing == []
    assert sources[0].read().data.shape == (1, 48, 48)


def test_raw_euvi_files_are_registered_to_the_models_size(raw):
    sources, _ = find(raw)
    assert [source.name for source in sources] == ["secchi_l0_a", "secchi_l0_b"]
    image = sources[0].read()
    assert image.data.shape == (1, 64, 64) and image.channels[0].name == "STEREO/EUVI-A 171"
    assert np.median(image.data[image.data > 0]) == pytest.approx(100, rel=0.02) and image.data[0, 0, 0] == 0


def test_raw_files_need_a_model_that_says_what_its_channels_are(raw):
    sources, _ = find(raw, described=None)
    assert len(sources) == 3                                   # taken as model-ready files, three of them


def test_what_a_model_of_three_passbands_lacks_is_listed(raw):
    described = [Channel.euv(f"SDO/AIA {passband}", "") for passband in ("304", "193", "171")]
    _, missing = raw_sources(index_archive([raw]), described, size=64, tolerance=30)
    assert missing == ["2011-02-15T00:14 STEREO-A lacks STEREO/EUVI-A 304, STEREO/EUVI-A 195: there is no good image at all",
                       "2011-02-15T00:14 STEREO-B lacks STEREO/EUVI-B 304, STEREO/EUVI-B 195: there is no good image at all"]
    with pytest.raises(UserError, match="EUVI-A 195"):
        find(raw, channels=3, described=described)


def test_a_model_of_another_passband_is_told_so(raw):
    with pytest.raises(UserError, match="STEREO/EUVI 304"):
        find(raw, described=[Channel.euv("SDO/AIA 304", "")])


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(UserError, match=tmp_path.name):
        find(tmp_path)


def test_a_bad_file_does_not_stop_the_others(tmp_path):
    inputs, _ = write_cubes(tmp_path / "data", count=2)
    (inputs / "sun_20110301_120403.fits").write_text("nonsense")
    dataset = SourceDataset(find(inputs)[0], Scaling((1.0,), (200.0,), (True,)), 32)
    bad, good = dataset[0], dataset[1]
    assert isinstance(bad, Unreadable) and "sun_20110301" in bad.problem
    assert good.tensor.shape == (1, 64, 64) and good.tensor[good.crop].shape == (1, 48, 48)


GAUSS = Scaling((-1500.0,), (1500.0,), (False,))


def write(tmp_path, header, data_format="fits", scaling=GAUSS, **options):
    data = np.full((1, 32, 32), 50, np.float32)
    image = Image(data, header, [Channel.euv("STEREO/EUVI-B 171", "2011-03-05T12:04:03")] if header is not None else None, False, tmp_path)
    loaded = Loaded(Source("sun", "sun.fits", lambda: image), torch.from_numpy(data), (Ellipsis,), image)
    output = Output(tmp_path, data_format, scaling, options.pop("save_scale", 1.0), options.pop("image_mode", None), PROVENANCE, **options)
    output.write(loaded, torch.full((1, 32, 32), 0.1))
    return output


def test_an_input_with_an_observer_becomes_a_product(tmp_path):
    write(tmp_path, observer_header(32))
    header, data = fits.getheader(tmp_path / "sun_AI.fits"), fits.getdata(tmp_path / "sun_AI.fits")
    assert header["BUNIT"] == "G" and header["CKPTSHA"] == "0" * 64 and inputs_of(header) == ["STEREO/EUVI-B_171a_2011-03-05T12:04:03"]
    assert data[16, 16] == pytest.approx(150) and np.isnan(data[0, 0])


def test_without_an_observer_the_values_are_written_as_they_are(tmp_path):
    write(tmp_path, None)
    assert fits.getdata(tmp_path / "sun_AI.fits") == pytest.approx(np.full((32, 32), 150.0))


def test_values_that_were_never_gauss_are_not_called_gauss(tmp_path):
    write(tmp_path, observer_header(32), scaling=Scaling((-1.0,), (1.0,), (False,)))
    assert not fits.getheader(tmp_path / "sun_AI.fits").get("BUNIT")
    write(tmp_path, observer_header(32), scaling=Scaling((-1.0,), (1.0,), (False,)), save_scale=1500.0)
    assert fits.getheader(tmp_path / "sun_AI.fits")["BUNIT"] == "G"
    assert fits.getdata(tmp_path / "sun_AI.fits")[16, 16] == pytest.approx(150)


@pytest.mark.parametrize("story", [False, True])
def test_previews_lie_beside_and_never_replace_the_output(tmp_path, story):
    output = write(tmp_path, observer_header(32), image_mode="png", story=story)
    assert output.preview_path(Source("sun", "", None)).name == "sun_AI.png"
    output = write(tmp_path, None, data_format="png", scaling=Scaling((0.0,), (255.0,), (False,)), image_mode="png")
    assert output.path(Source("sun", "", None)).name == "sun_AI.png"
    assert output.preview_path(Source("sun", "", None)).name == "sun_AI.preview.png"
    assert all((tmp_path / name).stat().st_size > 0 for name in ("sun_AI.fits", "sun_AI.png", "sun_AI.preview.png"))


def test_a_finished_output_has_its_preview(tmp_path):
    output = write(tmp_path, observer_header(32), image_mode="png")
    source = Source("sun", "", None)
    assert output.is_finished(source)
    output.preview_path(source).unlink()
    assert not output.is_finished(source)
