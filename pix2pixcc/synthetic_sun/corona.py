"""The EUV light of a synthetic Sun: what glows on the surface, and its sum along each line of sight through the corona.

The light is made from |B| alone: it stays the same when every polarity is reversed. A network can therefore tell the
polarities only as on the real Sun, from Hale's law and from the leading polarity being the more compact one.
"""
from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from scipy import fft
from scipy.ndimage import gaussian_filter1d, map_coordinates

from pix2pixcc.solar.geometry import RSUN_METRES
from pix2pixcc.solar.orbits import Observer, earth_carrington_longitude
from pix2pixcc.synthetic_sun.camera import Camera
from pix2pixcc.synthetic_sun.field import FluxElements

HEIGHTS = np.array([0.0, 0.015, 0.04, 0.08, 0.14, 0.24, 0.45])       # borders of the corona's shells, solar radii
LAYERS = (0.006, 0.02)               # thicknesses of the transition region and the low corona, solar radii


@dataclass(frozen=True)
class Recipe:
    """How a passband glows, relative to its own quiet light."""

    basal: float                     # light without any field
    network: float                   # what |B| adds in the network
    plage: float                     # ... over plages
    core: float                      # ... in strong field
    ceiling: float                   # where that saturates
    loops: float                     # light of closed loops
    fans: float                      # light of the open fans on leading spots
    hole: float                      # darkness of coronal holes, 0..1
    halo: float                      # darkness of the fibrils around active regions, 0..1
    height: float                    # scale height of the extended corona, solar radii
    corona: float                    # share of the extended corona
    texture: float                   # standard deviation of ln(quiet light)
    photons: float                   # in a pixel of median light of a 4096 x 4096 detector


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
    """Maps of what makes EUV light, all even in B; rows from south to north, columns by Carrington longitude."""

    fine: np.ndarray                 # |B| over a supergranule's border, gauss
    core: np.ndarray                 # |B| where it is strong, gauss
    texture: np.ndarray              # a standard normal field
    wide: np.ndarray                 # |B| over a plage, gauss; (180, 360)
    hole: np.ndarray                 # 1 where one polarity prevails over a wide, quiet area; (180, 360)

    @classmethod
    def of(cls, elements: FluxElements, per_degree: int) -> Surface:
        """Lay the flux of `elements` on a grid of `per_degree` cells per degree and smooth it."""
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
        core = _smooth(np.maximum(unsigned - 60, 0), 0.9)
        return cls(_smooth(unsigned, 0.5), core, texture / texture.std(), wide, hole)

    def emission(self, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
        """Return the light of the transition region and low corona, and that of the extended corona `(180, 360)`."""
        bright = (recipe.network * (self.fine / 8) ** 0.6 + recipe.plage * (self.fine / 120) ** 0.8
                  + recipe.core * (self.core / 150) ** 0.9)
        dark = 1 - recipe.hole * self.hole
        halo = 1 - recipe.halo * np.exp(-0.5 * (np.log(np.maximum(self.wide, 0.1) / 12) / 0.5) ** 2)
        low = (recipe.basal + bright / (1 + bright / recipe.ceiling)) * np.exp(recipe.texture * self.texture)
        high = recipe.basal + 0.5 * recipe.network + (recipe.plage + recipe.core) * (self.wide / 60) ** 0.8
        return low * _finer(dark * halo, len(low) // 180), high * dark


def _cosine(rows: int) -> np.ndarray:
    """Return the cosine of the latitude of each row, `(rows, 1)`."""
    return np.cos(np.radians((np.arange(rows) + 0.5) * 180 / rows - 90))[:, None].astype(np.float32)


def _smooth(maps: np.ndarray, degrees: float) -> np.ndarray:
    """Smooth by a Gaussian that is equally wide everywhere on the sphere; rounding gives nothing below zero."""
    rows, columns = maps.shape
    smooth = gaussian_filter1d(maps, degrees * rows / 180, axis=0, mode="nearest", truncate=3)
    wave = np.arange(columns // 2 + 1, dtype=np.float32)[None, :]
    kernel = np.exp(-0.5 * (np.radians(degrees) * wave / np.maximum(_cosine(rows), 0.05)) ** 2)
    smooth = fft.irfft(fft.rfft(smooth, axis=1) * kernel, columns, axis=1)
    return np.maximum(smooth, 0) if maps.min() >= 0 else smooth


def _coarser(maps: np.ndarray, factor: int) -> np.ndarray:
    return maps.reshape(maps.shape[0] // factor, factor, maps.shape[1] // factor, factor).mean((1, 3))


def _finer(maps: np.ndarray, factor: int) -> np.ndarray:
    """Interpolate between cell centres, periodically in longitude."""
    columns = np.pad(maps, ((0, 0), (1, 1)), mode="wrap")
    middle = (np.arange(factor) + 0.5) / factor - 0.5
    rows = np.pad(columns, ((1, 1), (0, 0)), mode="edge")
    across = np.stack([_between(rows[:-2], rows[1:-1], rows[2:], shift) for shift in middle], axis=1)
    across = across.reshape(-1, columns.shape[1])
    along = [_between(across[:, :-2], across[:, 1:-1], across[:, 2:], shift) for shift in middle]
    return np.stack(along, axis=2).reshape(len(across), -1)


def _between(before: np.ndarray, here: np.ndarray, after: np.ndarray, shift: float) -> np.ndarray:
    return (here + shift * (after - here) if shift > 0 else here - shift * (before - here)).astype(np.float32)


def coronal_light(surface: Surface, recipe: Recipe, observer: Observer, time: datetime, camera: Camera,
                  grain: np.ndarray | float) -> np.ndarray:
    """Add up the light along each line of sight: of a layer on the surface, and of the corona above and beside it.

    `grain` is a factor of the layer, one number or `(size, size)`. The result `(size, size)` is in the recipe's units.
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
        light = _sample(high, west[on], north[on], 1 + middle, 1, observer, time)
        image[on] += density * _path(impact[on], lower, upper) * light
    off = (impact >= 1) & (impact < 1.5)
    west, north, impact = west[off], north[off], impact[off]
    # Along the line of sight the light falls off as a Gaussian of twice this width.
    step = 0.5 * np.sqrt(impact * recipe.height)
    for number in np.arange(-5, 6):
        radius = np.hypot(impact, number * step)
        density = recipe.corona / recipe.height * np.exp(-(radius - 1) / recipe.height)
        image[off] += density * step * _sample(high, west, north, radius, 1 if number >= 0 else -1, observer, time)
    return image


def _impact(west: np.ndarray, north: np.ndarray, observer: Observer) -> np.ndarray:
    """Return how near to the Sun's centre lines of sight pass, solar radii."""
    slope = np.hypot(west, north) / np.sqrt(observer.radii ** 2 - 1)
    return observer.radii * slope / np.sqrt(1 + slope ** 2)


def _path(impact: np.ndarray, lower: float, upper: float) -> np.ndarray:
    """Return the length of lines of sight between two heights on the near side, solar radii."""
    return (np.sqrt(np.clip((1 + upper) ** 2 - impact ** 2, 0, None))
            - np.sqrt(np.clip((1 + lower) ** 2 - impact ** 2, 0, None)))


def _sample(maps: np.ndarray, west: np.ndarray, north: np.ndarray, radius: float | np.ndarray, side: int,
            observer: Observer, time: datetime) -> np.ndarray:
    """Return a map's values where lines of sight meet the sphere of `radius`, or pass closest to it.

    `side` is 1 for the near side of the sphere and -1 for the far side.
    """
    distance = observer.radii
    x, y = west / np.sqrt(distance ** 2 - 1), north / np.sqrt(distance ** 2 - 1)
    along = 1 + x ** 2 + y ** 2
    half_chord = np.sqrt(np.clip(distance ** 2 - along * (distance ** 2 - radius ** 2), 0, None))
    reach = (distance - side * half_chord) / along
    x, y, towards = x * reach, y * reach, distance - reach
    tilt, turn = np.radians(observer.latitude), observer.longitude + earth_carrington_longitude(time)
    latitude = np.degrees(np.arcsin(np.clip((y * np.cos(tilt) + towards * np.sin(tilt)) / radius, -1, 1)))
    longitude = (np.degrees(np.arctan2(x, towards * np.cos(tilt) - y * np.sin(tilt))) + turn) % 360
    per_degree = maps.shape[0] / 180
    columns = np.pad(maps, ((0, 0), (1, 1)), mode="wrap")
    places = [(latitude + 90) * per_degree - 0.5, longitude * per_degree + 0.5]
    return map_coordinates(columns, places, order=1, mode="nearest")
