"""The Sun's disk in an image: where each pixel lies on it, and how much of the Sun it covers."""
from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from pix2pixcc.images.fits import is_number, required_number
from pix2pixcc.utils import UserError

RADIUS_FRACTION = 450 / 1024         # solar radius / image side of a registered image (Jeong et al. 2020, 2022)
LIMB = 0.98                          # solar radii; beyond, images are masked
RSUN_METRES = 695.7e6                # IAU 2015, as the published product has it
AU_METRES = 149_597_870_700.0        # IAU 2012
ARCSEC = 3600 * math.degrees(1)      # in a radian

# All that the plane of an image needs; wcslib takes four times as long over a header of 243 cards.
_COORDINATES = re.compile(r"(?:CTYPE|CUNIT|CRPIX|CRVAL|CDELT|CROTA)[12]|(?:PC|CD)[12]_[12]|PV[12]_\d+|LONPOLE|LATPOLE")


@dataclass(frozen=True)
class Disk:
    """The Sun's disk in an image, wherever it stands and however it is rolled."""

    shape: tuple[int, int]          # of the image, (H, W)
    centre: tuple[float, float]     # (column, row), counted from 0
    scale: np.ndarray               # (2, 2): pixels off the centre (columns, rows) -> apparent solar radii (x, y)
    angular_radius: float = 0.0     # arcsec; 0, as from infinity, where no header tells the observer's distance

    @property
    def radius(self) -> float:
        """Return the disk's radius in pixels."""
        return float(1 / np.sqrt(abs(np.linalg.det(self.scale))))

    @property
    def pixel_area(self) -> float:
        """Return the area of a pixel at the Sun's distance, across the line of sight, in cm^2."""
        return float((100 * RSUN_METRES / self.radius / self._sine_over_angle) ** 2)

    @property
    def distance(self) -> np.ndarray:
        """Return each pixel's distance from the disk's centre in solar radii, as the observer sees it, float64 (H, W).

        It is the sine of the heliocentric angle theta between the local vertical and the line of sight: in the triangle
        of observer, Sun's centre and surface, sin(theta) / (observer's distance) = sin(elongation) / (solar radius).
        """
        apparent = np.sqrt(self._apparent_squared(1))       # of a gnomonic image: tan(elongation) / angular radius
        return apparent / np.hypot(1, apparent * self.angular_radius / ARCSEC) / self._sine_over_angle

    def mask(self, limit: float = LIMB, *, step: int = 1) -> np.ndarray:
        """Return whether pixels (of every `step`-th row and column) lie within `limit` apparent radii, bool (H, W)."""
        return self._apparent_squared(step) <= limit ** 2

    def surface_area(self) -> np.ndarray:
        """Return the surface that each pixel sees, cm^2 (H, W): `pixel_area` / cos(theta), infinite off the disk."""
        cosine = np.sqrt(np.clip(1 - self.distance ** 2, 0, None))
        with np.errstate(divide="ignore"):
            return self.pixel_area / cosine

    @property
    def _sine_over_angle(self) -> float:
        """Return sin(r) / r of the apparent solar radius r, 1 from infinity."""
        return float(np.sinc(self.angular_radius / ARCSEC / np.pi))

    def _apparent_squared(self, step: int) -> np.ndarray:
        height, width = self.shape
        columns = np.arange(0, width, step)[None, :] - self.centre[0]
        rows = np.arange(0, height, step)[:, None] - self.centre[1]
        x, y = (along_columns * columns + along_rows * rows for along_columns, along_rows in self.scale)
        return x ** 2 + y ** 2


def registered_disk(shape: tuple[int, int]) -> Disk:
    """Return the disk of a registered image: centred, its radius 450/1024 of the width."""
    return Disk(shape, ((shape[1] - 1) / 2, (shape[0] - 1) / 2), np.eye(2) / (RADIUS_FRACTION * shape[1]))


def disk_mask(size: int, limit: float = LIMB) -> np.ndarray:
    """Return where a registered image lies within `limit` solar radii of its middle, bool (size, size)."""
    return registered_disk((size, size)).mask(limit)


def disk_of_header(header: fits.Header | None, shape: tuple[int, int]) -> Disk:
    """Return the disk where a header's helioprojective coordinates place it; without a header, the registered disk.

    The header has pointing and plate scale, and the observer's distance as DSUN_OBS (metres) or RSUN_OBS (arcsec).

    Raises
    ------
    UserError
        The plate scale or the distance is missing, or the coordinates cannot be used.
    """
    if header is None:
        return registered_disk(shape)
    required_number(header, scale_keywords(header)[0])
    angular_radius = _angular_radius_of(header)
    cards = fits.Header([card for card in header.cards if _COORDINATES.fullmatch(card.keyword)])
    if "CROTA" in header and not {"PC1_1", "CD1_1", "CROTA2"} & set(cards):
        cards["CROTA2"] = header["CROTA"]      # the SECCHI spelling
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wcs = WCS(cards, naxis=2)
        column, row = wcs.wcs_world2pix(0.0, 0.0, 0)
        scale = wcs.pixel_scale_matrix * 3600 / angular_radius
    # wcslib raises many kinds of error, all of which mean that the coordinates are damaged.
    except Exception as error:
        reason = " ".join(str(error).split())[:150]
        raise UserError(f"the header's coordinates cannot be used ({reason}): mend or remove them") from error
    return Disk(shape, (float(column), float(row)), scale, angular_radius)


def is_helioprojective(header: fits.Header | None) -> bool:
    """Return whether a header places its image on the Sun."""
    return header is not None and str(header.get("CTYPE1", "")).upper().startswith("HPLN")


def scale_keywords(header: fits.Header) -> tuple[str, str]:
    """Return the keywords in which a header gives its plate scale along columns and rows."""
    return ("CD1_1", "CD2_2") if "CD1_1" in header else ("CDELT1", "CDELT2")


def angular_radius(distance: float) -> float:
    """Return the apparent solar radius in arcsec from `distance` metres."""
    return float(np.arcsin(RSUN_METRES / distance) * ARCSEC)


def _angular_radius_of(header: fits.Header) -> float:
    distance, radius = header.get("DSUN_OBS"), header.get("RSUN_OBS")
    if is_number(distance) and distance > RSUN_METRES:
        return angular_radius(distance)
    if is_number(radius) and 0 < radius < 90 * 3600:
        return float(radius)
    raise UserError("the header has neither DSUN_OBS (metres) nor RSUN_OBS (arcsec), so the disk has no size: "
                    "add one of them")
