"""The layers of the networks, arranged for the CPU: the same numbers to rounding, in fewer passes over memory.

On other devices, and inside `torch.compile`, they are PyTorch's own modules (but for the padding). On the CPU

- convolutions run channels-last, where oneDNN needs no reordering of the images; where the images are small, the gradient
  of the weights is one matrix product with the unfolded input;
- a convolution to few channels, which fills a sixteenth of a vector, computes a block of 4 x 4 pixels as 16 channels;
- an instance norm and its activation are one step that stores its input only and computes the rest again in the backward
  pass, the activation in pieces that stay in the cache;
- within `sparing_memory`, half of what else is stored is made again, and freed memory goes back to the system.

What each gained is in `benchmarks/README.md`.
"""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional


SLOPE = 0.2                         # of the leaky ReLU
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "mish": nn.Mish, "relu": nn.ReLU, "leaky_relu": lambda: nn.LeakyReLU(SLOPE), "none": nn.Identity}
_UNFOLDED = 2 ** 25                 # most elements of an unfolded input: 128 MB of float32
_LARGE = 2 ** 22                    # elements; at 80 x 128 x 128 and below PyTorch's own layers are up to a third faster
_MANY_CHANNELS = 512
_PIECE = 2 ** 17                    # elements of an image that stay in the cache while several operations pass over them
_BLOCK = 4


def _is_eager_cpu(x: Tensor) -> bool:
    """Whether these layers pay: on the CPU, and for images too large for the cache or of many channels."""
    large = x.numel() >= _LARGE or x.shape[1] >= _MANY_CHANNELS
    return large and x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16) and not torch.compiler.is_compiling()


