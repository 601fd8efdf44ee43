"""How a synthetic Sun looks: observers and cameras, the projection of flux elements, and the EUV light along each line of sight.

The light is made from |B| alone. The magnetic field itself is in `synthetic_field.py`.
"""
from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import datetime

import astropy.units as u
import numpy as np
from astropy.coordinates import HeliocentricMeanEcliptic, SkyCoord
from scipy.ndimage import gaussian_filter1d, map_coordinates
from sunpy.coordinates import HeliographicStonyhurst, get_earth, sun

from solar import RADIUS_FRACTION, RSUN_METRES
from synthetic_field import FluxElements

__all__ = ["AU_METRES", "SPACECRAFT", "PASSBANDS", "Observer", "observer_at", "earth_carrington_longitude", "Camera", "observer_frame",
           "deposit", "Recipe", "Surface", "coronal_light"]

AU_METRES = 149_597_870_700.0
SPACECRAFT = ("SDO", "STEREO-A", "STEREO-B")


@dataclass(frozen=True)
class Observer:
    """Who looks: Stonyhurst longitude and latitude (degrees) and distance from the Sun's centre (AU)."""

    name: str
    longitude: float
    latitude: float
    distance: float

    @property
    def radii(self) -> float:
        """The distance in solar radii."""
        return self.distance * AU_METRES / RSUN_METRES


@functools.lru_cache(maxsize=256)
def observer_at(name: str, time: datetime) -> Observer:
    """Where a spacecraft was: 'SDO' at the Earth, 'STEREO-A' and 'STEREO-B' on their drifting orbits of 2007 to 2014.

    STEREO's places are fitted to real headers of February and March 2011 and hold to about a degree around them.
    """
    if name not in SPACECRAFT:
        raise ValueError(f"{name!r} is none of {', '.join(SPACECRAFT)}")
    earth = get_earth(time)
    if name == "SDO":
        return Observer(name, 0.0, float(earth.lat.deg), float(earth.radius.au))
    days = (time - datetime(2011, 2, 15)).total_seconds() / 86400
    if name == "STEREO-A":
        separation, distance = 86.75 + 21.65 * days / 365.25, 0.9622 - 0.0055 * np.cos(2 * np.pi * (days - 68) / 346.6)
    else:
        separation, distance = -94.05 - 21.5 * days / 365.25, 1.0432 - 0.0427 * np.cos(2 * np.pi * (days - 74) / 388.2)
    ecliptic = earth.transform_to(HeliocentricMeanEcliptic(obstime=time))
    place = SkyCoord(ecliptic.lon + separation * u.deg, 0 * u.deg, distance * u.au,
                     frame=HeliocentricMeanEcliptic(obstime=time)).transform_to(HeliographicStonyhurst(obstime=time))
    return Observer(name, float(place.lon.wrap_at(180 * u.deg).deg), float(place.lat.deg), float(distance))


@functools.lru_cache(maxsize=256)
def earth_carrington_longitude(time: datetime) -> float:
    """Carrington longitude (degrees) of the central meridian as seen from the Earth."""
    return float(sun.L0(time).deg)


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


@dataclass(frozen=True)
class Recipe:
    """How a passband glows, in shares of its own quiet light.

    `network`, `plage`, `core`: what |B| adds, in the network, over plages, in strong field; `ceiling`: where it saturates; `loops`, `fans`:
    closed loops and the open fans on leading spots; `hole`: how dark coronal holes are; `halo`: and the fibrils around active regions;
    `height`: scale height (solar radii) of the extended corona, `corona`: its share; `texture`: standard deviation of ln(quiet light);
    `photons`: in a pixel of median light of a 4096 x 4096 detector.
    """

    basal: float
    network: float
    plage: float
    core: float
    ceiling: float
    loops: float
    fans: float
    hole: float
    halo: float
    height: float
    corona: float
    texture: float
    photons: float


