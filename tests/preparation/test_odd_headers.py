"""One odd header is one skipped file: nothing is raised, and the good files beside it are done."""
import random

import pytest
from odd_headers import cases, originals, outcome

CASES = list(cases())
NEEDED = {"DATE-OBS", "CRPIX1", "CRVAL1", "CDELT1", "CROTA2", "PC1_1", "HGLN_OBS", "HAEX_OBS", "DSUN_OBS", "WAVELNTH",
          "WAVEUNIT", "CUNIT1", "CTYPE1", "EXPTIME", "QUALITY", "BIASMEAN", "NMISSING", "OBSRVTRY", "CONTENT", "T_OBS"}


@pytest.fixture(scope="module")
def images():
    return originals()


@pytest.mark.parametrize("instrument", ["AIA", "HMI", "EUVI"])
def test_an_odd_value_of_a_keyword_costs_no_other_file(images, instrument):
    own = [case for case in CASES if case[0] == instrument]
    needed = [case for case in own if case[1] in NEEDED]
    chosen = random.Random(0).sample(needed, 80) + random.Random(1).sample(own, 40)
    lost = [case for case in chosen if not outcome(images, *case)[1]]
    assert lost == []


@pytest.mark.parametrize(("instrument", "keyword"), [("AIA", "WAVEUNIT"), ("EUVI", "OBS_ID"), ("HMI", "RSUN_REF")])
def test_a_file_is_not_refused_for_a_keyword_that_nobody_needs(images, instrument, keyword):
    assert all(outcome(images, instrument, keyword, value) == (True, True) for value in ("", "abc", -1e30, "nan"))
