"""Compute the largest image and batch that train in 12, 24 and 80 GB.

    python benchmarks/memory.py

Bytes stored for the backward pass are counted with `saved_tensors_hooks` in forward passes of images of two sizes.
They are a constant (weights rounded to 16 bits) and a part in proportion to the pixels. Added are 12 bytes per weight
(itself and Adam's two moments; gradients of the generator live one at a time), a fifth of the activations for gradients
on their way and workspaces, and 1 GB for the GPU's own.
"""
from __future__ import annotations

import itertools
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pix2pixcc.losses import FeatureMatchingLoss
from pix2pixcc.networks import Discriminator, Generator, channel_repeats, discriminator_pair

CONFIGURATIONS = {"v3": dict(input_ch=7, n_gf=40, n_df=40, n_downsample=5, ch_balance=1.5),
                  "default": dict(input_ch=1, n_gf=64, n_df=64, n_downsample=4, ch_balance=1.0)}
BUDGETS, OVERHEAD, WORKING = (12, 24, 80), 1e9, 1.2


def stored_bytes(generator: Generator, discriminator: Discriminator, repeats: tuple[int, int], half: bool,
                 input_ch: int, side: int) -> int:
    """Return the bytes of distinct tensors, weights left out, that a step of one image stores for its backward pass."""
    weights = {parameter.untyped_storage().data_ptr() for network in (generator, discriminator)
               for parameter in network.parameters()}
    stored: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            stored[storage.data_ptr()] = storage               # kept alive, so that no address is used twice
        return tensor

    images, target = torch.zeros(1, input_ch, side, side), torch.zeros(1, 1, side, side)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), \
            torch.autocast("cpu", torch.bfloat16, enabled=half):
        generated = generator(images)
        pair = discriminator_pair(images, target, repeats)
        with torch.no_grad():
            real = discriminator(pair)
        terms = FeatureMatchingLoss()(real, discriminator(pair.clone()))
    del generated, real, terms
    return sum(storage.nbytes() for storage in stored.values())


def fits(constant: float, per_pixel: float, budget: float, multiple: int) -> tuple[int, int]:
    """Return the largest side at batch 1, and the largest batch at 1024 pixels."""
    room = (budget * 1e9 - OVERHEAD - constant) / (WORKING * per_pixel)
    return int(max(room, 0) ** 0.5) // multiple * multiple, int(max(room, 0) / 1024 ** 2)


def main() -> None:
    print("| configuration | bits | checkpointed | GB fixed | GB per image of 1024 | "
          + " | ".join(f"{gb} GB" for gb in BUDGETS) + " |")
    print("|---|---|---|---|---|" + "---|" * len(BUDGETS))
    for name, c in CONFIGURATIONS.items():
        for half, checkpointed in itertools.product((False, True), repeat=2):
            print(row(name, c, half=half, checkpointed=checkpointed), flush=True)


def row(name: str, c: dict, *, half: bool, checkpointed: bool) -> str:
    """Return one row of the table."""
    repeats = channel_repeats(c["input_ch"], 1, c["ch_balance"])
    generator = Generator(c["input_ch"], 1, n_gf=c["n_gf"], n_downsample=c["n_downsample"],
                          checkpoint_activations=checkpointed)
    discriminator = Discriminator(c["input_ch"] * repeats[0] + repeats[1], n_df=c["n_df"], n_D=2)
    weights = sum(parameter.numel() for network in (generator, discriminator) for parameter in network.parameters())
    small, large = (stored_bytes(generator, discriminator, repeats, half, c["input_ch"], side) for side in (128, 256))
    per_pixel = (large - small) / (256 ** 2 - 128 ** 2)
    constant = 12 * weights + max(0.0, small - per_pixel * 128 ** 2)
    cells = [fits(constant, per_pixel, budget, 2 ** c["n_downsample"]) for budget in BUDGETS]
    return (f"| {name} | {16 if half else 32} | {'yes' if checkpointed else 'no'} | {constant / 1e9:.1f} | "
            f"{per_pixel * 1024 ** 2 / 1e9:.2f} | "
            + " | ".join(f"{side} px, batch {batch}" if batch else f"{side} px" for side, batch in cells) + " |")


if __name__ == "__main__":
    main()
