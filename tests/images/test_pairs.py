"""Input and target files that belong together, by their names; files that are alone are listed."""
from __future__ import annotations

from pathlib import Path

import pytest
from astropy.io import fits

from pix2pixcc.images.pairs import View, match_files, pair_files
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
    ("STEREO_A_0001.fits", "target.0001.fits"), ("2011-02-15T00:00:12.fits", "m_20110215000012.fits"),
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


@pytest.mark.parametrize(("input", "target"), [
    ("stereo_a_20110305_120403.fits", "stereo_b_20110305_120403.fits"), ("sdo_0001.fits", "stereo_b_0001.fits"),
    ("STEREO_A_0001.fits", "sdo.hmi.0001.fits"), ("20110305_120400_n4euA.fts.fits", "20110305_120400_n4euB.fts.fits"),
    ("stereo-ahead_20110305_1204.fits", "stb_20110305_1204.fits"), ("euvi.0001.fits", "aia.0001.fits"),
    ("secchi_euvi-b_20110305_1204.fits", "hmi_20110305_1204.fits"),
    ("solo_20230305_1204.fits", "m_hmi_20230305_1204.fits")])
def test_files_of_two_observers_never_belong_together(input, target):
    for names in ((input, target), (target, input)):
        with pytest.raises(UserError, match="1 input files without a target of their own .* and are of one observer"):
            pair_files(*map(paths, names))


def test_of_equal_names_those_of_one_observer_belong_together():
    inputs = paths("stereo_a_20110305_1204.fits", "stereo_b_20110305_1204.fits", "aia_20110305_1204.fits")
    targets = paths("m_stereo_b_20110305_1204.fits", "hmi_20110305_1204.fits", "m_stereo_a_20110305_1204.fits")
    assert match_files(inputs, targets) == ([(inputs[0], targets[2]), (inputs[1], targets[0]), (inputs[2], targets[1])],
                                            [], [])


def view(**cards):
    return View.of(fits.Header([(keyword.replace("_TIME", "-OBS"), value) for keyword, value in cards.items()]))


@pytest.mark.parametrize(("first", "second", "words"), [
    ({"HGLN_OBS": 87.6}, {"HGLN_OBS": -94.8}, "two observers saw them (HGLN_OBS 87.60 and -94.80 degrees)"),
    ({"CRLN_OBS": 3.0}, {"CRLN_OBS": 90.0}, "two observers saw them (CRLN_OBS 3.00 and 90.00 degrees)"),
    ({"HGLN_OBS": 0.0, "DATE_TIME": "2011-03-05T12:00:00"}, {"HGLN_OBS": 0.0, "DATE_TIME": "2011-03-12T12:00:00.000"},
     "of two times (DATE-OBS 2011-03-05T12:00:00 and 2011-03-12T12:00:00.000)"),
    ({"HGLN_OBS": 179.5}, {"HGLN_OBS": -179.5}, ""), ({"HGLN_OBS": 87.6}, {}, ""),
    ({"HGLN_OBS": "nan"}, {"HGLN_OBS": 12.0}, ""), ({"DATE_TIME": "2011-03-05T12:00:00Z"}, {"DATE_TIME": "2011"}, ""),
    ({"DATE_TIME": "2011-03-05T12:00:00"}, {"DATE_TIME": "2011-03-05T13:30:00"}, "")])
def test_headers_tell_whether_two_images_are_one_view(first, second, words):
    told = view(**first).other_than(view(**second))
    assert words in told and bool(words) == bool(told)
