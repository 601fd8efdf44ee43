"""Registration of an image, and the channel of a cube that it becomes.

A registered image is square, with solar north up, the Sun's centre in its middle and a solar radius of 450/1024 of its
side (Jeong et al. 2020, 2022).
"""
from __future__ import annotations

import os
import re

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from scipy import ndimage

from pix2pixcc.images.cubes import Channel
from pix2pixcc.images.fits import is_number
from pix2pixcc.solar.geometry import disk_mask
from pix2pixcc.solar.headers import registered_header, sunpy_map
from pix2pixcc.solar.observations import Observation, calibrate, read_observation
from pix2pixcc.utils import UserError

DISK_MEDIAN = 100.0                  # of an EUV image within LIMB
AFFINE_TOLERANCE = 0.05              # pixels
ANTI_ALIAS_VARIANCE = 0.4            # with linear interpolation, about the 1.3 pixels of reproject's adaptive kernel


def _pixel_mapping(target: WCS, source: WCS, size: int,
                   path: str | os.PathLike | None) -> tuple[np.ndarray, np.ndarray]:
    """Return matrix (2, 2) and offset (2,) from (row, column) of the registered image to (row, column) of the raw one.

    Between two gnomonic images of one observer it is exact but for some thousandths of a pixel, which is checked.
    """
    columns, rows = (grid.ravel() for grid in np.meshgrid(*2 * [np.linspace(0, size - 1, 7)]))
    longitude, latitude = target.wcs_pix2world(columns, rows, 0)
    found = np.stack(source.wcs_world2pix(longitude, latitude, 0)[::-1], axis=1)
    design = np.stack([rows, columns, np.ones_like(rows)], axis=1)
    residual = np.inf
    if np.isfinite(found).all():
        solution = np.linalg.lstsq(design, found, rcond=None)[0]
        residual = np.abs(design @ solution - found).max()
    if residual > AFFINE_TOLERANCE:
        raise UserError(f"{path or 'FITS header'}: the Sun cannot be found through its WCS "
                        f"(CTYPE1 = {source.wcs.ctype[0]}, CRVAL1 = {source.wcs.crval[0]:g} deg)")
    return solution[:2].T, solution[2]


def _block_mean(image: np.ndarray, block: int) -> np.ndarray:
    """Return the mean over `block` x `block` pixels; what does not fill a block at the far edges is left out.

    With 4096 x 4096 pixels, 12 ms of the 120 ms of `prepare_channel`; `astropy.nddata.block_reduce` takes 68 ms.
    """
    if block == 1:
        return image
    height, width = (side // block * block for side in image.shape)
    rows = image[0:height:block, :width].copy()
    for start in range(1, block):
        rows += image[start:height:block, :width]
    mean = rows[:, 0::block].copy()
    for start in range(1, block):
        mean += rows[:, start::block]
    return mean * np.float32(1 / block ** 2)


def _resample(image: np.ndarray, matrix: np.ndarray, offset: np.ndarray, size: int) -> np.ndarray:
    """Resample by an affine mapping without aliasing, flux per pixel area kept; NaN outside the frame.

    Whole blocks of pixels near the new pixel's size are averaged, what is left of the change of scale is smoothed by a
    Gaussian, and one linear interpolation does the rest. (Cubic splines agree less with reproject: they ring where
    detail is as fine as the pixels.)
    """
    scale = float(np.sqrt(abs(np.linalg.det(matrix))))
    block = max(1, round(scale))
    image = _block_mean(image, block)
    remaining = scale / block
    if remaining > 1.05:
        sigma = np.sqrt(ANTI_ALIAS_VARIANCE * (remaining ** 2 - 1))
        image = ndimage.gaussian_filter(image, sigma, mode="nearest", truncate=3)
    return ndimage.affine_transform(image, matrix / block, (offset - (block - 1) / 2) / block, (size, size),
                                    output=np.float32, order=1, mode="constant", cval=np.nan)


def register(data: np.ndarray, header: fits.Header, size: int,
             path: str | os.PathLike | None = None) -> tuple[np.ndarray, fits.Header]:
    """Bring an image to solar north up, the Sun's centre in the middle, its radius at `RADIUS_FRACTION` of the side.

    Parameters
    ----------
    data : ndarray (H, W)
        Raw or calibrated image; NaN where there is no value.
    header : `~astropy.io.fits.Header`
        Of that image, with its pointing and observer.
    size : int
        Side of the result, pixels.
    path : path, optional, for messages

    Returns
    -------
    image : float32 ndarray (size, size)
        NaN outside the raw frame and where the raw image has no value; values beside a gap are not touched by it.
    header : `~astropy.io.fits.Header`
        As by `registered_header`.
    """
    source = sunpy_map(header, path)
    registered = registered_header(header, size, source)
    matrix, offset = _pixel_mapping(WCS(registered), source.wcs, size, path)
    data = np.asarray(data, dtype=np.float32)
    if np.isfinite(data.sum(dtype=np.float64)):
        return _resample(data, matrix, offset, size), registered
    # A weighted mean over the pixels that have a value: a gap neither spreads nor pulls its surroundings down.
    valid = np.isfinite(data)
    values = _resample(np.where(valid, data, np.float32(0)), matrix, offset, size)
    weights = _resample(valid.astype(np.float32), matrix, offset, size)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(weights >= 0.5, values / weights, np.float32(np.nan)), registered


def normalise_euv(image: np.ndarray) -> np.ndarray:
    """Scale a registered EUV image so that its median on the disk (within `LIMB`) is 100; refuse one that is dark."""
    median = np.nanmedian(image[disk_mask(image.shape[-1])])
    if not median > 0:
        raise UserError(f"the median on the disk is {median:g}; it should be above zero")
    return image * np.float32(DISK_MEDIAN / median)


def _series(observation: Observation) -> str:
    """Return how HISTORY calls a magnetogram's series ('M720s'), by CADENCE or by JSOC's name; '' if neither tells."""
    cadence = observation.header.get("CADENCE")
    if is_number(cadence) and cadence > 0:
        return f"M{cadence:g}s"
    match = re.search(r"hmi[._]m_(\d+)s", observation.path.name if observation.path else "", re.IGNORECASE)
    return f"M{match[1]}s" if match else ""


def prepare_channel(source: str | os.PathLike | Observation, size: int) -> tuple[np.ndarray, Channel, fits.Header]:
    """Make one channel of a cube of a raw file: read, calibrate, register, mask beyond `LIMB`, scale.

    EUV images are scaled to a disk median of 100; magnetograms stay in gauss.

    Returns
    -------
    image : float32 ndarray (size, size)
        0 off the disk and where there is no value.
    channel : `Channel`
    header : `~astropy.io.fits.Header`, as by `registered_header`

    Raises
    ------
    UserError
        The file cannot be read, lacks a keyword, or its disk is dark.
    """
    observation = source if isinstance(source, Observation) else read_observation(source)
    path = observation.path
    image, header = register(calibrate(observation), observation.header, size, path)
    time = observation.time.isoformat(timespec="seconds")
    if observation.is_magnetogram:
        channel = Channel.magnetogram(observation.name, time, series=_series(observation))
        header["BUNIT"] = "G"
    else:
        channel = Channel.euv(observation.name, time)
        try:
            image = normalise_euv(image)
        except UserError as error:
            raise UserError(f"{path or observation.name}: {error}") from error
    return np.where(disk_mask(size) & np.isfinite(image), image, np.float32(0)), channel, header
