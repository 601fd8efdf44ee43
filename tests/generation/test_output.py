"""How outputs are named and written, and when one that is there is kept."""
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from astropy.io import fits
from running import observer_header

from pix2pixcc.generation.output import Output, bits_of_pictures
from pix2pixcc.generation.products import inputs_of
from pix2pixcc.generation.sources import Loaded, Source
from pix2pixcc.images.cubes import Channel, set_channel_cards
from pix2pixcc.images.files import Image
from pix2pixcc.pipeline import Scaling
from pix2pixcc.utils import UserError

PROVENANCE = {"model": "pix2pixCC", "checkpoint": "5_G.pt", "checkpoint_sha256": "0" * 64, "iteration": 5}
GAUSS = Scaling((-1500.0,), (1500.0,), (False,))


def write(tmp_path, header, data_format="fits", scaling=GAUSS, **options):
    data = np.full((1, 32, 32), 50, np.float32)
    channels = None if header is None else [Channel.euv("STEREO/EUVI-B 171", "2011-03-05T12:04:03")]
    image = Image(data, header, channels, False, tmp_path)
    source = source_of(tmp_path)
    loaded = Loaded(source, torch.from_numpy(data), (Ellipsis,), image, source.state())
    output = output_of(tmp_path, data_format=data_format, scaling=scaling, **options)
    output.write(loaded, torch.full((1, 32, 32), 0.1))
    return output


def source_of(tmp_path):
    path = tmp_path / "sun.fits"
    if not path.exists():
        path.touch()
    return Source("sun", "sun.fits", None, (str(path),))


def output_of(tmp_path, **options):
    weights = tmp_path / "5_G.pt"
    if not weights.exists():
        weights.touch()
    given = {"data_format": "fits", "scaling": GAUSS, "unit": "G", "save_scale": 1.0, "image_mode": None,
             "provenance": PROVENANCE | {"checkpoint": str(weights)}} | options
    return Output(tmp_path, **given)


def test_an_input_with_an_observer_becomes_a_product(tmp_path):
    write(tmp_path, observer_header(32))
    header, data = fits.getheader(tmp_path / "sun_AI.fits"), fits.getdata(tmp_path / "sun_AI.fits")
    assert (header["BUNIT"], header["CKPTSHA"]) == ("G", "0" * 64)
    assert inputs_of(header) == ["STEREO/EUVI-B_171a_2011-03-05T12:04:03"]
    assert data[16, 16] == pytest.approx(150) and np.isnan(data[0, 0])


def test_without_an_observer_the_values_are_written_as_they_are(tmp_path):
    write(tmp_path, None)
    assert fits.getdata(tmp_path / "sun_AI.fits") == pytest.approx(np.full((32, 32), 150.0))


@pytest.mark.parametrize("options", [{"unit": ""}, {"save_scale": 0.001}, {"unit": "", "save_scale": 1500.0}])
def test_values_that_nobody_knows_to_be_gauss_are_not_called_gauss(tmp_path, options):
    write(tmp_path, observer_header(32), **options)
    assert not fits.getheader(tmp_path / "sun_AI.fits").get("BUNIT")
    expected = 150 * options.get("save_scale", 1)
    assert fits.getdata(tmp_path / "sun_AI.fits")[16, 16] == pytest.approx(expected)


@pytest.mark.parametrize("story", [False, True])
def test_previews_lie_beside_and_never_replace_the_output(tmp_path, story):
    output = write(tmp_path, observer_header(32), image_mode="png", story=story)
    assert output.preview_path(Source("sun", "", None)).name == "sun_AI.png"
    output = write(tmp_path, None, data_format="png", scaling=Scaling((0.0,), (255.0,), (False,)), image_mode="png")
    assert output.path(Source("sun", "", None)).name == "sun_AI.png"
    assert output.preview_path(Source("sun", "", None)).name == "sun_AI.preview.png"
    assert all((tmp_path / name).stat().st_size > 0 for name in ("sun_AI.fits", "sun_AI.png", "sun_AI.preview.png"))


def test_several_channels_do_not_carry_the_cards_of_the_input(tmp_path):
    header = observer_header(32)
    set_channel_cards(header, [Channel.euv("STEREO/EUVI-B 171", "2011-03-05T12:04:03")])
    header.remove("HGLN_OBS")                     # so that the output is no product
    write(tmp_path, header)
    written = fits.getheader(tmp_path / "sun_AI.fits")
    assert "DSUN_OBS" in written and not [card for card in written if card.startswith(("CHAN", "CTIME", "CLOW"))]


@pytest.mark.parametrize("data_format, limits, save_scale, as_trained, bits", [
    ("png", (0, 255), 1, True, 8), ("jpg", (0, 255), 1, False, 8), ("png", (0, 65535), 1, True, 16),
    ("png", (0, 65535), 1, False, 16), ("png", (0, 255), 100, True, 16), ("png", (-1, 1), 1, True, 8),
    ("png", (-3000, 3000), 1, True, 16), ("jpg", (-3000, 3000), 1, True, 8), ("tif", (-1500, 1500), 1, False, 8),
    ("npy", (0, 1e9), 1, False, 8), ("png", (-1500, 1500), 1, False, None), ("jpg", (0, 65535), 1, False, None),
    ("png", (0, 65535), 2, True, None), ("png", (0, 255), -1, True, None)])
