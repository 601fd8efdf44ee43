"""A FITS file is believed only as far as it goes."""
from __future__ import annotations

import gzip

import numpy as np
import pytest
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from pix2pixcc.images.fits import find_image, is_number, open_image, required, required_number
from pix2pixcc.utils import UserError

DATA = np.arange(64, dtype=np.int16).reshape(8, 8)


def with_cards(data: bytes, **values) -> bytes:
    """A FITS file's bytes with the first card of each keyword changed."""
    for keyword, value in values.items():
        start = data.index(keyword.ljust(8).encode() + b"=")
        data = data[:start + 10] + str(value).rjust(20).encode() + data[start + 30:]
    return data


def compressed(path, kind="RICE_1"):
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(DATA, compression_type=kind)]).writeto(path)
    return path


@pytest.mark.parametrize("kind", ["RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1"])
def test_every_tile_compression_is_read(tmp_path, kind):
    with open_image(compressed(tmp_path / "a.fits", kind)) as hdu:
        assert np.array_equal(hdu.data, DATA)
        assert hdu.header["NAXIS1"] == 8


def test_the_first_hdu_with_two_axes_is_the_image(tmp_path):
    table = fits.BinTableHDU.from_columns([fits.Column("energy", "E", array=np.arange(5.0))])
    hdus = [fits.PrimaryHDU(), table, fits.ImageHDU(np.arange(9)), fits.ImageHDU(DATA), fits.ImageHDU(DATA * 2)]
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    number, shape = find_image(tmp_path / "a.fits")
    assert (number, shape) == (3, (8, 8))
    with open_image(tmp_path / "a.fits") as hdu:
        assert np.array_equal(hdu.data, DATA)


def test_a_gzipped_file_is_known_by_its_first_bytes_whatever_its_name(tmp_path):
    fits.PrimaryHDU(DATA).writeto(tmp_path / "a.fits.gz")
    (tmp_path / "b.fits").write_bytes((tmp_path / "a.fits.gz").read_bytes())
    with open_image(tmp_path / "b.fits") as hdu:
        assert np.array_equal(hdu.data, DATA)


def test_the_shape_is_checked_before_the_pixels_are_read(tmp_path):
    fits.PrimaryHDU(DATA).writeto(tmp_path / "a.fits")

    def refuse(shape):
        raise UserError(f"not {shape}")
    with pytest.raises(UserError, match=r"not \(8, 8\)"), open_image(tmp_path / "a.fits", refuse):
        pytest.fail("it was opened")


def test_a_missing_file_and_damaged_pixels_are_named_in_one_line(tmp_path):
    message = r"cannot read .*a\.fits: No such file or directory\. Check the name"
    with pytest.raises(UserError, match=message), open_image(tmp_path / "a.fits"):
        pytest.fail("it was opened")
    damaged = compressed(tmp_path / "b.fits").read_bytes()[:-2880] + 2880 * b"\xff"
    (tmp_path / "b.fits").write_bytes(damaged)
    message = r"cannot read .*b\.fits: it is damaged, or not FITS \(.*\); replace it with a good copy"
    with pytest.raises(UserError, match=message) as caught, open_image(tmp_path / "b.fits") as hdu:
        np.sum(hdu.data)
    assert "\n" not in str(caught.value)


def test_a_changed_pixel_is_noticed_by_the_checksum(tmp_path):
    fits.PrimaryHDU(DATA).writeto(tmp_path / "a.fits", checksum=True)
    content = bytearray((tmp_path / "a.fits").read_bytes())
    content[2880] ^= 1
    (tmp_path / "a.fits").write_bytes(content)
    with pytest.warns(AstropyUserWarning, match="verification failed"), open_image(tmp_path / "a.fits", checksum=True):
        pass


