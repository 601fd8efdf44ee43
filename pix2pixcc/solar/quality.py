"""Which raw observations are fit for use, in place of the inspection by eye of Jeong et al. (2020, 2022).

One file can tell lost data, wrong exposures, partial and calibration images, and a disk that the frame cuts. Eclipses
and transits are flagged in QUALITY by the AIA and HMI teams.
"""
from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
from astropy.io import fits

from pix2pixcc.images.fits import is_blank, required, required_number
from pix2pixcc.solar.geometry import LIMB, disk_of_header
from pix2pixcc.solar.observations import (
    IDENTITY_KEYWORDS,
    Observation,
    calibrate,
    identify,
    is_missing,
    no_line_of_sight_field,
)
from pix2pixcc.solar.quality_bits import bad_bits
from pix2pixcc.solar.spelling import CARRINGTON, PC, POSITION, STONYHURST, standard_header
from pix2pixcc.utils import UserError

FOREIGN = "no AIA, HMI or EUVI image"
SCIENCE_PROGRAMS = ("NORMAL", "DOUBLE", "SERIES")      # SEB_PROG; others are DARK, LED and CONTIN
DOOR_OPEN = 2                                          # DOORSTAT, by the comment of SECCHI's own card
_CALIBRATION = re.compile(r"DARK|\bLED\b|CONTIN|CAL(?:IB|\b)|FLAT|BIAS|FOCUS|STIM", re.IGNORECASE)

MAX_LOST_SEGMENTS = 4             # of the 32 in which EUVI sends an image
SMALLEST_RADIUS = 0.2             # solar radius / image side: EUVI-B's is 0.29
ROTATION_TOLERANCE = 0.05         # of PCi_j
SAMPLES = 1024                    # rows and columns that are looked at, at least


def quality_problem(observation: Observation, *, max_missing: float) -> str | None:
    """Return why an observation should not be used, in one line without the file's name, or None if nothing forbids it.

    `max_missing` is the greatest share of pixels without a value on the disk.
    """
    try:
        observation = replace(observation, header=standard_header(observation.header))
        return header_problem(observation.header) or _pixel_problem(observation, max_missing)
    except UserError as error:
        return str(error).removeprefix(f"{observation.path or 'FITS header'}: ")


def header_problem(header: fits.Header) -> str | None:
    """Return what a header alone tells against its image, in milliseconds; one line, or None.

    It tells lost data, exposure, kind of image, format, a disk that the frame cuts, and keywords that are missing.
    """
    try:
        header = standard_header(header)
        return _problem_of_instrument(header) or _frame_problem(header)
    except UserError as error:
        return str(error).removeprefix("FITS header: ")


def foreign_problem(header: fits.Header, path: str | None = None) -> str:
    """Say why an image that `identify` does not know is of no use: of what it is, or which keywords it lacks."""
    if all(is_blank(header.get(keyword)) for keyword in (*IDENTITY_KEYWORDS, "CTYPE1")):
        return (f"{FOREIGN}: the header has no keyword {', '.join(IDENTITY_KEYWORDS)}; export a file of JSOC with its "
                "keywords (protocol FITS, not as-is)")
    if any("HMI" in str(header.get(keyword, "")).upper() for keyword in IDENTITY_KEYWORDS):
        return f"{FOREIGN} of use: {no_line_of_sight_field(header, path)}"
    return FOREIGN


def _problem_of_instrument(header: fits.Header) -> str | None:
    identity = identify(header)
    if identity is None:
        return foreign_problem(header)
    if "EUVI" in identity[0]:
        return _euvi_problem(header) or _exposure_problem(header)
    instrument = "AIA" if "AIA" in identity[0] else "HMI"
    if problem := bad_bits(header, instrument):
        return problem
    kind = header.get("IMG_TYPE")
    if not is_blank(kind) and str(kind).strip().upper() != "LIGHT":
        return f"IMG_TYPE = {kind}, not LIGHT"
    return _exposure_problem(header) if instrument == "AIA" else None


