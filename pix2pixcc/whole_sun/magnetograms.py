"""The line-of-sight magnetograms that a whole-Sun map is made of: whose, when, from where, and how they lie."""
from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
from astropy.io import fits

from pix2pixcc.images.files import Image, image_of
from pix2pixcc.images.fits import open_image, refuse_damage
from pix2pixcc.solar.geometry import LIMB, RSUN_METRES, Disk, disk_of_header
from pix2pixcc.solar.headers import registered_header, sunpy_map
from pix2pixcc.solar.instruments import spacecraft_of
from pix2pixcc.solar.observations import MAGNETIC_UNITS, calibrate, no_line_of_sight_field, observation_of, parse_utc
from pix2pixcc.solar.orbits import earth_carrington_longitude
from pix2pixcc.solar.quality import quality_problem
from pix2pixcc.solar.registration import register
from pix2pixcc.solar.spelling import standard_header
from pix2pixcc.utils import UserError

SIGMA = "SIGMA"                      # the extension of a product that holds its uncertainty, gauss
GENERATED = "AI-generated"           # how CONTENT begins where a model made a magnetogram
GREATEST_SIGMA = np.float32(1e4)     # gauss: no field is less certain
MAX_MISSING = 0.05                   # share of an observation's disk that may have no value


@dataclass(frozen=True)
class Place:
    """Who took a magnetogram, when, and from where.

    Attributes
    ----------
    name : str
        Of the observer, as people write it: 'SDO', 'STEREO-B'.
    time : datetime
        UTC, the middle of the observation.
    longitude, latitude : float
        Stonyhurst coordinates of the observer, degrees.
    distance : float
        From the Sun's centre, solar radii.
    generated : bool
        Whether a model made it.
    """

    name: str
    time: datetime
    longitude: float
    latitude: float
    distance: float
    generated: bool

    @property
    def carrington(self) -> float:
        """Return the Carrington longitude of the centre of the disk, degrees."""
        return (earth_carrington_longitude(self.time) + self.longitude) % 360

    @property
    def label(self) -> str:
        """Return the observer as a map names it: 'SDO', or 'STEREO-B (AI)' for what a model made."""
        return f"{self.name} (AI)" if self.generated else self.name


@dataclass(frozen=True)
class Magnetogram:
    """A line-of-sight magnetogram.

    Attributes
    ----------
    place : Place
    data : ndarray (H, W), float32
        Gauss, positive towards the observer; NaN where there is no value.
    disk : Disk
        Where the Sun lies in it.
    sigma : ndarray (H, W), float32, optional
        Its uncertainty, gauss; finite.
    source : str
        What HISTORY calls it: the name of its file.
    """

    place: Place
    data: np.ndarray
    disk: Disk
    sigma: np.ndarray | None = None
    source: str = ""


def place_of(header: fits.Header, path: str | os.PathLike | None = None) -> tuple[Place, fits.Header]:
    """Return whose magnetogram a header is of, and the header with the observer's place in one spelling.

    Raises
    ------
    UserError
        It is no line-of-sight magnetogram in gauss, or lacks the pointing, the time or the observer; the message names
        `path`.
    """
    header = standard_header(header, path)
    generated = str(header.get("CONTENT", "")).startswith(GENERATED)
    _refuse_other(header, path, generated)
    if not all(keyword in header for keyword in ("HGLN_OBS", "HGLT_OBS", "DSUN_OBS", "DATE-AVG")):
        found = registered_header(header, 64, sunpy_map(header, path))      # from any other coordinates, by SunPy
        for keyword in ("HGLN_OBS", "HGLT_OBS", "DSUN_OBS", "DATE-OBS", "DATE-AVG"):
            header[keyword] = found[keyword]
    try:
        time = parse_utc(str(header["DATE-AVG"]))
        longitude, latitude, distance = (float(header[key]) for key in ("HGLN_OBS", "HGLT_OBS", "DSUN_OBS"))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path or 'FITS header'}: its time or its observer cannot be read ({error})") from error
    if not distance > RSUN_METRES or not abs(latitude) <= 90:
        raise UserError(f"{path or 'FITS header'}: DSUN_OBS = {distance:g} and HGLT_OBS = {latitude:g} place the "
                        "observer nowhere: give metres and degrees")
    words = str(header.get("OBSRVTRY", "")) or str(header.get("TELESCOP", ""))
    spacecraft = spacecraft_of(words)
    name = spacecraft.name if spacecraft else words.strip() or "unknown observer"
    return Place(name, time, (longitude + 180) % 360 - 180, latitude, distance / RSUN_METRES, generated), header


