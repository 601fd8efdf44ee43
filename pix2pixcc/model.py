"""A trained generator with all that its use needs: what goes in, how that is scaled, what comes out, whose weights."""
from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pix2pixcc.generation.products import product_hdu, product_header, unit_of
from pix2pixcc.images.cubes import Channel
from pix2pixcc.images.files import Image
from pix2pixcc.networks import Generator
from pix2pixcc.pipeline import Scaling, pad_to_multiple
from pix2pixcc.preparation.settings import TOLERANCE_MINUTES
from pix2pixcc.training.checkpoints import load_weights
from pix2pixcc.training.data import ScalingFlags
from pix2pixcc.training.folder import RunFolder
from pix2pixcc.training.record import RunRecord
from pix2pixcc.utils import UserError, file_sha256

if TYPE_CHECKING:
    from pix2pixcc.generation.magnetogram import FarsideMagnetogram

# What a generator is built from, as `Generator` and options.json call it.
NETWORK = ("input_ch", "target_ch", "model", "n_gf", "n_downsample", "n_residual", "norm_type", "padding_type",
           "trans_conv")


@dataclass(frozen=True)
class ModelDescription:
    """What a model takes and gives, whichever its weights.

    Attributes
    ----------
    network : dict
        The arguments of its `Generator`.
    input_scaling : Scaling or ScalingFlags
        Of the input; flags decide together with the cards of each image.
    target_scaling : Scaling
        Of what the generator gives.
    channels : list of Channel or None
        What each input channel was in training; None where nothing says so.
    size : int or None
        Pixels on a side of the training images; None where nothing says so.
    unit : str
        Of what it gives: 'G' where the targets' cards said magnetogram, else ''.
    """

    network: dict[str, Any]
    input_scaling: Scaling | ScalingFlags
    target_scaling: Scaling
    channels: list[Channel] | None = None
    size: int | None = None
    unit: str = ""

    @classmethod
    def of_record(cls, record: RunRecord) -> ModelDescription:
        """Return what options.json says of a model."""
        input, target = record.scaling("input"), record.scaling("target")
        network = {"model": "pix2pixCC", "input_ch": len(input.lower), "target_ch": len(target.lower)}
        network |= {name: record.options[name] for name in NETWORK if name in record.options}
        return cls(network, input, target, record.channels("input"), record.size,
                   unit_of(record.channels("target")))

    @classmethod
    def of_flags(cls, settings: Mapping[str, Any], input: ScalingFlags, target: ScalingFlags, *,
                 is_8bit: bool) -> ModelDescription:
        """Return what is known of bare weights, as the published code leaves them: what the user's flags say.

        `settings` holds every option of `NETWORK`; `is_8bit` tells that the output is written in a format of 8 bits.
        """
        blank = Image(np.zeros((settings["target_ch"], 1, 1), np.float32), None, None, is_8bit, Path("target"))
        return cls({name: settings[name] for name in NETWORK}, input, target.scaling_of(blank))

    @property
    def settings(self) -> dict[str, Any]:
        """What decides about the values of a generated image, beside its weights, for JSON."""
        scaling = {name: sorted(value) if isinstance(value, frozenset) else value
                   for name, value in vars(self.input_scaling).items()}
        channels = None if self.channels is None else [channel.to_dict() for channel in self.channels]
        return {"network": self.network, "input_scaling": scaling, "channels": channels, "size": self.size}

    def scaled(self, image: Image) -> Tensor:
        """Return an input scaled to -1..1, (C, H, W)."""
        scaling = self.input_scaling
        if isinstance(scaling, ScalingFlags):
            scaling = scaling.scaling_of(image)
        return scaling.scale(torch.from_numpy(image.data))


