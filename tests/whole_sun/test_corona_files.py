"""The corona of a map on disk."""
import json

import numpy as np
import pytest
import sunpy.map
from astropy.io import fits
from whole_suns import active_sun, whole_sun

from pix2pixcc.utils import UserError
from pix2pixcc.whole_sun.corona_files import read_corona, write_corona
from pix2pixcc.whole_sun.pfss import corona_of

STEM = "synchronic_20110305_1200"


@pytest.fixture(scope="module", params=["carrington", "stonyhurst"])
def written(request, tmp_path_factory):
    pytest.importorskip("sunkit_magex")
    whole = whole_sun(active_sun((60, 120)), frame=request.param)
    corona = corona_of(whole)
    return whole, corona, *write_corona(tmp_path_factory.mktemp("corona") / STEM, corona, whole)


def test_sunpy_opens_the_source_surface_at_its_radius(written):
    whole, corona, path, _ = written
    with fits.open(path, checksum=True) as hdus:
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "OPEN", "LINES"]
        assert all("CHECKSUM" in hdu.header and "DATASUM" in hdu.header for hdu in hdus)
        np.testing.assert_array_equal(hdus["OPEN"].data, corona.open_field)
        surface = sunpy.map.Map(hdus[0].data, hdus[0].header)
    np.testing.assert_allclose(surface.data, corona.source_surface, rtol=1e-6)
    assert str(surface.unit) == "G"
    here, there = (each.pixel_to_world(*np.mgrid[0:120:30, 0:60:20].reshape(2, -1) * sunpy.map.mapbase.u.pix)
                   for each in (surface, whole))
    np.testing.assert_allclose([here.lon.deg, here.lat.deg], [there.lon.deg, there.lat.deg], atol=1e-9)
    assert surface.rsun_meters.to_value("m") == pytest.approx(2.5 * 695.7e6)
    assert surface.meta["history"] == f"potential field of {STEM}.fits"
    assert surface.meta["openflux"] == pytest.approx(corona.open_flux)


def test_the_numbers_are_in_the_json_file(written):
    _, corona, _, path = written
    numbers = json.loads(path.read_text())
    assert path.name == f"{STEM}_pfss.json"
    assert numbers["map"] == f"{STEM}.fits" and numbers["time_utc"] == "2011-03-05T12:00:00"
    assert numbers["open_flux_mx"] == corona.open_flux
    assert numbers["dipole"]["g10_gauss"] == corona.harmonics["g10"]
    assert set(numbers["software"]) == {"pix2pixcc", "sunkit-magex", "streamtracer", "sunpy"}


def test_a_corona_is_read_as_it_was_written(written):
    _, corona, path, _ = written
    read = read_corona(path.parent / STEM)
    np.testing.assert_allclose(read.source_surface, corona.source_surface, rtol=1e-6)
    assert read.harmonics == corona.harmonics and read.traced == corona.traced
    assert read.numbers() | {"open_flux_mx": 0, "neutral_line_latitudes_deg": 0} == (
        corona.numbers() | {"open_flux_mx": 0, "neutral_line_latitudes_deg": 0})
    assert len(read.lines) == len(corona.lines)
    for one, other in zip(read.lines, corona.lines, strict=True):
        assert one.polarity == other.polarity
        np.testing.assert_allclose(one.radius, other.radius, rtol=1e-6)
        np.testing.assert_allclose(one.longitude, other.longitude, rtol=1e-6)


def test_a_corona_that_is_not_there_or_damaged_is_named(written, tmp_path):
    with pytest.raises(UserError, match=f"cannot read .*{STEM}_pfss.json"):
        read_corona(tmp_path / STEM)
    (tmp_path / f"{STEM}_pfss.json").write_bytes(written[3].read_bytes())
    (tmp_path / f"{STEM}_pfss.fits").write_bytes(written[2].read_bytes()[:6000])
    with pytest.raises(UserError, match=f"{STEM}_pfss.fits"):
        read_corona(tmp_path / STEM)
