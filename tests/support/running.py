"""Small data sets, and runs of the commands on them: in this process, or in one of their own that can be killed.

A run that is to be killed is forked from a process that has imported everything already (multiprocessing's forkserver),
so that it begins to train at once. It is the command's own `main`, in a folder and with output files of its own.
"""
import contextlib
import io
import itertools
import multiprocessing
import multiprocessing.forkserver
import os
import resource
import signal
import socket
import sys
import time
import traceback
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
from astropy.io import fits

from pix2pixcc.images.cubes import Channel, write_cube
from pix2pixcc.utils import run_command

OURS = set()                                               # process numbers of servers that `_forkserver` has started
ROOT = Path(__file__).resolve().parents[2]
TIME = "2011-03-05T12:04:03"
GENERATOR = ["--gpu_ids", "-1", "--n_gf", "4", "--n_downsample", "2", "--n_residual", "1"]
SMALL = [*GENERATOR, "--n_df", "4", "--n_workers", "0"]
NETWORK = [*GENERATOR, "--n_df", "4", "--n_D", "1"]
FITS = ["--data_format_input", "fits", "--data_format_target", "fits"]
RUN = ["--dataset_name", "run", *NETWORK, *FITS, "--input_dir_train", "data/Input", "--target_dir_train", "data/Target"]


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str


def write_pairs(folder, count=7, size=32, channels=1):
    """`data/Input` and `data/Target` in `folder`: cubes that only tests can tell from the Sun."""
    random = np.random.default_rng(7)
    euv = [Channel.euv(f"SDO/AIA {passband}", TIME) for passband in ("304", "193", "171")[:channels]]
    for k in range(count):
        field = random.normal(0, 100, (1, size, size)).astype(np.float32)
        images = (100 + np.abs(field)).repeat(channels, 0)
        write_cube(folder / "data" / "Input" / f"sun_{k}.fits", images, fits.Header(), euv)
        write_cube(folder / "data" / "Target" / f"sun_{k}.fits", field, fits.Header(),
                   [Channel.magnetogram("SDO/HMI magnetogram", TIME)])
    return folder


def observer_header(size, spacecraft="STEREO_B", time=TIME):
    """A registered helioprojective header, as cubes carry it."""
    import astropy.units as u
    from astropy.coordinates import SkyCoord
    from sunpy.coordinates import HeliographicStonyhurst, Helioprojective
    from sunpy.map.header_helper import make_fitswcs_header

    observer = SkyCoord(-94.782 * u.deg, 1.0769 * u.deg, 152041499485 * u.m, frame=HeliographicStonyhurst(obstime=time))
    scale = np.degrees(np.arcsin(695.7e6 / 152041499485)) * 3600 / (450 / 1024 * size)
    centre = SkyCoord(0 * u.arcsec, 0 * u.arcsec, frame=Helioprojective(observer=observer, obstime=time))
    header = make_fitswcs_header((size, size), centre,
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
        euv = [Channel.euv(f"STEREO/EUVI-B {passband}", TIME) for passband in ("171", "195", "304")[:channels]]
        write_cube(folder / "Input" / name, images, header, euv)
        write_cube(folder / "Target" / name, field, header,
                   [Channel.magnetogram("SDO/HMI magnetogram", TIME)] * targets)
    return folder / "Input", folder / "Target"


def main_of(command, argv):
    """The `main` of a command by its name, to be run."""
    return lambda: import_module(f"pix2pixCC_{command.capitalize()}").main([str(word) for word in argv])


def run(command, *argv):
    """A command's `main` as the shell would run it, in this process: its status and what it wrote."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            run_command(main_of(command, argv))
        except SystemExit as stop:
            return Result(int(stop.code or 0), out.getvalue(), err.getvalue())
    raise AssertionError("a command leaves with a status")


def train(*argv):
    """A training on `data` in the working directory, under the name `run`."""
    return run("Train", *RUN, "--n_workers", 0, *argv)


def generate(*argv):
    return run("Test", "--gpu_ids", "-1", "--n_workers", 0, *argv)


def folders(input_dir, target_dir):
    return ["--input_dir_train", input_dir, "--target_dir_train", target_dir]


def tree(folder):
    """Every file below `folder`, as relative names."""
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


def start(folder, command, *argv, log="log", **environment):
    """The same in a process of its own, which can be killed. Its output goes to the file `log` in `folder`."""
    with contextlib.chdir(ROOT):                           # where coverage finds its settings
        process = _forkserver().Process(target=_work, args=(str(folder), command, argv, log,
                                                            {name: str(value) for name, value in environment.items()}))
        process.start()
    return process


def finish(process, seconds=120):
    """The exit status of a started process; killed if it takes longer."""
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError(f"still running after {seconds} s")
    return process.exitcode


def start_ranks(folder, count, *argv):
    """A training on `count` ranks, as torchrun or `--gpu_ids 0,1` would start it; their output goes to log0, log1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    group = {"WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [start(folder, "Train", *RUN, "--n_workers", 0, *argv, log=f"log{rank}", RANK=rank, LOCAL_RANK=rank, **group)
            for rank in range(count)]


def wait_for(condition, seconds=60):
    """Wait until `condition()` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def _forkserver():
    """The server that has imported everything; one that a command has started with its own modules gives way to it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["preloaded"])
    server = multiprocessing.forkserver._forkserver
    if server._forkserver_pid not in OURS:
        server._stop()
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), before])
    try:
        multiprocessing.forkserver.ensure_running()
        OURS.add(server._forkserver_pid)
    finally:
        os.environ["PYTHONPATH"] = before
    return context


