"""Input and target files that belong together, by their names; files that are alone are listed."""
from __future__ import annotations

from pathlib import Path

import pytest

from pix2pixcc.images.pairs import pair_files
from pix2pixcc.utils import UserError


def paths(*names: str) -> list[Path]:
    return [Path(name) for name in names]


def names_of(pairs) -> list[tuple[str, str]]:
    return [(input.name, target.name) for input, target in pairs]


def test_files_of_one_name_belong_together_whatever_their_order_and_format():
    pairs = pair_files(paths("b.fits", "a.fits.gz"), paths("a.png", "b.png"))
    assert names_of(pairs) == [("b.fits", "b.png"), ("a.fits.gz", "a.png")]


@pytest.mark.parametrize(("input", "target"), [
    ("AIA_0001.fits", "HMI_0001.fits"), ("0001_input.png", "0001_target.png"),
    ("STEREO_A_0001.fits", "sdo.hmi.0001.fits"), ("2011-02-15T00:00:12.fits", "m_20110215000012.fits"),
    ("aia_171_20110215_000012.fits", "hmi_m720s_20110215_000012.fits"),
])
def test_names_may_differ_by_instrument_or_agree_in_their_time(input, target):
    others = paths("aia_99_20120101_000000.fits"), paths("m_20120101_000000_hmi.fits")
    assert names_of(pair_files([Path(input), *others[0]], [*others[1], Path(target)])) \
        == [(input, target), ("aia_99_20120101_000000.fits", "m_20120101_000000_hmi.fits")]


def test_files_without_a_partner_are_listed_up_to_ten():
    inputs, targets = [Path(f"{k:02}.fits") for k in range(15)], paths("00.fits", "lone.fits")
    with pytest.raises(UserError) as error:
        pair_files(inputs, targets)
    message = str(error.value)
    assert "14 input files without a target of their own (01.fits, 02.fits" in message and "10.fits, ...)" in message
    assert "11.fits" not in message and "1 target files without an input of their own (lone.fits)" in message


def test_one_time_on_two_files_matches_neither():
    message = r"2 input files without a target.*x_20110101_000000.fits, y_20110101_000000.fits"
    with pytest.raises(UserError, match=message):
        pair_files(paths("x_20110101_000000.fits", "y_20110101_000000.fits"), paths("z_20110101_000000.fits"))


def test_two_files_of_one_name_are_refused():
    with pytest.raises(UserError, match=r"2 target files share their name with another \(a.fits, a.fits.gz\). Keep"):
        pair_files(paths("a.fits"), paths("a.fits", "a.fits.gz"))
