"""The Sun in an image: where it stands, how it is brought to north up and centre, masks, headers, reference times.

A registered image is square, with solar north up, the Sun's centre in its middle and a solar radius of 450/1024 of its side
(Jeong et al. 2020, 2022). Reading and calibrating raw files is in `observations.py` (whose names are offered here too),
the headers of finished products in `products.py`.
"""
from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from scipy import ndimage

from cubes import Channel
from observations import Observation, calibrate, identify, parse_utc, read_header, read_observation, required_number
from utils import UserError

if TYPE_CHECKING:
    from sunpy.map import GenericMap

__all__ = ["LIMB", "RADIUS_FRACTION", "RSUN_METRES", "SYNODIC_PERIOD_DAYS", "Observation", "calibrate", "disk_mask", "has_observer",
           "identify", "mean_header", "mean_time", "normalise_euv", "observer_disk_mask", "prepare_channel", "read_header",
           "read_observation", "reference_time", "register", "registered_header"]

RADIUS_FRACTION = 450 / 1024         # solar radius / image side
LIMB = 0.98                          # solar radii; beyond, images are masked
DISK_MEDIAN = 100.0                  # of an EUV image within LIMB
RSUN_METRES = 695.7e6                # IAU 2015, as the published product has it
SYNODIC_PERIOD_DAYS = 27.2753
ARCSEC = np.rad2deg(1) * 3600        # in a radian
AFFINE_TOLERANCE = 0.05              # pixels

OBSERVER_CARDS = (("HGLN_OBS", "HGLT_OBS", "DSUN_OBS"), ("CRLN_OBS", "CRLT_OBS", "DSUN_OBS"), ("HAEX_OBS", "HAEY_OBS", "HAEZ_OBS"),
                  ("HEEX_OBS", "HEEY_OBS", "HEEZ_OBS"))


# Observer and geometry

def has_observer(header: fits.Header) -> bool:
    """Whether a header says where its observer stood and when, so that its image has a place on the Sun."""
    return any(all(_is_number(header.get(key)) for key in keys) for keys in OBSERVER_CARDS) and "CDELT1" in header and bool(
        header.get("DATE-OBS") or header.get("DATE-AVG") or header.get("T_OBS"))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))


def _sunpy_map(header: fits.Header, path: str | os.PathLike | None = None) -> GenericMap:
    """SunPy's view of a header, which knows the habits of each instrument; it holds no pixels."""
    import sunpy.map        # takes seconds to import: only those who need geometry pay

    for keyword in ("NAXIS1", "NAXIS2", "CRPIX1", "CRPIX2", "CDELT1", "CDELT2"):
        required_number(header, keyword, path)
    if not has_observer(header):
        missing = next((key for key in OBSERVER_CARDS[0] if not _is_number(header.get(key))), "DATE-OBS")
        raise UserError(f"{path or 'FITS header'}: keyword {missing} is missing, so the observer's place is not known")
    empty = np.broadcast_to(np.float32(0), (int(header["NAXIS2"]), int(header["NAXIS1"])))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sunpy.map.Map((empty, header))


def _solar_radius(distance: float) -> float:
    """Apparent solar radius, arcsec, from `distance` metres."""
    return float(np.arcsin(RSUN_METRES / distance) * ARCSEC)


def _observer_cards(longitude: float, latitude: float, distance: float, size: int) -> list[tuple]:
    """Cards of a registered image's scale and observer (degrees, degrees, metres)."""
    radius = _solar_radius(distance)
    scale = radius / (RADIUS_FRACTION * size)
    return [("CDELT1", scale, "[arcsec/pixel] plate scale"), ("CDELT2", scale, "[arcsec/pixel] plate scale"),
            ("HGLN_OBS", longitude, "[deg] Stonyhurst heliographic longitude"),
            ("HGLT_OBS", latitude, "[deg] Stonyhurst heliographic latitude"),
            ("DSUN_OBS", distance, "[m] distance to the centre of the Sun"),
            ("RSUN_REF", RSUN_METRES, "[m] solar radius"), ("RSUN_OBS", radius, "[arcsec] apparent solar radius"),
            ("R_SUN", RADIUS_FRACTION * size, "[pixel] solar radius in the image")]


