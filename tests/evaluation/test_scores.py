"""The scores of one image, and how those of a set add up."""
import math

import numpy as np
import pytest
from suns import SIZE, magnetogram

from pix2pixcc.evaluation.scores import evaluate_image, pool, summary_of
from pix2pixcc.solar.geometry import registered_disk
from pix2pixcc.utils import UserError


def test_regions_without_a_pixel_are_empty_and_not_an_error():
    field = np.clip(magnetogram(0), -20, 20)
    evaluation = evaluate_image(field, field, registered_disk(field.shape), disk_radius=0.98)
    assert evaluation.scores["active_share"] == 0 and math.isnan(evaluation.scores["active_cc"])
    assert evaluation.scores["quiet_cc"] == pytest.approx(1)
    summary = summary_of(pool([evaluation]))
    assert summary["metrics"]["active_cc"]["images"] == 0 and math.isnan(summary["pooled"]["active_cc"])


def test_the_typical_image_is_that_of_median_correlation():
    disk, evaluations = registered_disk((SIZE, SIZE)), []
    for noise in (5, 400, 60, 20, 100):
        real = magnetogram(1)
        generated = real + np.random.default_rng(noise).normal(scale=noise, size=real.shape)
        evaluations.append(evaluate_image(generated, real, disk, disk_radius=0.98))
    assert pool(evaluations).typical == 2


def test_error_by_distance_adds_up_to_the_error_of_the_disk():
    real, disk = magnetogram(2), registered_disk((SIZE, SIZE))
    generated = real + 30 * disk.distance
    pooled = pool([evaluate_image(generated, real, disk, disk_radius=0.98)])
    curves = summary_of(pooled)["error_by_distance"]
    assert pooled.profile[0].sum() == disk.mask(0.98).sum()
    assert curves["bias"][15] == pytest.approx(30 * curves["distance_rsun"][15], abs=0.6)
    assert np.sqrt(pooled.profile[2].sum() / pooled.profile[0].sum()) == pytest.approx(pooled.moments["full"].rmse)


def test_a_correlation_needs_twenty_bins_and_their_number_is_told():
    real, disk = magnetogram(2), registered_disk((SIZE, SIZE))
    generated = real + np.random.default_rng(1).normal(scale=20, size=real.shape)
    evaluations = [evaluate_image(generated, real, disk, disk_radius=0.98, binning=binning) for binning in (8, 16)]
    fine, coarse = (evaluation.scores for evaluation in evaluations)
    assert fine["full_bins"] == evaluations[0].moments["full_binned"].count >= 20
    assert fine["full_cc_binned"] == evaluations[0].moments["full_binned"].pearson
    assert 2 <= coarse["full_bins"] < 20 and coarse["bin_pixels"] == 16
    assert math.isnan(coarse["full_cc_binned"]) and math.isnan(coarse["full_ccc_binned"])
    together = summary_of(pool([evaluations[1]] * 3))
    assert together["metrics"]["full_cc_binned"]["images"] == 0
    assert together["pooled"]["full_bins"] == 3 * coarse["full_bins"] >= 20          # enough of them all together
    assert together["pooled"]["full_cc_binned"] == pytest.approx(evaluations[1].moments["full_binned"].pearson)


def test_a_disk_without_a_value_in_both_images_is_refused():
    field = magnetogram(0)
    with pytest.raises(UserError, match=r"no pixel within 0\.98 solar radii"):
        evaluate_image(field, np.full_like(field, np.nan), registered_disk(field.shape), disk_radius=0.98)


def test_a_pool_is_the_sum_of_its_images_and_the_mean_of_their_spectra():
    disk, evaluations = registered_disk((SIZE, SIZE)), []
    for seed in range(3):
        real = magnetogram(seed)
        generated = real + np.random.default_rng(seed).normal(scale=20, size=real.shape)
        evaluations.append(evaluate_image(generated, real, disk, disk_radius=0.98))
    pooled = pool(iter(evaluations))
    for name in ("histogram", "histogram_binned", "profile"):
        # The sums of float64 in another order differ by a few units in the last place of their largest term.
        np.testing.assert_allclose(getattr(pooled, name), sum(getattr(each, name) for each in evaluations), rtol=1e-12)
    spectra = np.array([each.spectra for each in evaluations])
    present = np.isfinite(spectra).all(axis=0)
    assert 10 < present.sum() < present.size            # small images lack the lowest frequencies
    np.testing.assert_allclose(pooled.spectra[present], spectra.mean(axis=0)[present], rtol=1e-12)
    assert np.isnan(pooled.spectra[~present]).all()
    assert pooled.scores["full_cc"].tolist() == [each.scores["full_cc"] for each in evaluations]
    assert pooled.pixel_sizes == pytest.approx([695.7 / (450 / 1024 * SIZE)] * 3)
