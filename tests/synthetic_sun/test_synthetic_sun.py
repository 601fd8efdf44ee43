"""The synthetic Sun keeps the Sun's laws, is one Sun for all observers, and its files pass for the archives'."""
from __future__ import annotations

import warnings
from datetime import datetime, timedelta
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
import sunpy.map
from astropy.io import fits
from reproject import reproject_interp
from scipy.ndimage import gaussian_filter
from sunpy.sun.models import differential_rotation

import pix2pixCC_Simulate as synthetic_sun
from pix2pixcc.images.cubes import read_channel_cards
from pix2pixcc.solar.geometry import disk_mask
from pix2pixcc.solar.orbits import Observer, observer_at
from pix2pixcc.solar.registration import prepare_channel
from pix2pixcc.synthetic_sun import field as synthetic_field
from pix2pixcc.synthetic_sun.archives import sky_header
from pix2pixcc.synthetic_sun.camera import Camera
from pix2pixcc.synthetic_sun.datasets import write_pairs, write_raw
from pix2pixcc.synthetic_sun.sun import PASSBANDS, Surface, SyntheticSun
from pix2pixcc.utils import UserError

TIME = datetime(2011, 3, 1)
DAY = 424.0                             # of the synthetic Sun, from the start of 2010
ON_DISK = disk_mask(128)


def correlation(one: np.ndarray, other: np.ndarray, where: np.ndarray = ON_DISK) -> float:
    return float(np.corrcoef(one[where], other[where])[0, 1])


@pytest.fixture(scope="module")
def many_regions() -> synthetic_field.Regions:
    found = [synthetic_field.active_regions(seed, DAY) for seed in range(40)]
    return synthetic_field.Regions(*(np.concatenate([getattr(regions, name) for regions in found])
                                     for name in synthetic_field.Regions.__dataclass_fields__))


@pytest.fixture(scope="module")
def sun() -> SyntheticSun:
    return SyntheticSun(4)


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pairs")
    write_pairs(out, pairs=2, test_suns=2, size=64, passbands=["304", "193", "171"], frontside_reference=True, n_workers=1, progress=False)
    return out


@pytest.fixture(scope="module")
def raw_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_raw(tmp_path_factory.mktemp("raw"), times=[TIME], size=512, passbands=["171"], seed=4, n_workers=1, progress=False)


def test_leading_polarities_follow_hales_law_but_for_a_few_per_cent(many_regions):
    expected = np.where(many_regions.latitude > 0, -1, 1)            # solar cycle 24
    share = (many_regions.leading_sign == expected).mean()
    assert 0.9 < share < 0.995


def test_the_western_half_of_the_northern_regions_is_negative():
    west_is_negative = []
    for seed in range(12):
        regions = synthetic_field.active_regions(seed, DAY)
        regions = regions.select((regions.flux > 5e21) & (DAY - regions.birth < 12) & (regions.latitude > 0))
        for number in range(len(regions)):
            elements = synthetic_field.region_elements(regions.select(np.array([number])), DAY)
            west = elements.longitude > np.median(elements.longitude)
            west_is_negative.append(elements.flux[west].sum() < 0)
    assert len(west_is_negative) > 12
    assert np.mean(west_is_negative) > 0.85


def test_tilts_follow_joys_law(many_regions):
    latitude = np.abs(many_regions.latitude)
    low, high = many_regions.tilt[latitude < 12].mean(), many_regions.tilt[latitude > 22].mean()
    assert low == pytest.approx(32.1 * np.sin(np.radians(latitude[latitude < 12].mean())), abs=1.5)
    assert high > low + 4


def test_the_leading_polarity_lies_nearer_to_the_equator_and_is_more_compact():
    nearer, compacter = [], []
    for seed in range(30):
        regions = synthetic_field.active_regions(seed, DAY)
        regions = regions.select((regions.flux > 5e21) & (DAY - regions.birth > 2) & (DAY - regions.birth < 12))
        for number in range(len(regions)):
            elements = synthetic_field.region_elements(regions.select(np.array([number])), DAY)
            leading = np.sign(elements.flux) == regions.leading_sign[number]
            nearer.append(np.abs(elements.latitude[leading]).mean() < np.abs(elements.latitude[~leading]).mean())
            compacter.append(np.std(elements.longitude[leading]) < np.std(elements.longitude[~leading]))
    assert len(nearer) > 30
    assert np.mean(nearer) > 0.75
    assert np.mean(compacter) > 0.9


