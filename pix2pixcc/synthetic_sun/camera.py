"""Who looks at a synthetic Sun, and through what: observers on their orbits, cameras, and where places on the Sun appear in an image.

What is seen is in `synthetic_images.py`.
"""
from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from pix2pixcc.solar.geometry import RADIUS_FRACTION
from pix2pixcc.solar.orbits import Observer, earth_carrington_longitude


@dataclass(frozen=True)
class Camera:
    """An image plane: side (pixels), apparent solar radius (pixels), 0-based Sun centre (column, row), roll (degrees, as CROTA2)."""

    size: int
    radius: float
    centre: tuple[float, float]
    roll: float = 0.0

    @classmethod
    def registered(cls, size: int) -> Camera:
        """North up, centred, solar radius 450/1024 of the side."""
        return cls(size, RADIUS_FRACTION * size, ((size - 1) / 2, (size - 1) / 2))

    def finer(self, factor: int) -> Camera:
        """The same view in pixels `factor` times smaller."""
        column, row = ((middle + 0.5) * factor - 0.5 for middle in self.centre)
        return Camera(self.size * factor, self.radius * factor, (column, row), self.roll)

    def pixels(self, west: np.ndarray, north: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Columns and rows of places in the sky, given in apparent solar radii."""
        cosine, sine = np.cos(np.radians(self.roll)), np.sin(np.radians(self.roll))
        return self.centre[0] + self.radius * (cosine * west + sine * north), self.centre[1] + self.radius * (cosine * north - sine * west)

    def sky(self) -> tuple[np.ndarray, np.ndarray]:
        """West and north of every pixel `(size, size)`, in apparent solar radii."""
        x = ((np.arange(self.size) - self.centre[0]) / self.radius)[None, :]
        y = ((np.arange(self.size) - self.centre[1]) / self.radius)[:, None]
        cosine, sine = np.cos(np.radians(self.roll)), np.sin(np.radians(self.roll))
        return cosine * x - sine * y, sine * x + cosine * y


def observer_frame(longitude: np.ndarray, latitude: np.ndarray, radius: np.ndarray | float, observer: Observer,
                   time: datetime) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Carrington places as the observer sees them.

    Returns
    -------
    west, north : ndarray
        In the sky, in apparent solar radii, from where the observer really stands (not from infinity).
    towards : ndarray
        Distance towards the observer from the plane through the Sun's centre, solar radii.
    magnification : ndarray
        Apparent size, relative to that at the limb.
    """
    from_meridian = np.radians(longitude - earth_carrington_longitude(time) - observer.longitude)
    lat, tilt = np.radians(latitude), np.radians(observer.latitude)
    across = np.cos(lat) * np.cos(from_meridian)
    towards = radius * (np.sin(lat) * np.sin(tilt) + across * np.cos(tilt))
    magnification = np.sqrt(observer.radii ** 2 - 1) / (observer.radii - towards)
    north = radius * (np.sin(lat) * np.cos(tilt) - across * np.sin(tilt))
    return radius * np.cos(lat) * np.sin(from_meridian) * magnification, north * magnification, towards, magnification


def deposit(x: np.ndarray, y: np.ndarray, weight: np.ndarray, size: int) -> np.ndarray:
    """Share each weight among the four pixels around its place (0-based centres); what falls outside is lost."""
    image = np.zeros((size + 2) * (size + 2))
    inside = (x > -1) & (x < size) & (y > -1) & (y < size)
    x, y, weight = x[inside] + 1, y[inside] + 1, weight[inside]
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = x - column, y - row
    for right, along in ((0, 1 - fx), (1, fx)):
        for up, above in ((0, 1 - fy), (1, fy)):
            image += np.bincount((row + up) * (size + 2) + column + right, weight * along * above, minlength=image.size)
    return image.reshape(size + 2, size + 2)[1:-1, 1:-1]
