"""Maps for models, read back as their readers read them."""
import json
import sys
from datetime import datetime

import numpy as np
import pytest
import sunpy.map
from astropy import units as u
from scipy.ndimage import minimum_filter
from sunpy.map.sources import GONGSynopticMap
from whole_suns import active_sun, harmonic, layers, places, whole_sun

from pix2pixcc.utils import UserError
from pix2pixcc.whole_sun.exports import export_gong, export_hipft, write_hipft_index

SHAPE = (180, 360)


def test_sunpy_takes_the_file_for_a_gong_map_with_the_same_field_at_the_same_places(tmp_path):
    whole = whole_sun(active_sun(SHAPE))
    whole.meta["history"] = "SDO/HMI_M720s_2011-03-05T12:00:00\nmade of it"
    export_gong(tmp_path / "gong.fits", whole)
    gong = sunpy.map.Map(tmp_path / "gong.fits")
    assert isinstance(gong, GONGSynopticMap)
    np.testing.assert_allclose(gong.data, whole.data, rtol=1e-6)
    columns, rows = np.meshgrid(np.arange(0, 360, 17), np.arange(0, 180, 11))
    here, there = (each.pixel_to_world(columns * u.pix, rows * u.pix) for each in (gong, whole))
    np.testing.assert_allclose(here.lon.deg, there.lon.deg, atol=1e-9)
    np.testing.assert_allclose(here.lat.deg, there.lat.deg, atol=1e-9)
    assert gong.date.isot == whole.date.isot and str(gong.unit) == "G"
    assert gong.meta["cdelt2"] == pytest.approx(2 / 180)
    assert gong.meta["history"] == whole.meta["history"]
    assert gong.meta["origin"] == "pix2pixCC" and gong.meta["creator"] == "pix2pixCC"
    assert "pix2pixCC" in gong.meta["comment"]
    # 2011 March 5 is in rotation 2107, which began on February 16 (as SunPy's own clock says).
    assert gong.meta["carrot"] == 2107 and gong.meta["crcenter"] == 2107.5


def test_a_gong_file_goes_into_pfss_as_it_is(tmp_path, monkeypatch):
    pytest.importorskip("sunkit_magex")
    monkeypatch.setattr("pix2pixcc.whole_sun.pfss.MOST_TRACED", 200)      # lines are another test's business
    from pix2pixcc.whole_sun.pfss import corona_of

    whole = whole_sun(harmonic(2, 1, SHAPE))
    export_gong(tmp_path / "gong.fits", whole)
    surfaces = [corona_of(each, shells=5).source_surface for each in (whole, sunpy.map.Map(tmp_path / "gong.fits"))]
    np.testing.assert_allclose(*surfaces, atol=1e-6)


def test_a_larger_map_is_averaged_down_to_gongs_size_with_its_flux(tmp_path):
    whole = whole_sun(active_sun((360, 1080)))
    export_gong(tmp_path / "gong.fits", whole)
    gong = sunpy.map.Map(tmp_path / "gong.fits")
    assert gong.data.shape == SHAPE
    assert gong.data[7, 11] == pytest.approx(whole.data[14:16, 33:36].mean())
    assert gong.data.mean() == pytest.approx(whole.data.mean(), abs=1e-6)


def test_what_gong_has_no_room_for_is_refused_in_words(tmp_path):
    with pytest.raises(UserError, match="120 x 60 cells.*--shape 360 180"):
        export_gong(tmp_path / "a.fits", whole_sun(active_sun((60, 120))))
    with pytest.raises(UserError, match="--frame carrington"):
        export_gong(tmp_path / "a.fits", whole_sun(active_sun(SHAPE), frame="stonyhurst"))
    gap = whole_sun(active_sun(SHAPE))
    gap.data[0, 0] = np.nan
    with pytest.raises(UserError, match="1 pixels of the map are NaN"):
        export_gong(tmp_path / "a.fits", gap)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def hipft(tmp_path):
    """What HipFT reads of an exported map: scales in the order of Fortran's axes, and the layers."""
    h5py = pytest.importorskip("h5py")

    def read(whole, maps, **options):
        path = tmp_path / "map.h5"
        export_hipft(path, whole, maps, **options)
        with h5py.File(path) as file:
            assert [file["Data"].dims[axis][0].name for axis in range(3)] == ["/dim1", "/dim2", "/dim3"]
            return [file[f"dim{k}"][:] for k in (1, 2, 3)], file["Data"][:], dict(file.attrs)
    return read


def node_areas(theta, columns):
    """Area of the cell around each node, of the sphere's; the last column is the first again."""
    edges = np.concatenate([[0], (theta[1:] + theta[:-1]) / 2, [np.pi]])
    return -np.diff(np.cos(edges))[:, None] / 2 / (columns - 1)