def test_pictures_have_the_bits_that_hold_the_values_or_are_refused(data_format, limits, save_scale, as_trained, bits):
    scaling = Scaling((float(limits[0]),), (float(limits[1]),), (False,))
    if bits is not None:
        assert bits_of_pictures(data_format, scaling, save_scale, as_trained=as_trained) == bits
        return
    with pytest.raises(UserError, match=f"--data_format_target {data_format} cannot hold .* choose fits, npy or tif"):
        bits_of_pictures(data_format, scaling, save_scale, as_trained=as_trained)


def test_colours_of_16_bits_are_refused():
    with pytest.raises(UserError, match="png cannot hold values from 0 to 65535"):
        bits_of_pictures("png", Scaling((0.0,) * 3, (65535.0,) * 3, (False,) * 3), 1, as_trained=True)


# What is there is kept if it is what would be written again

def test_an_output_is_finished_with_its_preview(tmp_path):
    output = write(tmp_path, observer_header(32), image_mode="png")
    source = source_of(tmp_path)
    assert output.is_finished(source) and replace(output, image_mode=None).is_finished(source)
    output.preview_path(source).unlink()
    assert not output.is_finished(source) and replace(output, image_mode=None).is_finished(source)
    output.path(source).unlink()
    assert not replace(output, image_mode=None).is_finished(source)


def test_a_preview_that_was_not_asked_for_is_drawn_when_it_is(tmp_path):
    output = write(tmp_path, observer_header(32))
    (tmp_path / "sun_AI.png").touch()             # of an older output
    assert not replace(output, image_mode="png").is_finished(source_of(tmp_path))


@pytest.mark.parametrize("has_observer", [True, False])
@pytest.mark.parametrize("change", [
    {"save_scale": 100.0}, {"unit": ""}, {"settings": {"network": {"n_gf": 8}}},
    {"settings": {"precision": "bfloat16"}}, {"scaling": Scaling((-3000.0,), (3000.0,), (False,))},
    {"provenance": {"checkpoint_sha256": "1" * 64}}, {"provenance": {"iteration": 6}},
    {"provenance": {"model": "pix2pixHD"}},
    {"provenance": {"checkpoint": "elsewhere/5_G_ema.pt"}}])
def test_an_output_of_other_weights_or_settings_is_not_finished(tmp_path, change, has_observer):
    output = write(tmp_path, observer_header(32) if has_observer else None)
    assert output.is_finished(source_of(tmp_path))
    if "provenance" in change:
        change = {"provenance": output.provenance | change["provenance"]}
    assert not replace(output, **change).is_finished(source_of(tmp_path))


@pytest.mark.parametrize("change", [
    lambda path: path.write_text("anew"), lambda path: os.utime(path, ns=(1, 1)), lambda path: path.unlink()])
def test_an_output_of_another_input_is_not_finished(tmp_path, change):
    output = write(tmp_path, observer_header(32))
    source = source_of(tmp_path)
    change(tmp_path / "sun.fits")
    assert not output.is_finished(source)


def test_another_preview_is_drawn_anew(tmp_path):
    output = write(tmp_path, observer_header(32), image_mode="png")
    source, truth = source_of(tmp_path), tmp_path / "truth.fits"
    assert not replace(output, story=True).is_finished(source)
    truth.touch()
    assert not replace(output, truths={"sun": truth}).is_finished(source)
    assert replace(output, truths={"other": truth}).is_finished(source)


def test_a_damaged_output_is_not_finished(tmp_path):
    output = write(tmp_path, observer_header(32))
    content = (tmp_path / "sun_AI.fits").read_bytes()
    (tmp_path / "sun_AI.fits").write_bytes(content[:-4000])
    assert not output.is_finished(source_of(tmp_path))


@pytest.mark.parametrize("change", ["input", "weights", "scale", "file", "list"])
def test_an_output_without_a_header_is_finished_while_it_would_be_written_again(tmp_path, change):
    source = source_of(tmp_path)
    output = output_of(tmp_path, data_format="npy")
    loaded = Loaded(source, torch.zeros(1, 32, 32), (...,), Image(np.zeros((1, 32, 32), np.float32), None, None, False),
                    source.state())
    assert not output.is_finished(source)
    output.write(loaded, torch.full((1, 32, 32), 0.1))
    assert output.is_finished(source) and output_of(tmp_path, data_format="npy").is_finished(source)
    if change == "input":
        (tmp_path / "sun.fits").write_bytes(b"another")
    elif change == "weights":
        output = output_of(tmp_path, data_format="npy",
                           provenance=output.provenance | {"checkpoint_sha256": "1" * 64})
    elif change == "scale":
        output = output_of(tmp_path, data_format="npy", save_scale=2.0)
    elif change == "file":                                  # by another program
        os.utime(output.path(source), ns=(10, 10))
    else:
        (tmp_path / ".written.jsonl").write_text('["sun_AI.npy", 1')
    assert not output.is_finished(source)
