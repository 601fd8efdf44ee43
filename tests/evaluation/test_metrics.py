"""Every metric against an independent computation, or a case whose answer is known by hand."""
import math

import numpy as np
import pytest
from astropy.io import fits
from scipy import ndimage, stats
from skimage.metrics import structural_similarity

from pix2pixcc.evaluation import metrics
from pix2pixcc.evaluation.metrics import Moments
from pix2pixcc.solar.geometry import disk_of_header, registered_disk

RSUN = 695.7e8      # cm


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    """A smooth random field of about 60 G, and a noisy, weaker copy of it."""
    random = np.random.default_rng(1)
    real = 400 * ndimage.gaussian_filter(random.normal(size=(96, 96)), 2)
    return 0.8 * real + random.normal(scale=15, size=real.shape) + 5, real


def header(shape, *, centre=None, plate_scale=2.0, distance=1.496e11, roll=0.0, **cards) -> fits.Header:
    """A helioprojective header; `centre` (column, row) counted from 0."""
    x, y = centre or ((shape[1] - 1) / 2, (shape[0] - 1) / 2)
    cosine, sine = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    return fits.Header({"CTYPE1": "HPLN-TAN", "CTYPE2": "HPLT-TAN", "CUNIT1": "arcsec", "CUNIT2": "arcsec",
                        "CRPIX1": x + 1, "CRPIX2": y + 1, "CDELT1": plate_scale, "CDELT2": plate_scale,
                        "CRVAL1": 0.0, "CRVAL2": 0.0, "PC1_1": cosine, "PC1_2": -sine,
                        "PC2_1": sine, "PC2_2": cosine, "DSUN_OBS": distance, "RSUN_REF": 695.7e6, **cards})


def lin_concordance(x, y):
    return 2 * np.cov(x, y, ddof=1)[0, 1] / (x.var(ddof=1) + y.var(ddof=1) + (x.mean() - y.mean()) ** 2)


def test_pearson_is_scipys(pair):
    generated, real = pair
    expected = stats.pearsonr(generated.ravel(), real.ravel()).statistic
    assert Moments.of(generated, real).pearson == pytest.approx(expected, abs=1e-12)


def test_concordance_is_lins_and_falls_with_gain_and_offset(pair):
    generated, real = pair
    expected = lin_concordance(generated.ravel(), real.ravel())
    assert Moments.of(generated, real).concordance == pytest.approx(expected, abs=1e-12)
    assert Moments.of(real, real).concordance == pytest.approx(1)
    assert Moments.of(2 * real, real).concordance < 0.9 < Moments.of(2 * real, real).pearson
    assert Moments.of(-real, real).concordance < -0.99


def test_pixels_that_are_not_finite_in_either_image_do_not_count(pair):
    generated, real = pair
    holed_generated, holed_real = generated.copy(), real.copy()
    holed_generated[:10], holed_real[:, :7], holed_real[50, 50] = np.nan, np.nan, np.inf
    keep = np.isfinite(holed_generated) & np.isfinite(holed_real)
    holed, kept = Moments.of(holed_generated, holed_real), Moments.of(generated[keep], real[keep])
    for metric in ("pearson", "concordance", "rmse", "r_squared"):
        assert getattr(holed, metric) == pytest.approx(getattr(kept, metric), abs=1e-12), metric
    assert metrics.ppe10(holed_generated, holed_real) == metrics.ppe10(generated[keep], real[keep])


def test_rmse_and_r_squared_by_hand(pair):
    by_hand = Moments.of(np.array([1.0, 2, 3]), np.array([1.0, 2, 6]))
    assert by_hand.rmse == pytest.approx(math.sqrt(3))
    assert by_hand.r_squared == pytest.approx(1 - 9 / 14)
    generated, real = pair
    assert Moments.of(generated, real).rmse == pytest.approx(np.sqrt(np.mean((generated - real) ** 2)))
    assert Moments.of(np.full_like(real, real.mean()), real).r_squared == pytest.approx(0)
    assert Moments.of(real, real).rmse == 0


def test_ppe10_counts_pixels_within_a_tenth_of_the_truth():
    real = np.array([100.0, -100, 100, 10, 0, 0, np.nan])
    generated = np.array([109.0, -111, 90.5, 10, 0, 1, 5])
    assert metrics.ppe10(generated, real) == pytest.approx(4 / 6)


def test_a_constant_image_has_no_correlation_and_no_warning(pair):
    _, real = pair
    assert math.isnan(Moments.of(np.zeros_like(real), real).pearson)
    assert Moments.of(np.zeros_like(real), real).concordance == 0
    assert math.isnan(Moments.of(np.full_like(real, np.nan), real).pearson)


def test_moments_of_the_parts_add_up_to_those_of_the_whole(pair):
    generated, real = pair
    whole = Moments.of(generated, real)
    parts = Moments.of(generated[:20], real[:20]) + Moments() + Moments.of(generated[20:], real[20:])
    for name in ("count", "pearson", "concordance", "rmse", "r_squared", "slope", "bias"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), rel=1e-12), name
    fit = stats.linregress(real.ravel(), generated.ravel())
    assert whole.slope == pytest.approx(fit.slope)


