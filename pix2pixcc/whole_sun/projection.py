"""Magnetograms of the disk, put on the rows of a whole-Sun map.

Each magnetogram is sampled once, on a grid several times finer than the map, its longitudes counted from the observer's
central meridian: a `Strip`. To place it, rows are moved by whole fine cells, by the Sun's rotation since the image was
taken, and fine cells are averaged. So nothing is interpolated twice, and no flux gets lost on the way.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates

from pix2pixcc.whole_sun.grid import Grid
from pix2pixcc.whole_sun.magnetograms import Magnetogram, Place

FINER = 4                            # fine cells along each side of a cell of the map
_SIDE = 2048                         # pixels of a registered image for 360 columns: a fine cell has four across


@dataclass(frozen=True)
class Layers:
    """Sums over magnetograms: of the weights, and of the weights times what they weigh.

    Attributes
    ----------
    weight, field, mu, age, variance : ndarray, float32
        Weight; weight times radial field (gauss), times the cosine of the heliocentric angle, times the age (hours),
        times the squared uncertainty of the radial field.
    """

    weight: np.ndarray
    field: np.ndarray
    mu: np.ndarray
    age: np.ndarray
    variance: np.ndarray

    def __add__(self, other: Layers) -> Layers:
        return Layers(*(mine + its for mine, its in zip(vars(self).values(), vars(other).values(), strict=True)))

    def __mul__(self, factor: float | np.ndarray) -> Layers:
        return Layers(*(np.float32(factor) * mine for mine in vars(self).values()))

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> Layers:
        """Return the sums over no magnetogram."""
        return cls(*np.zeros((5, *shape), np.float32))

    def mean(self, name: str) -> np.ndarray:
        """Return the weighted mean of a quantity, 0 where nothing weighs."""
        return np.divide(getattr(self, name), self.weight, out=np.zeros_like(self.weight), where=self.weight > 0)


@dataclass(frozen=True)
class Strip:
    """A magnetogram on the rows of a map, in fine columns, of which the first lies 90 degrees east of its meridian.

    Attributes
    ----------
    place : Place
        Whose view it is.
    weight, field, mu, variance : ndarray (rows, FINER * columns / 2), float32
        Sums over the fine rows of each row, as in `Layers`.
    source : str
        What HISTORY calls the magnetogram.
    """

    place: Place
    weight: np.ndarray
    field: np.ndarray
    mu: np.ndarray
    variance: np.ndarray
    source: str


def side_for(columns: int, *, history: bool) -> int:
    """Return to how many pixels on a side an observation is registered for a map of so many columns.

    With half as many the unsigned flux of what is seen now, in which mixed polarities cancel, would be a percent lower.
    """
    side = _SIDE * columns // 360
    return min(4096, max(256, side // 2 if history else side))


def project(image: Magnetogram, columns: int, rows: int, *, mu_limit: float, mu_power: float, order: int = 3) -> Strip:
    """Return the radial field of a magnetogram on the rows of a map.

    The field is taken to be radial, so it is the line-of-sight field divided by mu, the cosine of the heliocentric
    angle (Svalgaard, Duvall & Scherrer 1978, Solar Phys. 58, 225). It is weighted by mu ** `mu_power`: with 2 by
    the inverse of the noise's variance, which the division raises; HipFT takes 4. Places below `mu_limit` are left out.
    `order` is that of the interpolating spline: 1 is faster than 3, and loses about a percent of the unsigned flux.
    """
    place = image.place
    sine = _middles(rows * FINER, -1, 1)[:, None]
    cosine = np.sqrt(1 - sine ** 2)
    longitude = _middles(columns * FINER // 2, -np.pi / 2, np.pi / 2)[None, :]
    sine_b, cosine_b = (np.float32(function(np.radians(place.latitude))) for function in (np.sin, np.cos))
    across = cosine * np.cos(longitude)
    towards = sine * sine_b + across * cosine_b
    distance = np.float32(place.distance)
    mu = (distance * towards - 1) / np.sqrt(distance ** 2 - 2 * distance * towards + 1)
    # Where it appears in the image plane: the tangent of the angle from the Sun's centre, in apparent solar radii.
    away = (distance - towards) * np.float32(np.arcsin(1 / place.distance))
    apparent = cosine * np.sin(longitude) / away, (sine * cosine_b - across * sine_b) / away
    to_pixels = np.linalg.inv(image.disk.scale).astype(np.float32)
    column, row = (along[0] * apparent[0] + along[1] * apparent[1] + np.float32(middle)
                   for along, middle in zip(to_pixels, image.disk.centre, strict=True))
    is_valid = np.isfinite(image.data)
    seen = (mu >= mu_limit) & _is_near_valid(is_valid, row, column)
    mu = np.where(seen, mu, 1)
    weight = np.where(seen, mu ** np.float32(mu_power), 0)
    field = np.where(seen, map_coordinates(np.where(is_valid, image.data, 0), [row, column], order=order,
                                           output=np.float32) / mu, 0)
    variance = np.zeros_like(field)
    if image.sigma is not None:
        sigma = map_coordinates(np.nan_to_num(image.sigma), [row, column], order=1, output=np.float32)
        variance = np.where(seen, (sigma / mu) ** 2, 0)
    field, mu, variance = (_row_sums(weight * values) for values in (field, mu, variance))
    return Strip(place, _row_sums(weight), field, mu, variance, image.source)


def _middles(count: int, low: float, high: float) -> np.ndarray:
    return (low + (np.arange(count) + 0.5) * (high - low) / count).astype(np.float32)


def _is_near_valid(is_valid: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Return where the nearest pixel has a value."""
    near = map_coordinates(is_valid.astype(np.float32), [row, column], order=0, mode="constant", cval=0)
    return near > 0.5


def _row_sums(fine: np.ndarray) -> np.ndarray:
    return fine.reshape(-1, FINER, fine.shape[1]).sum(1, dtype=np.float32)


def place(strip: Strip, grid: Grid) -> Layers:
    """Return a strip in the cells of a map, turned by the Sun's rotation to the map's time."""
    days = (grid.time - strip.place.time).total_seconds() / 86400
    west_of_edge = strip.place.carrington - 90 + grid.drift(days) - grid.left_edge      # of the first column, degrees
    first = np.rint(west_of_edge * grid.columns * FINER / 360).astype(int)
    at = (first[:, None] + np.arange(strip.weight.shape[1])) % (grid.columns * FINER)

    def in_cells(values: np.ndarray) -> np.ndarray:
        fine = np.zeros((grid.rows, grid.columns * FINER), np.float32)
        np.put_along_axis(fine, at, values, axis=1)
        return fine.reshape(*grid.shape, FINER).sum(2) / FINER ** 2

    weight, field, mu, variance = map(in_cells, (strip.weight, strip.field, strip.mu, strip.variance))
    return Layers(weight, field, mu, weight * np.float32(24 * abs(days)), variance)
