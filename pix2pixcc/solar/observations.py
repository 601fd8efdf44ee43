"""Raw observations as the archives hand them out: which instrument, which passband, when; reading and calibration.

Known are AIA level 1 and 1.5, HMI line-of-sight magnetograms (720 s, 45 s) and EUVI level 0 (`*_n4eu[AB].fts`).
"""
from __future__ import annotations

import contextlib
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyError
from astropy.utils.exceptions import AstropyUserWarning

from pix2pixcc.images.fits import is_blank, open_image, required, required_number
from pix2pixcc.solar.instruments import MAGNETOGRAM, SDO, spacecraft_of
from pix2pixcc.solar.spelling import observation_time, standard_header, utc_of
from pix2pixcc.utils import UserError

IDENTITY_KEYWORDS = ("TELESCOP", "INSTRUME", "DETECTOR")      # tell the instrument
MAGNETIC_UNITS = ("gauss", "g", "mx/cm^2", "mx/cm2")
_MAGNETOGRAM_WORDS = {"HMI", "LOS", "LINE", "OF", "SIGHT", "MAGNETOGRAM"}
_SERIES = re.compile(r"hmi[._]([a-z0-9]+)_\d+s", re.IGNORECASE)       # 'hmi.M_720s' and VSO's 'hmi_m_45s'
_OTHER_SEGMENT = re.compile(r"(?:^|\.)(?:field|inclination|azimuth|disambig|vlos_mag|alpha_mag|b[prt]|continuum|"
                            r"dopplergram|mr_\d+s|\w+_err)\.", re.IGNORECASE)
ONBOARD_BIAS_STEPS = {37, 38, 103}      # SECCHI image-processing steps that subtract the bias in flight
MAX_SUMMING = 12                        # IPSUM: 2048 pixels summed to one
AIA_MISSING = -32768                    # DN
HALVING_STEP = 1                        # the step that divides by two


@dataclass(frozen=True)
class Observation:
    """One image of one instrument, as in its file."""

    data: np.ndarray         # float32 (H, W), detector units; NaN where the file says that there is no value
    header: fits.Header
    path: Path | None
    name: str                # 'STEREO/EUVI-B 304', 'SDO/AIA 193', 'SDO/HMI magnetogram'
    time: datetime           # DATE-OBS (UTC, no zone), by which the published product calls its inputs

    @property
    def instrument(self) -> str:
        """Return 'STEREO/EUVI-B', 'SDO/AIA' or 'SDO/HMI'."""
        return self.name.rsplit(" ", 1)[0]

    @property
    def passband(self) -> str:
        """Return the wavelength in angstrom ('304'), or 'magnetogram'."""
        return self.name.rsplit(" ", 1)[1]

    @property
    def is_magnetogram(self) -> bool:
        """Return whether this is a line-of-sight magnetogram, not an EUV image."""
        return self.passband == "magnetogram"


def parse_utc(text: str) -> datetime:
    """Return a FITS time (ISO 8601, JSOC's '2011.02.13_10:36:00_TAI') as UTC without a zone, or raise a ValueError."""
    return utc_of(text)


def mean_time(times: Sequence[datetime]) -> datetime:
    """Return the mean of some times, of at least one."""
    if not times:
        raise ValueError("no times")
    return times[0] + sum((time - times[0] for time in times), timedelta()) / len(times)


def _instrument(header: fits.Header) -> str | None:
    telescope, instrument, detector = (str(header.get(key, "")).strip().upper() for key in IDENTITY_KEYWORDS)
    if detector == "EUVI":
        return "EUVI"
    for name in ("AIA", "HMI"):
        if instrument.startswith(name) or telescope.endswith("/" + name):
            return name
    return None


