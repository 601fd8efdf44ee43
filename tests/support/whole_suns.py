"""Whole-Sun maps for tests, of chosen fields, with the cards and layers of their sources; and what maps are made of."""
import numpy as np
import sunpy.map
from astropy import units as u
from scipy.special import sph_harm_y
from sunpy.coordinates import get_earth
from sunpy.map.header_helper import make_heliographic_header

from pix2pixcc.generation.products import product_header, write_product
from pix2pixcc.images.cubes import Channel
from pix2pixcc.solar.geometry import AU_METRES, Disk, angular_radius, registered_disk
from pix2pixcc.solar.orbits import observer_at
from pix2pixcc.synthetic_sun.archives import sky_header
from pix2pixcc.synthetic_sun.camera import Camera
from pix2pixcc.synthetic_sun.datasets import write_raw
from pix2pixcc.whole_sun.magnetograms import Magnetogram, Place

TIME = "2011-03-05T12:00:00"
SOURCES = {"polar fill": None, "history": None, "SDO": (139.1, -7.25, 1.48e11),
           "STEREO-A (AI)": (226.8, -7.3, 1.44e11), "STEREO-B (AI)": (44.3, 5.6, 1.53e11)}


def places(shape):
    """Sine of latitude (H, 1) and longitude from the left edge (1, W), radians, of the middle of the cells."""
    rows, columns = shape
    return ((np.arange(rows) + 0.5) * 2 / rows - 1)[:, None], ((np.arange(columns) + 0.5) * 2 * np.pi / columns)[None]


def harmonic(degree, order, shape=(90, 180)):
    """The real part of a spherical harmonic, of 10 G."""
    sine, longitude = places(shape)
    return 10 * sph_harm_y(degree, order, np.arccos(sine), longitude).real


def active_sun(shape=(90, 180), seed=0):
    """A field of polar caps, bipoles that follow Hale's law, and network, in gauss."""
    random = np.random.default_rng(seed)
    sine, longitude = places(shape)
    field = 7 * sine ** 7 + random.normal(0, 2, shape)
    for _ in range(14):
        hemisphere = random.choice([-1, 1])
        centre, middle = hemisphere * random.uniform(0.15, 0.5), random.uniform(0, 2 * np.pi)
        for sign, step in ((-1, 0.08), (1, -0.08)):
            apart = np.angle(np.exp(1j * (longitude - middle - step)))
            squared = apart ** 2 * (1 - centre ** 2) + (sine - centre - hemisphere * 0.02 * sign) ** 2
            field += hemisphere * sign * random.uniform(80, 90) * np.exp(-squared / 0.06 ** 2)
    return field - field.mean()


def whole_sun(field, frame="carrington", time=TIME, sources=SOURCES):
    """A map of a field (H, W) or (H, 1); `sources`: by name longitude, latitude (degrees) and distance (m), or None."""
    if field.shape[1] == 1:
        field = np.repeat(field, 2 * len(field), axis=1)
    centre = 180 if frame == "carrington" else 0
    header = make_heliographic_header(time, get_earth(time), field.shape, frame=frame, projection_code="CEA",
                                      map_center_longitude=centre * u.deg)
    header["bunit"] = "G"
    for k, (name, place) in enumerate(sources.items()):
        header[f"src{k}"] = name
        for card, value in zip(("srcln", "srclt", "srcrd"), place or (), strict=False):
            header[f"{card}{k}"] = value
    return sunpy.map.Map(field, header)


def layers(shape=(90, 180), sources=SOURCES):
    """SOURCE, WEIGHT, MU and AGE of a map from Carrington longitude 0: each cell from the observer who sees it best."""
    sine, longitude = places(shape)
    cosines = np.full((len(sources), *shape), 0.3)
    for k, place in enumerate(sources.values()):
        cosines[k] = -1.0 if place is None else (
            sine * np.sin(np.radians(place[1]))
            + np.sqrt(1 - sine ** 2) * np.cos(np.radians(place[1])) * np.cos(longitude - np.radians(place[0])))
    source, mu = cosines.argmax(axis=0), cosines.max(axis=0)
    source = np.where(mu < 0.25, list(sources).index("history"), source)
    source = np.where((np.abs(sine) > 0.97) & (mu < 0.25), list(sources).index("polar fill"), source)
    observed = mu >= 0.25
    return {"SOURCE": source.astype(np.int16), "WEIGHT": np.where(observed, mu ** 4, 0).astype(np.float32),
            "MU": np.where(observed, mu, 0).astype(np.float32), "AGE": np.where(observed, 0, 300).astype(np.float32)}


def magnetogram(sun, name, time, size, generated=False, data=None):
    """What an observer sees of a synthetic Sun, registered, as `Magnetogram`; `data` (H, W) in place of the truth."""
    observer = observer_at(name, time)
    image = sun.magnetogram(observer, time, size) if data is None else data
    disk = registered_disk(image.shape)
    placed = Disk(disk.shape, disk.centre, disk.scale, angular_radius(observer.distance * AU_METRES))
    place = Place(name, time, observer.longitude, observer.latitude, observer.radii, generated)
    return Magnetogram(place, np.where(disk.mask(), image, np.float32(np.nan)).astype(np.float32), placed,
                       source=f"{name}_{time:%Y%m%d_%H%M}{'_AI' if generated else ''}.fits")


def strips(images, recipe):
    """Magnetograms on the rows of a map."""
    return [recipe.strip(image) for image in images]


def product(path, sun, name, time, size=64, **cards):
    """A file as pix2pixCC_Test.py writes it, of the true field of what an observer sees."""
    observer = observer_at(name, time)
    cube = sky_header(Camera.registered(size), observer, time)
    cube["NAXIS"], cube["NAXIS1"], cube["NAXIS2"] = 2, size, size
    channel = Channel.euv(f"STEREO/EUVI-{name[-1]} 171", time.isoformat(timespec="seconds"))
    header = product_header(cube, [channel], checkpoint="9_G.pt", checkpoint_sha256="0" * 64, iteration=9)
    header.update(cards)
    write_product(path, sun.magnetogram(observer, time, size), header)


def hmi(folder, sun, times, size=128):
    """Raw HMI files of a synthetic Sun."""
    return write_raw(folder, times=times, spacecraft=["SDO"], size=size, passbands=[], seed=sun.seed, n_workers=1,
                     progress=False)
