"""Where every pixel of an image lies on the Sun's disk, and how much of the Sun it covers."""
from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from astropy.wcs.utils import proj_plane_pixel_area

__all__ = ["Disk", "disk_of_header", "registered_disk"]

RADIUS_FRACTION = 450 / 1024        # solar radius / image side of a registered image
RSUN_METRES = 695.7e6               # IAU 2015
AU_METRES = 149_597_870_700.0


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


def _observer_distance(header: fits.Header, rsun: float) -> float:
    """Metres from the observer to the Sun's centre: DSUN_OBS, else from the Sun's angular radius, else 1 au."""
    if header.get("DSUN_OBS"):
        return float(header["DSUN_OBS"])
    if header.get("RSUN_OBS"):
        return rsun / math.sin(math.radians(float(header["RSUN_OBS"]) / 3600))
    return AU_METRES


def disk_of_header(header: fits.Header | None, shape: tuple[int, int]) -> Disk:
    """The disk as a header's helioprojective coordinates place it; without any, the registered geometry.

    Raises
    ------
    ValueError
        The header's coordinates cannot be used.
    """
    if header is None or not str(header.get("CTYPE1", "")).startswith("HPLN"):
        return registered_disk(shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        wcs = WCS(header).celestial
    rsun = float(header.get("RSUN_REF") or RSUN_METRES)
    away = _observer_distance(header, rsun)
    rows, columns = np.indices(shape)
    longitude, latitude = np.radians(wcs.pixel_to_world_values(columns, rows))
    # In the triangle of observer, Sun's centre and surface: sin(theta) / away = sin(elongation) / rsun.
    distance = np.hypot(np.cos(latitude) * np.sin(longitude), np.sin(latitude)) * away / rsun
    distance[np.cos(longitude) <= 0] = np.inf
    area = proj_plane_pixel_area(wcs) * np.radians(1) ** 2
    x, y = (float(value) for value in wcs.world_to_pixel_values(0, 0))
    return Disk(distance, area * (100 * away) ** 2, (x, y), math.asin(rsun / away) / math.sqrt(area))
