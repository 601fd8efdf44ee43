"""Raw files of the synthetic Sun pass for the archives', and lead back to the Sun they were taken of."""
import warnings
from datetime import datetime

import numpy as np
import pytest
import sunpy.map
from astropy.io import fits
from suns import ON_DISK, TIME, correlation

from pix2pixcc.solar.orbits import observer_at
from pix2pixcc.solar.registration import prepare_channel
from pix2pixcc.synthetic_sun.datasets import write_raw
from pix2pixcc.synthetic_sun.sun import SyntheticSun


@pytest.fixture(scope="module")
def raw_files(tmp_path_factory):
    return write_raw(tmp_path_factory.mktemp("raw"), times=[TIME], size=512, passbands=["171"], seed=4, n_workers=1,
                     progress=False)


def test_raw_files_have_the_quirks_of_their_archives(raw_files):
    assert len(raw_files) == 4
    aia, hmi = (next(path for path in raw_files if word in path.name) for word in ("aia", "hmi"))
    euvi_a, euvi_b = (next(path for path in raw_files if word in path.name) for word in ("euA", "euB"))
    with fits.open(aia) as hdus:
        assert isinstance(hdus[1], fits.CompImageHDU) and hdus[0].data is None
        assert hdus[1].data.dtype.kind == "i" and hdus[1].header["EXPTIME"] > 1 and hdus[1].header["QUALITY"] == 0
        assert hdus[1].header["CDELT1"] == pytest.approx(0.6 * 4096 / 512, rel=0.01)
    with fits.open(hmi) as hdus:
        assert hdus[1].header["CROTA2"] == pytest.approx(180, abs=0.1)
        assert np.isnan(hdus[1].data[0, 0]) and np.isfinite(hdus[1].data[256, 256])
    for path, bias in ((euvi_a, 725.2), (euvi_b, 688.2)):
        data, header = fits.getdata(path, header=True)
        assert data.shape == (512, 512) and data[:20, :20].mean() == pytest.approx(bias, abs=3)
        assert header["BIASMEAN"] == pytest.approx(bias, abs=0.1)
        assert header["OFFSETCR"] == 0 and header["NMISSING"] == 0
        assert abs(header["PC1_2"]) > 0.1


def test_raw_files_lead_back_to_the_sun_they_were_taken_of(raw_files):
    sun = SyntheticSun(4)
    for path in raw_files:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            sunpy.map.Map(path)
        image, channel, header = prepare_channel(path, 128)
        time = datetime.fromisoformat(header["DATE-AVG"])
        name = "SDO" if channel.name.startswith("SDO") else f"STEREO-{channel.name[12]}"
        observer = observer_at(name, time)
        if channel.is_magnetogram:
            direct = sun.magnetogram(observer, time, 128)
        else:
            direct = sun.euv(channel.name[-3:], observer, time, 128)
            image, direct = (np.log10(np.clip(one, 1, 200)) for one in (image, direct))
        assert correlation(image, direct) > 0.98      # resampled twice, by the detector and by its registration
        halves = (one.reshape(64, 2, 64, 2).mean((1, 3)) for one in (image, direct, ON_DISK.astype(float)))
        image, direct, share = halves
        assert correlation(image, direct, share == 1) > 0.99
