"""Every command over folders of damaged files of every format, for `test_hostile` and `benchmarks/reliability.py`."""
import csv
import re
import shutil
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from damage import chances, originals, strange, write_damaged
from running import GENERATOR, NETWORK, finish, start

from pix2pixcc.images.files import list_images
from pix2pixcc.solar.orbits import observer_at
from pix2pixcc.synthetic_sun.archives import (
    AIA_OFFSET,
    EUVI_OFFSET,
    INSTRUMENTS,
    raw_camera,
    write_aia,
    write_euvi,
    write_hmi,
)
from pix2pixcc.utils import FORMATS

SIZE = 32
NOON = datetime(2011, 3, 5, 12)
LIMITS = ["--saturation_lower_limit_input", "0", "--saturation_upper_limit_input", "200",
          "--saturation_lower_limit_target", "0", "--saturation_upper_limit_target", "200"]
CASES = [*((command, data_format) for command in ("Test", "Train", "Evaluate") for data_format in FORMATS),
         ("Prepare", "farside"), ("Prepare", "train")]


@dataclass
class Outcome:
    """What a command made of a folder of damaged files.

    Attributes
    ----------
    command, data_format : what was run on what
    files : how many damaged files
    refused : how many of them were counted as unusable; the damage of the others left an image
    status : exit status
    seconds, megabytes : time, and memory beyond what the command takes before it begins
    problems : what should not have happened
    """

    command: str
    data_format: str
    files: int
    refused: int
    status: int
    seconds: float
    megabytes: float
    problems: list[str] = field(default_factory=list)


def fuzz(folder, command, data_format, *, number, seed=0):
    """Run a command in `folder`, an empty one, over `number` damaged files and a few good ones."""
    chance = chances(f"{seed} {command} {data_format}")
    folder = Path(folder)
    prepared = {"Test": _for_test, "Train": _for_train, "Evaluate": _for_evaluate, "Prepare": _for_prepare}[command](
        folder, data_format, number, chance)
    flags, paths, count, undone = prepared
    begun = time.monotonic()
    status = finish(start(folder, command, *flags, MEASURE=1), 300)
    seconds = time.monotonic() - begun
    said = (folder / "log").read_text(errors="surrogateescape")
    outcome = Outcome(command, data_format, len(paths), count(said), status, seconds,
                      float((folder / "megabytes").read_text()))
    if "Traceback" in said:
        outcome.problems.append("a traceback: " + said[said.index("Traceback"):][-1500:])
    if any(folder.rglob("TRAP")):
        outcome.problems.append("a pickle was run")
    if outcome.refused < len(paths) / 4:
        outcome.problems.append(f"only {outcome.refused} of {len(paths)} refused: {said[-1500:]}")
    outcome.problems += undone(status, said)
    return outcome


def _contents(data_format, folder):
    return originals(data_format, 1, SIZE), strange(data_format, SIZE, folder / "TRAP")


def _for_test(folder, data_format, number, chance):
    good, contents = _contents(data_format, folder)
    inputs, run = folder / "inputs", folder / "checkpoints" / "run" / "Model"
    paths = write_damaged(inputs, number, data_format, good, contents, chance)
    for k, content in enumerate(good):
        (inputs / f"good{k}.{data_format}").write_bytes(content)
    run.mkdir(parents=True)
    _save_weights(run / "2_G.pt")
    flags = ["--dataset_name", "run", "--iteration", 2, *GENERATOR, *LIMITS, "--data_format_input", data_format,
             "--data_format_target", "npy", "--input_dir_test", "inputs", "--no_preview",
             "--n_workers", chance.choice((0, 2))]

    def undone(status, said):
        products = len(list((folder / "checkpoints/run/Image/Test/2").glob("*_AI.npy")))
        listed = len(list_images(inputs, data_format))
        problems = [] if status == 2 else [f"status {status}: {said[-500:]}"]
        if products + _skipped(said) != listed:
            problems.append(f"{products} products and {_skipped(said)} skipped of {listed} inputs")
        lost = [k for k in range(len(good)) if not (folder / f"checkpoints/run/Image/Test/2/good{k}_AI.npy").is_file()]
        return problems + [f"good file {k} was not done" for k in lost]

    return flags, paths, _skipped, undone


def _skipped(said):
    return len(re.findall(r"^skipped ", said, re.MULTILINE))


def _save_weights(path):
    import torch

    from pix2pixcc.networks import Generator

    torch.save(Generator(1, 1, n_gf=4, n_downsample=2, n_residual=1).state_dict(), path)


