"""Cameras that look at a synthetic Sun, and where places on the Sun appear in their images."""
from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from pix2pixcc.solar.geometry import RADIUS_FRACTION
from pix2pixcc.solar.orbits import Observer, earth_carrington_longitude


@dataclass(frozen=True)
class Camera:
    """An image plane."""

    size: int                        # pixels on a side
    radius: float                    # apparent solar radius, pixels
    centre: tuple[float, float]      # of the Sun, (column, row) counted from 0
    roll: float = 0.0                # degrees, as CROTA2

    @classmethod
    def registered(cls, size: int) -> Camera:
        """Return the camera of registered images: north up, centred, solar radius 450/1024 of the side."""
        return cls(size, RADIUS_FRACTION * size, ((size - 1) / 2, (size - 1) / 2))

    def finer(self, factor: int) -> Camera:
        """Return the same view in pixels `factor` times smaller."""
        column, row = ((middle + 0.5) * factor - 0.5 for middle in self.centre)
        return Camera(self.size * factor, self.radius * factor, (column, row), self.roll)

    def pixels(self, west: np.ndarray, north: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the columns and rows of places in the sky, given in apparent solar radii."""
        cosine, sine = np.cos(np.radians(self.roll)), np.sin(np.radians(self.roll))
        return (self.centre[0] + self.radius * (cosine * west + sine * north),
                self.centre[1] + self.radius * (cosine * north - sine * west))

    def sky(self) -> tuple[np.ndarray, np.ndarray]:
        """Return west and north of every pixel `(size, size)`, in apparent solar radii."""
        x = ((np.arange(self.size) - self.centre[0]) / self.radius)[None, :]
        y = ((np.arange(self.size) - self.centre[1]) / self.radius)[:, None]
        cosine, sine = np.cos(np.radians(self.roll)), np.sin(np.radians(self.roll))
        return cosine * x - sine * y, sine * x + cosine * y


def observer_frame(longitude: np.ndarray, latitude: np.ndarray, radius: np.ndarray | float, observer: Observer,
                   time: datetime) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return where Carrington places appear to an observer: `west`, `north`, `towards`, `magnification`.

    The first two are in apparent solar radii, as seen from the observer's true distance (not from infinity); the third
    is the distance towards the observer from the plane through the Sun's centre, solar radii; the last is the apparent
    size relative to that at the limb.
    """
    from_meridian = np.radians(longitude - earth_carrington_longitude(time) - observer.longitude)
    lat, tilt = np.radians(latitude), np.radians(observer.latitude)
    across = np.cos(lat) * np.cos(from_meridian)
    towards = radius * (np.sin(lat) * np.sin(tilt) + across * np.cos(tilt))
    magnification = np.sqrt(observer.radii ** 2 - 1) / (observer.radii - towards)
    north = radius * (np.sin(lat) * np.cos(tilt) - across * np.sin(tilt))
    return radius * np.cos(lat) * np.sin(from_meridian) * magnification, north * magnification, towards, magnification


def deposit(x: np.ndarray, y: np.ndarray, weight: np.ndarray, size: int) -> np.ndarray:
    """Share each weight among the four pixels around its place, counted from 0; what falls outside is lost."""
    image = np.zeros((size + 2) * (size + 2))
    inside = (x > -1) & (x < size) & (y > -1) & (y < size)
    x, y, weight = x[inside] + 1, y[inside] + 1, weight[inside]
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = x - column, y - row
    for right, along in ((0, 1 - fx), (1, fx)):
        for up, above in ((0, 1 - fy), (1, fy)):
            image += np.bincount((row + up) * (size + 2) + column + right, weight * along * above, minlength=image.size)
    return image.reshape(size + 2, size + 2)[1:-1, 1:-1]
