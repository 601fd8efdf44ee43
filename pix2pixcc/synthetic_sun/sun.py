"""What an observer sees of a synthetic Sun: line-of-sight magnetograms, and EUV images with their corona.

The EUV light is made from |B| alone: turning every polarity round leaves it unchanged, so that a network can tell the polarities
apart only as on the real Sun, by Hale's law and by the leading polarity being the more compact one.
The magnetic field is in `synthetic_field.py`, observers and cameras in `synthetic_view.py`.
"""
from __future__ import annotations

import functools
import itertools
import zlib
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from scipy import fft
from scipy.ndimage import gaussian_filter, gaussian_filter1d, map_coordinates

from pix2pixcc.solar.geometry import LIMB, RSUN_METRES
from pix2pixcc.solar.orbits import Observer, earth_carrington_longitude
from pix2pixcc.synthetic_sun import field
from pix2pixcc.synthetic_sun.camera import Camera, deposit, observer_frame

EPOCH = datetime(2010, 1, 1)
POINT_SPREAD = 0.5                   # pixels, standard deviation: as sharp as an image is after its registration


class SyntheticSun:
    """One Sun, known on all sides at all times.

    Parameters
    ----------
    seed : int
        Two Suns of the same seed are the same Sun.
    polarity : {1, -1}
        -1 turns every polarity round. The EUV images stay as they are.
    """

    def __init__(self, seed: int, polarity: int = 1) -> None:
        self.seed = int(seed)
        self.polarity = polarity
        self._regions = functools.lru_cache(maxsize=4)(lambda time: field.active_regions(self.seed, _day(time)))
        self._elements = functools.lru_cache(maxsize=4)(self._find_elements)
        self._surface = functools.lru_cache(maxsize=2)(lambda hour, per_degree: Surface.of(self._elements(hour), per_degree))

    def magnetogram(self, observer: Observer, time: datetime, size: int) -> np.ndarray:
        """The line-of-sight magnetogram, gauss, positive towards the observer: float32 `(size, size)`, registered, 0 off the disk."""
        return self.magnetogram_in(Camera.registered(size), observer, time)

    def euv(self, passband: str, observer: Observer, time: datetime, size: int) -> np.ndarray:
        """The EUV image: float32 `(size, size)`, registered, disk median 100 (within 0.98 radii), the corona off the limb included.

        `passband` is one of '304', '171', '193' (or '195'), '211', '284', '335', '131', '94' (angstrom). Poisson noise is that of a
        4096 x 4096 detector binned to `size`, and the same at every call.
        """
        return self.euv_in(Camera.registered(size), passband, observer, time)

    def magnetogram_in(self, camera: Camera, observer: Observer, time: datetime) -> np.ndarray:
        """`magnetogram`, as any camera sees it."""
        factor = 2 if camera.size <= 512 else 1
        fine = camera.finer(factor)
        elements = self._elements(time)
        west, north, towards, magnification = observer_frame(elements.longitude, elements.latitude, 1.0, observer, time)
        seen = towards > 1 / observer.radii
        away = np.sqrt(observer.radii ** 2 - 2 * observer.radii * towards[seen] + 1)
        cosine = (observer.radii * towards[seen] - 1) / away
        # Flux over the surface in a pixel is B; its area grows by 1 / cosine, and the line of sight sees B times the cosine.
        across = field.RSUN_CENTIMETRES / (fine.radius * magnification[seen])
        image = deposit(*fine.pixels(west[seen], north[seen]), elements.flux[seen] * cosine ** 2 / across ** 2, fine.size)
        sigma = np.radians(field.ELEMENT_DEGREES) * fine.radius
        if sigma > 0.4:
            image = gaussian_filter(image, sigma, mode="constant", truncate=3)
        image = image.reshape(camera.size, factor, camera.size, factor).mean((1, 3))
        image = gaussian_filter(image, POINT_SPREAD, mode="constant", truncate=3)
        image[np.hypot(*camera.sky()) > 1] = 0
        return (self.polarity * image).astype(np.float32)

    def euv_in(self, camera: Camera, passband: str, observer: Observer, time: datetime) -> np.ndarray:
        """`euv`, as any camera sees it.

        Raises
        ------
        ValueError
            There is no recipe for `passband`.
        """
        if passband not in PASSBANDS:
            raise ValueError(f"no recipe for passband {passband!r}; there are {', '.join(PASSBANDS)}")
        recipe = PASSBANDS[passband]
        # Passbands within an hour share their maps: these turn with the Sun, and change over days.
        surface = self._surface(time.replace(minute=0, second=0, microsecond=0), 2 if camera.size <= 256 else 4)
        grain = self._grain(recipe, observer, time, camera) if camera.size > 256 else 1.0
        image = coronal_light(surface, recipe, observer, time, camera, grain)
        if recipe.loops or recipe.fans:
            image += self._loop_light(recipe.loops, recipe.fans, observer, time, camera)
        disk = np.hypot(*camera.sky()) < LIMB
        photons = recipe.photons * (4096 / camera.size) ** 2
        random = np.random.default_rng([self.seed, 6, zlib.crc32(f"{passband} {observer} {time}".encode())])
        image = gaussian_filter(image, POINT_SPREAD, mode="nearest", truncate=3)
        image = random.poisson(image * (photons / np.median(image[disk])))
        return (image * (100 / np.median(image[disk]))).astype(np.float32)

    def _find_elements(self, time: datetime) -> field.FluxElements:
        regions, quiet = field.region_elements(self._regions(time), _day(time)), field.network(self.seed, _day(time))
        return field.FluxElements(*(np.concatenate([getattr(regions, name), getattr(quiet, name)])
                                    for name in ("longitude", "latitude", "flux", "noise")))

    def _grain(self, recipe: Recipe, observer: Observer, time: datetime, camera: Camera) -> np.ndarray:
        """Texture finer than the maps of the sphere, a factor for each pixel."""
        elements = self._elements(time)
        west, north, towards, _ = observer_frame(elements.longitude, elements.latitude, 1.0, observer, time)
        seen = towards > 0
        image = deposit(*camera.pixels(west[seen], north[seen]), elements.noise[seen], camera.size)
        image = gaussian_filter(image, np.radians(0.2) * camera.radius, mode="constant", truncate=3)
        return np.exp(0.5 * recipe.texture * image / image[np.hypot(*camera.sky()) < 0.7].std())

    def _loop_light(self, loops: float, fans: float, observer: Observer, time: datetime, camera: Camera) -> np.ndarray:
        """The light of the coronal loops, in a recipe's units."""
        points = field.coronal_loops(self._regions(time), _day(time))
        west, north, towards, _ = observer_frame(points.longitude, points.latitude, 1 + points.height, observer, time)
        light = points.emission * np.where(points.is_fan, fans, loops)
        seen = (towards > 0) | (np.hypot(west, north) > 1)
        image = deposit(*camera.pixels(west[seen], north[seen]), light[seen] * camera.radius ** 2, camera.size)
        return gaussian_filter(image, max(0.45, np.radians(0.25) * camera.radius), mode="constant", truncate=3)