def no_line_of_sight_field(header: fits.Header, path: str | os.PathLike | None = None) -> str:
    """Return why an HMI image is no line-of-sight magnetogram in gauss, by its cards and its name; '' if it is one.

    Field strength, inclination, error maps, radial fields and synoptic charts have the same unit; CONTENT tells them
    apart where it is there (hmi.M_45s and hmi.M_720s have MAGNETOGRAM), and so do JSOC's names of series and segments.
    """
    content, unit = ("" if is_blank(header.get(key)) else str(header[key]).strip() for key in ("CONTENT", "BUNIT"))
    name = "" if path is None else os.path.basename(path)
    series = _SERIES.search(name)
    if content and not set(re.findall("[A-Z]+", content.upper())) <= _MAGNETOGRAM_WORDS:
        return f"CONTENT = {content}, no line-of-sight magnetogram"
    if (series and series[1].lower() != "m") or _OTHER_SEGMENT.search(name):
        return "by its name no line-of-sight magnetogram"
    if unit.lower() not in MAGNETIC_UNITS and (unit or not content):
        return f"BUNIT = {unit}, not gauss" if unit else "keywords CONTENT and BUNIT are missing"
    axis = str(header.get("CTYPE1", "HPLN-TAN"))
    return "" if axis.startswith("HPLN") else f"CTYPE1 = {axis}, no image of the disk"


def identify(header: fits.Header, path: str | os.PathLike | None = None) -> tuple[str, datetime] | None:
    """Return what a header is of, and when: `('STEREO/EUVI-B 304', datetime)`; None if it is of no known instrument.

    Raises
    ------
    UserError
        A keyword that a known instrument must have is missing; the message names `path`.
    """
    instrument = _instrument(header)
    if instrument is None or (instrument == "HMI" and no_line_of_sight_field(header, path)):
        return None
    header = standard_header(header, path)
    time = observation_time(header, path or "FITS header")
    if instrument == "HMI":
        return MAGNETOGRAM, time
    wavelength = round(required_number(header, "WAVELNTH", path))
    if instrument == "AIA":
        return f"{SDO.euv} {wavelength}", time
    observatory = required(header, "OBSRVTRY", path)
    spacecraft = spacecraft_of(str(observatory))
    if spacecraft is None or spacecraft is SDO:
        raise UserError(f"{path or 'FITS header'}: keyword OBSRVTRY = {observatory!r} should be STEREO_A or STEREO_B")
    return f"{spacecraft.euv} {wavelength}", time


@contextlib.contextmanager
def _open_plane(path: str | os.PathLike) -> Iterator[fits.ImageHDU]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyUserWarning)     # BLANK in float files, foreign letters in comments
        with open_image(path) as hdu:
            if hdu.header.get("NAXIS") != 2:
                raise UserError(f"{path}: its first image is not two-dimensional, so it is no raw observation")
            yield hdu


def _parsable(header: fits.Header) -> fits.Header:
    """Return the header without cards that break the FITS standard (AIA writes `-nan` into some)."""
    broken = []
    for k, card in enumerate(header.cards):
        try:
            _ = card.value, card.comment      # they are parsed when asked for
        except VerifyError:
            broken.append(k)
    for k in reversed(broken):
        del header[k]
    return header


def read_header(path: str | os.PathLike) -> fits.Header:
    """Read the header of a file's first image, not the pixels.

    Raises
    ------
    UserError
        The file is missing, is no FITS file, or its first image is not two-dimensional.
    """
    with _open_plane(path) as hdu:
        return _parsable(hdu.header)


def read_observation(path: str | os.PathLike) -> Observation:
    """Read the first image of a FITS file, in whichever HDU, Rice-compressed or gzipped.

    Raises
    ------
    UserError
        The file is missing, truncated, no FITS file, its first image is not two-dimensional, is of no known instrument,
        or lacks a keyword.
    """
    path = Path(path)
    with _open_plane(path) as hdu:
        header, data = _parsable(hdu.header), np.asarray(hdu.data, dtype=np.float32)
    return observation_of(data, header, path)