def _work(folder, command, argv, log, environment):
    """In the forked process: become the command, as it is when a shell starts it."""
    multiprocessing.set_start_method("fork", force=True)
    os.setsid()
    os.environ.update(environment)
    os.chdir(folder)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(output, stream.fileno())
        stream.reconfigure(line_buffering=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if "FILE_LIMIT" in environment:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(environment["FILE_LIMIT"]), limits[1]))
    if "DIE_AT_WRITE" in environment:
        _die_at_write(int(environment["DIE_AT_WRITE"]))
    before = _megabytes()
    try:
        run_command(main_of(command, argv))
    except SystemExit:
        raise
    except BaseException:
        traceback.print_exc()
        sys.exit(1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)  # what coverage writes at the end is not what is tested
        if "MEASURE" in environment:
            Path("megabytes").write_text(f"{_megabytes() - before:.1f}")


def _megabytes():
    """The most memory that this process or one of its children has ever had."""
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024


def _die_at_write(number):
    """Kill this process just before it puts its `number`-th file in place."""
    replace, count, process = os.replace, itertools.count(1), os.getpid()

    def dying(*paths):
        if os.getpid() == process and next(count) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*paths)

    os.replace = dying


def differences(first, second):
    """Where two nested states differ, by the names of their parts."""
    import torch

    if isinstance(first, torch.Tensor):
        equal = isinstance(second, torch.Tensor) and first.dtype == second.dtype and torch.equal(first, second)
        return [] if equal else [""]
    if isinstance(first, dict):
        return [f"{key}.{place}" for key in {**first, **second}
                for place in differences(first.get(key), second.get(key))]
    if isinstance(first, list | tuple):
        return [f"{k}.{place}" for k, pair in enumerate(zip(first, second, strict=True))
                for place in differences(*pair)]
    return [] if first == second else [""]


def read_state(name, iteration):
    """A training state without its record of the options."""
    import torch

    state = torch.load(f"checkpoints/{name}/State/{iteration}.pt", weights_only=True)
    assert state.pop("record")["options"]["dataset_name"] == name
    return state


def assert_same_run(one, other, iteration=40):
    """Two runs leave the same for `iteration`: bit for bit in what is loaded, byte for byte in what is looked at."""
    import torch

    assert differences(read_state(one, iteration), read_state(other, iteration)) == []
    for network in ("G", "D", "G_ema"):
        weights = [Path(f"checkpoints/{name}/Model/{iteration}_{network}.pt") for name in (one, other)]
        assert weights[0].is_file() == weights[1].is_file()
        if weights[0].is_file():
            assert differences(*(torch.load(path, weights_only=True) for path in weights)) == []
    assert Path(f"checkpoints/{one}/losses.csv").read_bytes() == Path(f"checkpoints/{other}/losses.csv").read_bytes()
    pictures = [{path.name: path.read_bytes()
                 for path in Path(f"checkpoints/{name}/Image/Train").glob(f"{iteration}_*")}
                for name in (one, other)]
    assert len(pictures[0]) == 3 and pictures[0] == pictures[1]
