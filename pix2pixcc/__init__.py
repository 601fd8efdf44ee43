"""Farside magnetograms of the Sun from extreme-ultraviolet images.

    import pix2pixcc
    model = pix2pixcc.load("checkpoints/AISFM", iteration="best")
    farside = model("20110215_001400_n4euB.fts")      # a path, a Map, several of them, a cube
    farside.plot()                                    # a sunpy Map

Nothing heavy is imported before one of the functions is called.
"""
from __future__ import annotations

import os
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pix2pixcc.utils import VERSION
from pix2pixcc.utils import UserError as UserError

if TYPE_CHECKING:
    import torch

    from pix2pixcc.images.files import Image
    from pix2pixcc.model import FarsideModel
    from pix2pixcc.whole_sun.maps import WholeSunMap

__version__ = VERSION


def load(folder: str | os.PathLike, iteration: int | str = "best", *, average: bool = False,
         device: str | torch.device | None = None) -> FarsideModel:
    """Load a trained model.

    Parameters
    ----------
    folder : path
        The folder of a run, `checkpoints/<dataset_name>`, wherever it lies.
    iteration : int or 'best'
        Which checkpoint: the number of images seen in training, or the one with the best score in validation, be it of
        the plain weights or of their moving average.
    average : bool
        Whether to take the moving average of the weights at that number.
    device : str or torch.device, optional
        Where the model computes: 'cpu', 'cuda', 'cuda:1'; by default a GPU if there is one.

    Returns
    -------
    FarsideModel
        To be called with EUV images; see there what it takes and returns.

    Raises
    ------
    UserError
        The folder is no run's, or the checkpoint is missing or damaged; the message lists those that are there.

    Examples
    --------
    >>> model = pix2pixcc.load("checkpoints/AISFM", 400000, device="cpu")
    >>> farside = model("20110215_001400_n4euB.fts")
    """
    from pix2pixcc.model import FarsideModel

    import_module("pix2pixcc.generation.magnetogram")      # so that sunpy.map.Map knows products from now on
    return FarsideModel.of_run(folder, iteration, average=average, device=device)


def prepare(images: Any, size: int) -> Image | list[Image]:
    """Make model-ready cubes of raw images, as pix2pixCC_Prepare.py does.

    Each image is calibrated, turned to solar north up, centred, and brought to a solar radius of 450/1024 of the side.
    EUV images are scaled to a median of 100 on the disk, magnetograms stay in gauss; beyond 0.98 solar radii all are 0.

    Parameters
    ----------
    images
        One raw image, or a tuple of images, which become the channels of one cube in this order; a list of such inputs
        gives a list of cubes. An image is a `sunpy.map.GenericMap`, a path, or an array with its header,
        `(data, header)`, of EUVI (level 0 or 1), AIA (level 1 or 1.5) or HMI (line-of-sight magnetogram). Images of
        another spacecraft than the first, or of another day, are a reference: the cube has the observer and the mean
        time of the others.
    size : int
        Side of the cube in pixels.

    Returns
    -------
    Image, or a list of them for a list
        With `data`, float32 (C, size, size); `header`, a FITS header of the observer, the mean time, and cards that say
        what each channel is; and `channels`, the same as `Channel` objects.

    Raises
    ------
    UserError
        An image cannot be read, is of no known instrument or of poor quality, or lacks a keyword; the message names it.
    TypeError
        What was given is no image.

    Examples
    --------
    >>> cube = pix2pixcc.prepare((map_304, map_195, map_171), 1024)
    >>> farside = model(cube)
    >>> fits.writeto("stereo_b_20110305_120403.fits", cube.data, cube.header)      # a cube for pix2pixCC_Test.py
    """
    from pix2pixcc.generation.inputs import prepared

    return [prepared(one, size) for one in images] if isinstance(images, list) else prepared(images, size)


