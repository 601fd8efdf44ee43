"""The magnetic field of a synthetic Sun: flux elements that emerge, rotate, disperse and decay on the whole sphere.

All flux is carried by small elements (Carrington longitude, latitude, magnetic flux), so that the field is the same
for every observer and at every resolution. There are two families: bipolar active regions (Hale's law, Joy's law, a
compact leading and a scattered following polarity), and the mixed-polarity network at the borders of supergranules, in
which one or the other polarity prevails over wide areas for months.
"""
from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from pix2pixcc.solar.orbits import SYNODIC_PERIOD_DAYS

CARRINGTON_RATE = 14.1844            # sidereal, degrees per day
MEGAMETRES_PER_DEGREE = 12.1424      # on the solar surface
HALE_SIGN_NORTH = -1                 # the leading polarity of the northern hemisphere in solar cycle 24
ANTI_HALE_FRACTION = 0.03            # Wang & Sheeley (1989): a few per cent
DIFFUSION = 150.0                    # random walk of magnetic flux in active regions, km^2/s
LIFETIME_BLOCKS = 6                  # regions older than this many rotations are forgotten
ELEMENT_DEGREES = 0.12               # standard deviation of an element: a megametre and a half
ELEMENT_FLUX = 4e19                  # Mx, of active regions
NETWORK_ELEMENTS = 36000             # on the whole sphere
NETWORK_FLUX = 9e18                  # Mx, mean of an element: about 5 G of unsigned field
NETWORK_TURNOVER_DAYS = 1.5          # lifetime of a supergranule
SUPERGRANULES = 6500
REMNANTS = 14                        # unipolar areas that begin in a rotation
REMNANT_ROTATIONS = 3                # how long they can be seen, in rotations
PREVAILING = 0.5                     # the greatest share by which one polarity outweighs the other in them
LOOP_LIGHT = 1 / 140                 # the quiet Sun being about 1
LOOP_POINTS = 40                     # along each loop


@dataclass(frozen=True)
class FluxElements:
    """Flux elements on the sphere."""

    longitude: np.ndarray            # Carrington, degrees
    latitude: np.ndarray             # degrees
    flux: np.ndarray                 # signed, Mx
    noise: np.ndarray                # a standard normal mark of each element of the network, 0 in active regions


@dataclass(frozen=True)
class Regions:
    """Active regions, one array element each."""

    birth: np.ndarray                # day
    longitude: np.ndarray            # Carrington, degrees
    latitude: np.ndarray             # degrees
    flux: np.ndarray                 # of one polarity, Mx
    tilt: np.ndarray                 # of the leading polarity towards the equator, degrees
    leading_sign: np.ndarray         # polarity of the leading part
    rise: np.ndarray                 # time of emergence, days
    decay: np.ndarray                # time of decay, days
    separation: np.ndarray           # of the polarities, degrees
    seed: np.ndarray                 # of the fragments

    def __len__(self) -> int:
        return len(self.birth)

    def select(self, keep: np.ndarray) -> Regions:
        """Return the regions that `keep` (a mask or indices) chooses."""
        return Regions(**{field.name: getattr(self, field.name)[keep] for field in fields(self)})

    def growth(self, day: float) -> np.ndarray:
        """Return how far each region has emerged, 0..1."""
        return 1 - np.exp(-np.clip(day - self.birth, 0, None) / self.rise)

    def strength(self, day: float) -> np.ndarray:
        """Return the share of its flux that each region shows on `day`."""
        return self.growth(day) * np.exp(-np.clip(day - self.birth - 2 * self.rise, 0, None) / self.decay)


def rotation_rate(latitude: np.ndarray | float) -> np.ndarray:
    """Return the sidereal rotation of magnetic features, degrees per day (Howard, Harvey & Forgach 1990)."""
    sine2 = np.sin(np.radians(latitude)) ** 2
    return np.degrees(1e-6 * 86400) * (2.894 - 0.428 * sine2 - 0.370 * sine2 ** 2)


def active_regions(seed: int, day: float) -> Regions:
    """Return the active regions of Sun `seed` that may still be seen on `day`."""
    block = int(np.floor(day / SYNODIC_PERIOD_DAYS))
    blocks = [_regions_of_rotation(seed, number) for number in range(block - LIFETIME_BLOCKS, block + 1)]
    regions = Regions(*(np.concatenate([getattr(part, field.name) for part in blocks]) for field in fields(Regions)))
    return regions.select((regions.birth < day) & (regions.strength(day) * regions.flux > 2 * ELEMENT_FLUX))


