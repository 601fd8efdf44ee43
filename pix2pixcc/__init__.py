"""Farside magnetograms of the Sun from extreme-ultraviolet images.

    import pix2pixcc
    model = pix2pixcc.load("checkpoints/AISFM", iteration="best")
    farside = model("20110305_115615_n4euB.fts")      # a path, a Map, several of them, a cube
    farside.plot()                                    # a sunpy Map

The rest is imported only when these are called, so that `import pix2pixcc` takes no time.
"""
from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pix2pixcc.utils import VERSION, UserError as UserError

if TYPE_CHECKING:
    import torch

    from pix2pixcc.images.files import Image
    from pix2pixcc.model import FarsideModel

__version__ = VERSION


def load(folder: str | os.PathLike, iteration: int | str = "best", *, average: bool = False,
         device: str | torch.device | None = None) -> FarsideModel:
    """Load a trained model.

    Parameters
    ----------
    folder : path
        The folder of a run, `checkpoints/<dataset_name>`.
    iteration : int or 'best'
        Which checkpoint: a number of images seen in training, or the one that was best in validation, be it of the plain weights or
        of their moving average.
    average : bool
        Take the moving average of the weights of this iteration.
    device : str or torch.device, optional
        Where it computes: 'cpu', 'cuda', 'cuda:1'; by default a GPU if there is one.

    Returns
    -------
    FarsideModel
        To be called with EUV images.

    Raises
    ------
    UserError
        The folder is no run's, the checkpoint is missing or damaged; the message lists the checkpoints that are there.

    Examples
    --------
    >>> model = pix2pixcc.load("checkpoints/AISFM", 400000, device="cpu")
    >>> farside = model("20110305_115615_n4euB.fts")
    """
    import pix2pixcc.generation.magnetogram      # registers the Map source, so that sunpy.map.Map knows products from now on
    from pix2pixcc.model import FarsideModel

    return FarsideModel.of_run(folder, iteration, average=average, device=device)


def prepare(images: Any, size: int) -> Image | list[Image]:
    """Make model-ready cubes of raw images, as pix2pixCC_Prepare.py does.

    Each image is calibrated, turned to solar north up, centred, and scaled to a solar radius of 450/1024 of the side; EUV images to a
    median of 100 on the disk, magnetograms stay in gauss; beyond 0.98 solar radii all are 0.

    Parameters
    ----------
    images
        One raw image, or a tuple of the images that become the channels of one cube, in this order; a list of such inputs gives a list
        of cubes. An image is a `sunpy.map.GenericMap`, a path, or an array with its header `(data, header)`: EUVI level 0 or 1,
        AIA level 1 or 1.5, an HMI line-of-sight magnetogram. Images of another spacecraft than the first one's, or of another day,
        are a reference: the cube's observer and time are those of the others.
    size : int
        Side of the cube in pixels.

    Returns
    -------
    Image, or a list of them for a list
        `data`, float32 (C, size, size); `header`, with the observer at the mean time and what each channel is;
        `channels`, the same as a list of `Channel`. `fits.writeto("cube.fits", cube.data, cube.header)` keeps it.

    Raises
    ------
    UserError
        An image cannot be read, is of no known instrument or of poor quality, or lacks a keyword; the message names both.
    TypeError
        What was given is no image.

    Examples
    --------
    >>> cube = pix2pixcc.prepare((map_304, map_195, map_171), 1024)
    >>> farside = pix2pixcc.load("checkpoints/AISFM")(cube)
    """
    from pix2pixcc.generation.inputs import prepared

    return [prepared(one, size) for one in images] if isinstance(images, list) else prepared(images, size)


def evaluate(generated: Any, real: Any, *, disk_radius: float = 0.98, **settings: Any) -> dict[str, float] | list[dict[str, float]]:
    """Score a generated magnetogram against the true one, as pix2pixCC_Evaluate.py does.

    Parameters
    ----------
    generated, real
        Line-of-sight magnetograms in gauss of the same size and geometry: a `sunpy.map.GenericMap`, a path, an array with its header
        `(data, header)`, or a cube of `prepare`. Two lists of the same length are compared in pairs.
    disk_radius : float
        Pixels count up to this many solar radii from the disk's centre.
    **settings
        What else counts, by the names of the command's flags: `binning` (8 pixels), `active_threshold` (50 G), `active_smoothing`
        (8 pixels), `polarity_threshold` (30 G), `ssim_range` (3000 G), `foreshortening` (False).

    Returns
    -------
    dict of str to float, or a list of them for lists
        The columns of `scores.csv`: `full_cc`, `full_cc_binned`, `full_rmse`, ..., the same of `active` and `quiet` regions, `ssim`,
        `polarity_agreement`, fluxes in maxwell; NaN where the images do not define one.

    Raises
    ------
    UserError
        An image cannot be read, sizes or disks differ, or no pixel on the disk has a value in both.
    TypeError
        What was given is no image.

    Examples
    --------
    >>> truth = pix2pixcc.prepare(hmi_map, farside.data.shape[0])
    >>> scores = pix2pixcc.evaluate(farside, truth)
    >>> scores["full_cc_binned"]
    """
    if isinstance(generated, list) and isinstance(real, list):
        return [evaluate(*pair, disk_radius=disk_radius, **settings) for pair in zip(generated, real, strict=True)]
    from pix2pixcc.evaluation.scores import common_disk, evaluate_image
    from pix2pixcc.generation.inputs import cube

    images = cube(generated, 1), cube(real, 1)
    disk, _ = common_disk(*images)
    return evaluate_image(*(image.data[0] for image in images), disk, disk_radius=disk_radius, **settings).scores
