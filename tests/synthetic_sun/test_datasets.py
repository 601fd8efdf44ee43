"""Data sets of synthetic Suns: self-describing cubes, reference times, both cycles."""
import warnings
from datetime import timedelta

import numpy as np
import pytest
import sunpy.map
from astropy.io import fits
from suns import TIME

from pix2pixcc.images.cubes import read_channel_cards
from pix2pixcc.solar.geometry import disk_mask
from pix2pixcc.solar.orbits import observer_at
from pix2pixcc.synthetic_sun.datasets import write_pairs, write_raw


@pytest.fixture(scope="module")
def data_set(tmp_path_factory):
    out = tmp_path_factory.mktemp("pairs")
    write_pairs(out, pairs=2, test_suns=2, size=64, passbands=["304", "193", "171"],
                frontside_reference=True, n_workers=1, progress=False)
    return out


def test_pairs_are_self_describing_cubes_that_sunpy_opens(data_set):
    kinds = ("Train/Input", "Train/Target", "Test/Input")
    names = {kind: sorted(path.name for path in (data_set / kind).iterdir()) for kind in kinds}
    assert names["Train/Input"] == names["Train/Target"] and len(names["Train/Input"]) == 2
    assert [name[:9] for name in names["Test/Input"]] == ["stereo_a_", "stereo_b_"]
    for kind, name in (("Train", names["Train/Input"][0]), ("Test", names["Test/Input"][1])):
        data, header = fits.getdata(data_set / kind / "Input" / name, header=True)
        assert data.shape == (7, 64, 64) and data.dtype.itemsize == 4
        assert np.median(data[0][disk_mask(64)]) == pytest.approx(100, rel=1e-3)
        assert not data[:, ~disk_mask(64)].any()
        channels = read_channel_cards(header, 7)
        first = {"Train": ["SDO/AIA 304", "SDO/AIA 193", "SDO/AIA 171"],
                 "Test": ["STEREO/EUVI-B 304", "STEREO/EUVI-B 195", "STEREO/EUVI-B 171"]}[kind]
        reference = ["SDO/AIA 304", "SDO/AIA 193", "SDO/AIA 171", "SDO/HMI magnetogram"]
        assert [channel.name for channel in channels] == [*first, *reference]
        target, target_header = fits.getdata(data_set / kind / "Target" / name, header=True)
        assert target.shape == (1, 64, 64) and read_channel_cards(target_header, 1)[0].is_magnetogram
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            view = sunpy.map.Map(target[0], target_header)
        name_of = "SDO" if kind == "Train" else "STEREO-B"
        where = observer_at(name_of, view.date.to_datetime())
        assert view.observer_coordinate.lon.deg == pytest.approx(where.longitude, abs=1e-6)
        assert view.rsun_obs.value / view.scale[0].value == pytest.approx(450 / 1024 * 64, rel=1e-6)


def test_reference_times_are_added_where_asked(tmp_path):
    files = write_raw(tmp_path, times=[TIME], spacecraft=["STEREO-B"], size=64, passbands=["171"],
                      frontside_reference=True, n_workers=1, progress=False)
    days = (observer_at("STEREO-B", TIME).longitude % 360) / 360 * 27.2753
    expected = TIME - timedelta(days=days)
    assert [path.name[:3] for path in files] == ["aia", "hmi", "201"]
    assert f"{expected:%Y-%m-%dT%H%M}" in files[0].name


def test_suns_of_both_cycles_differ_in_every_polarity_and_in_no_euv_image(tmp_path):
    for folder, both in (("one", False), ("both", True)):
        write_pairs(tmp_path / folder, pairs=4, test_suns=0, size=32, passbands=["171"], both_cycles=both, n_workers=1,
                    progress=False)
    signs = []
    for path in sorted((tmp_path / "one" / "Train" / "Target").glob("*.fits")):
        (field, header), (other, turned) = (
            fits.getdata(tmp_path / folder / "Train" / "Target" / path.name, header=True) for folder in ("one", "both"))
        np.testing.assert_array_equal(other, turned["SUNPOL"] * field)
        np.testing.assert_array_equal(*(fits.getdata(tmp_path / folder / "Train" / "Input" / path.name)
                                        for folder in ("one", "both")))
        signs.append((header["SUNPOL"], turned["SUNPOL"]))
    assert sorted(signs) == [(1, -1), (1, -1), (1, 1), (1, 1)]
