"""Raw observations as the archives hand them out: which instrument, which passband, when; reading and calibration.

Knows AIA level 1 and 1.5, HMI line-of-sight magnetograms (720 s, 45 s) and EUVI level 0 (`*_n4euA.fts`, `*_n4euB.fts`).
Where the Sun stands in the image is the business of `sky.py`.
"""
from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyError
from astropy.utils.exceptions import AstropyUserWarning

from pix2pixcc.images.fits import find_image
from pix2pixcc.utils import UserError

MAGNETIC_UNITS = ("gauss", "g", "mx/cm^2", "mx/cm2")
ONBOARD_BIAS_STEPS = {37, 38, 103}      # SECCHI image-processing steps that subtract the bias in flight
HALVING_STEP = 1                        # the step that divides by two


@dataclass(frozen=True)
class Observation:
    """One image of one instrument, as in its file.

    Attributes
    ----------
    data : float32 ndarray (H, W)
        Detector units, as in the file; NaN where the file says that there is no value.
    header : `~astropy.io.fits.Header`
    path : `~pathlib.Path` or None
    name : str
        'STEREO/EUVI-B 304', 'SDO/AIA 193', 'SDO/HMI magnetogram'.
    time : datetime
        DATE-OBS (UTC, no zone): the time by which the published product calls its inputs.
    """

    data: np.ndarray
    header: fits.Header
    path: Path | None
    name: str
    time: datetime

    @property
    def instrument(self) -> str:
        """'STEREO/EUVI-B', 'SDO/AIA', 'SDO/HMI'."""
        return self.name.rsplit(" ", 1)[0]

    @property
    def passband(self) -> str:
        """The wavelength in angstrom ('304'), or 'magnetogram'."""
        return self.name.rsplit(" ", 1)[1]

    @property
    def is_magnetogram(self) -> bool:
        return self.passband == "magnetogram"


def required(header: fits.Header, keyword: str, path: str | os.PathLike | None = None) -> str | float | int | bool:
    """The value of a keyword.

    Raises
    ------
    UserError
        The keyword is missing or empty; the message names it and the file.
    """
    try:
        value = header[keyword]
    except (KeyError, VerifyError):
        value = None
    if value is None or isinstance(value, fits.card.Undefined) or value == "":
        raise UserError(f"{path or 'FITS header'}: keyword {keyword} is missing; download the file again, or leave it out")
    return value


def required_number(header: fits.Header, keyword: str, path: str | os.PathLike | None = None) -> float:
    """The value of a keyword as a finite number; a `UserError` names file and keyword."""
    value = required(header, keyword, path)
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not np.isfinite(number):
        raise UserError(f"{path or 'FITS header'}: keyword {keyword} = {value!r} should be a number")
    return number


def parse_utc(text: str) -> datetime:
    """A FITS time as UTC without a zone: ISO 8601, or JSOC's '2011.02.13_10:36:00_TAI'.

    Raises
    ------
    ValueError
        The text is no time.
    """
    try:
        time = datetime.fromisoformat(text.strip())
        return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
    except ValueError:
        from sunpy.time import parse_time  # knows every dialect, takes a second to import
        return parse_time(text.strip()).utc.to_datetime()


def mean_time(times: Sequence[datetime]) -> datetime:
    """The mean of some times."""
    if not times:
        raise ValueError("no times")
    return times[0] + sum((time - times[0] for time in times), timedelta()) / len(times)


def _observation_time(header: fits.Header, path: str | os.PathLike | None) -> datetime:
    keyword = next((name for name in ("DATE-OBS", "DATE_OBS", "DATE__OBS", "T_OBS", "DATE-AVG") if header.get(name)), "DATE-OBS")
    text = str(required(header, keyword, path))
    try:
        return parse_utc(text)
    except ValueError as error:
        raise UserError(f"{path or 'FITS header'}: keyword {keyword} = {text!r} is no time") from error


def _instrument(header: fits.Header) -> str | None:
    instrument = str(header.get("INSTRUME", "")).upper()
    telescope = str(header.get("TELESCOP", "")).upper()
    if str(header.get("DETECTOR", "")).upper() == "EUVI":
        return "EUVI"
    for name in ("AIA", "HMI"):
        if instrument.startswith(name) or telescope.endswith("/" + name):
            return name
    return None


def _is_line_of_sight_field(header: fits.Header) -> bool:
    content = str(header.get("CONTENT", "")).upper()
    magnetic = "MAGNETOGRAM" in content or str(header.get("BUNIT", "")).lower() in MAGNETIC_UNITS
    return magnetic and str(header.get("CTYPE1", "HPLN-TAN")).startswith("HPLN")


