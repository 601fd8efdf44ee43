"""The grid of a whole-Sun map: cells of equal area in longitude and sine of latitude, and how its places rotate."""
from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits

from pix2pixcc.solar.geometry import RSUN_METRES
from pix2pixcc.solar.headers import set_times
from pix2pixcc.solar.orbits import earth_carrington_longitude
from pix2pixcc.utils import UserError

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from sunpy.map import GenericMap

CARRINGTON_RATE = 14.1844            # sidereal, degrees per day, to which Carrington longitudes are tied
LAWS = ("howard", "snodgrass", "allen", "rigid")      # of sunpy.sun.models.differential_rotation
FRAMES = ("carrington", "stonyhurst")


@dataclass(frozen=True)
class Grid:
    """A full-Sun map in cylindrical equal-area projection (CEA).

    Attributes
    ----------
    columns, rows : int
        Its cells in longitude and in sine of latitude, all of one area.
    time : datetime
        UTC, of the whole map.
    frame : str
        'carrington': longitude 0 at the left edge; 'stonyhurst': the Earth's meridian in the middle.
    rotation : str
        By which law places move between the time of an image and that of the map, one of `LAWS`.
    """

    columns: int
    rows: int
    time: datetime
    frame: str = "carrington"
    rotation: str = "howard"

    @property
    def shape(self) -> tuple[int, int]:
        """Return rows and columns."""
        return self.rows, self.columns

    @property
    def left_edge(self) -> float:
        """Return the Carrington longitude of the left edge, degrees."""
        return 0.0 if self.frame == "carrington" else earth_carrington_longitude(self.time) - 180

    @cached_property
    def latitude(self) -> np.ndarray:
        """Return the latitude of each row's middle in sine, degrees (rows,)."""
        return np.degrees(np.arcsin((np.arange(self.rows) + 0.5) * 2 / self.rows - 1))

    @cached_property
    def longitude(self) -> np.ndarray:
        """Return the Carrington longitude of each column's middle, degrees (columns,)."""
        return (self.left_edge + (np.arange(self.columns) + 0.5) * 360 / self.columns) % 360

    @property
    def cell_area(self) -> float:
        """Return the area of every cell, cm^2."""
        return 4 * np.pi * (100 * RSUN_METRES) ** 2 / (self.rows * self.columns)

    def drift(self, days: float | np.ndarray) -> np.ndarray:
        """Return how far the places of each row move in Carrington longitude, degrees (rows,), during some days."""
        from astropy import units as u
        from sunpy.sun.models import differential_rotation  # imports units and coordinates

        one_day = differential_rotation(1 * u.day, self.latitude * u.deg, model=self.rotation)
        return (one_day.to_value("deg") - CARRINGTON_RATE) * days

    def header(self) -> fits.Header:
        """Return the cards that place the map on the Sun: axes, the Earth as observer, time."""
        from sunpy.coordinates import get_earth

        centre = 180 if self.frame == "carrington" else 0
        return _header(self.time, get_earth(self.time), self.shape, self.frame, centre)


def _header(time: datetime, observer: SkyCoord, shape: tuple[int, int], frame: str, centre: float) -> fits.Header:
    """Return the cards of a full-Sun map in CEA around a longitude, degrees, of a frame."""
    from astropy import units as u
    from sunpy.map.header_helper import make_heliographic_header

    with warnings.catch_warnings(action="ignore"):
        cards = make_heliographic_header(time, observer, shape, frame=frame, projection_code="CEA",
                                         map_center_longitude=centre * u.deg)
    header = fits.Header({key.upper(): value for key, value in cards.items()
                          if key not in ("mjdref", "naxis", "naxis1", "naxis2", "rsun_obs", "wcsaxes")})
    set_times(header, time, time)
    return header


def sphere_header(map: GenericMap, radius: float = 1.0) -> fits.Header:
    """Return the cards that place a whole-Sun map on a sphere of some solar radii: axes, observer, time."""
    frame = "carrington" if map.coordinate_system.axis1.startswith("CRLN") else "stonyhurst"
    centre = 0.0 if frame == "stonyhurst" else carrington_grid(map)[0].mean()
    header = _header(map.date.utc.to_datetime(), map.observer_coordinate, map.data.shape, frame, centre)
    header["RSUN_REF"] = (radius * RSUN_METRES, "[m] radius of this sphere")
    return header


def carrington_grid(map: GenericMap) -> tuple[np.ndarray, np.ndarray]:
    """Return the Carrington longitudes of a map's columns, growing from its left edge on, and its rows' latitudes.

    Both in degrees, of the middle of the cells. The map covers the whole Sun in cylindrical equal-area projection, in
    Carrington or Stonyhurst longitude.

    Raises
    ------
    UserError
        It does not.
    """
    rows, columns = map.data.shape
    wcs, kinds = map.wcs.wcs, (map.coordinate_system.axis1, map.coordinate_system.axis2)
    frame = {("CRLN-CEA", "CRLT-CEA"): "carrington", ("HGLN-CEA", "HGLT-CEA"): "stonyhurst"}.get(kinds)
    if frame is None:
        raise UserError(f"CTYPE1, CTYPE2 = {', '.join(kinds)}: this needs a map in cylindrical equal-area projection "
                        "(CRLN-CEA, CRLT-CEA); make one with pix2pixCC_Map.py or reproject it")
    width, height = wcs.cdelt[0] * columns, math.radians(wcs.cdelt[1]) * rows
    bottom = math.radians(wcs.cdelt[1]) * (0.5 - wcs.crpix[1])
    if not (abs(width - 360) < 0.1 and abs(height - 2) < 1e-3 and abs(bottom + 1) < 1e-3 and wcs.crval[1] == 0):
        raise UserError(f"the map covers {width:.1f} degrees of longitude and {height:.3f} of 2 in sine of latitude, "
                        "not the whole Sun: see its CDELT, CRPIX and CRVAL")
    left = wcs.crval[0] + wcs.cdelt[0] * (0.5 - wcs.crpix[0])
    if frame == "stonyhurst":
        left += earth_carrington_longitude(map.date.utc.to_datetime())
    longitude = left % 360 + (np.arange(columns) + 0.5) * 360 / columns
    return longitude, np.degrees(np.arcsin((np.arange(rows) + 0.5) * 2 / rows - 1))
