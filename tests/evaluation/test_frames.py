"""Both images of a pair lie one way round before they are compared, or they are not compared."""
import numpy as np
import pytest
from suns import SIZE, sun_header

from pix2pixcc.evaluation.frames import ASSUMED, in_one_frame
from pix2pixcc.images.files import Image
from pix2pixcc.utils import UserError

FIELD = np.random.default_rng(3).normal(size=(1, SIZE, SIZE)).astype(np.float32)


def image(header, data=FIELD):
    return Image(data, header, None, False)


def rolled(degrees=None, *, matrix=None, spelling="PC", centre=None):
    """The header of an image whose columns and rows go other ways than west and north."""
    header = sun_header(centre=centre)
    header.remove("PC?_?", ignore_missing=True, remove_all=True)
    if degrees is not None:
        header[spelling] = degrees
        return header
    scale = (1, 1) if spelling == "PC" else (header["CDELT1"], header["CDELT2"])
    for row in (0, 1):
        for column in (0, 1):
            header[f"{spelling}{row + 1}_{column + 1}"] = matrix[row][column] * scale[row]
    if spelling == "CD":
        header.remove("CDELT1")
        header.remove("CDELT2")
    return header


def test_the_disk_of_a_pair_comes_from_either_header_and_from_both_if_they_agree():
    with_header, without = image(sun_header()), image(None)
    assert in_one_frame(without, with_header)[2] == in_one_frame(with_header, with_header)[2] == "real header"
    assert in_one_frame(with_header, without)[2] == "generated header"
    assert in_one_frame(without, without)[2] == ASSUMED
    moved = image(sun_header(centre=(31.5 + 0.5, 31.5)))
    turned, disk, _ = in_one_frame(moved, with_header)
    assert turned is moved and disk.centre == pytest.approx((31.5, 31.5), abs=1e-6)
    with pytest.raises(UserError, match="the two disks differ by 2.0 pixels"):
        in_one_frame(image(sun_header(centre=(33.5, 31.5))), with_header)


WAYS = [
    (rolled(180.0, spelling="CROTA2"), FIELD[:, ::-1, ::-1]),
    (rolled(180.0, spelling="CROTA"), FIELD[:, ::-1, ::-1]),
    (rolled(179.9999, spelling="CROTA2"), FIELD[:, ::-1, ::-1]),
    (rolled(matrix=[[-1, 0], [0, -1]]), FIELD[:, ::-1, ::-1]),
    (rolled(matrix=[[-1, 0], [0, -1]], spelling="CD"), FIELD[:, ::-1, ::-1]),
    (rolled(matrix=[[-1, 0], [0, 1]]), FIELD[:, :, ::-1]),
    (rolled(matrix=[[1, 0], [0, -1]], spelling="CD"), FIELD[:, ::-1]),
    (rolled(matrix=[[0, -1], [1, 0]]), np.rot90(FIELD, 1, (1, 2))),      # columns go north, rows east
    (rolled(matrix=[[0, 1], [1, 0]]), FIELD.swapaxes(1, 2))]


@pytest.mark.parametrize("way", range(len(WAYS)))
def test_an_image_that_is_turned_or_mirrored_by_its_header_is_turned_back_exactly(way):
    header, data = WAYS[way]
    north_up = image(sun_header())
    assert np.array_equal(in_one_frame(image(header, data), north_up)[0].data, FIELD)
    assert np.array_equal(in_one_frame(north_up, image(header, data))[0].data, data)
    alike = image(header, data)
    assert in_one_frame(alike, image(header, data))[0] is alike


def test_the_centre_turns_with_the_image():
    off_centre = rolled(180.0, spelling="CROTA2", centre=(SIZE - 1 - 35.0, SIZE - 1 - 30.0))
    turned, disk, _ = in_one_frame(image(off_centre, FIELD[:, ::-1, ::-1]), image(sun_header(centre=(35.0, 30.0))))
    assert np.array_equal(turned.data, FIELD) and disk.centre == pytest.approx((35, 30), abs=1e-6)


def test_other_angles_are_refused_with_what_the_headers_say():
    with pytest.raises(UserError, match=r"north lies 30\.0 degrees from up in the generated image and 0\.0 in"):
        in_one_frame(image(rolled(30.0, spelling="CROTA2")), image(sun_header()))


def test_an_image_that_does_not_say_how_it_lies_is_compared_only_with_one_that_lies_north_up():
    for header in (WAYS[0][0], WAYS[3][0], WAYS[5][0]):
        with pytest.raises(UserError, match="header of the true image .* generated image has none to say how it lies"):
            in_one_frame(image(None), image(header))
        with pytest.raises(UserError, match="header of the generated image .* true image has none"):
            in_one_frame(image(header), image(None))


def test_two_observers_or_times_are_refused():
    here, there = sun_header(), sun_header()
    here["HGLN_OBS"], there["HGLN_OBS"] = 0.0, 90.0
    with pytest.raises(UserError, match="two observers saw them"):
        in_one_frame(image(here), image(there))
    for header, day in ((first := sun_header(), 5), (second := sun_header(), 9)):
        header["DATE-OBS"] = f"2011-03-0{day}T00:00:00"
    with pytest.raises(UserError, match="of two times"):
        in_one_frame(image(first), image(second))