def evaluate(generated: Any, real: Any, *, disk_radius: float = 0.98,
             **settings: Any) -> dict[str, float] | list[dict[str, float]]:
    """Score a generated magnetogram against the true one, as pix2pixCC_Evaluate.py does.

    Parameters
    ----------
    generated, real
        Line-of-sight magnetograms in gauss, of one size and geometry: each a `sunpy.map.GenericMap`, a path, an array
        with its header, `(data, header)`, or a cube of `prepare`. Two lists of one length are compared pair by pair.
    disk_radius : float
        Pixels count up to this many solar radii from the disk's centre.
    **settings
        What else counts, named and valued as the command's flags: `binning` (8 pixels), `active_threshold` (50 G),
        `active_smoothing` (8 pixels), `polarity_threshold` (30 G), `ssim_range` (3000 G), `foreshortening` (False).

    Returns
    -------
    dict of str to float, or a list of them for two lists
        The columns of `scores.csv`: `full_cc`, `full_cc_binned`, `full_rmse` (G) and more, the same of `active_` and
        `quiet_` regions, `ssim`, `polarity_agreement`, fluxes (Mx); NaN where the images do not define a score.

    Raises
    ------
    UserError
        An image cannot be read, sizes, views or disks differ, or no pixel on the disk has a value in both images.
    TypeError
        What was given is no image.

    Examples
    --------
    >>> truth = pix2pixcc.prepare(hmi_map, farside.data.shape[0])
    >>> scores = pix2pixcc.evaluate(farside, truth)
    >>> print(scores["full_cc_binned"])
    """
    from pix2pixcc.evaluation.frames import in_one_frame
    from pix2pixcc.evaluation.scores import evaluate_image
    from pix2pixcc.generation.inputs import cube

    def scores(one: Any, other: Any) -> dict[str, float]:
        true = cube(other, 1)
        turned, disk, _ = in_one_frame(cube(one, 1), true)
        return evaluate_image(turned.data[0], true.data[0], disk, disk_radius=disk_radius, **settings).scores

    if isinstance(generated, list) and isinstance(real, list):
        return [scores(*pair) for pair in zip(generated, real, strict=True)]
    return scores(generated, real)


def synchronic_map(frontside: Any, farside: Any = (), history: Any = (), *, time: datetime | None = None,
                   shape: tuple[int, int] = (360, 180), merge: str = "scales", **choices: Any) -> WholeSunMap:
    """Make a map of the whole Sun at one moment, as pix2pixCC_Map.py does.

    Parameters
    ----------
    frontside, farside
        Line-of-sight magnetograms of about that time, observed and generated, of any observers: one, or a list. Each is
        a `sunpy.map.GenericMap`, a path, an array with its header, `(data, header)`, or a cube of `prepare`.
    history
        Magnetograms of the 27 days before, in the same forms; or a synoptic map of HMI, GONG, MDI or ADAPT, a path or a
        `sunpy.map.GenericMap`.
    time : datetime, optional
        UTC; by default that of the first frontside magnetogram.
    shape : tuple of int
        Cells in longitude and in sine of latitude.
    merge : str
        'scales', 'naive' or 'history': how the farside and the history become one.
    **choices
        Named and valued as the command's flags: `frame`, `rotation`, `tolerance` (hours), `mu_limit`, `mu_power`,
        `fading` (days), `trust`, `net_degrees`, `strong` (gauss), `split_degrees`, `fine_share`, `balance`.

    Returns
    -------
    WholeSunMap
        A `sunpy.map.GenericMap` of the radial field, gauss, float32 (rows, columns), without NaN and without net flux,
        in cylindrical equal-area projection: `sunkit_magex.pfss.Input` takes it as it is. Its `layers` say of each
        cell which source it is of, how much that weighs and how old it is.

    Raises
    ------
    UserError
        A magnetogram cannot be used; two are of one observer; one is of quite another time; nobody saw some of the Sun.
    TypeError
        What was given is no image.

    Examples
    --------
    >>> whole = pix2pixcc.synchronic_map("hmi.M_720s.20110305_120000_TAI.fits", [farside_a, farside_b], old_hmi_files)
    >>> whole.plot()
    """
    from pix2pixcc.whole_sun.making import whole_sun_map
    from pix2pixcc.whole_sun.recipe import Recipe

    def image_of(given: Any) -> Image:
        from pix2pixcc.generation.inputs import cube  # imports torch, which paths do not need

        return cube(given, 1)

    return whole_sun_map(_listed(frontside), _listed(farside), _listed(history), time,
                         Recipe.of(shape, merge, **choices), image_of)


def _listed(given: Any) -> list:
    return list(given) if isinstance(given, list) or (isinstance(given, tuple) and not given) else [given]