class FarsideModel:
    """A trained generator: EUV images in, magnetograms out. `pix2pixcc.load` makes one.

    Call it with one input and it gives one magnetogram; call it with a list of inputs and it gives a list. An input is

    - a cube, model-ready and of all channels: the path of a file that pix2pixCC_Prepare.py wrote, an array with its
      header, `(data, header)`, or what `pix2pixcc.prepare` returns;
    - or raw images, one per channel, in any order: each a `sunpy.map.GenericMap`, a path, or `(data, header)`. Several
      are positional arguments or a tuple: `model(m304, m195, m171)` is `model((m304, m195, m171))`, one magnetogram;
      `model([m304, m195, m171])` would be three. They are calibrated and registered, and put in the order of the
      model's channels by what their headers say. Those of now are EUVI's, those of a frontside reference SDO's; to see
      what the model makes of AIA's images of now, prepare them first.

    A magnetogram is a `FarsideMagnetogram`, which is a `sunpy.map.GenericMap`: float32 (H, W) in gauss, NaN beyond 0.98
    solar radii, with the observer, the inputs and the checkpoint in its `meta`.

    Parameters
    ----------
    description : ModelDescription
    device : torch.device
        Where it computes.
    half : torch.dtype, optional
        The type of mixed precision; None for float32.

    Examples
    --------
    >>> model = pix2pixcc.load("checkpoints/AISFM", iteration="best")
    >>> farside = model("20110215_001400_n4euB.fts")
    >>> farside.name
    'pix2pixCC farside magnetogram, STEREO-B 2011-02-15 00:14:33'
    >>> both = model(["stereo_a_20110305_120403.fits", "stereo_b_20110305_120403.fits"])      # two cubes, two maps
    """

    def __init__(self, description: ModelDescription, *, device: torch.device, half: torch.dtype | None = None):
        self.description = description
        self.device = device
        self.provenance: dict[str, Any] = {}
        self._half = half
        with torch.device("meta"):            # no memory for a network that the checkpoint may not be of
            self.generator = Generator(**description.network).eval()

    @classmethod
    def of_run(cls, folder: str | os.PathLike, iteration: int | str, *, average: bool,
               device: str | torch.device | None) -> FarsideModel:
        """Return the model of a run's folder, as `pix2pixcc.load` describes it."""
        path = Path(folder).resolve()
        run = RunFolder(path.name, path.parent)
        if not run.options.is_file():
            raise UserError(f"{folder} holds no options.json: it should be the folder of a run, "
                            "checkpoints/<dataset_name>. Bare weights are for pix2pixCC_Test.py, told by flags "
                            "how they were trained")
        network, chosen = checkpoints_of(run, str(iteration), average=average)
        if len(chosen) != 1:
            raise UserError(f"iteration {iteration} means every checkpoint; name one of {', '.join(map(str, chosen))}")
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        model = cls(ModelDescription.of_record(RunRecord.read(run.options, chosen[0])), device=torch.device(device))
        model.load(run.weights(chosen[0], network), chosen[0])
        return model

    def load(self, weights: Path, iteration: int) -> None:
        """Take the weights of a checkpoint; `UserError` if the file is missing, damaged, or of another network."""
        load_weights(self.generator, weights)
        self.generator.to(self.device)
        if self._half is not None:
            self.generator.round_weights(self._half)
        self.provenance = {"model": self.description.network["model"], "checkpoint": str(weights),
                           "checkpoint_sha256": file_sha256(weights), "iteration": iteration}

    @torch.inference_mode()
    def generate(self, input: Tensor) -> Tensor:
        """Return the generator's output (N, K, H, W) for scaled input (N, C, H, W), both -1..1; float32, on the CPU."""
        with torch.autocast(self.device.type, dtype=self._half, enabled=self._half is not None):
            generated = self.generator(input.to(self.device))
        return generated.float().cpu()

    def __call__(self, *images: Any,
                 tolerance: float = TOLERANCE_MINUTES["farside"]) -> FarsideMagnetogram | list[FarsideMagnetogram]:
        """Make magnetograms of EUV images.

        Parameters
        ----------
        *images
            One input, or a list of inputs; see the class.
        tolerance : float
            Minutes within which raw images of several passbands belong together.

        Returns
        -------
        FarsideMagnetogram, or a list of them for a list
            What pix2pixCC_Test.py writes for the same input, the same numbers under the same header.

        Raises
        ------
        UserError
            The images are not what the model needs (other passbands, instruments, sizes or number of channels), do not
            belong together (other times or spacecraft), are unreadable or of poor quality, or lack a keyword, such as
            the observer's place. Or the model gives several channels, which are no magnetogram.
        TypeError
            What was given is no image.
        """
        if len(images) == 1 and isinstance(images[0], list):
            return [self._magnetogram(one, tolerance) for one in images[0]]
        return self._magnetogram(images[0] if len(images) == 1 else images, tolerance)

    def _magnetogram(self, given: Any, tolerance: float) -> FarsideMagnetogram:
        from pix2pixcc.generation.inputs import model_input  # both import sunpy.map, which takes seconds
        from pix2pixcc.generation.magnetogram import FarsideMagnetogram

        description, target_scaling = self.description, self.description.target_scaling
        if len(target_scaling.lower) != 1:
            raise UserError(f"this model gives {len(target_scaling.lower)} channels, a magnetogram has one; "
                            "use pix2pixCC_Test.py, which writes them as they are")
        image = model_input(given, channels=description.channels, count=description.network["input_ch"],
                            size=description.size, tolerance=tolerance)
        assert image.header is not None      # an input without an observer has been refused
        padded, crop = pad_to_multiple(description.scaled(image), self.generator.multiple)
        generated = self.generate(padded[None])[0][crop]
        header = product_header(image.header, image.channels, bunit=description.unit, **self.provenance)
        return FarsideMagnetogram.of_product(product_hdu(target_scaling.unscale(generated).numpy(), header))


def checkpoints_of(run: RunFolder, iteration: str, *, average: bool) -> tuple[str, list[int]]:
    """Return the network, G or its average G_ema, and the iterations that a number, 'best', or -1 for all, means.

    If there is no such checkpoint, a `UserError` lists those that exist.
    """
    best = run.best() if iteration == "best" else None
    network = "G_ema" if average else best.network if best else "G"
    return network, run.choose(iteration, network)
