"""EUV light of the synthetic Sun: even in B, with the contrast, limb and corona of the real one."""
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from suns import ON_DISK, TIME, correlation

from pix2pixcc.solar.orbits import observer_at
from pix2pixcc.synthetic_sun import field as synthetic_field
from pix2pixcc.synthetic_sun.camera import Camera
from pix2pixcc.synthetic_sun.corona import PASSBANDS, Surface
from pix2pixcc.synthetic_sun.sun import SyntheticSun


@pytest.fixture(scope="module")
def sun():
    return SyntheticSun(4)


def test_light_does_not_know_the_sign_of_the_field(sun):
    elements = synthetic_field.network(4, 424.0)
    turned = synthetic_field.FluxElements(elements.longitude, elements.latitude, -elements.flux, elements.noise)
    for passband in ("171", "193"):
        light = [Surface.of(each, 2).emission(PASSBANDS[passband]) for each in (elements, turned)]
        for one, other in zip(*light, strict=True):
            np.testing.assert_array_equal(one, other)
    observer = observer_at("STEREO-B", TIME)
    reversed_sun = SyntheticSun(4, polarity=-1)
    np.testing.assert_array_equal(sun.euv("171", observer, TIME, 64), reversed_sun.euv("171", observer, TIME, 64))
    np.testing.assert_array_equal(sun.magnetogram(observer, TIME, 64), -reversed_sun.magnetogram(observer, TIME, 64))


@pytest.mark.parametrize("passband", sorted(PASSBANDS, key=int))
def test_euv_images_have_a_disk_median_of_100_a_bright_limb_and_a_corona(sun, passband):
    image = sun.euv(passband, observer_at("STEREO-A", TIME), TIME, 128)
    radius = np.hypot(*Camera.registered(128).sky())
    assert image.dtype == np.float32
    assert np.median(image[ON_DISK]) == pytest.approx(100, rel=1e-3)
    assert np.median(image[(radius > 0.95) & (radius < 0.99)]) > 115
    assert np.median(image[(radius > 1.02) & (radius < 1.06)]) > 5
    assert image[radius > 1.07].mean() < 0.8 * image[(radius > 0.9) & (radius < 1)].mean()


def test_contrast_in_171_is_that_of_the_real_sun(sun):
    """Between those of the AIA, EUVI-A and EUVI-B images of 15 February 2011 (median 100, log10 of 1 to 200)."""
    spread, low, high = [], [], []
    for seed in range(6):
        image = SyntheticSun(seed).euv("171", observer_at("STEREO-B", TIME), TIME, 128)[ON_DISK]
        spread.append(np.log10(np.clip(image, 1, 200)).std())
        low.append(np.percentile(image, 5))
        high.append(np.percentile(image, 99))
    assert 0.12 < np.mean(spread) < 0.22
    assert 40 < np.mean(low) < 75
    assert 250 < np.mean(high) < 900


def test_emission_follows_the_unsigned_field(sun):
    observer = observer_at("SDO", TIME)
    light, flux = sun.euv("193", observer, TIME, 128), np.abs(sun.magnetogram(observer, TIME, 128))
    inner = np.hypot(*Camera.registered(128).sky()) < 0.8
    assert correlation(np.log10(gaussian_filter(light, 2)), np.log10(gaussian_filter(flux, 2) + 1), inner) > 0.5