def observation_of(data: np.ndarray, header: fits.Header, path: Path | None) -> Observation:
    """Return the observation of an image and its header.

    Raises
    ------
    UserError
        The header is of no known instrument, or lacks a keyword; the message names `path`.
    """
    identity = identify(header, path)
    if identity is None:
        words = (str(header[key]) for key in (*IDENTITY_KEYWORDS, "CONTENT") if header.get(key))
        raise UserError(f"{path}: neither EUVI, nor AIA, nor an HMI line-of-sight magnetogram "
                        f"(its header says: {' '.join(words) or 'unknown'})")
    return Observation(data, standard_header(header, path), path, *identity)


def _onboard_steps(header: fits.Header) -> list[int]:
    """Return SECCHI's on-board processing steps: IP_00_19 is twenty three-character numbers."""
    text = str(header.get("IP_00_19", "")).rjust(60) if header.get("IP_00_19") else ""
    fields = (text[start:start + 3].strip() for start in range(0, len(text), 3))
    return [int(field) for field in fields if field.isdecimal()]


def _remaining_bias(header: fits.Header, path: Path | None) -> float:
    """Return the CCD bias still in an EUVI image, DN per pixel (after SolarSoft's get_biasmean.pro)."""
    steps = set(_onboard_steps(header))
    if _number(header, "OFFSETCR", path, 0.0) > 0 or steps & ONBOARD_BIAS_STEPS:
        return 0.0
    summing = _number(header, "IPSUM", path, 1.0)
    if summing > MAX_SUMMING:
        raise UserError(f"{path or 'FITS header'}: keyword IPSUM = {summing:g} should be from 1 to {MAX_SUMMING}")
    summed_pixels = 4.0 ** (max(summing, 1) - 1)
    return required_number(header, "BIASMEAN", path) * summed_pixels


def _number(header: fits.Header, keyword: str, path: Path | None, default: float) -> float:
    return default if is_blank(header.get(keyword)) else required_number(header, keyword, path)


def is_missing(observation: Observation) -> np.ndarray:
    """Return where the file has no value, bool (H, W).

    It is NaN; in an EUVI image 0, if the bias is still there or NMISSING says that blocks were lost, at any level; in
    an AIA image JSOC's -32768 (which BLANK says, unless the file was rewritten as floats).
    """
    header, path = observation.header, observation.path
    missing = ~np.isfinite(observation.data)
    if "EUVI" in observation.name:
        if _number(header, "NMISSING", path, 0.0) > 0 or _remaining_bias(header, path) > 0:
            missing |= observation.data == 0
    elif "AIA" in observation.name:
        missing |= observation.data == AIA_MISSING
    return missing


def calibrate(observation: Observation) -> np.ndarray:
    """Turn detector counts into counts per second, without the bias; leave magnetograms as they are, in gauss.

    EUVI: a division by two made on board is undone, BIASMEAN is subtracted unless OFFSETCR (or the on-board processing)
    shows that it is gone, and lost blocks, which level 0 fills with 0, become NaN. Constant gains are left: the scaling
    to a disk median of 100 cancels them.

    Returns
    -------
    float32 ndarray (H, W)

    Raises
    ------
    UserError
        EXPTIME or BIASMEAN is missing, or the exposure is not positive.
    """
    if observation.is_magnetogram:
        return observation.data
    header, path, data = observation.header, observation.path, observation.data
    exposure = required_number(header, "EXPTIME", path)
    if exposure <= 0:
        raise UserError(f"{path or 'FITS header'}: keyword EXPTIME = {exposure:g} should be above zero")
    bias, gain = 0.0, 1.0
    if "EUVI" in observation.name:
        bias = _remaining_bias(header, path)
        halvings = _onboard_steps(header).count(HALVING_STEP) - bool(header.get("DIV2CORR"))
        gain = 2.0 ** max(halvings, 0) if "DIV2CORR" in header else 1.0
    if (missing := is_missing(observation)).any():
        data = np.where(missing, np.float32(np.nan), data)
    return data * np.float32(gain / exposure) - np.float32(bias / exposure)
