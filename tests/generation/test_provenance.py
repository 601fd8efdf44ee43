"""A product leads back to where it came from, and a change on the way is found."""
import shutil

import numpy as np
import pytest
from astropy.io import fits
from running import observer_header

from pix2pixcc.generation.products import product_header, write_product
from pix2pixcc.generation.provenance import verify_product
from pix2pixcc.images.cubes import Channel
from pix2pixcc.utils import UserError, file_sha256


@pytest.fixture
def product(tmp_path):
    weights = tmp_path / "run" / "Model" / "5_G.pt"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    header = product_header(observer_header(32), [Channel.euv("STEREO/EUVI-B 171", "2011-03-05T12:04:03")], checkpoint=str(weights),
                            checkpoint_sha256=file_sha256(weights), iteration=5)
    path = tmp_path / "run" / "Image" / "Test" / "5" / "sun_AI.fits"
    write_product(path, np.ones((32, 32)), header)
    return path


def holds(path, **options):
    return [finding.holds for finding in verify_product(path, **options)]


def test_an_untouched_product_holds(product):
    assert holds(product) == [True, True, True]
    assert "STEREO/EUVI-B_171a_2011-03-05T12:04:03" in verify_product(product)[2].text


def test_a_changed_pixel_is_found(product):
    content = bytearray(product.read_bytes())
    content[len(content) - 2880 - 40] ^= 0xFF
    product.write_bytes(content)
    assert holds(product) == [False, True, True]


def test_other_weights_of_the_same_name_are_found(product):
    (product.parents[3] / "Model" / "5_G.pt").write_bytes(b"others")
    assert holds(product) == [True, False, True]


def test_a_moved_product_may_be_told_where_its_weights_are(product, tmp_path):
    moved = shutil.move(product, tmp_path / "a_AI.fits")
    assert holds(moved, checkpoint=tmp_path / "run" / "Model" / "5_G.pt") == [True, True, True]


@pytest.mark.parametrize("keyword, place", [("CKPTSHA", 1), ("HISTORY", 2), ("DATASUM", 0)])
def test_what_the_header_lacks_is_found(product, keyword, place):
    data, header = fits.getdata(product), fits.getheader(product)
    header.remove(keyword, remove_all=True)
    if keyword == "DATASUM":
        header.remove("CHECKSUM")
    fits.PrimaryHDU(data, header).writeto(product, overwrite=True, checksum=keyword != "DATASUM")
    findings = holds(product)
    assert findings.count(False) == 1 and not findings[place]


@pytest.mark.parametrize("content", [None, b"", b"hello", b"SIMPLE  =                    T"])
def test_no_product_at_all_is_named(tmp_path, content):
    path = tmp_path / "x.fits"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="x.fits"):
        verify_product(path)
