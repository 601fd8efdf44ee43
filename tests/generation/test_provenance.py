"""A product leads back to where it came from, and a change on the way is found."""
import importlib.resources
import shutil

import numpy as np
import pytest
from astropy.io import fits
from running import observer_header, write_cubes

from pix2pixcc.generation.products import product_header, write_product
from pix2pixcc.generation.provenance import observations_in, verify_product
from pix2pixcc.images.cubes import Channel
from pix2pixcc.utils import UserError, file_sha256

INPUT = "STEREO/EUVI-B_171a_2011-03-05T12:04:03"


@pytest.fixture
def made(tmp_path):
    weights = tmp_path / "run" / "Model" / "5_G.pt"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    header = product_header(observer_header(32), [Channel.euv("STEREO/EUVI-B 171", "2011-03-05T12:04:03")],
                            checkpoint=str(weights), checkpoint_sha256=file_sha256(weights), iteration=5)
    path = tmp_path / "run" / "Image" / "Test" / "5" / "sun_AI.fits"
    write_product(path, np.ones((32, 32)), header)
    return path


def answers(path, **options):
    return [finding.answer for finding in verify_product(path, **options)]


def test_an_untouched_product_holds_and_its_inputs_are_not_checked_before_they_are_looked_for(made):
    assert answers(made) == ["ok", "ok", "not checked"]
    assert INPUT in verify_product(made)[2].text


def test_inputs_are_looked_for_where_it_is_told(made, tmp_path):
    assert answers(made, inputs={INPUT, "another"}) == ["ok", "ok", "ok"]
    findings = verify_product(made, inputs={"another"})
    assert [finding.answer for finding in findings] == ["ok", "ok", "BAD"] and INPUT in findings[2].text


def test_cubes_and_raw_files_of_a_folder_are_observations(tmp_path):
    inputs, _ = write_cubes(tmp_path / "cubes", count=1, channels=2)
    shutil.copy(importlib.resources.files("reproject.tests") / "data" / "secchi_l0_b.fits", inputs)
    (inputs / "torn.fits").write_text("nonsense")
    assert observations_in(inputs, n_workers=0) == {
        INPUT, "STEREO/EUVI-B_195a_2011-03-05T12:04:03", "STEREO/EUVI-B_171a_2011-02-15T00:14:33"}
    with pytest.raises(UserError, match="nowhere"):
        observations_in(tmp_path / "nowhere", n_workers=0)


def test_a_changed_pixel_is_found(made):
    content = bytearray(made.read_bytes())
    content[len(content) - 2880 - 40] ^= 0xFF
    made.write_bytes(content)
    assert answers(made)[:2] == ["BAD", "ok"]


def test_other_weights_of_the_same_name_are_found(made):
    (made.parents[3] / "Model" / "5_G.pt").write_bytes(b"others")
    assert answers(made)[:2] == ["ok", "BAD"]


def test_a_moved_product_is_not_bad_and_may_be_told_where_its_weights_are(made, tmp_path):
    moved, weights = shutil.move(made, tmp_path / "a_AI.fits"), tmp_path / "run" / "Model" / "5_G.pt"
    assert answers(moved) == ["ok", "not checked", "not checked"]
    assert answers(moved, checkpoint=weights)[1] == "ok"
    weights.write_bytes(b"others")
    assert answers(moved, checkpoint=weights)[1] == "BAD"


@pytest.mark.parametrize("keyword, expected", [
    ("CKPTSHA", ["ok", "BAD", "not checked"]), ("HISTORY", ["ok", "ok", "BAD"]),
    ("DATASUM", ["BAD", "ok", "not checked"])])
def test_what_the_header_lacks_is_found(made, keyword, expected):
    data, header = fits.getdata(made), fits.getheader(made)
    header.remove(keyword, remove_all=True)
    if keyword == "DATASUM":
        header.remove("CHECKSUM")
    fits.PrimaryHDU(data, header).writeto(made, overwrite=True, checksum=keyword != "DATASUM")
    assert answers(made) == expected


@pytest.mark.parametrize("content", [None, b"", b"hello", b"SIMPLE  =                    T"])
def test_no_product_at_all_is_named(tmp_path, content):
    path = tmp_path / "x.fits"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="x.fits"):
        verify_product(path)