PASSBANDS = {  # basal network plage core ceiling loops fans  hole halo height corona texture photons
    "304": Recipe(0.35, 1.10, 1.6, 1.2, 25, 0.0, 0.0, 0.25, 0.00, 0.030, 0.10, 0.30, 15),
    "171": Recipe(0.75, 0.36, 1.5, 0.6, 9., 1.0, 1.3, 0.50, 0.45, 0.055, 0.30, 0.20, 150),
    "193": Recipe(0.55, 0.30, 1.9, 1.3, 20, 1.0, 0.4, 0.80, 0.15, 0.075, 0.45, 0.16, 120),
    "211": Recipe(0.40, 0.25, 2.3, 1.9, 25, 1.0, 0.2, 0.85, 0.10, 0.085, 0.55, 0.14, 60),
    "284": Recipe(0.30, 0.22, 2.6, 2.2, 30, 0.8, 0.1, 0.85, 0.10, 0.085, 0.55, 0.14, 30),
    "335": Recipe(0.30, 0.25, 2.4, 2.6, 40, 0.6, 0.0, 0.70, 0.05, 0.070, 0.45, 0.16, 6),
    "131": Recipe(0.60, 0.35, 1.3, 1.0, 20, 0.9, 1.0, 0.45, 0.30, 0.055, 0.30, 0.20, 8),
    "94": Recipe(0.50, 0.25, 1.4, 3.0, 40, 0.5, 0.0, 0.50, 0.10, 0.060, 0.35, 0.16, 2),
}
PASSBANDS["195"] = PASSBANDS["193"]


