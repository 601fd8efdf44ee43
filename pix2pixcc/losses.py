"""The terms of the objective, in float32 whatever the networks' precision: adversarial, feature matching, correlation.

Source of the equations: Jeong et al. 2022 (ApJS 262 50), section 2.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from pix2pixcc.networks import halve

Features = list[list[Tensor]]          # [scale][block], each (N, C, H, W)


class AdversarialLoss:
    """Ask the discriminator for 1 on real patches and 0 on generated ones.

    Parameters
    ----------
    kind : {"LSGAN", "GAN"}
        Squared error (Mao et al. 2017), or binary cross entropy on the scores as logits (Goodfellow et al. 2014).
    """

    def __init__(self, kind: str = "LSGAN"):
        errors: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
            "LSGAN": functional.mse_loss, "GAN": functional.binary_cross_entropy_with_logits}
        self._error = errors[kind]

    def _against(self, features: Features, label: float) -> Tensor:
        scores = [scale[-1].float() for scale in features]
        return torch.stack([self._error(score, torch.full_like(score, label)) for score in scores]).sum()

    def discriminator(self, features: Features, *, real: bool) -> Tensor:
        """Return half the error on one pair, summed over scales; the loss adds the real and the generated pair."""
        return 0.5 * self._against(features, float(real))

    def generator(self, generated: Features) -> Tensor:
        """Return half the error against scoring as real, summed over scales."""
        return 0.5 * self._against(generated, 1.0)


class FeatureMatchingLoss:
    """Compare features: mean |D(generated) - D(real)|, summed over the blocks and averaged over the scales.

    If `cumulative`, the first of n scales counts n times, the second n - 1 times, and so on, as in the published code.
    """

    def __init__(self, cumulative: bool = False):
        self.cumulative = cumulative

    def __call__(self, real: Features, generated: Features) -> Tensor:
        scales = len(real)
        total = torch.zeros((), device=real[0][0].device)
        for i, (real_blocks, generated_blocks) in enumerate(zip(real, generated, strict=True)):
            difference = sum(_MeanDifference.apply(r, g) for r, g in zip(real_blocks, generated_blocks, strict=True))
            total = total + difference * ((scales - i) if self.cumulative else 1)
        return total / scales


class _MeanDifference(Function):
    """Return mean |generated - real| in float32, with a gradient to `generated` alone; stores no third image."""

    @staticmethod
    def forward(ctx: Any, real: Tensor, generated: Tensor) -> Tensor:
        ctx.save_for_backward(real, generated)
        return (generated.float() - real.float()).abs_().mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        real, generated = ctx.saved_tensors
        return None, (generated.float() - real.float()).sign_().mul_(gradient / real.numel()).to(generated.dtype)


def correlation(target: Tensor, output: Tensor, *, concordance: bool = True, eps: float = 1e-8) -> Tensor:
    """Return the correlation of each image with its target, over all channels and pixels.

    Parameters
    ----------
    target, output : Tensor
        `(N, C, H, W)`.
    concordance : bool
        Lin's concordance correlation (CCC), which also asks for equal mean and variance; else Pearson's.
    eps : float
        Added to the denominators, so that a constant image has correlation 0.

    Returns
    -------
    Tensor
        `(N,)` float32, -1 to 1.
    """
    target, output = target.float().flatten(1), output.float().flatten(1)
    target_mean, output_mean = target.mean(1), output.mean(1)
    target, output = target - target_mean[:, None], output - output_mean[:, None]
    target_norm, output_norm = _norm(target), _norm(output)
    pearson = (target * output).sum(1) / (target_norm * output_norm + eps)
    if not concordance:
        return pearson
    freedom = target.shape[1] - 1
    covariance = pearson * target_norm * output_norm / freedom
    spread = (target_norm.square() + output_norm.square()) / freedom + (target_mean - output_mean).square()
    return 2 * covariance / (spread + eps)


def _norm(rows: Tensor) -> Tensor:
    """Return the length of each row; of a row of zeros it has gradient 0, where the square root's would be infinite."""
    square = rows.square().sum(1)
    nonzero = square > 0
    return torch.where(nonzero, torch.where(nonzero, square, 1.0).sqrt(), 0.0)


class CorrelationLoss:
    """Average 1 - CC of target and output over `n_CC` resolutions, each half the one before.

    The correlation is per image, then averaged: N processes with batch b take the step of one with batch N b.
    """

    def __init__(self, n_CC: int = 4, concordance: bool = True):
        self.n_CC = n_CC
        self.concordance = concordance

    def levels(self, target: Tensor, output: Tensor) -> Tensor:
        """Return 1 - CC at each resolution, `(n_CC,)`, finest first."""
        target, output = target.float(), output.float()
        losses = []
        for level in range(self.n_CC):
            if level:
                target, output = halve(target), halve(output)
            losses.append((1 - correlation(target, output, concordance=self.concordance)).mean())
        return torch.stack(losses)

    def __call__(self, target: Tensor, output: Tensor) -> Tensor:
        return self.levels(target, output).mean()
