"""One training step of the conditional GAN, and the state that makes it resumable.

Source: Jeong et al. 2022 (ApJS 262 50), section 2.
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


def _adam(network: nn.Module, *, lr: float, betas: tuple[float, float]) -> torch.optim.Adam:
    """Make Adam, its moments too before the first step: memory that stays lies apart from memory that is reused."""
    optimizer = torch.optim.Adam(network.parameters(), lr=lr, betas=betas, eps=1e-8, fused=True)
    for weight in network.parameters():
        optimizer.state[weight] = {"step": torch.zeros((), device=weight.device),
                                   "exp_avg": torch.zeros_like(weight), "exp_avg_sq": torch.zeros_like(weight)}
    return optimizer


def _bare(network: nn.Module) -> nn.Module:
    """The network without DistributedDataParallel around it."""
    return network.module if isinstance(network, DistributedDataParallel) else network


class AdversarialTraining:
    """Train generator and discriminator together; `step` takes one step of both.

    Both losses come from the same weights. The discriminator sees each pair once: the backward passes of its own loss
    and of the generator's adversarial and feature-matching terms go through the same graph.

    Parameters
    ----------
    generator, discriminator : nn.Module
        On their device; wrapped in DistributedDataParallel where several ranks train.
    repeats, gan_type, fm_cumulative, n_CC, ccc
        Of `networks.channel_repeats` and of the losses; `n_CC` 0 skips the correlation.
    lambda_LSGAN, lambda_FM, lambda_CC : float
        Weights of the adversarial, feature-matching and correlation terms; a weight of 0 skips the term.
    half : torch.dtype, optional
        bfloat16 or float16 for the networks' arithmetic; the weights and losses stay in float32.
    ema : float, optional
        Decay of an exponential moving average of the generator, per step.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, *, repeats: tuple[int, int], lr: float,
                 beta1: float, beta2: float, lambda_LSGAN: float, lambda_FM: float, lambda_CC: float, gan_type: str,
                 fm_cumulative: bool, n_CC: int, ccc: bool, half: torch.dtype | None = None, ema: float | None = None):
        self.generator, self.discriminator, self.repeats = generator, discriminator, repeats
        self.weights = {"GAN": lambda_LSGAN, "FM": lambda_FM, "CC": lambda_CC if n_CC else 0.0}
        self.adversarial = AdversarialLoss(gan_type)
        self.feature_matching = FeatureMatchingLoss(fm_cumulative)
        self.correlation = CorrelationLoss(n_CC, ccc)
        self.half = half
        self.device = next(generator.parameters()).device
        self.optimizer_G = _adam(generator, lr=lr, betas=(beta1, beta2))
        self.optimizer_D = _adam(discriminator, lr=lr, betas=(beta1, beta2))
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
        return _bare(self.generator)

    @property
    def bare_discriminator(self) -> nn.Module:
        """The discriminator without DistributedDataParallel around it."""
        return _bare(self.discriminator)

    @property
    def _steps_in_backward(self) -> bool:
        """Whether each weight of the generator is stepped as soon as its gradient is there: one is kept at a time.

        Both losses have been taken by then. Not where gradients are averaged over ranks or checked for overflow first.
        """
        return not isinstance(self.generator, DistributedDataParallel) and not self.scaler.is_enabled()

    def _step_one(self, parameter: Tensor) -> None:
        self.optimizer_G.step()                  # steps what has a gradient: this one alone
        parameter.grad = None

    def set_learning_rate(self, lr: float) -> None:
        """Set the rate of both optimizers."""
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
        for optimizer in (self.optimizer_G, self.optimizer_D):   # gradients make room for the activations
            optimizer.zero_grad(set_to_none=True)

        # 1. D(x, y): the discriminator's gradients from the real pair. Only its features are kept.
        real, loss_real = self._learn_real(input, target)

        # 2. G(x), and a detached copy of it for the discriminator.
        with self._autocast():
            generated = self.generator(input)
        copy = generated.detach().float().requires_grad_()

        # 3. D(x, G(x)): the gradient of GAN and FM with respect to the copy, and the discriminator's gradients.
        gradient, gan, matching, loss_generated = self._learn_generated(input, copy, real)
        del real                                                 # frees memory for the generator's backward pass

        # 4. The generator's gradients, from that of the copy and from the term CC.
        outputs, gradients = [generated], [gradient.to(generated.dtype)]
        correlation = torch.zeros((), device=input.device)
        if self.weights["CC"]:
            correlation = self.weights["CC"] * self.correlation(target, generated)
            outputs.append(self.scaler.scale(correlation))
            gradients.append(torch.ones_like(correlation))
        torch.autograd.backward(outputs, gradients)

        self._step_optimizers()
        loss_G, loss_D = gan + matching + correlation, loss_real + loss_generated
        losses = torch.stack([loss_G, loss_D, gan, matching, correlation]).detach()
        self.sums += losses
        self.good_steps += losses.isfinite().all() & (self.good_steps == self.steps)
        self.steps += 1
        return losses

    def _learn_real(self, input: Tensor, target: Tensor) -> tuple[Features, Tensor]:
        """Take the discriminator's gradients from the real pair; return its features and its loss."""
        network = self.discriminator      # which averages over ranks together with the gradients of the generated pair
        with network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext():
            with self._autocast():
                features = network(discriminator_pair(input, target, self.repeats))
            loss = self.adversarial.discriminator(features, real=True)
            self.scaler.scale(loss).backward(inputs=list(network.parameters()))
        return [[block.detach() for block in scale] for scale in features], loss.detach()

    def _learn_generated(self, input: Tensor, copy: Tensor, real: Features) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Take D's gradients from the generated pair; return that of GAN + FM to `copy`, both terms, and D's loss."""
        with self._autocast():
            features = self.discriminator(discriminator_pair(input, copy, self.repeats))
        gan = self.weights["GAN"] * self.adversarial.generator(features)
        matching = torch.zeros_like(gan)
        if self.weights["FM"]:
            matching = self.weights["FM"] * self.feature_matching(real, features)
        loss = self.adversarial.discriminator(features, real=False)
        (gradient,) = torch.autograd.grad(self.scaler.scale(gan + matching), copy, retain_graph=True)
        self.scaler.scale(loss).backward(inputs=list(self.discriminator.parameters()))
        return gradient, gan.detach(), matching.detach(), loss.detach()

    def _step_optimizers(self) -> None:
        """Step the generator, unless that was done in its backward pass, then the discriminator, then the average."""
        if not self._steps_in_backward:
            self.scaler.step(self.optimizer_G)
        self.scaler.step(self.optimizer_D)
        self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.bare_generator)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.half, enabled=self.half is not None)

    def mean_losses(self) -> Tensor:
        """Return the mean of each of `TERMS` over the steps since the last call."""
        means = self.sums / max(self.steps, 1)
        self.sums = torch.zeros_like(self.sums)
        self.good_steps.zero_()
        self.steps = 0
        return means

    def steps_since_divergence(self) -> int:
        """Return how many of the latest steps came from the first whose loss was NaN or infinite; 0 if all is well.

        Weights that the last step has spoilt, whose loss was still good, count as 1. It waits for the device.
        """
        if since := self.steps - int(self.good_steps):
            return since
        healthy = torch.stack([parameter.isfinite().all() for network in (self.generator, self.discriminator)
                               for parameter in network.parameters()]).all()
        return 0 if healthy else 1

    @torch.inference_mode()
    def generate(self, input: Tensor, averaged: bool = False) -> Tensor:
        """Return the output on `input` in eval mode, float32 on the device; of the averaged weights if `averaged`."""
        network = self.average.module if averaged and self.average is not None else self.bare_generator
        was_training = network.training
        network.eval()
        with self._autocast():
            output = network(input.to(self.device))
        network.train(was_training)
        return output.float()

    def state_dict(self) -> dict:
        """Return everything that the next step depends on, besides the data."""
        state = {"generator": self.bare_generator.state_dict(), "discriminator": self.bare_discriminator.state_dict(),
                 "optimizer_G": self.optimizer_G.state_dict(), "optimizer_D": self.optimizer_D.state_dict(),
                 "scaler": self.scaler.state_dict(), "sums": self.sums, "steps": self.steps,
                 "good_steps": self.good_steps}
        if self.average is not None:
            state["average"] = self.average.state_dict()
        return state

    def load_state_dict(self, state: dict) -> None:
        """Go on from the state that `state_dict` returned; the optimizers' settings stay as they were given.

        Raises
        ------
        UserError
            The state is of other networks.
        """
        try:
            self.bare_generator.load_state_dict(state["generator"])
            self.bare_discriminator.load_state_dict(state["discriminator"])
            for name, optimizer in (("optimizer_G", self.optimizer_G), ("optimizer_D", self.optimizer_D)):
                settings = [{name: value for name, value in group.items() if name != "params"}
                            for group in optimizer.param_groups]
                optimizer.load_state_dict(state[name])
                for group, own in zip(optimizer.param_groups, settings, strict=True):
                    group.update(own)
                if any(moment.shape not in (parameter.shape, ()) for parameter, moments in optimizer.state.items()
                       for moment in moments.values()):
                    raise ValueError("moments of another shape than their weights")
            if state["scaler"]:
                self.scaler.load_state_dict(state["scaler"])
            self.sums, self.good_steps = (state[name].to(self.device, copy=True) for name in ("sums", "good_steps"))
            self.steps = operator.index(state["steps"])
            if self.average is not None and "average" in state:
                self.average.load_state_dict(state["average"])
        # What PyTorch raises depends on where the difference is.
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"the training state is of other networks ({reason}). "
                            "Train with the options it was made with") from error