def _precision(x: Tensor) -> torch.dtype:
    """What autocast, if it is on, makes of `x`."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


class _Convolve(Function):
    """Convolution, or transposed convolution, of `(N, C, H, W)`; the weights stay in float32 and are rounded on the way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int, transposed: bool,
                dtype: torch.dtype, source: Any) -> Tensor:
        ctx.room = max(x.numel(), x.numel() // x.shape[1] * weight.shape[0]) if _sparing.get() else 0
        x = x.to(dtype).contiguous(memory_format=_layout(x, weight))
        ctx.arguments, ctx.dtype, ctx.source = (stride, padding, transposed), dtype, source
        ctx.save_for_backward(weight, bias, *([] if source else [x]))
        return _convolved(x, weight, bias, ctx)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        weight, _, *stored = ctx.saved_tensors
        x = stored[0] if stored else _made_again(ctx.source).to(ctx.dtype)
        layout = _layout(x, weight)
        x, gradient = x.contiguous(memory_format=layout), gradient.contiguous(memory_format=layout)
        stride, padding, transposed = ctx.arguments
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[1]:
            of_weight, of_bias = _weight_gradient(x, weight, gradient, stride, padding, transposed)
        if ctx.needs_input_grad[0]:
            of_x = _convolution_backward(x, weight.to(x.dtype), gradient, stride, padding, transposed, [True, False, False])[0]
        return of_x, of_weight, of_bias, None, None, None, None, None


def _convolved(x: Tensor, weight: Tensor, bias: Tensor, ctx: Any) -> Tensor:
    return torch.convolution(x, weight.to(ctx.dtype), bias.to(ctx.dtype), *_shape_arguments(*ctx.arguments))


def _layout(x: Tensor, weight: Tensor) -> torch.memory_format:
    """Channels last, but for weights larger than the image: they would be rearranged too."""
    return torch.contiguous_format if weight.numel() > 2 * x.numel() else torch.channels_last


_sparing: ContextVar[bool] = ContextVar("sparing", default=False)


@contextlib.contextmanager
def sparing_memory() -> Iterator[None]:
    """In a forward pass whose images go to one layer each: what enters a convolution is not stored but made again in the
    backward pass, by the norm and activation (and padding) it came from, and so is what enters a norm from a convolution of few
    channels; gradients are written over. The results are the same, bit for bit."""
    token = _sparing.set(True)
    try:
        yield
    finally:
        _sparing.reset(token)


def spares_memory(x: Tensor, channels: int) -> bool:
    """Whether `sparing_memory` does anything for images of the size of `x` with so many `channels`."""
    return _is_eager_cpu(x[:1, :1].expand(-1, channels, -1, -1))


def _source_of_convolution(x: Tensor) -> Any:
    """The node that can make `x` again; None if `x` is to be stored."""
    node: Any = x.grad_fn if _sparing.get() else None
    root = node.next_functions[0][0] if isinstance(node, _PadNode) else node
    return node if isinstance(root, _NormActNode) else None


def _source_of_norm(x: Tensor) -> Any:
    node: Any = x.grad_fn if _sparing.get() else None
    stored = node.saved_tensors[2:] if isinstance(node, _ConvolveNode) else ()
    return node if stored and stored[0].numel() < x.numel() / 4 else None


def _made_again(node: Any) -> Tensor:
    """What `node` gave, bit for bit."""
    if isinstance(node, _PadNode):
        return node.pad(_made_again(node.next_functions[0][0]))
    if node.source:
        x = node.again = _normed_again(node)                  # kept until the norm's own gradient
    else:
        x = node.saved_tensors[0]
    images = [_normalised(image, node.act, node.eps)[0] for image in x.split(1)]
    return images[0] if len(images) == 1 else torch.cat(images)


def _normed_again(node: Any) -> Tensor:
    """What a norm with a source was given, channels-last."""
    weight, bias, x = node.source.saved_tensors
    return _convolved(x, weight, bias, node.source).contiguous(memory_format=torch.channels_last)


def _shape_arguments(stride: int, padding: int, transposed: bool) -> tuple:
    """Of `aten::convolution` from the stride on; transposed convolutions double the size exactly."""
    return [stride] * 2, [padding] * 2, [1, 1], transposed, [int(transposed)] * 2, 1


def _convolution_backward(x: Tensor, weight: Tensor, gradient: Tensor, stride: int, padding: int, transposed: bool,
                          mask: list[bool]) -> tuple:
    channels = weight.shape[1 if transposed else 0]
    return torch.ops.aten.convolution_backward(gradient, x, weight, [channels], *_shape_arguments(stride, padding, transposed), mask)


def _weight_gradient(x: Tensor, weight: Tensor, gradient: Tensor, stride: int, padding: int,
                     transposed: bool) -> tuple[Tensor | None, Tensor]:
    """Gradients of weight and bias, float32."""
    # A transposed convolution is the transpose of a convolution: input and gradient change places.
    wide, narrow = (gradient, x) if transposed else (x, gradient)
    kernel, pixels = weight.shape[-1], narrow.shape[-2] * narrow.shape[-1]
    if wide.shape[1] * kernel ** 2 * pixels <= _UNFOLDED and narrow.shape[1] >= 64:
        total: Tensor | None = None
        for wide_image, narrow_image in zip(wide, narrow, strict=True):
            columns = functional.unfold(wide_image[None].contiguous(), kernel, padding=padding, stride=stride)[0]
            product = (narrow_image.contiguous().flatten(1) @ columns.t()).to(weight.dtype).view_as(weight)
            total = product if total is None else total.add_(product)
        bias = gradient.permute(0, 2, 3, 1).flatten(0, 2).sum(0, dtype=weight.dtype)
        return total, bias
    if x.dtype == torch.float32 and pixels <= 256 ** 2:       # oneDNN's float32 kernels for this gradient prefer channels first
        x, gradient = x.contiguous(), gradient.contiguous()
    _, of_weight, of_bias = _convolution_backward(x, weight.to(x.dtype), gradient, stride, padding, transposed, [False, True, True])
    return of_weight.to(weight.dtype), of_bias.to(weight.dtype)


class Convolution(nn.Conv2d):
    """`nn.Conv2d` with square kernels and no dilation or groups."""

    def forward(self, input: Tensor) -> Tensor:
        if not _is_eager_cpu(input) or self.bias is None:
            return super().forward(input)
        return _Convolve.apply(input, self.weight, self.bias, self.stride[0], int(self.padding[0]), False, _precision(input),
                               _source_of_convolution(input))


class TransposedConvolution(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` with square kernels and an output padding of 1."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        if not _is_eager_cpu(input) or self.bias is None or output_size is not None:
            return super().forward(input, output_size)
        return _Convolve.apply(input, self.weight, self.bias, self.stride[0], int(self.padding[0]), True, _precision(input),
                               _source_of_convolution(input))


class BlockConvolution(Convolution):
    """A convolution of stride 1 to few channels: 4 x 4 neighbouring pixels are 16 channels of a convolution of stride 4.

    Its kernel is the original at 16 places among zeros: twice the products, on full instead of nearly empty vectors.
    """

    def forward(self, input: Tensor) -> Tensor:
        kernel, padding = self.kernel_size[0], int(self.padding[0])
        sides = [side + 2 * padding - kernel + 1 for side in input.shape[-2:]]
        if not _is_eager_cpu(input) or self.bias is None or self.out_channels >= 16 or any(side % _BLOCK for side in sides):
            return super().forward(input)
        places = [functional.pad(self.weight, (column, _BLOCK - 1 - column, row, _BLOCK - 1 - row))
                  for row in range(_BLOCK) for column in range(_BLOCK)]
        weight = torch.stack(places, 1).flatten(0, 1)         # channel k of pixel (row, column) is 16 k + 4 row + column
        bias = self.bias.repeat_interleave(_BLOCK ** 2)
        blocks = _Convolve.apply(input, weight, bias, _BLOCK, padding, False, _precision(input), _source_of_convolution(input))
        return functional.pixel_shuffle(blocks, _BLOCK)


class _NormAct(Function):
    """Instance norm without weights, then an activation."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, act: str, eps: float, source: Any) -> Tensor:
        ctx.room = x.numel() if _sparing.get() else 0
        x = x.contiguous(memory_format=torch.channels_last)
        statistics, images = [], []
        for image in x.split(1):
            activated, *mean_and_inverse = _normalised(image, act, eps)
            images.append(activated)
            statistics += mean_and_inverse
        ctx.save_for_backward(*([] if source else [x]), *statistics)
        ctx.act, ctx.eps, ctx.overwrites, ctx.source, ctx.again = act, eps, _sparing.get(), source, None
        return images[0] if len(images) == 1 else torch.cat(images)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        statistics = list(ctx.saved_tensors)
        x = (ctx.again if ctx.again is not None else _normed_again(ctx)) if ctx.source else statistics.pop(0)
        ctx.again = None
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        ones = torch.ones(x.shape[1])
        images = []
        for image, of_image, mean, inverse in zip(x.split(1), gradient.split(1), statistics[::2], statistics[1::2], strict=True):
            of_normalised = of_image
            if ctx.act != "none":
                of_normalised = of_image if ctx.overwrites else torch.empty_like(image)
                for piece, given, out in zip(_pieces(image), _pieces(of_image), _pieces(of_normalised), strict=True):
                    _chain(torch.addcmul(-mean * inverse, piece.float(), inverse), given, ctx.act, out)
            images.append(torch.ops.aten.native_batch_norm_backward(
                of_normalised, image, ones, None, None, mean, inverse, True, ctx.eps, [True, False, False])[0])
        return images[0] if len(images) == 1 else torch.cat(images), None, None, None


def _normalised(image: Tensor, act: str, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """One image, channels-last, normalised and activated; its means, and the inverse of its standard deviations."""
    ones = torch.ones(image.shape[1])                         # of one image, an instance norm is a batch norm
    normalised, mean, inverse = torch.native_batch_norm(image, ones, ones - 1, None, None, True, 0.0, eps)
    for piece in _pieces(normalised):
        _activate(piece, act)
    return normalised, mean, inverse


def _pieces(image: Tensor) -> Iterator[Tensor]:
    """Views of a channels-last image as rows of pixels `(pixels, C)`."""
    return iter(image.permute(0, 2, 3, 1).flatten(0, 2).split(max(1, _PIECE // image.shape[1])))


def _activate(x: Tensor, act: str) -> None:
    """Apply an activation in place."""
    if act == "mish":                                         # x tanh(softplus(x)) = x n / (n + 1), n = e + e**2 / 2, e = exp(x)
        wide = x.float()
        e = wide.clamp(max=20.0).exp_()
        n = torch.addcmul(e, e, e, value=0.5)
        torch.add(n, 1.0, out=e)
        n.div_(e)
        x.mul_(n) if wide is x else x.copy_(n.mul_(wide))
    elif act == "relu":
        x.relu_()
    elif act == "leaky_relu":
        functional.leaky_relu_(x, SLOPE)


def _chain(x: Tensor, gradient: Tensor, act: str, out: Tensor) -> None:
    """Write `gradient` times the derivative of the activation at `x` (float32, which it overwrites) into `out`."""
    if act == "mish":                                         # n / (n + 1) + x e (e + 1) / (n + 1)**2
        e = x.clamp(max=20.0).exp_()
        n = torch.addcmul(e, e, e, value=0.5)
        n_1 = n + 1.0
        x.mul_(e).mul_(e.add_(1.0)).div_(n_1).add_(n).div_(n_1)
    elif act == "relu":
        x = (x > 0).to(gradient.dtype)
    elif act == "leaky_relu":
        x = torch.where(x > 0, 1.0, SLOPE)
    torch.mul(x, gradient.to(x.dtype), out=x)
    out.copy_(x)


class _Pad(Function):
    """Pad by repeating or reflecting the edge; PyTorch's own stores the image for the sake of its shape."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, padding: int, reflect: bool) -> Tensor:
        ctx.pad, ctx.shape = partial(functional.pad, pad=[padding] * 4, mode="reflect" if reflect else "replicate"), x.shape
        ctx.gradient = partial(torch.ops.aten.reflection_pad2d_backward if reflect else torch.ops.aten.replication_pad2d_backward,
                               padding=[padding] * 4)
        return ctx.pad(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.gradient(gradient, gradient.new_empty(1).expand(ctx.shape)), None, None


_ConvolveNode: Any = _Convolve._backward_cls      # what a tensor's grad_fn is an instance of
_NormActNode: Any = _NormAct._backward_cls
_PadNode: Any = _Pad._backward_cls


class ReplicationPad(nn.ReplicationPad2d):
    """`nn.ReplicationPad2d`; inside `torch.compile` put together from parts, as the compiler mistakes the layout of its gradient."""

    def forward(self, input: Tensor) -> Tensor:
        return _padded(input, self.padding[0], False) if torch.compiler.is_compiling() or _is_eager_cpu(input) else super().forward(input)


class ReflectionPad(nn.ReflectionPad2d):
    """`nn.ReflectionPad2d`, likewise."""

    def forward(self, input: Tensor) -> Tensor:
        return _padded(input, self.padding[0], True) if torch.compiler.is_compiling() or _is_eager_cpu(input) else super().forward(input)


def _padded(x: Tensor, padding: int, reflect: bool) -> Tensor:
    return _padded_in_parts(x, padding, reflect=reflect) if torch.compiler.is_compiling() else _Pad.apply(x, padding, reflect)


def _padded_in_parts(x: Tensor, padding: int, *, reflect: bool) -> Tensor:
    for axis in (-1, -2):
        last = x.shape[axis] - 1
        if reflect:
            before, after = x.narrow(axis, 1, padding).flip(axis), x.narrow(axis, last - padding, padding).flip(axis)
        else:
            before, after = (x.narrow(axis, edge, 1).repeat_interleave(padding, axis) for edge in (0, last))
        x = torch.cat([before, x, after], axis)
    return x


class NormAct(nn.Module):
    """Instance norm (no weights, no running statistics), then an activation of `ACTIVATIONS`."""

    def __init__(self, act: str, eps: float = 1e-5):
        super().__init__()
        self.act, self.eps = act, eps
        self.activation = ACTIVATIONS[act]()

    def forward(self, x: Tensor) -> Tensor:
        if _is_eager_cpu(x):
            return _NormAct.apply(x, self.act, self.eps, _source_of_norm(x))
        return self.activation(functional.instance_norm(x, eps=self.eps))

    def extra_repr(self) -> str:
        return f"InstanceNorm2d, {self.act}"
