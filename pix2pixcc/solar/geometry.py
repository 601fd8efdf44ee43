"""Where every pixel of an image lies on the Sun's disk, and how much of the Sun it covers."""
from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from astropy.wcs.utils import proj_plane_pixel_area

from pix2pixcc.solar.headers import RADIUS_FRACTION, RSUN_METRES
from pix2pixcc.utils import UserError

__all__ = ["Disk", "is_helioprojective", "disk_of_header", "registered_disk"]


@dataclass(frozen=True)
class Disk:
    """The Sun's disk in an image, however far off centre it stands.

    Attributes
    ----------
    distance : float64 ndarray (H, W)
        Distance of each pixel from the disk's centre in solar radii, as seen from the observer: the sine of the heliocentric
        angle theta between the local vertical and the line of sight. Infinite behind the observer.
    pixel_area : float
        Area of a pixel at the Sun's distance, across the line of sight, cm^2.
    centre : tuple of float
        The disk's centre (column, row), counted from 0.
    radius : float
        The disk's radius in pixels.
    """

    distance: np.ndarray
    pixel_area: float
    centre: tuple[float, float]
    radius: float

    def mask(self, limit: float) -> np.ndarray:
        """True within `limit` solar radii of the disk's centre, bool (H, W)."""
        return self.distance <= limit

    def surface_area(self) -> np.ndarray:
        """Area of the solar surface that each pixel sees, cm^2 (H, W): `pixel_area` / cos(theta), infinite from the limb on."""
        cosine = np.sqrt(np.clip(1 - self.distance ** 2, 0, None))
        with np.errstate(divide="ignore"):
            return self.pixel_area / cosine


def registered_disk(shape: tuple[int, int]) -> Disk:
    """The disk of a registered image: centred, radius 450/1024 of the side."""
    radius = RADIUS_FRACTION * shape[1]
    centre = ((shape[1] - 1) / 2, (shape[0] - 1) / 2)
    rows, columns = np.indices(shape, sparse=True)
    distance = np.hypot(rows - centre[1], columns - centre[0]) / radius
    return Disk(distance, (100 * RSUN_METRES / radius) ** 2, centre, radius)


def is_helioprojective(header: fits.Header | None) -> bool:
    """Whether a header places its image on the Sun."""
    return header is not None and str(header.get("CTYPE1", "")).upper().startswith("HPLN")


def _observer_distance(header: fits.Header) -> float:
    """Metres from the observer to the Sun's centre: DSUN_OBS, else from the Sun's angular radius."""
    for keyword, distance_of in (("DSUN_OBS", float), ("RSUN_OBS", lambda arcsec: RSUN_METRES / math.sin(math.radians(arcsec / 3600)))):
        value = header.get(keyword)
        if isinstance(value, int | float) and value > 0 and distance_of(value) > RSUN_METRES:
            return distance_of(value)
    raise UserError("the header has neither DSUN_OBS (metres) nor RSUN_OBS (arcsec), so the disk has no size: add one of them")


def disk_of_header(header: fits.Header | None, shape: tuple[int, int]) -> Disk:
    """The disk as a header's helioprojective coordinates place it; without any, the registered geometry.

    Raises
    ------
    UserError
        The header's coordinates cannot be used, or it lacks the observer's distance.
    """
    if header is None or not is_helioprojective(header):
        return registered_disk(shape)
    away = _observer_distance(header)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)
            wcs = WCS(header).celestial
        rows, columns = np.indices(shape)
        longitude, latitude = np.radians(wcs.pixel_to_world_values(columns, rows))
        area = proj_plane_pixel_area(wcs) * np.radians(1) ** 2
        x, y = (float(value) for value in wcs.world_to_pixel_values(0, 0))
    # wcslib raises many kinds of error, all of which mean that the coordinates are damaged.
    except Exception as error:
        raise UserError(f"the header's coordinates cannot be used ({' '.join(str(error).split())[:150]}): mend or remove them") from error
    # In the triangle of observer, Sun's centre and surface: sin(theta) / away = sin(elongation) / radius.
    distance = np.hypot(np.cos(latitude) * np.sin(longitude), np.sin(latitude)) * away / RSUN_METRES
    distance[np.cos(longitude) <= 0] = np.inf
    return Disk(distance, area * (100 * away) ** 2, (x, y), math.asin(RSUN_METRES / away) / math.sqrt(area))
