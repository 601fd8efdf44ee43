"""Loss terms against NumPy and SciPy, and at their edges."""
import numpy as np
import pytest
import torch
from scipy import stats

from pix2pixcc.losses import AdversarialLoss, CorrelationLoss, FeatureMatchingLoss, correlation


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(3)
    target = torch.randn(2, 1, 32, 32, generator=generator)
    return target, 0.4 * target + 0.3 * torch.randn(2, 1, 32, 32, generator=generator) + 0.2


def test_pearson_is_scipys(images):
    target, output = images
    expected = [stats.pearsonr(t.numpy().ravel(), o.numpy().ravel()).statistic
                for t, o in zip(target, output, strict=True)]
    assert correlation(target, output, concordance=False).numpy() == pytest.approx(expected, rel=1e-5)


def test_concordance_is_lins(images):
    target, output = (array.numpy().reshape(2, -1).astype(float) for array in images)
    for k, value in enumerate(correlation(*images)):
        covariance = np.cov(target[k], output[k])
        spread = covariance[0, 0] + covariance[1, 1] + (target[k].mean() - output[k].mean()) ** 2
        expected = 2 * covariance[0, 1] / spread
        assert value.item() == pytest.approx(expected, rel=1e-5)


def test_concordance_punishes_scale_where_pearson_does_not(images):
    target, _ = images
    assert correlation(target, 2 * target, concordance=False).tolist() == pytest.approx([1, 1], abs=1e-6)
    assert correlation(target, 2 * target).max() < 0.81


@pytest.mark.parametrize("concordance", [True, False])
def test_a_constant_image_has_no_correlation_and_a_finite_gradient(concordance):
    target, output = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8, requires_grad=True)
    loss = CorrelationLoss(2, concordance)(target, output)
    loss.backward()
    assert loss.item() == 1 and torch.isfinite(output.grad).all()


def test_the_correlation_of_a_batch_is_the_mean_over_its_images(images):
    target, output = images
    loss = CorrelationLoss(4)
    single = torch.stack([loss(target[k:k + 1], output[k:k + 1]) for k in range(2)]).mean()
    assert loss(target, output).item() == pytest.approx(single.item(), rel=1e-6)


def test_half_precision_is_summed_in_single(images):
    target, output = images
    assert correlation(target.bfloat16(), output.bfloat16()).dtype == torch.float32


def test_cross_entropy_is_that_of_logits():
    scores = [[torch.tensor([[[[0.3, -1.2]]]])]]
    expected = -np.log(1 / (1 + np.exp(-np.array([0.3, -1.2])))).mean() / 2
    assert AdversarialLoss("GAN").generator(scores).item() == pytest.approx(expected, rel=1e-5)


def test_least_squares_by_hand():
    real, fake = [[torch.full((1, 1, 2, 2), 0.5)]], [[torch.full((1, 1, 2, 2), 0.25)]]
    loss = AdversarialLoss()
    assert loss.discriminator(real, real=True).item() == pytest.approx(0.5 * 0.25)
    assert loss.discriminator(fake, real=False).item() == pytest.approx(0.5 * 0.0625)
    assert loss.generator(fake).item() == pytest.approx(0.5 * 0.5625)


def test_feature_matching_by_hand_and_without_gradient_to_the_real_pair():
    real = [[torch.zeros(1, 1, 2, 2, requires_grad=True)], [torch.zeros(1, 1, 1, 1)]]
    fake = [[torch.ones(1, 1, 2, 2, requires_grad=True)], [torch.full((1, 1, 1, 1), 3.0)]]
    loss = FeatureMatchingLoss()(real, fake)
    assert loss.item() == pytest.approx(2.0)
    assert FeatureMatchingLoss(cumulative=True)(real, fake).item() == pytest.approx((2 * 1 + 3) / 2)
    loss.backward()
    assert real[0][0].grad is None and fake[0][0].grad.flatten().tolist() == [0.125] * 4


def test_feature_matching_has_the_gradient_of_the_l1_loss():
    real, fake = torch.randn(2, 3, 5, 5), torch.randn(2, 3, 5, 5, requires_grad=True)
    with torch.no_grad():
        fake[0, 0, 0, 0] = real[0, 0, 0, 0]                   # where they agree it is 0
    (own,) = torch.autograd.grad(3 * FeatureMatchingLoss()([[real]], [[fake]]), fake)
    (expected,) = torch.autograd.grad(3 * torch.nn.functional.l1_loss(fake, real), fake)
    assert torch.equal(own, expected) and own[0, 0, 0, 0] == 0
