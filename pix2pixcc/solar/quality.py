"""Which raw observations are fit for use, in place of the inspection by eye of Jeong et al. (2020, 2022).

One file can tell lost data, wrong exposures, partial and calibration images, and a disk that the frame cuts. Eclipses
and transits are flagged in QUALITY by the AIA and HMI teams.
"""
from __future__ import annotations

from dataclasses import replace

import numpy as np
from astropy.io import fits

from pix2pixcc.solar.geometry import LIMB, disk_of_header
from pix2pixcc.solar.observations import Observation, calibrate, identify, is_missing
from pix2pixcc.utils import UserError

MAX_LOST_SEGMENTS = 4             # of the 32 in which EUVI sends an image
SMALLEST_RADIUS = 0.2             # solar radius / image side: EUVI-B's is 0.29
SAMPLES = 1024                    # rows and columns that are looked at, at least


def quality_problem(observation: Observation, *, max_missing: float) -> str | None:
    """Return why an observation should not be used, in one line without the file's name, or None if nothing forbids it.

    `max_missing` is the greatest share of pixels without a value on the disk.
    """
    try:
        return header_problem(observation.header) or _pixel_problem(observation, max_missing)
    except UserError as error:
        return str(error).removeprefix(f"{observation.path or 'FITS header'}: ")


def header_problem(header: fits.Header) -> str | None:
    """Return what a header alone tells against its image, in milliseconds; one line, or None.

    It tells lost data, exposure, kind of image, format, a disk that the frame cuts, and keywords that are missing.
    """
    try:
        return _problem_of_instrument(header) or _frame_problem(header)
    except UserError as error:
        return str(error).removeprefix("FITS header: ")


def _problem_of_instrument(header: fits.Header) -> str | None:
    identity = identify(header)
    if identity is None:
        return "no AIA, HMI or EUVI image"
    if "EUVI" in identity[0]:
        return _euvi_problem(header) or _exposure_problem(header)
    quality = header.get("QUALITY", 0)
    if isinstance(quality, int | float) and quality != 0:
        return f"QUALITY = 0x{int(quality) & 0xffffffff:08x}, not 0"
    if str(header.get("IMG_TYPE", "LIGHT")).upper() != "LIGHT":
        return f"IMG_TYPE = {header['IMG_TYPE']}, not LIGHT"
    return _exposure_problem(header) if "AIA" in identity[0] else None


def _euvi_problem(header: fits.Header) -> str | None:
    lost = int(header.get("NMISSING") or 0)
    if lost > MAX_LOST_SEGMENTS:
        return f"NMISSING = {lost}: more than {MAX_LOST_SEGMENTS} segments were lost"
    lamp = str(header.get("LEDCOLOR", "NONE")).strip().upper()
    if lamp not in ("", "NONE"):
        return f"LEDCOLOR = {lamp}: an image of the calibration lamp"
    return None


def _exposure_problem(header: fits.Header) -> str | None:
    exposure = header.get("EXPTIME")
    if exposure is None:
        return "keyword EXPTIME is missing"
    if not (isinstance(exposure, int | float) and exposure > 0):
        return f"EXPTIME = {exposure}, not above zero"
    return None


def _frame_problem(header: fits.Header) -> str | None:
    width, height = header.get("NAXIS1"), header.get("NAXIS2")
    if width is None or height is None:
        return "keyword NAXIS1 or NAXIS2 is missing"
    if width != height:
        return f"a partial image of {width} x {height} pixels"
    for keyword in ("CRPIX1", "CRPIX2", "CDELT1", "CDELT2", "DSUN_OBS"):
        if not isinstance(header.get(keyword), int | float):
            return f"keyword {keyword} is missing"
    disk = disk_of_header(header, (height, width))
    if disk.radius < SMALLEST_RADIUS * width:
        return f"a solar radius of {disk.radius:.0f} pixels in an image of {width}: CDELT1 is wrong"
    reach = LIMB * disk.radius
    if min(disk.centre) - reach < -0.5 or max(disk.centre) + reach > width - 0.5:
        return (f"the disk does not fit in the frame: centre ({disk.centre[0]:.0f}, {disk.centre[1]:.0f}), "
                f"radius {disk.radius:.0f} of {width} pixels")
    return None


def _pixel_problem(observation: Observation, max_missing: float) -> str | None:
    step = max(1, min(observation.data.shape) // SAMPLES)
    disk = disk_of_header(observation.header, observation.data.shape).mask(step=step)
    sample = replace(observation, data=observation.data[::step, ::step])
    missing = is_missing(sample)[disk]
    if missing.mean() > max_missing:
        return f"{missing.mean():.1%} of the disk is missing, more than {max_missing:.1%}"
    values = sample.data[disk][~missing]
    if values.size == 0 or values.min() == values.max():
        return "a constant image"
    if not observation.is_magnetogram:
        median = np.nanmedian(calibrate(sample)[disk])
        if not median > 0:
            return f"the median on the disk is {median:.3g}, not above zero"
    return None
