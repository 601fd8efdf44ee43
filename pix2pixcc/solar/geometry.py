"""Where every pixel of an image lies on the Sun's disk, and how much of the Sun it covers."""
from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from astropy.wcs.utils import proj_plane_pixel_area

from pix2pixcc.solar.observations import required_number
from pix2pixcc.utils import UserError

RADIUS_FRACTION = 450 / 1024         # solar radius / image side of a registered image (Jeong et al. 2020, 2022)
LIMB = 0.98                          # solar radii; beyond, images are masked
RSUN_METRES = 695.7e6                # IAU 2015, as the published product has it
AU_METRES = 149_597_870_700.0        # IAU 2012
ARCSEC = np.rad2deg(1) * 3600        # in a radian


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


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))


def scale_keywords(header: fits.Header) -> tuple[str, str]:
    return ("CD1_1", "CD2_2") if "CD1_1" in header else ("CDELT1", "CDELT2")


def angular_radius(distance: float) -> float:
    """Apparent solar radius, arcsec, from `distance` metres."""
    return float(np.arcsin(RSUN_METRES / distance) * ARCSEC)


def disk_mask(size: int, limit: float = LIMB) -> np.ndarray:
    """True within `limit` solar radii in a registered image, bool (size, size)."""
    offset = np.arange(size) - (size - 1) / 2
    return offset[:, None] ** 2 + offset[None, :] ** 2 <= (limit * RADIUS_FRACTION * size) ** 2


def disk_place(header: fits.Header) -> tuple[float, float, np.ndarray]:
    """Where the Sun stands in an image with a helioprojective header.

    Returns
    -------
    column, row : float
        The Sun's centre, pixels from 0.
    scale : float64 ndarray (2, 2)
        Offset from the centre (columns, rows) -> offset in solar radii.

    Raises
    ------
    UserError
        The header has no plate scale, or neither DSUN_OBS nor RSUN_OBS.
    """
    required_number(header, scale_keywords(header)[0])
    if "CROTA" in header and not {"PC1_1", "CD1_1", "CROTA2"} & set(header):
        header = header.copy()
        header["CROTA2"] = header["CROTA"]      # the SECCHI spelling
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wcs = WCS(header, naxis=2)
    column, row = wcs.wcs_world2pix(0.0, 0.0, 0)
    if is_number(header.get("DSUN_OBS")):
        radius = angular_radius(header["DSUN_OBS"])
    else:
        radius = required_number(header, "RSUN_OBS")
    return float(column), float(row), wcs.pixel_scale_matrix * 3600 / radius


def observer_disk_mask(header: fits.Header, shape: tuple[int, int], limit: float = LIMB, step: int = 1) -> np.ndarray:
    """True within `limit` solar radii in an image with a helioprojective header, wherever the disk stands; bool (H, W).

    With `step` n, of every n-th row and column only.

    Raises
    ------
    UserError
        The header has no plate scale, or neither DSUN_OBS nor RSUN_OBS.
    """
    column, row, scale = disk_place(header)
    columns, rows = np.arange(0, shape[1], step)[None, :] - column, np.arange(0, shape[0], step)[:, None] - row
    x, y = (scale[axis, 0] * columns + scale[axis, 1] * rows for axis in (0, 1))
    return x ** 2 + y ** 2 <= limit ** 2