def test_bins_are_means_of_the_valid_pixels():
    image = np.arange(30.0).reshape(5, 6)
    image[0, 0] = np.nan
    mask = np.ones((5, 6), bool)
    mask[4] = False
    blocks = metrics.binned(image, 2, mask)
    assert blocks.shape == (3, 3)
    assert blocks[0, 0] == pytest.approx((1 + 6 + 7) / 3)
    assert blocks[1, 2] == pytest.approx(image[2:4, 4:6].mean())
    assert np.isnan(blocks[2]).all()
    assert np.isnan(metrics.binned(image, 2, mask, valid_share=0.8)[0, 0])
    whole = np.random.default_rng(0).normal(size=(64, 64))
    assert np.allclose(metrics.binned(whole, 8), whole.reshape(8, 8, 8, 8).mean(axis=(1, 3)))


def test_active_regions_are_where_the_smoothed_true_field_exceeds_the_threshold():
    real = np.zeros((64, 64))
    real[20:40, 20:40] = 120 * (-1) ** np.indices((20, 20)).sum(axis=0)      # mixed polarity: |B| counts, not B
    mask = np.ones(real.shape, bool)
    active = metrics.active_region(real, mask, threshold=50)
    assert active[24:36, 24:36].all() and not active[:15].any() and not active[:, 48:].any()
    assert not metrics.active_region(real, mask, threshold=121).any()
    mask[:, 30:] = False
    real[:, 30:] = np.nan
    assert metrics.active_region(real, mask, threshold=50)[25:35, 29].all()   # the mask's edge does not dilute the mean
    assert not metrics.active_region(real, mask, threshold=50)[:, 30:].any()


def test_polarity_agreement_looks_at_strong_pixels_only():
    real = np.array([100.0, -100, 100, -100, 5, -5, np.nan])
    generated = np.array([1.0, -1, -1, np.nan, -5, 5, 100])
    assert metrics.polarity_agreement(generated, real, threshold=30) == pytest.approx(2 / 3)
    assert math.isnan(metrics.polarity_agreement(generated, real, threshold=1000))


def test_ssim_is_skimages_where_every_pixel_counts_and_ignores_the_rest(pair):
    generated, real = pair
    _, similarity = structural_similarity(real, generated, data_range=3000, full=True)
    everywhere = np.ones(real.shape, bool)
    assert metrics.ssim(generated, real, everywhere) == pytest.approx(similarity[3:-3, 3:-3].mean(), abs=1e-12)
    mask = registered_disk(real.shape).mask(0.98)
    spoiled = np.where(mask, generated, np.nan)
    expected = metrics.ssim(generated, real, mask)
    assert metrics.ssim(spoiled, np.where(mask, real, -999), mask) == pytest.approx(expected, abs=1e-12)
    assert math.isnan(metrics.ssim(generated[:5, :5], real[:5, :5], everywhere[:5, :5]))


@pytest.mark.parametrize("plate_scale", [2.4, 4.8])
@pytest.mark.parametrize("distance", [1.3e11, 1.496e11, 1.65e11])
def test_a_uniform_disk_has_the_flux_of_its_area(plate_scale, distance):
    shape = (1000, 1000) if plate_scale < 3 else (500, 500)
    disk = disk_of_header(header(shape, plate_scale=plate_scale, distance=distance), shape)
    unsigned, net = metrics.flux(np.full(shape, -100.0), disk.mask(1.0), disk.pixel_area)
    assert unsigned == pytest.approx(100 * np.pi * RSUN ** 2, rel=0.005)
    assert net == -unsigned


def test_the_registered_geometry_gives_the_same_flux_without_a_header():
    disk = registered_disk((512, 512))
    unsigned, _ = metrics.flux(np.full((512, 512), 100.0), disk.mask(1.0), disk.pixel_area)
    assert unsigned == pytest.approx(100 * np.pi * RSUN ** 2, rel=0.005)
    assert disk.radius == 225 and disk.centre == (255.5, 255.5)


def test_foreshortened_flux_is_that_through_the_spherical_cap():
    disk = registered_disk((800, 800))
    limit = 0.9
    cap = 2 * np.pi * RSUN ** 2 * (1 - math.sqrt(1 - limit ** 2))
    unsigned, _ = metrics.flux(np.full((800, 800), 10.0), disk.mask(limit), disk.surface_area())
    assert unsigned == pytest.approx(10 * cap, rel=0.005)


def test_an_off_centre_rolled_disk_is_found_from_its_header():
    shape, centre = (300, 340), (121.3, 170.8)
    disk = disk_of_header(header(shape, centre=centre, plate_scale=9.0, roll=35), shape)
    radius = math.degrees(math.asin(695.7e6 / 1.496e11)) * 3600 / 9
    assert disk.centre == pytest.approx(centre, abs=1e-6)
    assert disk.radius == pytest.approx(radius, rel=1e-5)
    rows, columns = np.indices(shape)
    expected = np.hypot(columns - centre[0], rows - centre[1]) / radius
    assert np.abs(disk.distance - expected)[expected < 1].max() < 1e-4
    assert disk.mask(0.98).sum() == pytest.approx(np.pi * (0.98 * radius) ** 2, rel=0.01)