def _euvi_problem(header: fits.Header) -> str | None:
    """Say what SECCHI's cards tell against an image: lost segments, or a frame without the Sun.

    Level 0 holds calibration frames beside images; SEB_PROG, DOORSTAT (`2 / OPEN`) and LEDCOLOR of its headers say so.
    """
    lost = 0 if "NMISSING" not in header else required_number(header, "NMISSING")
    if lost > MAX_LOST_SEGMENTS:
        return f"NMISSING = {lost:g}: more than {MAX_LOST_SEGMENTS} segments were lost"
    given = {keyword: str(header[keyword]).strip().upper()
             for keyword in ("LEDCOLOR", "SEB_PROG", "OBS_PROG", "OBSMODE", "OBS_MODE", "IMG_TYPE", "DOORSTAT")
             if not is_blank(header.get(keyword))}
    lamp, program = given.pop("LEDCOLOR", "NONE"), given.pop("SEB_PROG", "NORMAL")
    if lamp != "NONE":
        return f"LEDCOLOR = {lamp}: an image of the calibration lamp"
    if program not in SCIENCE_PROGRAMS:
        return f"SEB_PROG = {program}: a calibration frame, no image of the Sun"
    door = given.pop("DOORSTAT", str(DOOR_OPEN))
    if door not in (str(DOOR_OPEN), "OPEN"):
        return f"DOORSTAT = {door}: the door was not open ({DOOR_OPEN})"
    for keyword, value in given.items():
        if _CALIBRATION.search(value):
            return f"{keyword} = {value}: a calibration frame, no image of the Sun"
    return None


def _exposure_problem(header: fits.Header) -> str | None:
    exposure = required_number(header, "EXPTIME")
    if exposure <= 0:
        return f"EXPTIME = {exposure}, not above zero"
    return f"EXPTIME = {exposure:g} s, more than an hour" if exposure > 3600 else None


def _frame_problem(header: fits.Header) -> str | None:
    width, height = header.get("NAXIS1"), header.get("NAXIS2")
    if width is None or height is None:
        return "keyword NAXIS1 or NAXIS2 is missing"
    if not (isinstance(width, int) and isinstance(height, int) and min(width, height) > 0):
        return f"keyword NAXIS1 = {width!r} or NAXIS2 = {height!r} is no number of pixels"
    if width != height:
        return f"a partial image of {width} x {height} pixels"
    for keyword in (*POSITION, "DSUN_OBS"):
        required_number(header, keyword)
    for keyword in ("CTYPE1", "CTYPE2", "CUNIT1", "CUNIT2"):
        required(header, keyword)
    if not all(keyword in header for keyword in CARRINGTON):
        for keyword in STONYHURST:
            required_number(header, keyword)
    if PC[0] not in header:
        return "keyword CROTA2 (or PC1_1, CD1_1) is missing, so the direction of north is not known"
    pc11, pc12, pc21, pc22 = (float(header[keyword]) for keyword in PC)
    if max(abs(pc11 - pc22), abs(pc12 + pc21), abs(pc11 * pc22 - pc12 * pc21 - 1)) > ROTATION_TOLERANCE:
        return f"PC1_1 = {pc11:g}, PC1_2 = {pc12:g}, PC2_1 = {pc21:g}, PC2_2 = {pc22:g} is no rotation"
    disk = disk_of_header(header, (height, width))
    if not math.isfinite(disk.radius + sum(disk.centre)):
        return f"the Sun cannot be found by CRVAL1 = {header['CRVAL1']:g}, CRVAL2 = {header['CRVAL2']:g}"
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
    if observation.is_magnetogram and (values.min() >= 0 or values.max() <= 0):
        sign = "negative" if values.min() >= 0 else "positive"
        return f"no {sign} pixel on the disk: a map of strength, angle or error, no line-of-sight magnetogram"
    if not observation.is_magnetogram:
        median = np.nanmedian(calibrate(sample)[disk])
        if not median > 0:
            return f"the median on the disk is {median:.3g}, not above zero"
    return None
