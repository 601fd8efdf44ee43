"""One training step of the conditional GAN, and the state that makes it resumable.

The loop around it stands in `pix2pixCC_Train.py`; the terms in `losses.py`. Source: Jeong et al. 2022 (ApJS 262 50), section 2.
"""
from __future__ import annotations

import operator
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pix2pixcc.losses import AdversarialLoss, CorrelationLoss, FeatureMatchingLoss, Features
from pix2pixcc.networks import discriminator_pair
from pix2pixcc.utils import UserError

TERMS = ("loss_G", "loss_D", "GAN_G", "FM", "CC")


def learning_rate(lr: float, epoch: int, n_epochs: int, epoch_decay: int | None) -> float:
    """The rate during `epoch` (counted from 0): constant for `epoch_decay` epochs, then linearly to 0 after the last."""
    if epoch_decay is None or epoch < epoch_decay:
        return lr
    return lr * max(0.0, (n_epochs - epoch) / max(1, n_epochs - epoch_decay))


def _make_moments(optimizer: torch.optim.Adam) -> None:
    """Adam's moments, now instead of in the first backward pass: memory that stays lies apart from that which is used again."""
    for group in optimizer.param_groups:
        for weight in group["params"]:
            optimizer.state[weight] = {"step": torch.zeros((), device=weight.device), "exp_avg": torch.zeros_like(weight),
                                       "exp_avg_sq": torch.zeros_like(weight)}