def test_scores_do_not_depend_on_where_the_disk_stands():
    random = np.random.default_rng(5)
    field = 300 * ndimage.gaussian_filter(random.normal(size=(160, 160)), 2)
    noisy = field + random.normal(scale=20, size=field.shape)
    centred = header((160, 160), plate_scale=14)
    mask = disk_of_header(centred, field.shape).mask(0.98)
    moved = tuple(np.pad(image, ((0, 48), (24, 24)), constant_values=1e4) for image in (noisy, field))
    moved_header = header((208, 208), plate_scale=14, centre=(79.5 + 24, 79.5))
    moved_mask = disk_of_header(moved_header, (208, 208)).mask(0.98)
    here, there = metrics.score(noisy, field, mask), metrics.score(*moved, moved_mask)
    assert there == pytest.approx(here, nan_ok=True, rel=1e-9)
    assert metrics.power_spectra(*moved, moved_mask)[1] == pytest.approx(metrics.power_spectra(noisy, field, mask)[1])


def test_distance_comes_from_the_angular_radius_where_dsun_is_missing():
    cards = header((100, 100), plate_scale=25)
    del cards["DSUN_OBS"]
    cards["RSUN_OBS"] = math.degrees(math.asin(695.7e6 / 1.4e11)) * 3600
    reference = disk_of_header(header((100, 100), plate_scale=25, distance=1.4e11), (100, 100))
    disk = disk_of_header(cards, (100, 100))
    assert disk.pixel_area == pytest.approx(reference.pixel_area)
    assert disk.radius == pytest.approx(reference.radius)


def test_white_noise_has_a_flat_power_spectrum_of_its_variance():
    noise = np.random.default_rng(3).normal(scale=7, size=(256, 256))
    (power, _), _ = metrics.power_spectra(noise, noise, registered_disk(noise.shape).mask(0.98))
    frequency = metrics.FREQUENCY_EDGES[:-1]
    assert power[frequency > 0.1] == pytest.approx(49, rel=0.1)
    assert np.nanmean(power[frequency > 0.2]) == pytest.approx(49, rel=0.03)


def test_a_wave_has_its_power_at_its_own_frequency():
    _, columns = np.indices((256, 256))
    wave = 50 * np.sin(2 * np.pi * columns / 16)
    (power, _), _ = metrics.power_spectra(wave, wave, np.ones((256, 256), bool))
    peak = int(np.nanargmax(power))
    assert metrics.FREQUENCY_EDGES[peak] <= 1 / 16 <= metrics.FREQUENCY_EDGES[peak + 1]


def test_a_smoothed_field_lacks_power_at_fine_scales_only():
    real = np.random.default_rng(4).normal(size=(256, 256))
    mask = registered_disk(real.shape).mask(0.98)
    _, (coarse, fine) = metrics.power_spectra(ndimage.gaussian_filter(real, 1.0), real, mask)
    assert coarse > 0.6 and fine < 0.3
    assert metrics.power_spectra(2 * real, real, mask)[1] == pytest.approx((4, 4))
    holed = np.where(mask, real, np.nan)
    holed[100:110, 100:110] = np.nan
    assert np.isfinite(metrics.power_spectra(holed, real, mask)[1]).all()


def test_score_gives_each_region_its_own_metrics(pair):
    generated, real = pair
    mask = registered_disk(real.shape).mask(0.98)
    scores = metrics.score(np.where(mask, generated, np.nan), real, mask, active_threshold=60)
    active = metrics.active_region(real, mask, threshold=60)
    for region, inside in (("full", mask), ("active", active), ("quiet", mask & ~active)):
        assert inside.sum() > 100
        assert scores[f"{region}_cc"] == pytest.approx(stats.pearsonr(generated[inside], real[inside]).statistic)
        assert scores[f"{region}_ccc"] == pytest.approx(lin_concordance(generated[inside], real[inside]))
        assert scores[f"{region}_rmse"] == pytest.approx(np.sqrt(np.mean((generated[inside] - real[inside]) ** 2)))
    tiles = [np.s_[row:row + 8, column:column + 8] for row in range(0, 96, 8) for column in range(0, 96, 8)]
    blocks = [(np.mean(generated[tile][mask[tile]]), np.mean(real[tile][mask[tile]]))
              for tile in tiles if mask[tile].sum() >= 32]
    assert scores["full_cc_binned"] == pytest.approx(stats.pearsonr(*zip(*blocks, strict=True)).statistic)
    assert scores["flux_ratio"] == pytest.approx(np.abs(generated[mask]).sum() / np.abs(real[mask]).sum())


def test_a_perfect_image_has_perfect_scores(pair):
    _, real = pair
    scores = metrics.score(real, real, registered_disk(real.shape).mask(0.98))
    for name in ("full_cc", "full_ccc", "full_cc_binned", "full_r2", "full_ppe10", "polarity_agreement", "flux_ratio"):
        assert scores[name] == pytest.approx(1), name
    assert scores["full_rmse"] == pytest.approx(0, abs=1e-5)
