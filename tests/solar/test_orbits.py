"""Where observers stand, against headers of real files."""
from datetime import datetime, timedelta

import pytest

from pix2pixcc.solar.geometry import AU_METRES
from pix2pixcc.solar.orbits import observer_at, reference_time


@pytest.mark.parametrize(("name", "time", "longitude", "latitude", "metres"), [      # from headers of real files
    ("STEREO-A", datetime(2011, 2, 15, 0, 14), 87.0596, -2.8125, 143_667_689_819),
    ("STEREO-B", datetime(2011, 2, 15, 0, 14), -93.7295, 3.2308, 153_751_896_353),
    ("STEREO-B", datetime(2011, 3, 5, 12, 4), -94.782, 1.0769, 152_041_499_485),
    ("SDO", datetime(2011, 2, 15), 0.0, -6.8205, 147_724_815_128)])
def test_observers_stand_where_the_spacecraft_stood(name, time, longitude, latitude, metres):
    observer = observer_at(name, time)
    assert observer.longitude == pytest.approx(longitude, abs=0.3)
    assert observer.latitude == pytest.approx(latitude, abs=0.5)
    assert observer.distance * AU_METRES == pytest.approx(metres, rel=2e-3)


def test_an_unknown_observer_is_named():
    with pytest.raises(ValueError, match="'SOHO' is none of SDO, STEREO-A, STEREO-B"):
        observer_at("SOHO", datetime(2011, 3, 1))


def test_the_published_products_reference_time():
    reference = reference_time(datetime(2011, 3, 5, 12, 4, 3), -94.782)
    assert (datetime(2011, 3, 5, 12, 4, 3) - reference) / timedelta(days=1) == pytest.approx(20.09, abs=0.01)
    assert abs(reference - datetime(2011, 2, 13, 9, 50)) < timedelta(minutes=5)


def test_the_reference_time_of_the_front_side_is_now_and_just_east_of_it_a_rotation_ago():
    now = datetime(2013, 1, 1)
    assert reference_time(now, 0) == now == reference_time(now, 360)
    assert now - reference_time(now, 90) == timedelta(days=27.2753 / 4)
    assert now - reference_time(now, -1e-6) == pytest.approx(timedelta(days=27.2753), abs=timedelta(seconds=1))