def is_euv(header: fits.Header) -> bool:
    """Return whether a header is of an EUV image, or of a cube that is no magnetogram."""
    if "CHAN1" in header:
        return "CHAN2" in header or "magnetogram" not in str(header["CHAN1"]).lower()
    detector, instrument = (str(header.get(keyword, "")).strip().upper() for keyword in ("DETECTOR", "INSTRUME"))
    return detector == "EUVI" or instrument.startswith("AIA")


def _refuse_other(header: fits.Header, path: str | os.PathLike | None, generated: bool) -> None:
    """Raise a `UserError` unless a header is of a line-of-sight magnetogram in gauss."""
    problem = ""
    if "CHAN1" in header:
        problem = f"a cube of {header['CHAN1']}, no magnetogram" if is_euv(header) else ""
    elif generated:
        unit = str(header.get("BUNIT", ""))
        problem = "" if unit.lower() in MAGNETIC_UNITS else f"BUNIT = {unit or 'missing'}, not gauss"
    elif str(header.get("BTYPE", "BLOS")).strip().upper() not in ("BLOS", "B_LOS"):
        problem = f"BTYPE = {header['BTYPE']}, no line-of-sight field"
    else:
        problem = no_line_of_sight_field(header, path)
    if problem:
        raise UserError(f"{path or 'FITS header'}: {problem}; give line-of-sight magnetograms in gauss")


def read_magnetogram(path: str | os.PathLike, size: int) -> Magnetogram:
    """Read a magnetogram, raw, prepared or generated, as `magnetogram_of` returns it, with its uncertainty if any."""
    path = Path(path)
    with open_image(path) as hdu:
        image = image_of(hdu.data, hdu.header, 1, path)
    magnetogram = magnetogram_of(image, size)
    if not magnetogram.place.generated:
        return magnetogram
    with refuse_damage(path), fits.open(path, memmap=False) as hdus:
        if SIGMA in hdus and getattr(hdus[SIGMA], "shape", None) == magnetogram.data.shape:
            return replace(magnetogram, sigma=_uncertainty(np.asarray(hdus[SIGMA].data, np.float32)))
    return magnetogram


def _uncertainty(sigma: np.ndarray) -> np.ndarray | None:
    """Return an uncertainty with a value everywhere: its greatest where it has none; None if it has nowhere one."""
    known = np.isfinite(sigma) & (sigma >= 0)
    if not known.any():
        return None
    return np.where(known, sigma, sigma[known].max()).clip(0, GREATEST_SIGMA)


def magnetogram_of(image: Image, size: int) -> Magnetogram:
    """Return the magnetogram of an image with its header.

    An observation as the archive has it is registered to `size` pixels. Prepared and generated magnetograms are taken
    as they are, within `LIMB` solar radii.

    Raises
    ------
    UserError
        As `place_of`; or the observation is of poor quality.
    """
    path = image.path
    if image.header is None:
        raise UserError(f"{path} has no header to say where its observer stood and when: give FITS files")
    place, header = place_of(image.header, path)
    data = image.data[0]
    if not place.generated and "CHAN1" not in header:
        return _observed(data, header, place, path, size)
    disk = _disk_of(header, data.shape, path)
    return Magnetogram(place, np.where(disk.mask(LIMB), data, np.float32(np.nan)), disk, source=path.name)


def _observed(data: np.ndarray, header: fits.Header, place: Place, path: Path, size: int) -> Magnetogram:
    """Return an instrument's own magnetogram, registered."""
    if spacecraft_of(place.name) is not None:
        observation = observation_of(data, header, path)
        problem = quality_problem(observation, max_missing=MAX_MISSING)
        if problem:
            raise UserError(f"{path}: {problem}")
        data = calibrate(observation)
    data, header = register(data, header, min(size, max(data.shape)), path)
    return Magnetogram(place, data, _disk_of(header, data.shape, path), source=path.name)


def _disk_of(header: fits.Header, shape: tuple[int, int], path: Path) -> Disk:
    """Return the disk of an image, or refuse one that does not lie in it."""
    disk = disk_of_header(header, shape)
    if not (4 < disk.radius < 4 * max(shape) and np.abs(disk.centre).max() < 4 * max(shape)):
        raise UserError(f"{path}: by its header the Sun has a radius of {disk.radius:.3g} pixels around "
                        f"{disk.centre[0]:.3g}, {disk.centre[1]:.3g} in an image of {shape[1]} x {shape[0]}: mend "
                        "CDELT, CRPIX and CRVAL, or leave the file out")
    return disk
