"""The layers arranged for the CPU give what PyTorch's own give: values and all gradients."""
import contextlib

import pytest
import torch
from torch import nn
from torch.nn import functional

from pix2pixcc import layers as kernels
from pix2pixcc.layers import (
    ACTIVATIONS,
    BlockConvolution,
    Convolution,
    NormAct,
    ReflectionPad,
    ReplicationPad,
    TransposedConvolution,
)


def difference(first, second):
    return ((first - second).abs().max() / second.abs().max()).item()


def values_and_gradients(module, images, of_output):
    images = images.clone().requires_grad_()
    output = module(images)
    output.backward(of_output(output))
    return [output.detach(), images.grad, *(parameter.grad for parameter in module.parameters())]


def assert_alike(fast, plain, images, tolerance=1e-5):
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(plain(images).shape, generator=generator)
    for first, second in zip(values_and_gradients(fast, images, lambda _: weights),
                             values_and_gradients(plain, images, lambda _: weights), strict=True):
        assert first.shape == second.shape and first.dtype == second.dtype
        assert difference(first, second) < tolerance


@pytest.fixture(autouse=True)
def one_seed(monkeypatch):
    monkeypatch.setattr(kernels, "_LARGE", 0)             # the layers are for large images; these are small
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.mark.parametrize("unfolded", [2 ** 25, 0], ids=["unfolded", "by oneDNN"])
@pytest.mark.parametrize("fast, plain, arguments", [
    (Convolution, nn.Conv2d, (5, 64, 3)), (Convolution, nn.Conv2d, (5, 64, 5, 2, 2)), (Convolution, nn.Conv2d, (5, 7, 4, 2, 1)),
    (TransposedConvolution, nn.ConvTranspose2d, (64, 8, 3, 2, 1, 1)),
    (BlockConvolution, nn.Conv2d, (5, 1, 7)), (BlockConvolution, nn.Conv2d, (5, 2, 7, 1, 3)), (BlockConvolution, nn.Conv2d, (5, 2, 6))])
def test_convolutions_and_their_gradients_are_pytorchs(fast, plain, arguments, unfolded, monkeypatch):
    monkeypatch.setattr(kernels, "_UNFOLDED", unfolded)
    fast, plain = fast(*arguments), plain(*arguments)
    plain.load_state_dict(fast.state_dict())
    assert_alike(fast, plain, torch.randn(2, arguments[0], 18, 18))


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_norm_and_activation_in_one_step_are_the_two_in_turn(act, monkeypatch):
    monkeypatch.setattr(kernels, "_PIECE", 100)
    assert_alike(NormAct(act), nn.Sequential(nn.InstanceNorm2d(7), ACTIVATIONS[act]()), 40 * torch.randn(2, 7, 12, 12) + 3)


def test_mish_is_right_far_from_zero():
    x = torch.tensor([-1e4, -100.0, -20.0, -1e-3, 0.0, 1e-3, 20.0, 50.0, 1e4])
    expected, gradient = functional.mish(x), torch.ops.aten.mish_backward(torch.ones_like(x), x)
    values, out = x.clone(), torch.empty_like(x)
    kernels._activate(values, "mish")
    kernels._chain(x.clone(), torch.ones_like(x), "mish", out)
    assert torch.allclose(values, expected, rtol=1e-6, atol=1e-7)
    assert torch.allclose(out, gradient, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("module", [Convolution(8, 64, 3), TransposedConvolution(64, 8, 3, 2, 1, 1), BlockConvolution(8, 1, 5)])
def test_under_autocast_images_are_in_sixteen_bits_and_gradients_of_weights_in_float32(module):
    images = torch.randn(1, module.in_channels, 16, 16)
    expected = module(images)
    with torch.autocast("cpu", torch.bfloat16):
        output = module(images)
    assert output.dtype == torch.bfloat16
    assert difference(output.float(), expected) < 0.02
    output.float().square().sum().backward()
    assert module.weight.grad.dtype == module.bias.grad.dtype == torch.float32


def test_statistics_of_sixteen_bit_images_are_float32():
    images = (1000 + torch.randn(1, 3, 64, 64)).bfloat16()
    assert difference(NormAct("none")(images).float(), functional.instance_norm(images.float())) < 0.01


def test_norm_and_activation_store_one_image():
    stored = []
    images = torch.randn(1, 8, 32, 32, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: stored.append(tensor.numel()) or tensor, lambda tensor: tensor):
        NormAct("mish")(images * 1.0)
    assert sum(stored) <= images.numel() + 2 * 8 + 1


@pytest.mark.parametrize("fast, plain", [(ReplicationPad, nn.ReplicationPad2d), (ReflectionPad, nn.ReflectionPad2d)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_padding_that_stores_nothing_is_pytorchs(fast, plain, layout):
    assert_alike(fast(3), plain(3), torch.randn(2, 4, 9, 8).contiguous(memory_format=layout))


@pytest.mark.parametrize("reflect, mode", [(False, "replicate"), (True, "reflect")])
def test_padding_put_together_from_parts_is_pytorchs(reflect, mode):
    images = torch.randn(2, 3, 6, 7)
    assert torch.equal(kernels._padded_in_parts(images, 3, reflect=reflect), torch.nn.functional.pad(images, [3] * 4, mode=mode))


def test_a_norm_has_its_input_made_again_also_where_no_convolution_follows():
    convolution, norm, images, weights = Convolution(2, 16, 3), NormAct("mish"), torch.randn(1, 2, 8, 8), torch.randn(1, 16, 6, 6)
    gradients = []
    for mode in (contextlib.nullcontext, kernels.sparing_memory):
        with mode():
            output = norm(convolution(images))
        assert bool(output.grad_fn.source) == (mode is kernels.sparing_memory)
        (output * weights).sum().backward()
        gradients.append(convolution.weight.grad)
        convolution.weight.grad = None
    assert torch.equal(*gradients)
