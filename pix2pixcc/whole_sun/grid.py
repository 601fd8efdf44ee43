"""The grid of a whole-Sun map: cells of equal area in longitude and sine of latitude, and how its places rotate."""
from __future__ import annotations

import warnings
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np
from astropy.io import fits

from pix2pixcc.solar.geometry import RSUN_METRES
from pix2pixcc.solar.headers import set_times
from pix2pixcc.solar.orbits import earth_carrington_longitude

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
        from astropy import units as u
        from sunpy.coordinates import get_earth
        from sunpy.map.header_helper import make_heliographic_header

        centre = 180 if self.frame == "carrington" else 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cards = make_heliographic_header(self.time, get_earth(self.time), self.shape, frame=self.frame,
                                             projection_code="CEA", map_center_longitude=centre * u.deg)
        header = fits.Header({key.upper(): value for key, value in cards.items()
                              if key not in ("mjdref", "naxis", "naxis1", "naxis2", "rsun_obs", "wcsaxes")})
        set_times(header, self.time, self.time)
        return header
