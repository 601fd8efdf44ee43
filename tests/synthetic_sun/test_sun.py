"""A synthetic Sun is one Sun for all observers and all times, and another for another seed."""
from datetime import timedelta

import numpy as np
import pytest
import sunpy.map
from reproject import reproject_interp
from scipy.ndimage import gaussian_filter
from suns import TIME, correlation

from pix2pixcc.solar.orbits import Observer, observer_at
from pix2pixcc.synthetic_sun.archives import sky_header
from pix2pixcc.synthetic_sun.camera import Camera
from pix2pixcc.synthetic_sun.sun import SyntheticSun


@pytest.fixture(scope="module")
def sun():
    return SyntheticSun(4)


def test_the_disk_turns_by_thirteen_degrees_a_day(sun):
    before = sun.magnetogram(Observer("SDO", 0, 0, 1), TIME, 128)
    turns = np.arange(22, 32, 0.5)
    after = [sun.magnetogram(Observer("SDO", turn, 0, 1), TIME + timedelta(days=2), 128) for turn in turns]
    best = turns[np.argmax([correlation(before, image) for image in after])]
    assert best / 2 == pytest.approx(13.2, abs=0.4)                  # synodic, in the activity belts


def test_the_same_sun_comes_back_a_rotation_later_changed():
    recurrence, chance = [], []
    for seed in range(6):
        sun, other = SyntheticSun(seed), SyntheticSun(seed + 100)
        observer = Observer("SDO", 0, 0, 1)
        now, earlier, by_chance = (gaussian_filter(one.magnetogram(observer, time, 128), 2) for one, time in (
            (sun, TIME), (sun, TIME - timedelta(days=27.2753)), (other, TIME)))
        recurrence.append(correlation(now, earlier))
        chance.append(correlation(now, by_chance))
    assert abs(np.mean(chance)) < 0.15
    assert 0.25 < np.mean(recurrence) < 0.8


def test_two_observers_see_one_field_where_their_views_overlap(sun):
    size = 256
    views = []
    for longitude in (0, 40):
        observer = Observer("SDO", longitude, 3, 1)
        image = gaussian_filter(sun.magnetogram(observer, TIME, size), 2)
        header = sky_header(Camera.registered(size), observer, TIME)
        cosine = np.sqrt(np.clip(1 - np.hypot(*Camera.registered(size).sky()) ** 2, 1e-6, None))
        views.append((image / cosine, header))
    two, header = views[1]
    seen, _ = reproject_interp(sunpy.map.Map(*views[0]), header, shape_out=(size, size))
    sky = Camera.registered(size).sky()
    where = np.isfinite(seen) & (np.hypot(*sky) < 0.8) & (sky[0] < 0)
    assert correlation(np.nan_to_num(seen), two, where) > 0.93
    assert np.abs(seen[where]).sum() == pytest.approx(np.abs(two[where]).sum(), rel=0.1)


def test_magnetograms_are_registered_float_images_empty_off_the_disk(sun):
    image = sun.magnetogram(observer_at("SDO", TIME), TIME, 128)
    assert image.shape == (128, 128) and image.dtype == np.float32
    assert not image[np.hypot(*Camera.registered(128).sky()) > 1].any()
    assert 200 < np.abs(image).max() < 3500
    assert abs(image.sum()) < 0.2 * np.abs(image).sum()


def test_the_same_seed_gives_the_same_sun_and_another_seed_another():
    observer = observer_at("STEREO-A", TIME)
    for look in (lambda sun: sun.magnetogram(observer, TIME, 64), lambda sun: sun.euv("304", observer, TIME, 64)):
        one, two, other = (look(SyntheticSun(seed)) for seed in (7, 7, 8))
        np.testing.assert_array_equal(one, two)
        assert not np.array_equal(one, other)


def test_an_unknown_passband_is_named():
    with pytest.raises(ValueError, match="no recipe for passband '1600'"):
        SyntheticSun(0).euv("1600", observer_at("SDO", TIME), TIME, 64)