def test_regions_keep_to_two_belts_and_the_flux_balances(many_regions):
    assert np.abs(many_regions.latitude).max() < 40
    assert 0.4 < (many_regions.latitude > 0).mean() < 0.6
    for elements in (synthetic_field.region_elements(synthetic_field.active_regions(3, DAY), DAY), synthetic_field.network(3, DAY)):
        assert abs(elements.flux.sum()) < 1e-3 * np.abs(elements.flux).sum()


def test_one_polarity_prevails_over_wide_areas_for_weeks_and_not_for_a_year():
    """The network itself is another one after some days: what lasts is which polarity outweighs the other, in cells of 20 degrees."""
    def imbalance(seed, day):
        elements = synthetic_field.network(seed, day)
        low = np.abs(elements.latitude) < 50
        cell = ((elements.latitude[low] + 50) // 20 * 18 + elements.longitude[low] % 360 // 20).astype(int)
        net, all_of_it = (np.bincount(cell, weights, 90) for weights in (elements.flux[low], np.abs(elements.flux[low])))
        return net / all_of_it

    today = {seed: imbalance(seed, DAY) for seed in (4, 5, 6)}
    assert 0.1 < np.mean(np.abs(list(today.values()))) < 0.3
    for days, low, high in ((7, 0.7, 1), (27, 0.2, 0.7), (300, -0.4, 0.3)):
        agreement = [np.corrcoef(field, imbalance(seed, DAY + days))[0, 1] for seed, field in today.items()]
        assert low < np.mean(agreement) < high, days


def test_features_rotate_as_sunpy_says():
    for latitude in (0, 20, 60):
        expected = differential_rotation(1 * u.day, latitude * u.deg, model="howard").to_value("deg")
        assert float(synthetic_field.rotation_rate(latitude)) == pytest.approx(expected, rel=1e-3)


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


def test_light_does_not_know_the_sign_of_the_field(sun):
    elements = synthetic_field.network(4, DAY)
    turned = synthetic_field.FluxElements(elements.longitude, elements.latitude, -elements.flux, elements.noise)
    for passband in ("171", "193"):
        for one, other in zip(*(Surface.of(e, 2).emission(PASSBANDS[passband]) for e in (elements, turned)), strict=True):
            np.testing.assert_array_equal(one, other)
    observer = observer_at("STEREO-B", TIME)
    np.testing.assert_array_equal(sun.euv("171", observer, TIME, 64), SyntheticSun(4, polarity=-1).euv("171", observer, TIME, 64))
    np.testing.assert_array_equal(sun.magnetogram(observer, TIME, 64), -SyntheticSun(4, polarity=-1).magnetogram(observer, TIME, 64))


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


@pytest.mark.parametrize(("name", "time", "longitude", "latitude", "metres"), [
    ("STEREO-A", datetime(2011, 2, 15, 0, 14), 87.0596, -2.8125, 143_667_689_819),           # from headers of real files
    ("STEREO-B", datetime(2011, 2, 15, 0, 14), -93.7295, 3.2308, 153_751_896_353),
    ("STEREO-B", datetime(2011, 3, 5, 12, 4), -94.782, 1.0769, 152_041_499_485),
    ("SDO", datetime(2011, 2, 15), 0.0, -6.8205, 147_724_815_128)])
def test_observers_stand_where_the_spacecraft_stood(name, time, longitude, latitude, metres):
    observer = observer_at(name, time)
    assert observer.longitude == pytest.approx(longitude, abs=0.3)
    assert observer.latitude == pytest.approx(latitude, abs=0.5)
    assert observer.distance * 149_597_870_700 == pytest.approx(metres, rel=2e-3)


def test_an_unknown_observer_or_passband_is_named():
    with pytest.raises(ValueError, match="'SOHO' is none of SDO, STEREO-A, STEREO-B"):
        observer_at("SOHO", TIME)
    with pytest.raises(ValueError, match="no recipe for passband '1600'"):
        SyntheticSun(0).euv("1600", observer_at("SDO", TIME), TIME, 64)


def test_pairs_are_self_describing_cubes_that_sunpy_opens(data_set):
    names = {kind: sorted(path.name for path in (data_set / kind).iterdir()) for kind in ("Train/Input", "Train/Target", "Test/Input")}
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
        assert [channel.name for channel in channels] == [*first, "SDO/AIA 304", "SDO/AIA 193", "SDO/AIA 171", "SDO/HMI magnetogram"]
        target, target_header = fits.getdata(data_set / kind / "Target" / name, header=True)
        assert target.shape == (1, 64, 64) and read_channel_cards(target_header, 1)[0].is_magnetogram
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            view = sunpy.map.Map(target[0], target_header)
        name_of = "SDO" if kind == "Train" else "STEREO-B"
        where = observer_at(name_of, view.date.to_datetime())
        assert view.observer_coordinate.lon.deg == pytest.approx(where.longitude, abs=1e-6)
        assert view.rsun_obs.value / view.scale[0].value == pytest.approx(450 / 1024 * 64, rel=1e-6)


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
        assert header["BIASMEAN"] == pytest.approx(bias, abs=0.1) and header["OFFSETCR"] == 0 and header["NMISSING"] == 0
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
        direct = sun.magnetogram(observer, time, 128) if channel.is_magnetogram else sun.euv(channel.name[-3:], observer, time, 128)
        if not channel.is_magnetogram:
            image, direct = (np.log10(np.clip(one, 1, 200)) for one in (image, direct))
        assert correlation(image, direct) > 0.98                     # resampled twice, by the detector and by its registration
        image, direct, share = (one.reshape(64, 2, 64, 2).mean((1, 3)) for one in (image, direct, ON_DISK.astype(float)))
        assert correlation(image, direct, share == 1) > 0.99


def test_reference_times_are_added_where_asked(tmp_path):
    files = write_raw(tmp_path, times=[TIME], spacecraft=["STEREO-B"], size=64, passbands=["171"], frontside_reference=True, n_workers=1,
                      progress=False)
    days = (observer_at("STEREO-B", TIME).longitude % 360) / 360 * 27.2753
    expected = TIME - timedelta(days=days)
    assert [path.name[:3] for path in files] == ["aia", "hmi", "201"]
    assert f"{expected:%Y-%m-%dT%H%M}" in files[0].name


def test_suns_of_both_cycles_differ_in_every_polarity_and_in_no_euv_image(tmp_path):
    for folder, both in (("one", False), ("both", True)):
        write_pairs(tmp_path / folder, pairs=4, test_suns=0, size=32, both_cycles=both, n_workers=1, progress=False)
    signs = []
    for path in sorted((tmp_path / "one" / "Train" / "Target").glob("*.fits")):
        (field, header), (other, turned) = (fits.getdata(tmp_path / folder / "Train" / "Target" / path.name, header=True)
                                            for folder in ("one", "both"))
        np.testing.assert_array_equal(other, turned["SUNPOL"] * field)
        np.testing.assert_array_equal(*(fits.getdata(tmp_path / folder / "Train" / "Input" / path.name) for folder in ("one", "both")))
        signs.append((header["SUNPOL"], turned["SUNPOL"]))
    assert sorted(signs) == [(1, -1), (1, -1), (1, 1), (1, 1)]


def test_the_command_writes_a_data_set(tmp_path, capsys):
    synthetic_sun.main(["--out", str(tmp_path), "--pairs", "1", "--test_suns", "1", "--size", "32", "--n_workers", "1"])
    assert "1 training pairs and 1 unseen farsides" in capsys.readouterr().out
    assert len(list(tmp_path.rglob("*.fits"))) == 4
    with pytest.raises(UserError, match="holds 4 images of another data set"):
        synthetic_sun.main(["--out", str(tmp_path), "--seed", "1", "--pairs", "1", "--size", "32"])
    synthetic_sun.main(["--out", str(tmp_path / "raw"), "--raw", "--size", "64", "--days", "0.5", "--spacecraft", "SDO",
                        "--n_workers", "1"])
    assert "2 raw files" in capsys.readouterr().out


def test_flags_that_make_no_sense_are_refused_in_one_line(tmp_path, capsys):
    for flags, message in ((["--passbands", "1600"], "1600"), (["--pairs", "0"], "0 is below 1"), (["--start", "soon"], "no date")):
        with pytest.raises(SystemExit) as stop:
            synthetic_sun.main(["--out", str(tmp_path), *flags])
        assert stop.value.code == 2
        assert message in capsys.readouterr().err
    with pytest.raises(UserError, match="--passbands 94: STEREO-A takes only 304, 195, 171, 284"):
        synthetic_sun.main(["--out", str(tmp_path), "--raw", "--passbands", "171", "94"])