@lru_cache(maxsize=32)
def _regions_of_rotation(seed: int, block: int) -> Regions:
    """Return the regions that emerge during one synodic rotation."""
    of_sun = np.random.default_rng([seed, 1])
    activity = of_sun.uniform(0.7, 1.5)
    belt = of_sun.uniform(13, 21)
    nests = of_sun.uniform(0, 360, (2, 2))                            # two active longitudes per hemisphere
    random = np.random.default_rng([seed, 2, block + 1_000_000])
    count = random.poisson(22 * activity)
    flux = 2e21 * (1 - random.random(count) * (1 - 20 ** -0.75)) ** (-1 / 0.75)      # a power law up to 4e22 Mx
    hemisphere = random.choice([-1, 1], count)
    latitude = hemisphere * np.clip(random.normal(belt, 5, count), 5, 38)
    nested = random.random(count) < 0.2
    in_nest = nests[(hemisphere + 1) // 2, random.integers(0, 2, count)] + random.normal(0, 12, count)
    longitude = np.where(nested, in_nest, random.uniform(0, 360, count)) % 360
    size = (flux / 1e22) ** 0.35
    anti_hale = random.random(count) < ANTI_HALE_FRACTION
    regions = Regions(
        birth=(block + random.random(count)) * SYNODIC_PERIOD_DAYS,
        longitude=longitude, latitude=latitude, flux=flux,
        # Joy's law, Stenflo & Kosovichev (2012)
        tilt=32.1 * np.sin(np.radians(np.abs(latitude))) + random.normal(0, 7, count) / size,
        leading_sign=HALE_SIGN_NORTH * hemisphere * np.where(anti_hale, -1, 1),
        rise=random.uniform(1.0, 2.0, count) * size,
        decay=random.uniform(25, 50, count) * size ** 1.2,
        separation=random.uniform(7, 9, count) * size,
        seed=random.integers(0, 2 ** 31, count))
    return regions.select(_apart(longitude, latitude, regions.separation))


def _apart(longitude: np.ndarray, latitude: np.ndarray, separation: np.ndarray) -> np.ndarray:
    """Return which regions to keep, the largest first, so that none emerges within another."""
    kept: list[int] = []
    for number in np.argsort(-separation):
        east = (longitude[number] - longitude[kept] + 180) % 360 - 180
        room = (separation[number] + separation[kept]) / 2
        if np.all(np.hypot(east / 1.3, latitude[number] - latitude[kept]) > room):
            kept.append(int(number))
    return np.array(kept, dtype=int)


@lru_cache(maxsize=512)
def _fragments(seed: int, flux: float) -> tuple[np.ndarray, ...]:
    """Return the fragments of a region: is it leading, offset (in separations), random walk, marks of its elements.

    The leading polarity is one spot and a few satellites; the following one is scattered plage, three times as wide.
    """
    random = np.random.default_rng([seed, 3])
    count = int(np.clip(flux / ELEMENT_FLUX / 6, 4, 90))
    in_spot = random.random(count) < 0.72
    offsets = [random.normal(0, 1, (count, 2)) * np.where(in_spot, 0.055, 0.16)[:, None],
               random.normal(0, 1, (count, 2)) * [0.17, 0.15]]
    leading = np.repeat([True, False], count)
    mobility = np.concatenate([np.where(in_spot, 0.55, 1.0), np.ones(count)])      # spots hold together for a while
    walk = random.normal(0, 1, (2 * count, 2)) * mobility[:, None]
    return leading, np.concatenate(offsets), walk, random.normal(0, 1, (2 * count, 6, 2))


def _fragment_positions(regions: Regions, number: int, day: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Carrington longitude and latitude (degrees) of the fragments of one region, and which are leading."""
    leading, offset, walk, _ = _fragments(int(regions.seed[number]), float(regions.flux[number]))
    age = day - regions.birth[number]
    separation = regions.separation[number] * (0.45 + 0.55 * regions.growth(day)[number])
    spread = np.sqrt(2 * DIFFUSION * 86400 * max(age - 3, 0)) / 1e3 / MEGAMETRES_PER_DEGREE
    along = separation * (np.where(leading, 0.5, -0.5) + offset[:, 0]) + spread * walk[:, 0]
    across = separation * offset[:, 1] + spread * walk[:, 1]
    tilt = np.radians(regions.tilt[number])
    centre = regions.latitude[number]
    west = along * np.cos(tilt) + across * np.sin(tilt)
    poleward = -along * np.sin(tilt) + across * np.cos(tilt)
    latitude = np.clip(centre + np.sign(centre) * poleward, -75, 75)
    shear = (rotation_rate(latitude) - CARRINGTON_RATE) * age
    return regions.longitude[number] + west / np.cos(np.radians(latitude)) + shear, latitude, leading


def region_elements(regions: Regions, day: float) -> FluxElements:
    """Return the flux elements of `regions` on `day`; each region is flux-balanced."""
    parts: list[tuple[np.ndarray, ...]] = [tuple(np.zeros((4, 0)))]
    strength = regions.strength(day)
    for number in range(len(regions)):
        longitude, latitude, leading = _fragment_positions(regions, number, day)
        marks = _fragments(int(regions.seed[number]), float(regions.flux[number]))[3]
        latitude_of = latitude[:, None] + 0.5 * marks[..., 1]
        longitude_of = longitude[:, None] + 0.5 * marks[..., 0] / np.cos(np.radians(latitude_of))
        each = regions.flux[number] * strength[number] / (marks.shape[0] / 2 * marks.shape[1])
        flux = np.where(leading, 1, -1)[:, None] * regions.leading_sign[number] * each * np.ones(marks.shape[:2])
        parts.append((longitude_of.ravel(), latitude_of.ravel(), flux.ravel(), np.zeros(flux.size)))
    return FluxElements(*map(np.concatenate, zip(*parts, strict=True)))


@lru_cache(maxsize=1)
def _network_template() -> np.ndarray:
    """Return unit vectors `(NETWORK_ELEMENTS, 3)` at the borders of random supergranules."""
    random = np.random.default_rng(20110215)
    cells = random.normal(size=(SUPERGRANULES, 3))
    cells /= np.linalg.norm(cells, axis=1, keepdims=True)
    points = random.normal(size=(NETWORK_ELEMENTS, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    _, nearest = cKDTree(cells).query(points, k=2)
    normal = cells[nearest[:, 0]] - cells[nearest[:, 1]]
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    depth = np.einsum("ij,ij->i", points, normal)[:, None]             # distance from the border between the two cells
    points = points - depth * normal * random.uniform(0.6, 1.0, (NETWORK_ELEMENTS, 1))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


@lru_cache(maxsize=4)
def _network_frame(seed: int, frame: int) -> FluxElements:
    """Return one independent realisation of the network."""
    random = np.random.default_rng([seed, 4, frame + 1_000_000])
    x, y, z = Rotation.from_quat(random.normal(size=4)).apply(_network_template()).T
    latitude = np.degrees(np.arcsin(np.clip(z, -1, 1)))
    longitude = np.degrees(np.arctan2(y, x))
    # Above 55 degrees one polarity prevails, as it did in 2011: the polar caps, opposite to each other.
    polar = HALE_SIGN_NORTH * np.sign(z) * 0.3 * np.clip((np.abs(latitude) - 50) / 15, 0, 1)
    prevailing = polar + _prevailing_polarity(seed, frame * NETWORK_TURNOVER_DAYS, longitude, latitude)
    sign = np.where(random.random(len(z)) < 0.5 * (1 + prevailing), 1.0, -1.0)
    flux = sign * random.exponential(NETWORK_FLUX, len(z))
    return FluxElements(longitude, latitude, flux - flux.mean(), random.normal(0, 1, len(z)))


def _prevailing_polarity(seed: int, day: float, longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Return by how much positive network elements outnumber negative ones at these places, as a share of all.

    Unipolar areas some tens of degrees wide, left by old active regions, outlive the network that makes them visible by
    months (Bumba & Howard 1965). EUV light shows them as coronal holes at most: only a magnetogram tells their sign.
    """
    grid_latitude, grid_longitude = np.mgrid[-88:89:4, 0:360:4].astype(float)
    total = np.zeros(grid_latitude.shape)
    block = int(np.floor(day / SYNODIC_PERIOD_DAYS))
    for number in range(block - REMNANT_ROTATIONS, block + 1):
        random = np.random.default_rng([seed, 7, number + 1_000_000])
        birth = (number + random.random(REMNANTS)) * SYNODIC_PERIOD_DAYS
        centre, at = random.uniform(0, 360, REMNANTS), np.clip(random.normal(0, 25, REMNANTS), -60, 60)
        width, sign = random.uniform(9, 18, REMNANTS), random.choice([-1, 1], REMNANTS)
        age = (day - birth) / (REMNANT_ROTATIONS * SYNODIC_PERIOD_DAYS)
        for k in np.flatnonzero((age > 0) & (age < 1)):
            shear = (rotation_rate(grid_latitude) - CARRINGTON_RATE) * (day - birth[k])
            east = (grid_longitude - centre[k] - shear + 180) % 360 - 180
            distance = np.hypot(east * np.cos(np.radians(at[k])), grid_latitude - at[k]) / width[k]
            total += 2 * sign[k] * np.sin(np.pi * age[k]) * np.exp(-0.5 * distance ** 2)
    places = np.stack([(latitude + 88) / 4, longitude % 360 / 4])
    return PREVAILING * np.tanh(map_coordinates(total, places, order=1, mode="grid-wrap"))


def network(seed: int, day: float) -> FluxElements:
    """Return the mixed-polarity network of Sun `seed` on `day`: two realisations, one fading into the other."""
    phase = day / NETWORK_TURNOVER_DAYS
    before = int(np.floor(phase))
    parts = []
    for frame in (before, before + 1):
        elements = _network_frame(seed, frame)
        weight = np.cos(np.pi / 2 * abs(phase - frame))               # squares add to one: the variance stays
        shear = (rotation_rate(elements.latitude) - CARRINGTON_RATE) * (phase - frame) * NETWORK_TURNOVER_DAYS
        parts.append((elements.longitude + shear, elements.latitude, weight * elements.flux, weight * elements.noise))
    return FluxElements(*map(np.concatenate, zip(*parts, strict=True)))


@dataclass(frozen=True)
class Loops:
    """Points along coronal loops."""

    longitude: np.ndarray            # Carrington, degrees
    latitude: np.ndarray             # degrees
    height: np.ndarray               # solar radii
    emission: np.ndarray             # the quiet Sun being about 1
    is_fan: np.ndarray               # bool


def coronal_loops(regions: Regions, day: float) -> Loops:
    """Return closed loops between the polarities of each region, and the fans of warm plasma on leading spots.

    The emission depends on which polarity leads (it is the compact one), never on its sign.
    """
    parts: list[tuple[np.ndarray, ...]] = [(*np.zeros((4, 0)), np.zeros(0, bool))]
    strength = regions.strength(day)
    for number in range(len(regions)):
        amplitude = regions.flux[number] * strength[number] / 1e22
        if amplitude < 0.03:
            continue
        random = np.random.default_rng([int(regions.seed[number]), 5])
        longitude, latitude, leading = _fragment_positions(regions, number, day)
        count = int(np.clip(40 * regions.flux[number] / 1e22, 6, 70))
        foot = random.choice(np.flatnonzero(leading), count)
        # Of four places in the following polarity, each loop takes the nearest.
        others = random.choice(np.flatnonzero(~leading), (count, 4))
        spans = np.stack([longitude[others] - longitude[foot, None], latitude[others] - latitude[foot, None]])
        span = spans[:, np.arange(count), np.argmin(np.hypot(*spans), axis=1)]
        is_fan = random.random(count) < 0.4
        direction = random.normal(0, 0.6, count) + np.where(random.random(count) < 0.5, 0, np.pi)
        reach = regions.separation[number] * random.uniform(0.3, 0.8, count)
        span = np.where(is_fan, np.stack([reach * np.cos(direction), reach * np.sin(direction)]), span)
        along = np.linspace(0, 1, LOOP_POINTS)[None, :]
        height = np.hypot(*span)[:, None] / 57.3 * np.where(is_fan[:, None], 0.5 * along, 1.6 * along * (1 - along))
        bow = random.normal(0, 0.12, (count, 1)) * np.sin(np.pi * along)
        # Loops come and go within a day; each has its own phase.
        flicker = 0.5 + 0.5 * np.sin(2 * np.pi * (day / random.uniform(0.6, 2.0, count) + random.random(count)))
        light = (LOOP_LIGHT * amplitude ** 0.5 * flicker * random.exponential(1.0, count) * np.hypot(*span)
                 / LOOP_POINTS / count ** 0.7)
        shape = np.where(is_fan[:, None], np.exp(-2.5 * along), 0.35 + 0.65 * np.abs(2 * along - 1))    # brighter feet
        parts.append(((longitude[foot][:, None] + span[0][:, None] * along - bow * span[1][:, None]).ravel(),
                      (latitude[foot][:, None] + span[1][:, None] * along + bow * span[0][:, None]).ravel(),
                      height.ravel(), (light[:, None] * shape).ravel(), np.repeat(is_fan, LOOP_POINTS)))
    return Loops(*map(np.concatenate, zip(*parts, strict=True)))