def _for_train(folder, data_format, number, chance):
    good, contents = _contents(data_format, folder)
    sides = [folder / "data" / side for side in chance.sample(("Input", "Target"), 2)]
    paths = write_damaged(sides[0], number, data_format, good, contents, chance)
    for side in sides:
        side.mkdir(exist_ok=True)
        (side / f"0_good.{data_format}").write_bytes(good[0])
    for path in list_images(sides[0], data_format):
        (sides[1] / path.name).write_bytes(good[0])
    flags = ["--dataset_name", "run", *NETWORK, *LIMITS, "--data_format_input", data_format, "--data_format_target",
             data_format,
             "--input_dir_train", "data/Input", "--target_dir_train", "data/Target",
             "--n_workers", chance.choice((0, 2)), "--n_iterations", 2]

    def count(said):
        match = re.search(r"error: (\d+) of (\d+) files cannot be used", said)
        return int(match[1]) if match else 0

    return flags, paths, count, lambda status, said: [] if status == 2 else [f"status {status}: {said[-500:]}"]


def _for_evaluate(folder, data_format, number, chance):
    good, contents = _contents(data_format, folder)
    sides = [folder / side for side in chance.sample(("generated", "real"), 2)]
    paths = write_damaged(sides[0], number, data_format, good, contents, chance)
    sides[1].mkdir()
    for k, content in enumerate(good):
        (sides[0] / f"good{k}.{data_format}").write_bytes(content)
    for path in list_images(sides[0], data_format):
        (sides[1] / path.name).write_bytes(good[0])
    flags = ["--generated", "generated", "--real", "real", "--out", "out", "--data_format_generated", data_format,
             "--data_format_real", data_format, "--binning", 2, "--no_figures"]

    def undone(status, said):
        with open(folder / "out/scores.csv", newline="") as file:
            rows = {row["name"]: row["status"] for row in csv.DictReader(file)}
        problems = [] if status == 0 else [f"status {status}: {said[-500:]}"]
        if len(rows) != len(list_images(sides[0], data_format)):
            problems.append(f"{len(rows)} rows of {len(list_images(sides[0], data_format))} images")
        return problems + [f"good file {k} was not scored" for k in range(len(good))
                           if rows.get(f"good{k}") != "scored"]

    return flags, paths, _skipped, undone


def _scene(camera):
    """A disk with structure, median near 100, and a corona."""
    west, north = camera.sky()
    distance = np.hypot(west, north)
    return np.where(distance < 1, 100 + 50 * np.sin(5 * west) * np.cos(4 * north), 20 * np.exp(5 * (1 - distance)))


def write_raw(folder, spacecraft, when):
    """A time's raw files of one spacecraft, in 304, 193 or 195, and 171 angstrom, of SDO also a magnetogram."""
    folder.mkdir(parents=True, exist_ok=True)
    noise, observer = np.random.default_rng(0), observer_at(spacecraft, when)
    camera = raw_camera(INSTRUMENTS["AIA" if spacecraft == "SDO" else spacecraft], observer, 64)
    write, offsets = (write_aia, AIA_OFFSET) if spacecraft == "SDO" else (write_euvi, EUVI_OFFSET)
    for passband in ("304", "193" if spacecraft == "SDO" else "195", "171"):
        write(folder / f"{spacecraft}_{passband}.fits", _scene(camera), camera, observer,
              when + timedelta(seconds=offsets[passband]),
              passband, noise)
    if spacecraft == "SDO":
        camera = raw_camera(INSTRUMENTS["HMI"], observer, 64)
        write_hmi(folder / "SDO_hmi.fits", 4 * _scene(camera) - 400, camera, observer, when, noise)


def _for_prepare(folder, kind, number, chance):
    """Damaged copies of another time's files lie among the good ones."""
    spacecraft = "STEREO-B" if kind == "farside" else "SDO"
    write_raw(folder / "raw" / "good", spacecraft, NOON)
    write_raw(folder / "other", spacecraft, NOON + timedelta(days=3))
    good = [path.read_bytes() for path in sorted((folder / "other").iterdir())]
    shutil.rmtree(folder / "other")
    paths = write_damaged(folder / "raw" / "bad", number, "fits", good, strange("fits", SIZE, folder / "TRAP"), chance)
    flags = [kind, "--raw", "raw", "--out", "out", "--size", SIZE, "--n_workers", 1]

    def count(_said):
        with open(folder / "out/skipped.csv", newline="", errors="surrogateescape") as file:
            return len(list(csv.DictReader(file)))

    def undone(status, said):
        problems = [] if status == 0 else [f"status {status}: {said[-500:]}"]
        inputs = [path.name for path in (folder / "out").rglob("*.fits")]
        done = any("20110305_12" in name for name in inputs)
        return problems + ([] if done else [f"the good time was not done: {inputs}"])

    return flags, paths, count, undone
