"""The fast forms of the layers, for generation on a CPU, give what their references give; so do paddings in parts."""
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from pix2pixcc import layers
from pix2pixcc.layers import ACTIVATIONS, BlockConvolution, NormAct, ReflectionPad, ReplicationPad

ROUNDING = {torch.float32: 2.0 ** -24, torch.bfloat16: 2.0 ** -8}      # largest relative error of one rounding
CONVOLUTIONS = [(5, 1, 7), (5, 2, 7, 1, 3), (5, 2, 6)]                 # channels in and out, kernel, stride, padding


@pytest.fixture(autouse=True)
def one_seed(one_thread):
    torch.manual_seed(0)


def fast(module, images):
    with torch.no_grad():
        return module(images)


def magnitudes(convolution, images):
    """What a convolution adds up, without signs: its rounding errors are in proportion to it."""
    weight, bias = convolution.weight.detach().abs(), convolution.bias.detach().abs()
    return functional.conv2d(images.abs(), weight, bias, 1, convolution.padding)


@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_norm_and_activation_in_pieces_are_the_two_in_turn(act, layout, monkeypatch):
    monkeypatch.setattr(layers, "_PIECE", 100)
    images = (40 * torch.randn(2, 7, 12, 12) + 3).contiguous(memory_format=layout)
    output, reference = fast(NormAct(act), images), ACTIVATIONS[act]()(functional.instance_norm(images))
    # Sums of 144 numbers in two orders, then some ten roundings of numbers of at most the largest.
    assert (output - reference).abs().max() < (2 * 144 + 10) * ROUNDING[torch.float32] * reference.abs().max()


def test_a_million_pixels_are_added_up_to_single_precision():
    """Added one to another they can miss by 2**20 roundings; in pieces, and these by halves, by some hundred."""
    images = torch.randn(1, 2, 1024, 1024) + 1
    expected = functional.instance_norm(images.double())
    error = (fast(NormAct("none"), images) - expected).abs().max()
    assert error < 2 ** 7 * ROUNDING[torch.float32] * expected.abs().max()


def test_mish_is_right_far_from_zero():
    x = torch.tensor([-1e4, -100.0, -20.0, -1e-3, 0.0, 1e-3, 20.0, 50.0, 1e4])
    expected = functional.mish(x.double()).float()
    smallest = torch.finfo(torch.float32).tiny               # numbers below it have fewer digits
    assert torch.allclose(layers._mish(x.clone()), expected, rtol=16 * ROUNDING[torch.float32], atol=smallest)


@pytest.mark.parametrize("arguments", CONVOLUTIONS)
def test_a_convolution_in_blocks_is_the_convolution(arguments):
    convolution = BlockConvolution(*arguments)
    images = torch.randn(2, 5, *(4 * blocks - 2 * convolution.padding[0] + arguments[2] - 1 for blocks in (3, 4)))
    output, reference = fast(convolution, images), convolution(images)
    terms = 5 * arguments[2] ** 2 + 1                         # added up in two orders
    bound = 2 * terms * ROUNDING[torch.float32] * magnitudes(convolution, images)
    assert output.shape == reference.shape and ((output - reference).abs() <= bound).all()


def operations(convolution, images):
    with FlopCounterMode(display=False) as counter:
        convolution(images)
    return counter.get_total_flops()


def test_blocks_are_for_generation_and_sizes_that_divide():
    convolution = BlockConvolution(5, 1, 7, padding=3)
    plain = operations(convolution, torch.randn(1, 5, 16, 16))
    with torch.no_grad():
        assert operations(convolution, torch.randn(1, 5, 16, 16)) == pytest.approx(plain * 10 ** 2 / 7 ** 2)
        assert operations(convolution, torch.randn(1, 5, 16, 14)) == plain * 14 / 16


def test_images_that_are_generated_leave_a_norm_channels_last():
    images = torch.randn(1, 3, 8, 8)
    assert fast(NormAct("mish"), images).is_contiguous(memory_format=torch.channels_last)
    assert NormAct("mish")(images).is_contiguous()


def test_under_autocast_a_convolution_in_blocks_rounds_to_sixteen_bits_only():
    convolution, images = BlockConvolution(8, 1, 5), torch.randn(1, 8, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        output = fast(convolution, images)
    # Images and weights are rounded, and the sum; 2% more for products of two errors and the float32 sums.
    bound = 1.02 * 3 * ROUNDING[torch.bfloat16] * magnitudes(convolution, images)
    assert output.dtype == torch.bfloat16 and ((output.float() - convolution(images)).abs() <= bound).all()


def test_statistics_of_sixteen_bit_images_are_float32():
    images = (1000 + 8 * torch.randn(1, 3, 64, 64)).bfloat16()
    output, expected = fast(NormAct("none"), images), functional.instance_norm(images.float())
    assert output.dtype == torch.bfloat16
    assert ((output.float() - expected).abs() <= 1.02 * ROUNDING[torch.bfloat16] * expected.abs() + 1e-5).all()


@pytest.mark.parametrize("module, reflect", [(ReplicationPad(3), False), (ReflectionPad(3), True)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_padding_put_together_from_parts_is_pytorchs(module, reflect, layout):
    images = torch.randn(2, 4, 9, 8, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    whole, parts = module(images), layers._padded_in_parts(images, 3, reflect=reflect)
    weights = torch.randn_like(whole)
    gradients = [torch.autograd.grad((padded * weights).sum(), images)[0] for padded in (whole, parts)]
    assert torch.equal(whole, parts) and torch.allclose(*gradients, rtol=1e-12, atol=1e-12)


def test_paddings_are_modules_of_pytorch_with_its_sizes():
    assert isinstance(ReplicationPad(3), nn.ReplicationPad2d) and isinstance(ReflectionPad(3), nn.ReflectionPad2d)
    assert ReflectionPad(3)(torch.zeros(1, 1, 8, 9)).shape == (1, 1, 14, 15)
