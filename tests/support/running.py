"""Running the commands as a user would, in this process, and small data sets to run them on."""
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
from astropy.io import fits

import pix2pixCC_Evaluate
import pix2pixCC_Test
import pix2pixCC_Train
from pix2pixcc.images.cubes import Channel, write_cube
from pix2pixcc.utils import run_command

COMMANDS = {"train": pix2pixCC_Train, "test": pix2pixCC_Test, "evaluate": pix2pixCC_Evaluate}
SMALL = ["--gpu_ids", "-1", "--n_gf", "4", "--n_df", "4", "--n_downsample", "2", "--n_residual", "1", "--n_workers", "0"]
FITS = ["--data_format_input", "fits", "--data_format_target", "fits"]


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str


def run(command, *argv):
    """Run a command's main as the shell would: its exit status and what it wrote."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            run_command(lambda: COMMANDS[command].main([str(word) for word in argv]))
        except SystemExit as stop:
            return Result(stop.code or 0, out.getvalue(), err.getvalue())
    raise AssertionError("a command leaves with a status")


def train(*argv):
    return run("train", *SMALL, *argv)


def generate(*argv):
    return run("test", "--gpu_ids", "-1", "--n_workers", "0", *argv)


def observer_header(size, spacecraft="STEREO_B", time="2011-03-05T12:04:03"):
    """A registered helioprojective header, as cubes carry it."""
    import astropy.units as u
    from astropy.coordinates import SkyCoord
    from sunpy.coordinates import HeliographicStonyhurst, Helioprojective
    from sunpy.map.header_helper import make_fitswcs_header

    observer = SkyCoord(-94.782 * u.deg, 1.0769 * u.deg, 152041499485 * u.m, frame=HeliographicStonyhurst(obstime=time))
    scale = np.degrees(np.arcsin(695.7e6 / 152041499485)) * 3600 / (450 / 1024 * size)
    header = make_fitswcs_header((size, size), SkyCoord(0 * u.arcsec, 0 * u.arcsec, frame=Helioprojective(observer=observer, obstime=time)),
                                 scale=[scale, scale] * u.arcsec / u.pix)
    cards = fits.Header()
    for key, value in header.items():
        cards[key] = value
    cards["OBSRVTRY"] = spacecraft
    cards["DATE-AVG"] = cards["DATE-OBS"]
    return cards


def write_cubes(folder, count=6, size=48, channels=1, targets=1):
    """A little training set of cubes with cards: Input/ and Target/ of the same names. Returns the two folders."""
    random = np.random.default_rng(5)
    header = observer_header(size)
    for k in range(count):
        name = f"sun_201103{k + 1:02d}_120403.fits"
        field = random.normal(0, 100, (targets, size, size)).astype(np.float32)
        images = 100 + np.abs(field[:1]).repeat(channels, 0) * np.arange(1, channels + 1)[:, None, None] / channels
        euv = [Channel.euv(f"STEREO/EUVI-B {passband}", "2011-03-05T12:04:03") for passband in ("171", "195", "304")[:channels]]
        write_cube(folder / "Input" / name, images, header, euv)
        write_cube(folder / "Target" / name, field, header, [Channel.magnetogram("SDO/HMI magnetogram", "2011-03-05T12:04:03")] * targets)
    return folder / "Input", folder / "Target"


def folders(input_dir, target_dir):
    return ["--input_dir_train", input_dir, "--target_dir_train", target_dir]


def tree(folder):
    """Every file below `folder`, as relative names."""
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())