def registered_header(header: fits.Header, size: int, path: str | os.PathLike | None = None) -> fits.Header:
    """Header of the image that `register` makes: helioprojective, north up, centred, with the full observer.

    Parameters
    ----------
    header : `~astropy.io.fits.Header`
        Of the raw image. SunPy reads the observer, the reference time and the pointing from it.
    size : int
        Side of the registered image, pixels. The Sun's centre is at (size + 1) / 2, its radius `RADIUS_FRACTION` * size.
    path : path, optional
        Only for messages.

    Raises
    ------
    UserError
        The pointing, the time or the observer is missing.
    """
    return _registered_header(_sunpy_map(header, path), header, size)


def _registered_header(source: GenericMap, header: fits.Header, size: int) -> fits.Header:
    observer = source.observer_coordinate
    longitude = (observer.lon.deg + 180) % 360 - 180
    registered = fits.Header([
        ("NAXIS", 2), ("NAXIS1", size), ("NAXIS2", size),
        ("WCSNAME", "Helioprojective-cartesian"), ("CTYPE1", "HPLN-TAN"), ("CTYPE2", "HPLT-TAN"),
        ("CUNIT1", "arcsec"), ("CUNIT2", "arcsec"), ("CRVAL1", 0.0, "[arcsec] the Sun's centre"), ("CRVAL2", 0.0, "[arcsec] the Sun's centre"),
        ("CRPIX1", (size + 1) / 2), ("CRPIX2", (size + 1) / 2), ("PC1_1", 1.0), ("PC1_2", 0.0), ("PC2_1", 0.0), ("PC2_2", 1.0),
        *_observer_cards(longitude, observer.lat.deg, observer.radius.to_value("m"), size),
        ("DATE-OBS", source.date.utc.isot, "[UTC] observation"), ("DATE-AVG", source.reference_date.utc.isot, "[UTC] mid-observation"),
        ("TIMESYS", "UTC")])
    identity = identify(header)
    if identity is not None:
        spacecraft, instrument = identity[0].split("/", 1)
        registered["OBSRVTRY"] = f"STEREO_{instrument[5]}" if spacecraft == "STEREO" else spacecraft
    for keyword in ("OBSRVTRY", "TELESCOP", "INSTRUME", "DETECTOR", "WAVELNTH", "EXPTIME", "CADENCE"):
        if keyword not in registered and header.get(keyword) not in (None, ""):
            registered[keyword] = (header[keyword], header.comments[keyword])
    if "WAVELNTH" in registered:
        registered["WAVEUNIT"] = "Angstrom"
    return registered


def mean_header(headers: Sequence[fits.Header]) -> fits.Header:
    """Header of a stack of registered images of one observer: the first one's, at the mean time and the mean place.

    Parameters
    ----------
    headers : sequence of `~astropy.io.fits.Header`
        As `registered_header` makes them, of one size.
    """
    mean = headers[0].copy()
    longitude = np.unwrap([header["HGLN_OBS"] for header in headers], period=360).mean()
    latitude, distance = (float(np.mean([header[key] for header in headers])) for key in ("HGLT_OBS", "DSUN_OBS"))
    for card in _observer_cards((float(longitude) + 180) % 360 - 180, latitude, distance, int(mean["NAXIS1"])):
        mean.set(*card)
    for keyword in ("DATE-OBS", "DATE-AVG"):
        mean[keyword] = mean_time([parse_utc(header[keyword]) for header in headers]).isoformat(timespec="milliseconds")
    if len(headers) > 1:
        for keyword in ("WAVELNTH", "WAVEUNIT", "EXPTIME", "CADENCE"):
            mean.remove(keyword, ignore_missing=True)
    return mean


