"""Generator and discriminator: shapes, names, weights, for every option."""
import pytest
import torch

from pix2pixcc.networks import (
    NORMS,
    PADDINGS,
    Discriminator,
    Generator,
    channel_repeats,
    discriminator_pair,
    halve,
    initialise_weights,
)


@pytest.mark.parametrize("model", ["pix2pixCC", "pix2pixHD"])
@pytest.mark.parametrize("norm_type", NORMS)
@pytest.mark.parametrize("padding_type", PADDINGS)
@pytest.mark.parametrize("trans_conv", [True, False])
def test_every_option_gives_an_image_of_the_inputs_size(model, norm_type, padding_type, trans_conv):
    generator = Generator(3, 2, model=model, n_gf=4, n_downsample=2, n_residual=1, norm_type=norm_type,
                          padding_type=padding_type, trans_conv=trans_conv)
    output = generator(torch.randn(2, 3, 24, 24))
    assert output.shape == (2, 2, 24, 24)
    output.sum().backward()
    assert all(parameter.grad is not None for parameter in generator.parameters())


def test_every_element_of_the_list_counts_in_the_names():
    options = dict(n_gf=4, n_downsample=1, n_residual=1)
    names = [name for name in Generator(7, 1, **options).state_dict() if name.endswith("weight")]
    assert names == ["model.1.weight", "model.4.weight", "model.7.block.1.weight", "model.7.block.5.weight",
                     "model.8.weight", "model.12.weight"]
    names = [name for name in Generator(7, 1, trans_conv=False, **options).state_dict() if name.endswith("weight")]
    assert names[-2:] == ["model.10.weight", "model.14.weight"]         # upsampling and pad count too


def test_the_v3_generator_has_its_published_number_of_weights():
    with torch.device("meta"):
        generator = Generator(7, 1, n_gf=40, n_downsample=5)
    assert round(sum(parameter.numel() for parameter in generator.parameters()) / 1e6, 1) == 302.6


def test_instance_norm_keeps_nothing_and_batch_norm_has_affine_weights():
    assert not [name for name in Generator(1, 1, n_gf=4).state_dict() if "running" in name]
    assert "model.2.running_mean" in Generator(1, 1, n_gf=4, norm_type="BatchNorm2d").state_dict()


@pytest.mark.parametrize("n_D", [1, 2, 3])
def test_each_scale_sees_half_the_resolution_and_gives_five_features(n_D):
    discriminator = Discriminator(4, n_df=4, n_D=n_D)
    pair = torch.randn(1, 4, 128, 128)
    features = discriminator(pair)
    assert len(features) == n_D and all(len(scale) == 5 for scale in features)
    for i, scale in enumerate(features):
        size = 128 >> i
        sides = [size // 2, size // 4, size // 8, size // 8 - 1, size // 8 - 2]
        assert [feature.shape[-1] for feature in scale] == sides
    if n_D > 1:
        direct = discriminator.Scale_1(halve(pair))
        assert torch.equal(direct[-1], features[1][-1])


def test_the_last_feature_sees_seventy_pixels():
    discriminator = Discriminator(1, n_df=2, n_D=1).eval()
    pair = torch.zeros(1, 1, 256, 256, requires_grad=True)
    blocks = [module for module in discriminator.Scale_0.modules() if isinstance(module, torch.nn.Conv2d)]
    scores = torch.nn.Sequential(*blocks)(pair)           # norms see the whole image; the convolutions 70 pixels
    scores[0, 0, 15, 15].backward()
    rows = pair.grad[0, 0].abs().sum(1).nonzero()
    assert rows.max() - rows.min() + 1 == 70


def test_pooling_does_not_count_the_padding():
    assert torch.equal(halve(torch.ones(1, 1, 8, 8)), torch.ones(1, 1, 4, 4))


@pytest.mark.parametrize("channels, balance, expected", [
    ((7, 1), 1.5, (1, 10)), ((7, 1), 1.0, (1, 7)), ((7, 1), 0.0, (1, 1)), ((3, 1), 1, (1, 3)), ((1, 1), 1, (1, 1)),
    ((1, 3), 1, (3, 1)), ((1, 7), 1.5, (4, 1)), ((2, 1), 0.7, (1, 1))])
def test_the_smaller_side_is_repeated(channels, balance, expected):
    assert channel_repeats(*channels, balance) == expected


def test_the_pair_is_input_then_target():
    input, target = torch.zeros(1, 2, 4, 4), torch.ones(1, 1, 4, 4)
    assert discriminator_pair(input, target, (1, 3))[0, :, 0, 0].tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("trans_conv", [True, False])
def test_all_convolutions_start_narrow_and_norms_around_one(trans_conv):
    torch.manual_seed(0)
    generator = Generator(3, 1, n_gf=16, n_downsample=2, n_residual=2, norm_type="BatchNorm2d", trans_conv=trans_conv)
    initialise_weights(generator)
    for module in generator.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
        elif isinstance(module, torch.nn.BatchNorm2d):
            assert module.weight.mean().item() == pytest.approx(1, abs=0.02)


def test_recomputed_activations_give_the_same_gradients():
    torch.manual_seed(0)
    plain = Generator(1, 1, n_gf=4, n_downsample=1, n_residual=2)
    recomputing = Generator(1, 1, n_gf=4, n_downsample=1, n_residual=2, checkpoint_activations=True)
    recomputing.load_state_dict(plain.state_dict())
    images = torch.randn(1, 1, 16, 16)
    for generator in (plain, recomputing):
        generator(images).square().mean().backward()
    for first, second in zip(plain.parameters(), recomputing.parameters(), strict=True):
        assert torch.equal(first.grad, second.grad)


def test_recomputed_activations_are_not_stored():
    stored = []
    for recomputing in (False, True):
        generator, kept = Generator(1, 1, n_gf=4, n_downsample=1, n_residual=2, checkpoint_activations=recomputing), {}
        with torch.autograd.graph.saved_tensors_hooks(
                lambda tensor, kept=kept: kept.update({tensor.data_ptr(): tensor}) or tensor, lambda tensor: tensor):
            generator(torch.randn(1, 1, 64, 64))
        weights = {parameter.data_ptr() for parameter in generator.parameters()}
        stored.append(sum(tensor.numel() for place, tensor in kept.items() if place not in weights))
    assert stored[1] < 0.5 * stored[0]


@pytest.mark.parametrize("options", [{}, {"padding_type": "reflection", "model": "pix2pixHD"}, {"padding_type": "zero"},
                                     {"trans_conv": False}, {"norm_type": "BatchNorm2d"}])
def test_what_is_generated_is_what_is_trained(options):
    """On a CPU some layers have a faster form without gradients; with them, they are PyTorch's."""
    torch.manual_seed(0)
    generator, images = Generator(2, 1, n_gf=8, n_downsample=2, n_residual=2, **options), torch.randn(2, 2, 32, 32)
    trained = generator(images).detach()
    with torch.inference_mode():
        generated = generator(images)
    # 13 convolutions, each of at most 800 products that are added up in float32 (2**-24 a rounding).
    assert (generated - trained).abs().max() < 13 * 800 * 2 ** -24 * trained.abs().max()
