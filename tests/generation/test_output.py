"""How outputs are named and written."""
import numpy as np
import pytest
import torch
from astropy.io import fits
from running import observer_header

from pix2pixcc.generation.output import Output
from pix2pixcc.generation.products import inputs_of
from pix2pixcc.generation.sources import Loaded, Source
from pix2pixcc.images.cubes import Channel
from pix2pixcc.images.files import Image
from pix2pixcc.pipeline import Scaling

PROVENANCE = {"model": "pix2pixCC", "checkpoint": "5_G.pt", "checkpoint_sha256": "0" * 64, "iteration": 5}
GAUSS = Scaling((-1500.0,), (1500.0,), (False,))


def write(tmp_path, header, data_format="fits", scaling=GAUSS, **options):
    data = np.full((1, 32, 32), 50, np.float32)
    channels = None if header is None else [Channel.euv("STEREO/EUVI-B 171", "2011-03-05T12:04:03")]
    image = Image(data, header, channels, False, tmp_path)
    loaded = Loaded(Source("sun", "sun.fits", lambda: image), torch.from_numpy(data), (Ellipsis,), image)
    output = Output(tmp_path, data_format, scaling, options.pop("save_scale", 1.0), options.pop("image_mode", None),
                    PROVENANCE, **options)
    output.write(loaded, torch.full((1, 32, 32), 0.1))
    return output


def test_an_input_with_an_observer_becomes_a_product(tmp_path):
    write(tmp_path, observer_header(32))
    header, data = fits.getheader(tmp_path / "sun_AI.fits"), fits.getdata(tmp_path / "sun_AI.fits")
    assert (header["BUNIT"], header["CKPTSHA"]) == ("G", "0" * 64)
    assert inputs_of(header) == ["STEREO/EUVI-B_171a_2011-03-05T12:04:03"]
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