def test_a_keyword_is_asked_for_by_name_and_file():
    header = fits.Header({"EXPTIME": 2, "EMPTY": "", "NAME": "EUVI", "NOTHING": None})
    assert required(header, "NAME") == "EUVI" and required_number(header, "EXPTIME") == 2.0
    for keyword in ("EMPTY", "NOTHING", "AWAY"):
        message = rf"a\.fits: keyword {keyword} is missing; download the file again, or leave it out"
        with pytest.raises(UserError, match=message):
            required(header, keyword, "a.fits")
    with pytest.raises(UserError, match="FITS header: keyword NAME = 'EUVI' should be a number"):
        required_number(header, "NAME")


@pytest.mark.parametrize(("value", "expected"), [(1, True), (-0.5, True), (float("nan"), False), (float("inf"), False),
                                                 ("1", False), (None, False)])
def test_a_number_is_finite(value, expected):
    assert is_number(value) is expected


@pytest.mark.parametrize("cards", [{"NAXIS": 10**18}, {"NAXIS": -1}, {"NAXIS1": -8}, {"NAXIS1": 10**9},
                                   {"NAXIS1": 10**18}, {"BITPIX": "'wide'"}])
def test_a_damaged_header_ends_in_an_error_at_once(tmp_path, cards):
    fits.PrimaryHDU(DATA).writeto(tmp_path / "a.fits")
    (tmp_path / "a.fits").write_bytes(with_cards((tmp_path / "a.fits").read_bytes(), **cards))
    with pytest.raises((UserError, ValueError, TypeError)):
        find_image(tmp_path / "a.fits")


@pytest.mark.parametrize("cards", [{"TFIELDS": 10**18}, {"ZNAXIS": 10**18}, {"ZNAXIS1": 9}, {"ZTILE1": 10**9},
                                   {"ZTILE1": 0}, {"ZTILE2": 2}, {"PCOUNT": -1}, {"PCOUNT": 10**9}])
def test_a_damaged_compressed_image_is_refused_before_it_is_opened(tmp_path, cards):
    damaged = with_cards(compressed(tmp_path / "a.fits").read_bytes(), **cards)
    (tmp_path / "a.fits").write_bytes(damaged)
    with pytest.raises((UserError, ValueError)):
        find_image(tmp_path / "a.fits")


def test_a_compressed_image_that_declares_more_than_compression_can_hold_is_refused(tmp_path):
    damaged = with_cards(compressed(tmp_path / "a.fits").read_bytes(), ZNAXIS1=16000, ZNAXIS2=16000)
    (tmp_path / "a.fits").write_bytes(damaged)
    with pytest.raises(UserError, match="declares 512000000 bytes of pixels in a file of"):
        find_image(tmp_path / "a.fits")


def test_a_gzipped_header_that_declares_more_than_gzip_can_hold_is_refused(tmp_path):
    fits.PrimaryHDU(DATA).writeto(tmp_path / "a.fits")
    bomb = with_cards((tmp_path / "a.fits").read_bytes(), NAXIS1=16000, NAXIS2=16000)
    (tmp_path / "a.fits.gz").write_bytes(gzip.compress(bomb))
    with pytest.raises(UserError, match="declares 512000000 bytes of pixels"):
        find_image(tmp_path / "a.fits.gz")


def test_a_truncated_file_says_how_much_is_missing(tmp_path):
    fits.PrimaryHDU(np.zeros((64, 64), np.float32)).writeto(tmp_path / "a.fits")
    with open(tmp_path / "a.fits", "rb+") as file:
        file.truncate(9000)
    with pytest.raises(UserError, match="is truncated: a header declares 16384 bytes of data, the file has 9000"):
        find_image(tmp_path / "a.fits")


def test_files_without_an_image_are_named(tmp_path):
    (tmp_path / "text.fits").write_text("no FITS at all")
    with pytest.raises(UserError, match=r"text.fits is not a FITS file: it does not begin with SIMPLE"):
        find_image(tmp_path / "text.fits")
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.arange(4))]).writeto(tmp_path / "line.fits")
    with pytest.raises(UserError, match=r"line.fits has no HDU with an image"):
        find_image(tmp_path / "line.fits")