def test_hipft_reads_layers_on_nodes_with_the_flux_of_the_map(hipft):
    whole, maps = whole_sun(active_sun(SHAPE)), layers(SHAPE)
    (phi, theta, numbers), data, attributes = hipft(whole, maps)
    assert data.shape == (3, 181, 361) and data.dtype == np.float32
    assert [phi[0], phi[-1], theta[0], theta[-1]] == pytest.approx([0, 2 * np.pi, 0, np.pi])
    assert numbers.tolist() == [0, 1, 2]
    names = [row[1] for row in json.loads(attributes["layers"])["data"]]
    assert names == ["magneto", "assim_weight", "mu"] and attributes["T_REC"] == "2011-03-05T12:00:00"
    np.testing.assert_array_equal(data[:, :, 0], data[:, :, -1])
    for pole in (0, -1):
        assert np.ptp(data[0, pole]) == 0
    area = node_areas(theta.astype(float), 361)
    for part in (whole.data, np.where(places(SHAPE)[0] > 0, 1.0, -0.5)):      # a field and one with a great flux
        _, data, _ = hipft(whole_sun(part), maps)
        assert (data[0, :, :-1] * area).sum() == pytest.approx(part.mean(), abs=1e-5)


def test_hipft_has_a_spot_where_the_map_has_it(hipft):
    sine, longitude = places(SHAPE)
    spot = np.exp(-((longitude - np.radians(200)) ** 2 + (np.arcsin(sine) - np.radians(35)) ** 2) / 0.1 ** 2)
    (phi, theta, _), data, _ = hipft(whole_sun(500 * spot), layers(SHAPE))
    row, column = np.unravel_index(data[0].argmax(), data[0].shape)
    assert np.degrees(phi[column]) == pytest.approx(200, abs=0.6)
    assert 90 - np.degrees(theta[row]) == pytest.approx(35, abs=0.6)
    (phi, theta, _), data, _ = hipft(whole_sun(500 * spot), layers(SHAPE), shape=(64, 128))
    assert data.shape == (3, 64, 128)


def test_history_and_polar_fill_have_no_weight_in_hipft(hipft):
    whole, maps = whole_sun(active_sun(SHAPE)), layers(SHAPE)
    filled = maps | {"MU": np.maximum(maps["MU"], 0.5)}
    (phi, theta, _), data, _ = hipft(whole, filled)
    unseen = minimum_filter(maps["SOURCE"] <= 1, (9, 5), mode=("nearest", "wrap"))       # and all around it
    row = ((np.cos(theta) + 1) / 2 * 180 - 0.5).round().clip(0, 179).astype(int)
    column = (np.degrees(phi) - 0.5).round().astype(int) % 360
    nodes = unseen[np.ix_(row, column)]
    assert nodes.sum() > 1000 and data[1][nodes].max() == 0 and data[2][nodes].max() == 0
    # In the middle of the disk that SDO sees the weight is mu^4.
    row, column = round(90 + 7.25), 139
    assert data[1, row, column] == pytest.approx(1, abs=0.01) and data[2, row, column] == pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(data[1, row, 90:180], data[2, row, 90:180] ** 4, atol=1e-3)
    assert data[1].min() == 0 and data[1].max() <= 1


def test_nan_in_layers_means_not_observed(hipft):
    maps = layers(SHAPE)
    maps["MU"] = np.where(maps["MU"] > 0, maps["MU"], np.nan)
    _, data, _ = hipft(whole_sun(active_sun(SHAPE)), maps)
    assert np.isfinite(data).all()


def test_what_hipft_needs_is_said(tmp_path, monkeypatch):
    pytest.importorskip("h5py")
    whole = whole_sun(active_sun(SHAPE))
    with pytest.raises(UserError, match="no layer MU"):
        export_hipft(tmp_path / "a.h5", whole, {"SOURCE": layers(SHAPE)["SOURCE"]})
    with pytest.raises(UserError, match="--frame carrington"):
        export_hipft(tmp_path / "a.h5", whole_sun(whole.data, frame="stonyhurst"), layers(SHAPE))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match='pip install "pix2pixcc.hipft."'):
        export_hipft(tmp_path / "a.h5", whole, layers(SHAPE))
    assert not list(tmp_path.iterdir())


def test_the_list_for_hipft_has_its_columns_where_hipft_reads_them(tmp_path):
    write_hipft_index(tmp_path / "maps.csv", [(datetime(2011, 1, 1, 1, 0, 0), "b.h5"),
                                              (datetime(2010, 12, 31, 23, 59, 52), "2010/a.h5")])
    lines = (tmp_path / "maps.csv").read_text().splitlines()
    assert lines[0] == "target_datetime_utc,obs_datetime_utc,obs_jd,map_path"
    assert lines[1] == "2010-12-31T23:59:52,2010-12-31T23:59:52,2455562.49991,2010/a.h5"
    assert float(lines[2][40:53]) == 2455562.54167 and lines[2][54:] == "b.h5"
