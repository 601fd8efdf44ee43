"""The networks of Pix2PixCC and Pix2PixHD, under the published `state_dict` names.

Generator, multi-scale patch discriminator, and their initial weights. Sources: Wang et al. 2018 (arXiv 1711.11585),
Jeong et al. 2020 (ApJL 903 L25), Jeong et al. 2022 (ApJS 262 50).
"""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from pix2pixcc.layers import ACTIVATIONS, SLOPE, BlockConvolution, NormAct, ReflectionPad, ReplicationPad

PADDINGS = {"replication": ReplicationPad, "reflection": ReflectionPad, "zero": nn.ZeroPad2d}
NORMS = {"InstanceNorm2d": nn.InstanceNorm2d, "BatchNorm2d": nn.BatchNorm2d}
_STYLES = {"pix2pixCC": (5, "mish"), "pix2pixHD": (3, "relu")}      # kernel of the stride-2 convolutions, activation
Layers = list[nn.Module]


def halve(images: Tensor) -> Tensor:
    """Average-pool `(N, C, H, W)` by two: window 3, stride 2, padding 1, which does not count in the mean."""
    return functional.avg_pool2d(images, 3, stride=2, padding=1, count_include_pad=False)


def _padded(convolution: type[nn.Conv2d], padding_type: str, channels: int, out: int, kernel: int) -> Layers:
    """Return a padding and a convolution to the same size; zeros are padded inside the convolution."""
    if padding_type == "zero":
        return [nn.Identity(), convolution(channels, out, kernel, padding=kernel // 2)]
    return [PADDINGS[padding_type](kernel // 2), convolution(channels, out, kernel)]


def _normalised(norm_type: str, channels: int, act: str) -> Layers:
    """Return norm and activation, which count as two layers in the published names."""
    if norm_type == "InstanceNorm2d":
        return [NormAct(act), nn.Identity()]
    return [NORMS[norm_type](channels), ACTIVATIONS[act]()]


class ResidualBlock(nn.Module):
    """Compute x + (pad, conv 3x3, norm, act, pad, conv 3x3, norm)(x), `(N, C, H, W)` in and out."""

    def __init__(self, channels: int, padding_type: str, norm_type: str, act: str):
        super().__init__()
        self.block = nn.Sequential(
            *_padded(nn.Conv2d, padding_type, channels, channels, 3), *_normalised(norm_type, channels, act),
            *_padded(nn.Conv2d, padding_type, channels, channels, 3), _normalised(norm_type, channels, "none")[0])

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)


class Generator(nn.Module):
    """Turn images into images by an encoder, residual blocks and a decoder; nothing follows the last convolution.

    Parameters
    ----------
    input_ch, target_ch : int
        Channels in and out: `(N, input_ch, H, W)` becomes `(N, target_ch, H, W)`; H and W divisible by 2**n_downsample.
    model : {"pix2pixCC", "pix2pixHD"}
        Stride-2 convolutions of 5x5 and Mish, or of 3x3 and ReLU.
    n_gf, n_downsample, n_residual : int
        Width of the first layer, number of halvings (each doubles the width), number of residual blocks.
    norm_type, padding_type : str
        Keys of `NORMS` and `PADDINGS`. Instance norm has no affine weights and keeps no running statistics.
    trans_conv : bool
        Decoder by transposed convolutions; else bilinear x2, pad 1 and a 3x3 convolution.
    checkpoint_activations : bool
        Store only what enters each residual block and each other group of convolution, norm and activation, and
        recompute the rest in the backward pass. The results are the same.

    Attributes
    ----------
    multiple : int
        What H and W must be divisible by.
    """

    def __init__(self, input_ch: int, target_ch: int, *, model: str = "pix2pixCC", n_gf: int = 64,
                 n_downsample: int = 4, n_residual: int = 9, norm_type: str = "InstanceNorm2d",
                 padding_type: str = "replication", trans_conv: bool = True, checkpoint_activations: bool = False):
        super().__init__()
        kernel, act = _STYLES[model]
        self.multiple = 2 ** n_downsample
        self.checkpoint_activations = checkpoint_activations

        layers: Layers = [*_padded(nn.Conv2d, padding_type, input_ch, n_gf, 7), *_normalised(norm_type, n_gf, act)]
        width = n_gf
        for _ in range(n_downsample):
            layers += [nn.Conv2d(width, 2 * width, kernel, stride=2, padding=kernel // 2),
                       *_normalised(norm_type, 2 * width, act)]
            width *= 2
        layers += [ResidualBlock(width, padding_type, norm_type, act) for _ in range(n_residual)]
        for _ in range(n_downsample):
            if trans_conv:
                layers += [nn.ConvTranspose2d(width, width // 2, 3, stride=2, padding=1, output_padding=1)]
            else:
                layers += [nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
                           *_padded(nn.Conv2d, padding_type, width, width // 2, 3)]
            width //= 2
            layers += _normalised(norm_type, width, act)
        layers += _padded(BlockConvolution, padding_type, width, target_ch, 7)
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        if not (self.checkpoint_activations and torch.is_grad_enabled()):
            return self.model(x)
        for segment in self._segments():
            x = checkpoint(segment, x, use_reentrant=False)
        return x

    def _segments(self) -> list[nn.Sequential]:
        """Return the layers from one convolution to the next, and each residual block."""
        segments: list[Layers] = [[]]
        for layer in self.model:
            if isinstance(layer, ResidualBlock | nn.Conv2d | nn.ConvTranspose2d):
                segments.append([])
            segments[-1].append(layer)
        return [nn.Sequential(*layers) for layers in segments if layers]

    def round_weights(self, dtype: torch.dtype) -> None:
        """Round the convolutions' weights to `dtype` once, not for every image as autocast does; not for training."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.to(dtype)


class PatchDiscriminator(nn.Module):
    """Score overlapping patches of 70 x 70 pixels by five blocks of 4x4 convolutions; all five outputs are features."""

    def __init__(self, channels: int, n_df: int = 64):
        super().__init__()
        widths = [n_df, 2 * n_df, 4 * n_df, 8 * n_df]
        self.block_0 = nn.Sequential(nn.Conv2d(channels, n_df, 4, stride=2, padding=1),
                                     nn.LeakyReLU(SLOPE, inplace=True))
        for j in (1, 2, 3):
            convolution = nn.Conv2d(widths[j - 1], widths[j], 4, stride=2 if j < 3 else 1, padding=1)
            self.add_module(f"block_{j}", nn.Sequential(convolution, NormAct("leaky_relu"), nn.Identity()))
        self.block_4 = nn.Sequential(nn.Conv2d(widths[3], 1, 4, padding=1))

    def forward(self, pair: Tensor) -> list[Tensor]:
        features = []
        for block in self.children():
            pair = block(pair)
            features.append(pair)
        return features


class Discriminator(nn.Module):
    """Score a pair `(N, C, H, W)` by `n_D` patch discriminators, each at half the resolution of the one before.

    It returns their features, `[scale][block]`.
    """

    def __init__(self, channels: int, *, n_df: int = 64, n_D: int = 2):
        super().__init__()
        for i in range(n_D):
            self.add_module(f"Scale_{i}", PatchDiscriminator(channels, n_df))

    def forward(self, pair: Tensor) -> list[list[Tensor]]:
        features = []
        for i, scale in enumerate(self.children()):
            pair = halve(pair) if i else pair
            features.append(scale(pair))
        return features


def channel_repeats(input_ch: int, target_ch: int, ch_balance: float) -> tuple[int, int]:
    """Return how often input and target stand in the discriminator's pair, so that neither side drowns the other.

    With r = input_ch / target_ch * ch_balance, r > 1 repeats the target int(r) times and 0 < r < 1 the input
    int(1/r) times.
    """
    ratio = input_ch / target_ch * ch_balance
    if ratio > 1:
        return 1, int(ratio)
    if 0 < ratio < 1:
        return int(1 / ratio), 1
    return 1, 1


def discriminator_pair(input: Tensor, target: Tensor, repeats: tuple[int, int]) -> Tensor:
    """Return input, then target along the channels, each as often as `channel_repeats` says."""
    return torch.cat([input] * repeats[0] + [target] * repeats[1], dim=1)


def initialise_weights(network: nn.Module) -> None:
    """Draw weights from N(0, 0.02) for convolutions, transposed ones too, and from N(1, 0.02) for affine batch norms.

    The biases of convolutions stay as PyTorch made them; those of batch norms become 0.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)