def identify(header: fits.Header, path: str | os.PathLike | None = None) -> tuple[str, datetime] | None:
    """What a header is of, and when: `('STEREO/EUVI-B 304', datetime)`, or None if it is of no instrument known here.

    Parameters
    ----------
    header : `~astropy.io.fits.Header`
    path : path, optional
        Only for messages.

    Raises
    ------
    UserError
        A keyword that a known instrument must have is missing.
    """
    instrument = _instrument(header)
    if instrument is None or (instrument == "HMI" and not _is_line_of_sight_field(header)):
        return None
    time = _observation_time(header, path)
    if instrument == "HMI":
        return "SDO/HMI magnetogram", time
    wavelength = round(required_number(header, "WAVELNTH", path))
    if instrument == "AIA":
        return f"SDO/AIA {wavelength}", time
    spacecraft = str(required(header, "OBSRVTRY", path)).strip()[-1].upper()
    if spacecraft not in "AB":
        raise UserError(f"{path or 'FITS header'}: keyword OBSRVTRY = {header['OBSRVTRY']!r} should be STEREO_A or STEREO_B")
    return f"STEREO/EUVI-{spacecraft} {wavelength}", time


def _open(path: Path, take: Callable[[fits.hdu.image.PrimaryHDU], tuple]) -> tuple:
    """Open a FITS file and `take` from its first two-dimensional image; whatever is wrong becomes a `UserError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyUserWarning)     # BLANK in float files, foreign letters in comments
            warnings.filterwarnings("error", ".*truncated", AstropyUserWarning)
            find_image(path)                                         # refuses headers that astropy would count on for ever
            with fits.open(path, memmap=False) as hdus:
                image = next((hdu for hdu in hdus if hdu.is_image and hdu.header.get("NAXIS") == 2), None)
                if image is None:
                    raise UserError(f"{path}: no HDU holds a two-dimensional image")
                return take(image)
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    # The decoders raise whatever a damaged file leads them to, from zlib.error to CfitsioException.
    except Exception as error:
        raise UserError(f"{path}: cannot be read as FITS ({str(error).splitlines()[0] if str(error) else type(error).__name__}); "
                        "download it again, or leave it out") from error


def _parsable(header: fits.Header) -> fits.Header:
    """The header without cards that break the FITS standard (AIA writes `-nan` into some)."""
    clean = fits.Header()
    for card in header.cards:
        try:
            clean.append((card.keyword, card.value, card.comment), end=True)
        except VerifyError:
            continue
    return clean


def read_header(path: str | os.PathLike) -> fits.Header:
    """The header of a file's first two-dimensional image, without reading the pixels.

    Raises
    ------
    UserError
        The file is missing, is no FITS file, or holds no image.
    """
    header, = _open(Path(path), lambda hdu: (_parsable(hdu.header),))
    return header


def read_observation(path: str | os.PathLike) -> Observation:
    """Read the first two-dimensional image of a FITS file, in whichever HDU, Rice-compressed or gzipped.

    Raises
    ------
    UserError
        The file is missing, truncated, no FITS file, holds no image, is of no known instrument, or lacks a keyword.
    """
    path = Path(path)
    header, data = _open(path, lambda hdu: (_parsable(hdu.header), np.asarray(hdu.data, dtype=np.float32)))
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
        what = " ".join(str(header[key]) for key in ("TELESCOP", "INSTRUME", "DETECTOR", "CONTENT") if header.get(key)) or "unknown"
        raise UserError(f"{path}: neither EUVI, nor AIA, nor an HMI line-of-sight magnetogram (its header says: {what})")
    return Observation(data, header, path, *identity)


def _onboard_steps(header: fits.Header) -> list[int]:
    """SECCHI's on-board processing steps: IP_00_19 is twenty three-character numbers."""
    text = str(header.get("IP_00_19", "")).rjust(60) if header.get("IP_00_19") else ""
    fields = (text[start:start + 3].strip() for start in range(0, len(text), 3))
    return [int(field) for field in fields if field.isdigit()]


def _remaining_bias(header: fits.Header, path: Path | None) -> float:
    """The CCD bias still in an EUVI image, DN a pixel (after SolarSoft's get_biasmean.pro)."""
    steps = set(_onboard_steps(header))
    if float(header.get("OFFSETCR") or 0) > 0 or steps & ONBOARD_BIAS_STEPS:
        return 0.0
    summed_pixels = 4.0 ** (max(float(header.get("IPSUM") or 1), 1) - 1)
    return required_number(header, "BIASMEAN", path) * summed_pixels


def is_missing(observation: Observation) -> np.ndarray:
    """True where the file has no value: not finite, or 0 in an EUVI image that still has its bias (lost blocks); bool (H, W)."""
    missing = ~np.isfinite(observation.data)
    if "EUVI" in observation.name and _remaining_bias(observation.header, observation.path) > 0:
        missing |= observation.data == 0
    return missing


def calibrate(observation: Observation) -> np.ndarray:
    """Detector counts to counts a second, without the bias; magnetograms unchanged, in gauss.

    EUVI: a division by two made on board is undone, BIASMEAN is subtracted unless OFFSETCR (or the on-board
    processing) shows that it is gone, and lost blocks, which level 0 fills with 0, become NaN. Constant gains are left: the
    scaling to a disk median of 100 cancels them.

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
        data = np.where(is_missing(observation), np.float32(np.nan), data)
    return data * np.float32(gain / exposure) - np.float32(bias / exposure)