# Registration

def _pixel_mapping(target: WCS, source: WCS, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The affine mapping (row, column) of the registered image -> (row, column) of the raw one: matrix (2, 2) and offset (2,).

    Between two gnomonic images of one observer it is exact but for some thousandths of a pixel, which is checked.
    """
    columns, rows = (grid.ravel() for grid in np.meshgrid(*2 * [np.linspace(0, size - 1, 7)]))
    longitude, latitude = target.wcs_pix2world(columns, rows, 0)
    source_columns, source_rows = source.wcs_world2pix(longitude, latitude, 0)
    design = np.stack([rows, columns, np.ones_like(rows)], axis=1)
    found = np.stack([source_rows, source_columns], axis=1)
    solution = np.linalg.lstsq(design, found, rcond=None)[0]
    residual = np.abs(design @ solution - found).max()
    if not residual < AFFINE_TOLERANCE:
        raise UserError(f"the image is not a gnomonic helioprojective one (CTYPE {', '.join(source.wcs.ctype)}): it departs from that by "
                        f"{residual:.2f} pixels")
    return solution[:2].T, solution[2]


def _block_mean(image: np.ndarray, block: int) -> np.ndarray:
    """Mean over `block` x `block` pixels; what does not fill a block at the far edges is left out."""
    if block == 1:
        return image
    height, width = (side // block * block for side in image.shape)
    rows = sum(image[start:height:block, :width] for start in range(block))
    return sum(rows[:, start::block] for start in range(block)) * np.float32(1 / block ** 2)


def _resample(image: np.ndarray, matrix: np.ndarray, offset: np.ndarray, size: int) -> np.ndarray:
    """Anti-aliased affine resampling, flux per pixel area kept; NaN outside the frame.

    Whole blocks of pixels near the new pixel's size are averaged, what is left of the change of scale is smoothed by a Gaussian,
    and one cubic spline interpolation does the rest.
    """
    scale = float(np.sqrt(abs(np.linalg.det(matrix))))
    block = max(1, round(scale))
    image = _block_mean(image, block)
    remaining = scale / block
    if remaining > 1.05:
        image = ndimage.gaussian_filter(image, 0.5 * np.sqrt(remaining ** 2 - 1), mode="nearest", truncate=3)
    return ndimage.affine_transform(image, matrix / block, (offset - (block - 1) / 2) / block, (size, size), output=np.float32, order=3,
                                    mode="constant", cval=np.nan)


def register(data: np.ndarray, header: fits.Header, size: int, path: str | os.PathLike | None = None) -> np.ndarray:
    """Bring an image to solar north up, the Sun's centre in the middle, its radius at `RADIUS_FRACTION` of the side.

    Parameters
    ----------
    data : ndarray (H, W)
        Raw or calibrated image; NaN where there is no value.
    header : `~astropy.io.fits.Header`
        Of that image, with its pointing and observer.
    size : int
        Side of the result, pixels.
    path : path, optional
        Only for messages.

    Returns
    -------
    float32 ndarray (size, size)
        NaN outside the raw frame and where the raw image has no value; values beside a gap are not touched by it.
    """
    return _register(data, _sunpy_map(header, path), header, size)[0]


def _register(data: np.ndarray, source: GenericMap, header: fits.Header, size: int) -> tuple[np.ndarray, fits.Header]:
    registered = _registered_header(source, header, size)
    matrix, offset = _pixel_mapping(WCS(registered), source.wcs, size)
    data = np.asarray(data, dtype=np.float32)
    if np.isfinite(data.sum(dtype=np.float64)):
        return _resample(data, matrix, offset, size), registered
    # a weighted mean over the pixels that have a value: a gap neither spreads nor pulls its surroundings down
    valid = np.isfinite(data)
    values = _resample(np.where(valid, data, np.float32(0)), matrix, offset, size)
    weights = _resample(valid.astype(np.float32), matrix, offset, size)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(weights >= 0.5, values / weights, np.float32(np.nan)), registered


# Masks and scaling

def disk_mask(size: int, limit: float = LIMB) -> np.ndarray:
    """True within `limit` solar radii in a registered image, bool (size, size)."""
    offset = np.arange(size) - (size - 1) / 2
    return offset[:, None] ** 2 + offset[None, :] ** 2 <= (limit * RADIUS_FRACTION * size) ** 2


def observer_disk_mask(header: fits.Header, shape: tuple[int, int], limit: float = LIMB) -> np.ndarray:
    """True within `limit` solar radii in an image with a helioprojective header, wherever the disk stands; bool (H, W).

    Raises
    ------
    UserError
        The header has no plate scale, or neither DSUN_OBS nor RSUN_OBS.
    """
    required_number(header, "CDELT1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wcs = WCS(header).celestial
    column, row = wcs.wcs_world2pix(0.0, 0.0, 0)
    if _is_number(header.get("DSUN_OBS")):
        radius = _solar_radius(header["DSUN_OBS"])
    else:
        radius = required_number(header, "RSUN_OBS")
    scale = wcs.pixel_scale_matrix * 3600 / (radius * limit)
    columns, rows = np.arange(shape[1])[None, :] - column, np.arange(shape[0])[:, None] - row
    return (scale[0, 0] * columns + scale[0, 1] * rows) ** 2 + (scale[1, 0] * columns + scale[1, 1] * rows) ** 2 <= 1


def normalise_euv(image: np.ndarray, size: int | None = None) -> np.ndarray:
    """Scale a registered EUV image so that its median on the disk (within `LIMB`) is 100.

    Raises
    ------
    UserError
        The median is not positive.
    """
    median = np.nanmedian(image[disk_mask(size or image.shape[-1])])
    if not median > 0:
        raise UserError(f"the median on the disk is {median:g}; it should be above zero")
    return image * np.float32(DISK_MEDIAN / median)


def prepare_channel(source: str | os.PathLike | Observation, size: int) -> tuple[np.ndarray, Channel, fits.Header]:
    """One channel of a cube from a raw file: read, calibrate, register, mask beyond `LIMB`, scale EUV to a disk median of 100.

    Parameters
    ----------
    source : path or `Observation`
    size : int
        Side of the channel, pixels.

    Returns
    -------
    image : float32 ndarray (size, size)
        0 off the disk and where there is no value.
    channel : `~cubes.Channel`
    header : `~astropy.io.fits.Header`
        As by `registered_header`.

    Raises
    ------
    UserError
        The file cannot be read, lacks a keyword, or its disk is dark.
    """
    observation = source if isinstance(source, Observation) else read_observation(source)
    calibrated = calibrate(observation)
    image, header = _register(calibrated, _sunpy_map(observation.header, observation.path), observation.header, size)
    time = observation.time.isoformat(timespec="seconds")
    if observation.is_magnetogram:
        channel = Channel.magnetogram(observation.name, time)
        header["BUNIT"] = "G"
    else:
        channel = Channel.euv(observation.name, time)
        try:
            image = normalise_euv(image)
        except UserError as error:
            raise UserError(f"{observation.path or observation.name}: {error}") from error
    return np.where(disk_mask(size) & np.isfinite(image), image, np.float32(0)), channel, header


# Times

def mean_time(times: Sequence[datetime]) -> datetime:
    """The mean of some times."""
    if not times:
        raise ValueError("no times")
    return times[0] + sum((time - times[0] for time in times), timedelta()) / len(times)


def reference_time(time: datetime, stonyhurst_longitude_deg: float) -> datetime:
    """When the hemisphere that an observer at this Stonyhurst longitude sees at `time` last faced Earth.

    t - 27.2753 d * (L mod 360) / 360 (Jeong et al. 2022): 0 to one synodic rotation earlier.
    """
    return time - timedelta(days=SYNODIC_PERIOD_DAYS * (stonyhurst_longitude_deg % 360) / 360)
