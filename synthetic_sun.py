"""A Sun with a known farside: magnetograms and EUV images for any observer at any time, the same for the same seed.

    python synthetic_sun.py --out datasets/demo --pairs 150 --size 128 --passbands 171
    python synthetic_sun.py --out raw/demo --raw --size 512 --days 3

The EUV light is made from |B| alone: turning every polarity round leaves it unchanged, so that a network can tell the polarities
apart only as on the real Sun, by Hale's law and by the leading polarity being the more compact one.
The magnetic field is in `synthetic_field.py`, its look in `synthetic_view.py`, the archives' files in `synthetic_files.py`.
"""
from __future__ import annotations

import functools
import multiprocessing
import os
import sys
import zlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

import synthetic_field as field
import synthetic_files as files
from cubes import Channel, write_cube
from options import parse, sun_parser
from solar import LIMB, SYNODIC_PERIOD_DAYS, disk_mask, reference_time
from synthetic_view import PASSBANDS, SPACECRAFT, Camera, Observer, Surface, coronal_light, deposit, observer_at, observer_frame
from utils import UserError, run_command

__all__ = ["Camera", "Observer", "PASSBANDS", "SPACECRAFT", "SyntheticSun", "observer_at", "write_pairs", "write_raw"]

EPOCH = datetime(2010, 1, 1)
FIRST_DAY, LAST_DAY = datetime(2011, 1, 1), datetime(2013, 12, 31)


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
        self._surface = functools.lru_cache(maxsize=2)(lambda time, per_degree: Surface.of(self._elements(time), per_degree))

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
        image = coronal_light(self._surface(time, 2 if camera.size <= 256 else 4), recipe, observer, time, camera)
        if recipe.loops or recipe.fans:
            image += self._loop_light(recipe.loops, recipe.fans, observer, time, camera)
        disk = np.hypot(*camera.sky()) < LIMB
        photons = recipe.photons * (4096 / camera.size) ** 2
        random = np.random.default_rng([self.seed, 6, zlib.crc32(f"{passband} {observer} {time}".encode())])
        image = random.poisson(image * (photons / np.median(image[disk])))
        return (image * (100 / np.median(image[disk]))).astype(np.float32)

    def _find_elements(self, time: datetime) -> field.FluxElements:
        regions, quiet = field.region_elements(self._regions(time), _day(time)), field.network(self.seed, _day(time))
        return field.FluxElements(*(np.concatenate([getattr(regions, name), getattr(quiet, name)])
                                    for name in ("longitude", "latitude", "flux", "noise")))

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