@dataclass(frozen=True)
class Surface:
    """Maps of the sphere (rows from south to north, columns by Carrington longitude) of what makes EUV light; all even in B."""

    fine: np.ndarray           # |B| over a supergranule's border, gauss
    wide: np.ndarray           # |B| over a plage
    core: np.ndarray           # |B| where it is strong
    hole: np.ndarray           # 1 where one polarity prevails over a wide, quiet area
    texture: np.ndarray        # a standard normal field
    per_degree: int

    @classmethod
    def of(cls, elements: FluxElements, per_degree: int) -> Surface:
        """Lay the flux of `elements` on a grid and smooth it."""
        rows, columns = 180 * per_degree, 360 * per_degree
        row = np.clip(((elements.latitude + 90) * per_degree).astype(int), 0, rows - 1)
        cell = row * columns + np.floor(elements.longitude * per_degree).astype(int) % columns
        cosine = np.cos(np.radians((np.arange(rows) + 0.5) / per_degree - 90))[:, None]

        def lay(weights: np.ndarray) -> np.ndarray:
            return np.bincount(cell, weights, minlength=rows * columns).reshape(rows, columns)

        smooth = functools.partial(_smooth, cosine=cosine, per_degree=per_degree)
        radial = smooth(lay(elements.flux) / (cosine * (np.radians(1 / per_degree) * RSUN_METRES * 100) ** 2), 0.5)
        unsigned = np.abs(radial)
        wide = np.maximum(smooth(unsigned, 3), 0)
        imbalance = np.abs(smooth(radial, 9)) / np.maximum(smooth(unsigned, 9), 1e-3)
        hole = 1 / (1 + np.exp(-(imbalance - 0.38) / 0.05)) / (1 + (wide / 25) ** 2)
        texture = smooth(lay(elements.noise) / np.sqrt(cosine), 0.6) + 2.0 * smooth(lay(elements.noise) / np.sqrt(cosine), 1.8)
        return cls(np.maximum(smooth(unsigned, 0.5), 0), wide, np.maximum(smooth(np.maximum(unsigned - 60, 0), 1.2), 0), hole,
                   texture / texture.std(), per_degree)

    def emission(self, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
        """The light of the low corona and transition region, and that of the extended corona, arbitrary units."""
        bright = recipe.network * (self.fine / 8) ** 0.6 + recipe.plage * (self.fine / 120) ** 0.8 + recipe.core * (self.core / 150) ** 0.9
        halo = 1 - recipe.halo * np.exp(-0.5 * (np.log(np.maximum(self.wide, 0.1) / 12) / 0.5) ** 2)
        quiet = (1 - recipe.hole * self.hole) * halo * np.exp(recipe.texture * self.texture)
        low = (recipe.basal + bright / (1 + bright / recipe.ceiling)) * quiet
        high = recipe.basal + 0.5 * recipe.network + (recipe.plage + recipe.core) * (self.wide / 60) ** 0.8
        return low, high * (1 - recipe.hole * self.hole)


def _smooth(maps: np.ndarray, degrees: float, *, cosine: np.ndarray, per_degree: int) -> np.ndarray:
    """A Gaussian of the same width everywhere on the sphere."""
    maps = gaussian_filter1d(maps, degrees * per_degree, axis=0, mode="nearest", truncate=3)
    wave = np.arange(maps.shape[1] // 2 + 1)[None, :]
    kernel = np.exp(-0.5 * (np.radians(degrees) * wave / np.maximum(cosine, 0.05)) ** 2)
    return np.fft.irfft(np.fft.rfft(maps, axis=1) * kernel, maps.shape[1], axis=1)


HEIGHTS = np.array([0.0, 0.015, 0.04, 0.08, 0.14, 0.24, 0.45])       # solar radii: borders of the corona's shells


def coronal_light(surface: Surface, recipe: Recipe, observer: Observer, time: datetime, camera: Camera) -> np.ndarray:
    """The light along each line of sight `(size, size)`: through a layer on the surface, and through the shells of the corona above it."""
    low, high = surface.emission(recipe)
    factor = 2 if camera.size <= 256 else 1
    fine = camera.finer(factor)
    west, north = fine.sky()
    near = np.hypot(west, north) < 1 + HEIGHTS[-1]
    west, north = west[near], north[near]
    slope = np.hypot(west, north) / np.sqrt(observer.radii ** 2 - 1)
    impact = observer.radii * slope / np.sqrt(1 + slope ** 2)

    def path(lower: float, upper: float) -> np.ndarray:
        return np.sqrt(np.clip((1 + upper) ** 2 - impact ** 2, 0, None)) - np.sqrt(np.clip((1 + lower) ** 2 - impact ** 2, 0, None))

    light = np.zeros(len(west))
    on = impact < 1.01
    # The layer is neither thin nor thick: the root of the path through it gives the limb of real 171 images.
    light[on] = np.sqrt(path(0, 0.01)[on] / 0.01) * _sample(low, west[on], north[on], 1.0, 1, observer, time)
    for lower, upper in zip(HEIGHTS[:-1], HEIGHTS[1:], strict=True):
        middle = (lower + upper) / 2
        shell = path(lower, upper) * recipe.corona / recipe.height * np.exp(-middle / recipe.height)
        for side in (1, -1):
            seen = (impact < 1 + upper) & ((side > 0) | (impact > 1))
            light[seen] += shell[seen] * _sample(high, west[seen], north[seen], 1 + middle, side, observer, time)
    image = np.zeros((fine.size, fine.size))
    image[near] = light
    return image.reshape(camera.size, factor, camera.size, factor).mean((1, 3))


def _sample(maps: np.ndarray, west: np.ndarray, north: np.ndarray, radius: float, side: int, observer: Observer,
            time: datetime) -> np.ndarray:
    """A map's values where lines of sight meet the sphere of `radius` on the near (1) or far (-1) side; or pass closest to it."""
    distance = observer.radii
    x, y = west / np.sqrt(distance ** 2 - 1), north / np.sqrt(distance ** 2 - 1)
    along = 1 + x ** 2 + y ** 2
    reach = (distance - side * np.sqrt(np.clip(distance ** 2 - along * (distance ** 2 - radius ** 2), 0, None))) / along
    x, y, towards = x * reach, y * reach, distance - reach
    tilt, turn = np.radians(observer.latitude), observer.longitude + earth_carrington_longitude(time)
    latitude = np.degrees(np.arcsin(np.clip((y * np.cos(tilt) + towards * np.sin(tilt)) / radius, -1, 1)))
    longitude = (np.degrees(np.arctan2(x, towards * np.cos(tilt) - y * np.sin(tilt))) + turn) % 360
    per_degree = maps.shape[0] / 180
    columns = np.concatenate([maps[:, -1:], maps, maps[:, :1]], axis=1)
    return map_coordinates(columns, [(latitude + 90) * per_degree - 0.5, longitude * per_degree + 0.5], order=1, mode="nearest")
