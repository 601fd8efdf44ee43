"""One training step does what the published code does, from the published weights."""
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pix2pixcc import layers as kernels
from pix2pixcc.losses import CorrelationLoss, FeatureMatchingLoss
from pix2pixcc.networks import Discriminator, Generator, channel_repeats, discriminator_pair
from pix2pixcc.training.step import TERMS, AdversarialTraining

DATA = Path(__file__).resolve().parents[1] / "data"


class Published:
    """One run of a published implementation, as numbers."""

    def __init__(self, name):
        self.figures = np.load(DATA / f"{name}.npz", allow_pickle=False)
        self.config = config = json.loads(str(self.figures["config"]))
        self.model = {"pix2pixcc": "pix2pixCC", "pix2pixhd": "pix2pixHD"}[name]
        balance = config["ch_balance"] if self.model == "pix2pixCC" else 0.0
        self.repeats = channel_repeats(config["input_ch"], config["target_ch"], balance)
        self.input, self.target = self.tensor("input"), self.tensor("target")

    def tensor(self, key):
        return torch.from_numpy(np.array(self.figures[key]))

    def networks(self, **generator_options):
        config = self.config
        generator = Generator(config["input_ch"], config["target_ch"], model=self.model, n_gf=config["n_gf"],
                              n_downsample=config["n_downsample"], n_residual=config["n_residual"],
                              norm_type=config["norm_type"],
                              padding_type=config["padding_type"], trans_conv=config["trans_conv"], **generator_options)
        channels = discriminator_pair(self.input, self.target, self.repeats).shape[1]
        discriminator = Discriminator(channels, n_df=config["n_df"], n_D=config["n_D"])
        for network, side in ((generator, "G/"), (discriminator, "D/")):
            network.load_state_dict({key[2:]: self.tensor(key) for key in self.figures.files if key.startswith(side)})
        return generator, discriminator

    def training(self, **options):
        generator_options = {key: options.pop(key) for key in ("checkpoint_activations",) if key in options}
        config = self.config
        return AdversarialTraining(*self.networks(**generator_options), repeats=self.repeats, lr=config["lr"],
                                   beta1=config["beta1"],
                                   beta2=config["beta2"], lambda_LSGAN=config["lambda_LSGAN"],
                                   lambda_FM=config["lambda_FM"],
                                   lambda_CC=config["lambda_CC"] if self.model == "pix2pixCC" else 0.0,
                                   n_CC=config["n_CC"], ccc=config["ccc"], fm_cumulative=True,
                                   **({"gan_type": "LSGAN"} | options))


@pytest.fixture(params=[("pix2pixcc", None), ("pix2pixhd", None), ("pix2pixcc", 0), ("pix2pixhd", 0)],
                ids=["cc", "hd", "cc by kernels", "hd by kernels"])
def published(request, monkeypatch):
    name, large = request.param
    if large is not None:
        monkeypatch.setattr(kernels, "_LARGE", large)     # small images too go through the layers made for large ones
    torch.set_num_threads(1)
    return Published(name)


def relative_error(output, expected):
    expected = torch.as_tensor(np.array(expected))
    return ((torch.as_tensor(output) - expected).abs().max() / expected.abs().max()).item()


def test_published_weights_give_the_published_output_and_pair(published):
    generator, _ = published.networks()
    with torch.no_grad():
        assert relative_error(generator.eval()(published.input), published.figures["G_eval"]) < 1e-5
    pair = discriminator_pair(published.input, published.target, published.repeats)
    assert torch.equal(pair, published.tensor("pair_real"))


def test_published_weights_give_the_published_patch_scores_and_terms(published):
    generator, discriminator = published.networks()
    figures = published.figures
    with torch.no_grad():
        generated = generator(published.input)
        real, fake = (discriminator(discriminator_pair(published.input, magnetogram, published.repeats))
                      for magnetogram in (published.target, generated))
        for i, (real_scale, fake_scale) in enumerate(zip(real, fake, strict=True)):
            assert relative_error(real_scale[-1], figures[f"patch_real_{i}"]) < 1e-5
            assert relative_error(fake_scale[-1], figures[f"patch_fake_{i}"]) < 1e-5
            assert relative_error((fake_scale[-1] - 1).square().mean(), figures["lsgan_G_per_scale"][i]) < 1e-5
            per_scale = FeatureMatchingLoss()([real_scale], [fake_scale])
            assert relative_error(per_scale, figures["fm_per_scale"][i]) < 1e-5
        assert relative_error(FeatureMatchingLoss()(real, fake), figures["fm_equation"]) < 1e-5
        assert relative_error(FeatureMatchingLoss(cumulative=True)(real, fake), figures["fm_cumulative"]) < 1e-5
        if "cc_loss_per_level" in figures:
            assert relative_error(CorrelationLoss(4).levels(published.target, generated),
                                  figures["cc_loss_per_level"]) < 1e-5