def write_pairs(out: str | os.PathLike, *, pairs: int = 150, test_suns: int = 30, size: int = 128, passbands: Sequence[str] = ("171",),
                frontside_reference: bool = False, seed: int = 0, n_workers: int | None = None, progress: bool = True) -> None:
    """Write model-ready cubes: SDO's views to train on, and farside views of other, unseen Suns with the true farside to test on.

    Every pair is another Sun at another time of 2011 to 2013. `Train/Input/sdo_<time>.fits` belongs to `Train/Target/sdo_<time>.fits`;
    the test views are STEREO-A's and -B's in turn, `Test/Input/stereo_a_<time>.fits`.

    Parameters
    ----------
    out : path
        Folder that takes `Train` and `Test`.
    pairs, test_suns : int
        Training pairs, and unseen Suns.
    size : int
        Pixels on a side.
    passbands : sequence of str
        In channel order; '193' becomes STEREO's '195'.
    frontside_reference : bool
        Add the AIA images and the magnetogram of the same longitudes when they last faced the Earth.
    seed : int
        Other seeds give other Suns.
    n_workers : int, optional
        Processes (default: all the cores that this process may use).
    """
    random = np.random.default_rng([seed, 7])
    minutes = int((LAST_DAY - FIRST_DAY).total_seconds() // 60)
    times = [FIRST_DAY + timedelta(minutes=int(minute)) for minute in random.choice(minutes, pairs + test_suns, replace=False)]
    first = seed * 1_000_000
    jobs = [(Path(out) / "Train", "SDO", first + number, times[number]) for number in range(pairs)]
    jobs += [(Path(out) / "Test", SPACECRAFT[1 + number % 2], first + 500_000 + number, times[pairs + number]) for number in range(test_suns)]
    write = functools.partial(_write_pair, size=size, passbands=tuple(passbands), frontside_reference=frontside_reference)
    _in_parallel(write, jobs, n_workers, progress, "pairs")


def _write_pair(job: tuple[Path, str, int, datetime], *, size: int, passbands: tuple[str, ...], frontside_reference: bool) -> None:
    folder, name, seed, time = job
    sun, observer = SyntheticSun(seed), observer_at(name, time)
    views = [(observer, time, _passband_of(name, passband)) for passband in passbands]
    if frontside_reference:
        earlier = time - timedelta(days=SYNODIC_PERIOD_DAYS) if name == "SDO" else reference_time(time, observer.longitude)
        views += [(observer_at("SDO", earlier), earlier, passband) for passband in (*passbands, "magnetogram")]
    header = files.sky_header(Camera.registered(size), observer, time)
    header["SUNSEED"] = (seed, "a synthetic Sun, by the seed")
    images = np.stack([_masked_image(sun, *view, size) for view in views])
    stem = f"{name.lower().replace('-', '_')}_{time:%Y%m%d_%H%M%S}.fits"
    write_cube(folder / "Input" / stem, images, header, [_channel(*view) for view in views])
    truth = (observer, time, "magnetogram")
    write_cube(folder / "Target" / stem, _masked_image(sun, *truth, size)[None], header, [_channel(*truth)])


def _passband_of(name: str, passband: str) -> str:
    """The passband as the spacecraft has it: EUVI takes 195 where AIA takes 193."""
    return {"193": "195"}.get(passband, passband) if name != "SDO" else {"195": "193"}.get(passband, passband)


def _masked_image(sun: SyntheticSun, observer: Observer, time: datetime, passband: str, size: int) -> np.ndarray:
    image = sun.magnetogram(observer, time, size) if passband == "magnetogram" else sun.euv(passband, observer, time, size)
    return np.where(disk_mask(size), image, 0)


def _channel(observer: Observer, time: datetime, passband: str) -> Channel:
    when = time.isoformat(timespec="seconds")
    if passband == "magnetogram":
        return Channel.magnetogram("SDO/HMI magnetogram" if observer.name == "SDO" else f"{observer.name} magnetogram", when)
    instrument = "SDO/AIA" if observer.name == "SDO" else f"STEREO/EUVI-{observer.name[-1]}"
    return Channel.euv(f"{instrument} {passband}", when)


def write_raw(out: str | os.PathLike, *, times: Sequence[datetime], spacecraft: Sequence[str] = SPACECRAFT, size: int = 512,
              passbands: Sequence[str] = ("304", "193", "171"), frontside_reference: bool = False, seed: int = 0,
              n_workers: int | None = None, progress: bool = True) -> list[Path]:
    """Write one Sun as its archives would hold it: AIA level 1, HMI 720 s and EUVI level 0 files of `size` pixels on a side.

    Parameters
    ----------
    times : sequence of datetime
        When to observe, UTC.
    spacecraft : sequence of str
        'SDO' (AIA and HMI), 'STEREO-A', 'STEREO-B' (EUVI).
    frontside_reference : bool
        Add what SDO saw of the same longitudes: one rotation before its own images, and when a STEREO view last faced the Earth.

    Returns
    -------
    list of Path
        The files, in order of time.
    """
    looks = {(name, time) for time in times for name in spacecraft}
    if frontside_reference:
        looks |= {("SDO", time - timedelta(days=SYNODIC_PERIOD_DAYS) if name == "SDO"
                   else reference_time(time, observer_at(name, time).longitude)) for name, time in looks}
    jobs = [(Path(out), name, time, passband) for time, name in sorted((time, name) for name, time in looks)
            for passband in (*passbands, *(["magnetogram"] if name == "SDO" else []))]
    return _in_parallel(functools.partial(_write_raw_file, seed=seed, size=size), jobs, n_workers, progress, "files")


@functools.lru_cache(maxsize=2)
def _sun(seed: int) -> SyntheticSun:
    return SyntheticSun(seed)


def _write_raw_file(job: tuple[Path, str, datetime, str], *, seed: int, size: int) -> Path:
    out, name, time, passband = job
    sun, passband = _sun(seed), _passband_of(name, passband)
    offset = 0 if passband == "magnetogram" else files.AIA_OFFSET[passband] if name == "SDO" else files.EUVI_OFFSET[passband]
    time = (time + timedelta(seconds=offset)).replace(microsecond=0)
    observer = observer_at(name, time)
    instrument = files.INSTRUMENTS["HMI" if passband == "magnetogram" else "AIA" if name == "SDO" else name]
    camera = files.raw_camera(instrument, observer, size)
    path = out / files.raw_name(name, passband, time)
    random = np.random.default_rng([seed, 8, zlib.crc32(path.name.encode())])
    if passband == "magnetogram":
        files.write_hmi(path, sun.magnetogram_in(camera, observer, time), camera, observer, time, random)
    elif name == "SDO":
        files.write_aia(path, sun.euv_in(camera, passband, observer, time), camera, observer, time, passband, random)
    else:
        files.write_euvi(path, sun.euv_in(camera, passband, observer, time), camera, observer, time, passband, random)
    return path


def _in_parallel(work: Callable, jobs: list, n_workers: int | None, progress: bool, unit: str) -> list:
    """Do every job, in order, with a progress bar; in this process if one worker is enough."""
    workers = min(n_workers or len(os.sched_getaffinity(0)), len(jobs))
    bar = functools.partial(tqdm, total=len(jobs), unit=f" {unit}", disable=not progress, file=sys.stderr)
    if workers <= 1:
        return list(bar(map(work, jobs)))
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        return list(bar(pool.imap(work, jobs, chunksize=max(1, min(8, len(jobs) // (4 * workers))))))


def main(argv: list[str] | None = None) -> None:
    """Write a data set of synthetic Suns."""
    opt = parse(sun_parser(), argv)
    shared = {"size": opt.size, "passbands": opt.passbands, "frontside_reference": opt.frontside_reference, "seed": opt.seed,
              "n_workers": opt.n_workers}
    if opt.raw:
        if unknown := [passband for passband in opt.passbands if passband not in files.RAW_PASSBANDS]:
            raise UserError(f"--passbands {' '.join(unknown)}: with --raw, choose from {', '.join(files.RAW_PASSBANDS)}")
        steps = int(opt.days * 24 / opt.cadence)
        times = [opt.start + timedelta(hours=opt.cadence * step) for step in range(steps)]
        written = write_raw(opt.out, times=times, spacecraft=opt.spacecraft, **shared)
        print(f"{len(written)} raw files of one Sun in {opt.out}")
    else:
        write_pairs(opt.out, pairs=opt.pairs, test_suns=opt.test_suns, **shared)
        print(f"{opt.pairs} training pairs and {opt.test_suns} unseen farsides in {opt.out}")


if __name__ == "__main__":
    run_command(main)
