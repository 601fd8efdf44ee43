"""Data sets of synthetic Suns: model-ready pairs, and raw files as the archives hold them."""
from __future__ import annotations

import functools
import os
import sys
import zlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pix2pixcc.images.cubes import Channel, write_cube
from pix2pixcc.parallel.workers import in_parallel
from pix2pixcc.solar.geometry import disk_mask
from pix2pixcc.solar.instruments import MAGNETOGRAM, SPACECRAFT, STEREO_A, STEREO_B
from pix2pixcc.solar.orbits import SYNODIC_PERIOD_DAYS, Observer, observer_at, reference_time
from pix2pixcc.synthetic_sun import archives
from pix2pixcc.synthetic_sun.camera import Camera
from pix2pixcc.synthetic_sun.sun import SyntheticSun
from pix2pixcc.utils import UserError, available_cores

FIRST_DAY, LAST_DAY = datetime(2011, 1, 1), datetime(2013, 12, 31)


def write_pairs(out: str | os.PathLike, *, pairs: int, test_suns: int, size: int, passbands: Sequence[str],
                frontside_reference: bool = False, both_cycles: bool = False, seed: int = 0,
                n_workers: int | None = None, progress: bool = True) -> None:
    """Write model-ready cubes: SDO's views to train on, and farside views of unseen Suns with the truth to test on.

    Every pair is another Sun at another time of 2011 to 2013. `Train/Input/sdo_<time>.fits` belongs to
    `Train/Target/sdo_<time>.fits`; the test views are STEREO-A's and -B's in turn, `Test/Input/stereo_a_<time>.fits`.

    Parameters
    ----------
    size : int
        Pixels on a side.
    passbands : sequence of str
        In channel order; '193' becomes STEREO's '195'.
    frontside_reference : bool
        Add the AIA images and the magnetogram of the same longitudes when they last faced the Earth.
    both_cycles : bool
        Every second two Suns are of the next cycle, with every polarity reversed, which no EUV image shows.
    n_workers : int, optional
        Processes (default: all the cores that this process may use).

    Raises
    ------
    UserError
        `out` holds another data set, which this one would mix with.
    """
    random = np.random.default_rng([seed, 7])
    minutes = random.choice(int((LAST_DAY - FIRST_DAY).total_seconds() // 60), pairs + test_suns, replace=False)
    times = [FIRST_DAY + timedelta(minutes=int(minute)) for minute in minutes]
    first = seed * 1_000_000
    jobs = [(Path(out) / "Train", "SDO", first + number, times[number]) for number in range(pairs)]
    for number, time in enumerate(times[pairs:]):
        jobs.append((Path(out) / "Test", (STEREO_A, STEREO_B)[number % 2].name, first + 500_000 + number, time))
    written = {_pair_name(name, time) for _, name, _, time in jobs}
    present = [path for path in Path(out).glob("T*/*/*.fits") if not path.name.startswith(".")]
    if others := [path for path in present if path.name not in written]:
        raise UserError(f"{out} holds {len(others)} images of another data set, such as {others[0].relative_to(out)}: "
                        "remove it, or choose another --out")
    write = functools.partial(_write_pair, size=size, passbands=tuple(passbands),
                              frontside_reference=frontside_reference, both_cycles=both_cycles)
    _do_all(write, jobs, n_workers, progress, "pairs")


def _write_pair(job: tuple[Path, str, int, datetime], *, size: int, passbands: tuple[str, ...],
                frontside_reference: bool, both_cycles: bool) -> None:
    folder, name, seed, time = job
    polarity = -1 if both_cycles and seed // 2 % 2 else 1      # not in step with the spacecraft, which take turns
    sun, observer = SyntheticSun(seed, polarity), observer_at(name, time)
    views = [(observer, time, SPACECRAFT[name].passband(passband)) for passband in passbands]
    if frontside_reference:
        earlier = _frontside_time(name, time)
        views += [(observer_at("SDO", earlier), earlier, passband) for passband in (*passbands, "magnetogram")]
    header = archives.sky_header(Camera.registered(size), observer, time)
    header["SUNSEED"] = (seed, "a synthetic Sun, by the seed")
    header["SUNPOL"] = (polarity, "-1: every polarity turned, as in the next cycle")
    images = np.stack([_masked_image(sun, *view, size) for view in views])
    write_cube(folder / "Input" / _pair_name(name, time), images, header, [_channel(*view) for view in views])
    truth = (observer, time, "magnetogram")
    field = _masked_image(sun, *truth, size)[None]
    write_cube(folder / "Target" / _pair_name(name, time), field, header, [_channel(*truth)])


def _frontside_time(name: str, time: datetime) -> datetime:
    """Return when SDO last saw what `name` sees at `time`: for itself a rotation earlier."""
    if name == "SDO":
        return time - timedelta(days=SYNODIC_PERIOD_DAYS)
    return reference_time(time, observer_at(name, time).longitude)


def _pair_name(name: str, time: datetime) -> str:
    return f"{SPACECRAFT[name].stem}_{time:%Y%m%d_%H%M%S}.fits"


def _masked_image(sun: SyntheticSun, observer: Observer, time: datetime, passband: str, size: int) -> np.ndarray:
    is_field = passband == "magnetogram"
    image = sun.magnetogram(observer, time, size) if is_field else sun.euv(passband, observer, time, size)
    return np.where(disk_mask(size), image, 0)


def _channel(observer: Observer, time: datetime, passband: str) -> Channel:
    when = time.isoformat(timespec="seconds")
    if passband == "magnetogram":
        return Channel.magnetogram(MAGNETOGRAM if observer.name == "SDO" else f"{observer.name} magnetogram", when)
    return Channel.euv(f"{SPACECRAFT[observer.name].euv} {passband}", when)


def write_raw(out: str | os.PathLike, *, times: Sequence[datetime], spacecraft: Sequence[str] = tuple(SPACECRAFT),
              size: int, passbands: Sequence[str], frontside_reference: bool = False, seed: int = 0,
              n_workers: int | None = None, progress: bool = True) -> list[Path]:
    """Write one Sun as its archives would hold it, as AIA level 1, HMI 720 s and EUVI level 0; return the paths.

    `times` are UTC. `frontside_reference` adds what SDO saw of the same longitudes: one rotation before its own images,
    and when a STEREO view last faced the Earth. The rest is as in `write_pairs`.

    Raises
    ------
    UserError
        A spacecraft does not take one of the passbands.
    """
    for name in spacecraft:
        takes = archives.AIA_EXPOSURE if name == "SDO" else archives.EUVI_EXPOSURE
        if missing := [passband for passband in passbands if SPACECRAFT[name].passband(passband) not in takes]:
            raise UserError(f"--passbands {' '.join(missing)}: {name} takes only {', '.join(takes)}; "
                            "leave them out, or name other --spacecraft")
    looks = {(time, name) for time in times for name in spacecraft}
    if frontside_reference:
        looks |= {(_frontside_time(name, time), "SDO") for time, name in looks}
    jobs = [(Path(out), name, time, passband) for time, name in sorted(looks)
            for passband in (*passbands, *(["magnetogram"] if name == "SDO" else []))]
    write = functools.partial(_write_raw_file, seed=seed, size=size)
    return sorted(_do_all(write, jobs, n_workers, progress, "files"))


_sun = functools.lru_cache(maxsize=2)(SyntheticSun)


def _write_raw_file(job: tuple[Path, str, datetime, str], *, seed: int, size: int) -> Path:
    out, name, time, passband = job
    sun, passband = _sun(seed), SPACECRAFT[name].passband(passband)
    if passband == "magnetogram":
        instrument, offset = "HMI", 0
    elif name == "SDO":
        instrument, offset = "AIA", archives.AIA_OFFSET[passband]
    else:
        instrument, offset = name, archives.EUVI_OFFSET[passband]
    time = (time + timedelta(seconds=offset)).replace(microsecond=0)
    observer = observer_at(name, time)
    camera = archives.raw_camera(archives.INSTRUMENTS[instrument], observer, size)
    path = out / archives.raw_name(name, passband, time)
    random = np.random.default_rng([seed, 8, zlib.crc32(path.name.encode())])
    if instrument == "HMI":
        image = sun.magnetogram_in(camera, observer, time)
        archives.write_hmi(path, image, camera, observer, time, random)
    else:
        write = archives.write_aia if instrument == "AIA" else archives.write_euvi
        write(path, sun.euv_in(camera, passband, observer, time), camera, observer, time, passband, random)
    return path


def _do_all(work: Callable, jobs: list, n_workers: int | None, progress: bool, unit: str) -> list:
    """Do every job, with a progress bar."""
    results = in_parallel(work, jobs, min(n_workers or available_cores(), len(jobs)), preload=[__name__])
    return list(tqdm(results, total=len(jobs), unit=f" {unit}", disable=not progress, file=sys.stderr))