class AdversarialTraining:
    """Generator and discriminator with their optimizers; `step` takes one step of both.

    Both losses come from the same weights; the generator is stepped, then the discriminator. The discriminator sees the real
    pair first, and only its features are kept. It sees the generated pair once: that is made with a leaf, whose gradient from
    the adversarial and feature-matching terms is handed on to the generator, while the discriminator's own loss goes back
    through the same graph into its weights only.

    Parameters
    ----------
    generator, discriminator : nn.Module
        On their device; wrapped in DistributedDataParallel where several ranks train.
    repeats : tuple of int
        Of `networks.channel_repeats`.
    lambda_LSGAN, lambda_FM, lambda_CC : float
        Weights of the three terms; a weight of 0 skips the term.
    half : torch.dtype, optional
        bfloat16 or float16 for the networks' arithmetic; the weights and losses stay in float32.
    ema : float, optional
        Decay of an exponential moving average of the generator, per step.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, *, repeats: tuple[int, int], lr: float = 2e-4,
                 beta1: float = 0.5, beta2: float = 0.999, lambda_LSGAN: float = 2.0, lambda_FM: float = 10.0, lambda_CC: float = 5.0,
                 gan_type: str = "LSGAN", fm_cumulative: bool = False, n_CC: int = 4, ccc: bool = True,
                 half: torch.dtype | None = None, ema: float | None = None):
        self.generator, self.discriminator, self.repeats = generator, discriminator, repeats
        self.weights = {"GAN": lambda_LSGAN, "FM": lambda_FM, "CC": lambda_CC if n_CC else 0.0}
        self.adversarial = AdversarialLoss(gan_type)
        self.feature_matching = FeatureMatchingLoss(fm_cumulative)
        self.correlation = CorrelationLoss(n_CC, ccc)
        self.half = half
        self.device = next(generator.parameters()).device
        self.optimizer_G, self.optimizer_D = (
            torch.optim.Adam(network.parameters(), lr=lr, betas=(beta1, beta2), eps=1e-8, fused=True)
            for network in (generator, discriminator))
        for optimizer in (self.optimizer_G, self.optimizer_D):
            _make_moments(optimizer)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=half is torch.float16)
        if self._steps_in_backward:
            for parameter in generator.parameters():
                parameter.register_post_accumulate_grad_hook(self._step_one)
        self.sums = torch.zeros(len(TERMS), device=self.device)           # of the losses since the last report
        self.steps = 0
        self.good_steps = torch.zeros((), dtype=torch.long, device=self.device)
        self.average = None if ema is None else AveragedModel(
            self.bare_generator, multi_avg_fn=get_ema_multi_avg_fn(ema), use_buffers=False)

    @property
    def bare_generator(self) -> nn.Module:
        """The generator without DistributedDataParallel around it."""
        return self.generator.module if isinstance(self.generator, DistributedDataParallel) else self.generator

    @property
    def bare_discriminator(self) -> nn.Module:
        return self.discriminator.module if isinstance(self.discriminator, DistributedDataParallel) else self.discriminator

    @property
    def _steps_in_backward(self) -> bool:
        """Whether each of the generator's weights is stepped as soon as its gradient is there, so that only one gradient is kept
        at a time. Both losses have been taken by then. Not where gradients are averaged over ranks, or checked for overflow, first."""
        return not isinstance(self.generator, DistributedDataParallel) and not self.scaler.is_enabled()

    def _step_one(self, parameter: Tensor) -> None:
        self.optimizer_G.step()                  # steps what has a gradient: this one alone
        parameter.grad = None

    def set_learning_rate(self, lr: float) -> None:
        for optimizer in (self.optimizer_G, self.optimizer_D):
            for group in optimizer.param_groups:
                group["lr"] = lr

    def step(self, input: Tensor, target: Tensor) -> Tensor:
        """Step both networks on `input` `(N, C, H, W)` and `target` `(N, K, H, W)`, both scaled to -1..1.

        Returns
        -------
        Tensor
            The five losses named in `TERMS`, float32, weighted, on the device: nothing waits for it here.
        """
        for optimizer in (self.optimizer_G, self.optimizer_D):   # gradients give way to the activations
            optimizer.zero_grad(set_to_none=True)
        real, loss_real = self._learn_real(input, target)
        with self._autocast():
            generated = self.generator(input)
        gradient, gan, matching, loss_generated = self._learn_generated(input, generated.detach().float().requires_grad_(), real)
        del real                                               # so does what the discriminator saw
        outputs, gradients = [generated], [gradient.to(generated.dtype)]
        correlation = torch.zeros((), device=input.device)
        if self.weights["CC"]:
            correlation = self.weights["CC"] * self.correlation(target, generated)
            outputs, gradients = [generated, self.scaler.scale(correlation)], [*gradients, torch.ones_like(correlation)]
        torch.autograd.backward(outputs, gradients)
        if not self._steps_in_backward:
            self.scaler.step(self.optimizer_G)
        self.scaler.step(self.optimizer_D)
        self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.bare_generator)
        losses = torch.stack([gan + matching + correlation, loss_real + loss_generated, gan, matching, correlation]).detach()
        self.sums += losses
        self.good_steps += losses.isfinite().all() & (self.good_steps == self.steps)
        self.steps += 1
        return losses

    def _learn_real(self, input: Tensor, target: Tensor) -> tuple[Features, Tensor]:
        """The discriminator's gradients from the real pair: its features, and its loss.

        They come before the generator has made anything, and are not averaged over ranks before those of the generated pair.
        """
        alone = self.discriminator.no_sync() if isinstance(self.discriminator, DistributedDataParallel) else nullcontext()
        with alone:
            with self._autocast():
                features = self.discriminator(discriminator_pair(input, target, self.repeats))
            loss = self.adversarial.discriminator(features, real=True)
            self.scaler.scale(loss).backward(inputs=list(self.discriminator.parameters()))
        return [[block.detach() for block in scale] for scale in features], loss.detach()

    def _learn_generated(self, input: Tensor, leaf: Tensor, real: Features) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The discriminator's gradients from the generated pair: the gradient of the generator's terms to `leaf`, these two terms,
        and the discriminator's loss."""
        with self._autocast():
            features = self.discriminator(discriminator_pair(input, leaf, self.repeats))
        gan = self.weights["GAN"] * self.adversarial.generator(features)
        matching = self.weights["FM"] * self.feature_matching(real, features) if self.weights["FM"] else torch.zeros_like(gan)
        loss = self.adversarial.discriminator(features, real=False)
        (gradient,) = torch.autograd.grad(self.scaler.scale(gan + matching), leaf, retain_graph=True)
        self.scaler.scale(loss).backward(inputs=list(self.discriminator.parameters()))
        return gradient, gan.detach(), matching.detach(), loss.detach()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.half, enabled=self.half is not None)

    def mean_losses(self) -> Tensor:
        """The mean of each of `TERMS` over the steps since the last call."""
        means = self.sums / max(self.steps, 1)
        self.sums = torch.zeros_like(self.sums)
        self.good_steps.zero_()
        self.steps = 0
        return means

    def steps_since_divergence(self) -> int:
        """How many of the latest steps came from the first whose loss was no number; 0 if all is well. Waits for the device."""
        if since := self.steps - int(self.good_steps):
            return since
        healthy = torch.stack([parameter.isfinite().all() for network in (self.generator, self.discriminator)
                               for parameter in network.parameters()]).all()
        return 0 if healthy else 1

    @torch.inference_mode()
    def generate(self, input: Tensor, averaged: bool = False) -> Tensor:
        """The generator's output on `input`, in eval mode, float32; `averaged`: by the moving average of the weights."""
        network = self.average.module if averaged and self.average is not None else self.bare_generator
        was_training = network.training
        network.eval()
        with self._autocast():
            output = network(input)
        network.train(was_training)
        return output.float()

    def state_dict(self) -> dict:
        """Everything that the next step depends on, besides the data."""
        state = {"generator": self.bare_generator.state_dict(), "discriminator": self.bare_discriminator.state_dict(),
                 "optimizer_G": self.optimizer_G.state_dict(), "optimizer_D": self.optimizer_D.state_dict(),
                 "scaler": self.scaler.state_dict(), "sums": self.sums, "steps": self.steps, "good_steps": self.good_steps}
        if self.average is not None:
            state["average"] = self.average.state_dict()
        return state

    def load_state_dict(self, state: dict) -> None:
        """Go on from `state_dict`'s state; the optimizers' own settings stay as they were given.

        Raises
        ------
        UserError
            The state is of other networks.
        """
        try:
            self.bare_generator.load_state_dict(state["generator"])
            self.bare_discriminator.load_state_dict(state["discriminator"])
            for optimizer, saved in ((self.optimizer_G, state["optimizer_G"]), (self.optimizer_D, state["optimizer_D"])):
                settings = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
                optimizer.load_state_dict(saved)
                for group, own in zip(optimizer.param_groups, settings, strict=True):
                    group.update(own)
                if any(moment.shape not in (parameter.shape, ()) for parameter, moments in optimizer.state.items()
                       for moment in moments.values()):
                    raise ValueError("moments of another shape than their weights")
            if state["scaler"]:
                self.scaler.load_state_dict(state["scaler"])
            self.sums, self.good_steps = state["sums"].to(self.device, copy=True), state["good_steps"].to(self.device, copy=True)
            self.steps = operator.index(state["steps"])
            if self.average is not None and "average" in state:
                self.average.load_state_dict(state["average"])
        # What PyTorch raises depends on where the difference is.
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"the training state is of other networks ({reason}). Train with the options it was made with") from error