@pytest.mark.parametrize("options", [{}, {"checkpoint_activations": True}, {"ema": 0.9}],
                         ids=["plain", "checkpointed", "ema"])
def test_three_steps_follow_the_published_losses_and_end_at_the_published_output(published, options):
    follow(published, published.training(**options))


@pytest.mark.skipif(shutil.which("g++") is None,
                    reason="torch.compile needs a C++ compiler (Debian: apt-get install g++)")
@pytest.mark.parametrize("name", ["pix2pixcc", "pix2pixhd"])
def test_compiled_networks_follow_the_published_losses_too(name):
    published = Published(name)
    training = published.training()
    for network in (training.generator, training.discriminator):
        network.compile()
    follow(published, training)


def follow(published, training):
    for k in range(published.config["steps"]):
        losses = dict(zip(TERMS, training.step(published.input, published.target), strict=True))
        assert relative_error(losses["loss_D"], published.figures["loss_D"][k]) < 1e-4
        assert relative_error(losses["loss_G"], published.figures["loss_G"][k]) < 1e-4
    assert relative_error(training.generate(published.input), published.figures["G_eval_after"]) < 2e-3


def test_sixteen_bits_follow_the_published_losses_to_one_percent(published):
    training = published.training(half=torch.bfloat16)
    losses = dict(zip(TERMS, training.step(published.input, published.target), strict=True))
    assert losses["loss_G"].dtype == torch.float32
    assert relative_error(losses["loss_D"], published.figures["loss_D"][0]) < 1e-2
    assert relative_error(losses["loss_G"], published.figures["loss_G"][0]) < 1e-2


def test_a_step_leaves_no_gradient_of_the_generators_terms_in_the_discriminator(published):
    """The discriminator's gradient is that of its own loss alone, computed here in a pass of its own."""
    training = published.training()
    generator, discriminator = published.networks()
    with torch.no_grad():
        generated = generator(published.input)
    real, fake = (discriminator(discriminator_pair(published.input, magnetogram, published.repeats))
                  for magnetogram in (published.target, generated))
    loss = training.adversarial.discriminator
    (loss(real, real=True) + loss(fake, real=False)).backward()
    training.step(published.input, published.target)
    for own, stepped in zip(discriminator.parameters(), training.discriminator.parameters(), strict=True):
        assert torch.allclose(own.grad, stepped.grad, rtol=1e-4, atol=1e-6)


def test_the_state_continues_bit_for_bit(published):
    whole, first = published.training(), published.training()
    for _ in range(4):
        whole.step(published.input, published.target)
    for _ in range(2):
        first.step(published.input, published.target)
    second = published.training()
    second.load_state_dict(first.state_dict())
    for _ in range(2):
        second.step(published.input, published.target)
    for name, value in whole.bare_generator.state_dict().items():
        assert torch.equal(value, second.bare_generator.state_dict()[name])


def test_the_average_follows_the_generator_slowly(published):
    training = published.training(ema=0.5)
    before = [parameter.detach().clone() for parameter in training.generator.parameters()]
    training.step(published.input, published.target)      # the first update copies the weights
    first = [parameter.detach().clone() for parameter in training.generator.parameters()]
    training.step(published.input, published.target)
    second = list(training.generator.parameters())
    averaged = list(training.average.module.parameters())
    assert not torch.equal(before[0], first[0])
    assert torch.allclose(averaged[0], 0.5 * first[0] + 0.5 * second[0], atol=1e-7)
    assert not torch.equal(training.generate(published.input), training.generate(published.input, averaged=True))


def test_cross_entropy_instead_of_least_squares_steps_downwards(published):
    training = published.training(gan_type="GAN")
    losses = [training.step(published.input, published.target)[1].item() for _ in range(4)]
    assert losses[-1] < losses[0]
