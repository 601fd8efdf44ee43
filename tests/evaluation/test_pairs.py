"""Which products belong to which true magnetograms, and their values in gauss."""
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from pix2pixcc.evaluation.pairs import in_gauss, match_products
from pix2pixcc.images.files import read_image
from pix2pixcc.utils import UserError


def paths(*names):
    return [Path(name) for name in names]


def test_the_end_of_a_products_name_does_not_count_and_what_is_lonely_is_told_by_side():
    generated = paths("b_AI.fits", "x_20110305_120000_AI.fits.gz", "c_AI.fits")
    real = paths("y_20110305_120000.fits", "a.fits", "b.fits")
    pairs, lone_generated, lone_real = match_products(generated, real)
    assert pairs == [(generated[0], real[2]), (generated[1], real[0])]
    assert (lone_generated, lone_real) == (paths("c_AI.fits"), paths("a.fits"))


def test_an_ending_that_tells_two_products_apart_stays():
    generated = paths("a.fits", "a_AI.fits")
    assert match_products(generated, paths("a.fits", "a_AI.fits"))[0] == [(path, path) for path in generated]


def test_two_that_could_both_be_the_partner_are_lonely():
    pairs, lone_generated, lone_real = match_products(
        paths("a.fits", "x_20110305_120000.fits", "y_20110305_120000.fits"), paths("a.fits", "z_20110305_120000.fits"))
    assert pairs == [(Path("a.fits"), Path("a.fits"))]
    assert len(lone_generated) == 2 and lone_real == paths("z_20110305_120000.fits")


@pytest.mark.parametrize(("generated", "real", "words"), [
    (["a.fits"], ["b.fits"], r"1 input files without a target of their own \(a\.fits\)"),
    (["a.fits", "a.fits.gz"], ["a.fits"], "share their name")])
def test_files_that_cannot_be_paired_are_named_with_the_flags(generated, real, words):
    with pytest.raises(UserError, match=f"cannot pair --generated .* with --real .*{words}"):
        match_products(paths(*generated), paths(*real))


def test_counts_and_shares_become_gauss_by_their_limits(tmp_path):
    PillowImage.fromarray(np.array([[0, 255], [51, 204]], np.uint8)).save(tmp_path / "a.png")
    counts = in_gauss(read_image(tmp_path / "a.png", 1), (-1500, 1500))
    assert counts.tolist() == [[-1500, 1500], [-900, 900]]
    np.save(tmp_path / "a.npy", np.array([[-1.0, 1.0], [0.0, 0.5]], np.float32))
    image = read_image(tmp_path / "a.npy", 1)
    assert in_gauss(image, (-100, 300)).tolist() == [[-100, 300], [100, 200]]
    assert in_gauss(image, None).tolist() == [[-1, 1], [0, 0.5]]