def _day(time: datetime) -> float:
    return (time - EPOCH).total_seconds() / 86400


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
    "171": Recipe(0.70, 0.45, 1.2, 0.9, 8., 1.2, 1.4, 0.50, 0.45, 0.055, 0.30, 0.24, 150),
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
    core: np.ndarray           # |B| where it is strong
    texture: np.ndarray        # a standard normal field
    wide: np.ndarray           # |B| over a plage, on a grid of one degree
    hole: np.ndarray           # 1 where one polarity prevails over a wide, quiet area, on a grid of one degree

    @classmethod
    def of(cls, elements: field.FluxElements, per_degree: int) -> Surface:
        """Lay the flux of `elements` on a grid of `per_degree` cells a degree and smooth it."""
        rows, columns = 180 * per_degree, 360 * per_degree
        row = np.clip(((elements.latitude + 90) * per_degree).astype(int), 0, rows - 1)
        cell = row * columns + np.floor(elements.longitude * per_degree).astype(int) % columns
        area = _cosine(rows) * (np.radians(1 / per_degree) * RSUN_METRES * 100) ** 2

        def lay(weights: np.ndarray) -> np.ndarray:
            return np.bincount(cell, weights, minlength=rows * columns).reshape(rows, columns).astype(np.float32)

        radial = _smooth(lay(elements.flux) / area, 0.5)
        unsigned = np.abs(radial)
        noise = lay(elements.noise) / np.sqrt(_cosine(rows))
        texture = _smooth(noise, 0.45) + 1.5 * _finer(_smooth(_coarser(noise, per_degree), 1.8), per_degree)
        net, total = _smooth(_coarser(radial, per_degree), 9), _coarser(unsigned, per_degree)
        wide = _smooth(total, 3)
        imbalance = np.abs(net) / np.maximum(_smooth(total, 9), 1e-3)
        hole = 1 / (1 + np.exp(-(imbalance - 0.38) / 0.05)) / (1 + (wide / 25) ** 2)
        return cls(_smooth(unsigned, 0.5), _smooth(np.maximum(unsigned - 60, 0), 0.9), texture / texture.std(), wide, hole)

    def emission(self, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
        """The light of the low corona and transition region, and that of the extended corona (on a grid of one degree)."""
        bright = recipe.network * (self.fine / 8) ** 0.6 + recipe.plage * (self.fine / 120) ** 0.8 + recipe.core * (self.core / 150) ** 0.9
        dark = 1 - recipe.hole * self.hole
        halo = 1 - recipe.halo * np.exp(-0.5 * (np.log(np.maximum(self.wide, 0.1) / 12) / 0.5) ** 2)
        low = (recipe.basal + bright / (1 + bright / recipe.ceiling)) * np.exp(recipe.texture * self.texture)
        high = recipe.basal + 0.5 * recipe.network + (recipe.plage + recipe.core) * (self.wide / 60) ** 0.8
        return low * _finer(dark * halo, len(low) // 180), high * dark


def _cosine(rows: int) -> np.ndarray:
    """Cosine of the latitude of each row `(rows, 1)`."""
    return np.cos(np.radians((np.arange(rows) + 0.5) * 180 / rows - 90))[:, None].astype(np.float32)


def _smooth(maps: np.ndarray, degrees: float) -> np.ndarray:
    """A Gaussian of the same width everywhere on the sphere; no rounding below zero."""
    rows, columns = maps.shape
    smooth = gaussian_filter1d(maps, degrees * rows / 180, axis=0, mode="nearest", truncate=3)
    wave = np.arange(columns // 2 + 1, dtype=np.float32)[None, :]
    kernel = np.exp(-0.5 * (np.radians(degrees) * wave / np.maximum(_cosine(rows), 0.05)) ** 2)
    smooth = fft.irfft(fft.rfft(smooth, axis=1) * kernel, columns, axis=1)
    return np.maximum(smooth, 0) if maps.min() >= 0 else smooth


def _coarser(maps: np.ndarray, factor: int) -> np.ndarray:
    return maps.reshape(maps.shape[0] // factor, factor, maps.shape[1] // factor, factor).mean((1, 3))


def _finer(maps: np.ndarray, factor: int) -> np.ndarray:
    """Interpolate from cell centres, round and round in longitude."""
    columns = np.pad(maps, ((0, 0), (1, 1)), mode="wrap")
    middle = (np.arange(factor) + 0.5) / factor - 0.5
    rows = np.pad(columns, ((1, 1), (0, 0)), mode="edge")
    across = np.stack([_between(rows[:-2], rows[1:-1], rows[2:], shift) for shift in middle], axis=1).reshape(-1, columns.shape[1])
    return np.stack([_between(across[:, :-2], across[:, 1:-1], across[:, 2:], shift) for shift in middle], axis=2).reshape(len(across), -1)


def _between(before: np.ndarray, here: np.ndarray, after: np.ndarray, shift: float) -> np.ndarray:
    return (here + shift * (after - here) if shift > 0 else here - shift * (before - here)).astype(np.float32)


HEIGHTS = np.array([0.0, 0.015, 0.04, 0.08, 0.14, 0.24, 0.45])       # solar radii: borders of the corona's shells before the disk
LAYERS = (0.006, 0.02)                                               # and thicknesses of the transition region and low corona


def coronal_light(surface: Surface, recipe: Recipe, observer: Observer, time: datetime, camera: Camera,
                  grain: np.ndarray | float = 1.0) -> np.ndarray:
    """The light along each line of sight `(size, size)`: through a layer on the surface, and through the corona above and beside it.

    `grain` is a factor of the layer.
    """
    low, high = surface.emission(recipe)
    factor = 2 if camera.size <= 256 else 1
    fine = camera.finer(factor)
    west, north = fine.sky()
    on = np.hypot(west, north) < 1 + LAYERS[-1]
    impact = _impact(west[on], north[on], observer)
    # The layer is neither thin nor thick: the root of the path through it gives the limb of real 171 images.
    path = np.mean([np.sqrt(_path(impact, 0, thickness) / thickness) for thickness in LAYERS], axis=0)
    layer = np.zeros((fine.size, fine.size), np.float32)
    layer[on] = path * _sample(low, west[on], north[on], 1.0, 1, observer, time)
    image = layer.reshape(camera.size, factor, camera.size, factor).mean((1, 3)) * grain

    west, north = camera.sky()
    impact = _impact(west, north, observer)
    on = impact < 1
    for lower, upper in itertools.pairwise(HEIGHTS):
        middle = (lower + upper) / 2
        density = recipe.corona / recipe.height * np.exp(-middle / recipe.height)
        image[on] += density * _path(impact[on], lower, upper) * _sample(high, west[on], north[on], 1 + middle, 1, observer, time)
    off = (impact >= 1) & (impact < 1.5)
    west, north, impact = west[off], north[off], impact[off]
    step = 0.5 * np.sqrt(impact * recipe.height)                     # the light falls off as a Gaussian of twice this width along the sight
    for number in np.arange(-5, 6):
        radius = np.hypot(impact, number * step)
        density = recipe.corona / recipe.height * np.exp(-(radius - 1) / recipe.height)
        image[off] += density * step * _sample(high, west, north, radius, 1 if number >= 0 else -1, observer, time)
    return image


def _impact(west: np.ndarray, north: np.ndarray, observer: Observer) -> np.ndarray:
    """How near to the Sun's centre lines of sight pass, solar radii."""
    slope = np.hypot(west, north) / np.sqrt(observer.radii ** 2 - 1)
    return observer.radii * slope / np.sqrt(1 + slope ** 2)


def _path(impact: np.ndarray, lower: float, upper: float) -> np.ndarray:
    """Length of lines of sight between two heights, on the near side."""
    return np.sqrt(np.clip((1 + upper) ** 2 - impact ** 2, 0, None)) - np.sqrt(np.clip((1 + lower) ** 2 - impact ** 2, 0, None))


def _sample(maps: np.ndarray, west: np.ndarray, north: np.ndarray, radius: float | np.ndarray, side: int, observer: Observer,
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
    columns = np.pad(maps, ((0, 0), (1, 1)), mode="wrap")
    return map_coordinates(columns, [(latitude + 90) * per_degree - 0.5, longitude * per_degree + 0.5], order=1, mode="nearest")
