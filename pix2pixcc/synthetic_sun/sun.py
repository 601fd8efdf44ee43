"""A Sun that is known on all sides: its line-of-sight magnetograms and EUV images for any observer and camera."""
from __future__ import annotations

import functools
import zlib
from datetime import datetime

import numpy as np
from scipy.ndimage import gaussian_filter

from pix2pixcc.solar.geometry import LIMB, RSUN_METRES
from pix2pixcc.solar.orbits import Observer
from pix2pixcc.synthetic_sun import field
from pix2pixcc.synthetic_sun.camera import Camera, deposit, observer_frame
from pix2pixcc.synthetic_sun.corona import PASSBANDS, Recipe, Surface, coronal_light

EPOCH = datetime(2010, 1, 1)
POINT_SPREAD = 0.5                   # pixels, standard deviation: as sharp as an image is after its registration


class SyntheticSun:
    """One Sun, known on all sides at all times, and the same for the same seed.

    `polarity` -1 reverses every polarity. The EUV images stay as they are.
    """

    def __init__(self, seed: int, polarity: int = 1) -> None:
        self.seed = int(seed)
        self.polarity = polarity
        self._regions = functools.lru_cache(maxsize=4)(lambda time: field.active_regions(self.seed, _day(time)))
        self._elements = functools.lru_cache(maxsize=4)(self._find_elements)
        self._surface = functools.lru_cache(maxsize=2)(
            lambda hour, per_degree: Surface.of(self._elements(hour), per_degree))

    def magnetogram(self, observer: Observer, time: datetime, size: int) -> np.ndarray:
        """Return the registered line-of-sight magnetogram `(size, size)` in gauss, float32.

        It is positive towards the observer, and 0 off the disk.
        """
        return self.magnetogram_in(Camera.registered(size), observer, time)

    def euv(self, passband: str, observer: Observer, time: datetime, size: int) -> np.ndarray:
        """Return the registered EUV image `(size, size)`, float32, of disk median 100, with the corona off the limb.

        Its Poisson noise is that of a 4096 x 4096 detector binned to `size`, and the same at every call.

        Raises
        ------
        ValueError
            There is no recipe for `passband`.
        """
        return self.euv_in(Camera.registered(size), passband, observer, time)

    def magnetogram_in(self, camera: Camera, observer: Observer, time: datetime) -> np.ndarray:
        """Return the magnetogram as any camera sees it; see `magnetogram`."""
        factor = 2 if camera.size <= 512 else 1
        fine = camera.finer(factor)
        elements = self._elements(time)
        west, north, towards, magnification = observer_frame(elements.longitude, elements.latitude, 1.0, observer, time)
        seen = towards > 1 / observer.radii
        away = np.sqrt(observer.radii ** 2 - 2 * observer.radii * towards[seen] + 1)
        cosine = (observer.radii * towards[seen] - 1) / away
        # A pixel's surface is 1 / cosine larger than the pixel, and the line of sight sees the cosine's share of B.
        across = 100 * RSUN_METRES / (fine.radius * magnification[seen])            # of a pixel, cm
        field_seen = elements.flux[seen] * cosine ** 2 / across ** 2
        image = deposit(*fine.pixels(west[seen], north[seen]), field_seen, fine.size)
        sigma = np.radians(field.ELEMENT_DEGREES) * fine.radius
        if sigma > 0.4:
            image = gaussian_filter(image, sigma, mode="constant", truncate=3)
        image = image.reshape(camera.size, factor, camera.size, factor).mean((1, 3))
        image = gaussian_filter(image, POINT_SPREAD, mode="constant", truncate=3)
        image[np.hypot(*camera.sky()) > 1] = 0
        return (self.polarity * image).astype(np.float32)

    def euv_in(self, camera: Camera, passband: str, observer: Observer, time: datetime) -> np.ndarray:
        """Return the EUV image as any camera sees it; see `euv`."""
        if passband not in PASSBANDS:
            raise ValueError(f"no recipe for passband {passband!r}; there are {', '.join(PASSBANDS)}")
        recipe = PASSBANDS[passband]
        # Passbands within an hour share their maps, which turn with the Sun and change over days.
        hour = time.replace(minute=0, second=0, microsecond=0)
        surface = self._surface(hour, 2 if camera.size <= 256 else 4)
        grain = self._grain(recipe, observer, time, camera) if camera.size > 256 else 1.0
        image = coronal_light(surface, recipe, observer, time, camera, grain)
        if recipe.loops or recipe.fans:
            image += self._loop_light(recipe, observer, time, camera)
        disk = np.hypot(*camera.sky()) < LIMB
        photons = recipe.photons * (4096 / camera.size) ** 2
        random = np.random.default_rng([self.seed, 6, zlib.crc32(f"{passband} {observer} {time}".encode())])
        image = gaussian_filter(image, POINT_SPREAD, mode="nearest", truncate=3)
        image = random.poisson(image * (photons / np.median(image[disk])))
        return (image * (100 / np.median(image[disk]))).astype(np.float32)

    def radial_map(self, time: datetime, columns: int, rows: int) -> np.ndarray:
        """Return the true radial field of the whole Sun, gauss, float32 (rows, columns), means over equal areas.

        Columns are Carrington longitude from 0, rows the sine of latitude from the south. Each element is spread over
        3 x 3 points, the nodes of Gauss and Hermite.
        """
        elements = self._elements(time)
        step = np.sqrt(3) * field.ELEMENT_DEGREES
        total = np.zeros(rows * columns)
        for north, north_share in ((-step, 1 / 6), (0.0, 2 / 3), (step, 1 / 6)):
            latitude = np.radians(np.clip(elements.latitude + north, -89.99, 89.99))
            row = np.clip(((np.sin(latitude) + 1) / 2 * rows).astype(int), 0, rows - 1)
            for west, west_share in ((-step, 1 / 6), (0.0, 2 / 3), (step, 1 / 6)):
                longitude = (elements.longitude + west / np.cos(latitude)) % 360
                column = (longitude / 360 * columns).astype(int) % columns
                total += np.bincount(row * columns + column, elements.flux * (north_share * west_share), len(total))
        area = 4 * np.pi * (100 * RSUN_METRES) ** 2 / (rows * columns)
        return (self.polarity * total / area).reshape(rows, columns).astype(np.float32)

    def _find_elements(self, time: datetime) -> field.FluxElements:
        regions = field.region_elements(self._regions(time), _day(time))
        quiet = field.network(self.seed, _day(time))
        return field.FluxElements(*(np.concatenate([getattr(regions, name), getattr(quiet, name)])
                                    for name in ("longitude", "latitude", "flux", "noise")))

    def _grain(self, recipe: Recipe, observer: Observer, time: datetime, camera: Camera) -> np.ndarray:
        """Return the texture finer than the maps of the sphere, a factor for each pixel."""
        elements = self._elements(time)
        west, north, towards, _ = observer_frame(elements.longitude, elements.latitude, 1.0, observer, time)
        seen = towards > 0
        image = deposit(*camera.pixels(west[seen], north[seen]), elements.noise[seen], camera.size)
        image = gaussian_filter(image, np.radians(0.2) * camera.radius, mode="constant", truncate=3)
        return np.exp(0.5 * recipe.texture * image / image[np.hypot(*camera.sky()) < 0.7].std())

    def _loop_light(self, recipe: Recipe, observer: Observer, time: datetime, camera: Camera) -> np.ndarray:
        """Return the light of the coronal loops and fans, in the recipe's units."""
        points = field.coronal_loops(self._regions(time), _day(time))
        west, north, towards, _ = observer_frame(points.longitude, points.latitude, 1 + points.height, observer, time)
        light = points.emission * np.where(points.is_fan, recipe.fans, recipe.loops)
        seen = (towards > 0) | (np.hypot(west, north) > 1)
        image = deposit(*camera.pixels(west[seen], north[seen]), light[seen] * camera.radius ** 2, camera.size)
        return gaussian_filter(image, max(0.45, np.radians(0.25) * camera.radius), mode="constant", truncate=3)


def _day(time: datetime) -> float:
    return (time - EPOCH).total_seconds() / 86400
