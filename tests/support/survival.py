"""A training killed again and again, and what it leaves, for `test_killed.py` and `benchmarks/reliability.py`."""
import csv
import json
import os
import random
import shutil
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import torch
from astropy.io import fits
from PIL import Image
from running import RUN, differences, finish, start

FLAGS = [*RUN, "--n_workers", "1", "--save_freq", "4", "--display_freq", "8", "--report_freq", "2",
         "--padding_size", "2", "--epoch_decay", "3", "--val_during_train", "--val_fraction", "0.3", "--ema", "0.9",
         "--resume"]


@dataclass
class Survival:
    """What became of a training that was killed.

    Attributes
    ----------
    kills : by SIGKILL, each at a moment of its own
    mid_save : of these, how many left a file half-written under its temporary name
    first_save : how many before the first state was there
    checked : files that were read and found whole after the kills
    completed : runs that came to their end and had the same weights, states and losses as the one that was never killed
    """

    kills: int = 0
    mid_save: int = 0
    first_save: int = 0
    checked: int = 0
    completed: int = 0
    problems: list[str] = field(default_factory=list)


def unreadable(run):
    """Names of the files of a run that are not whole, and how many were looked at; nobody reads temporary files."""
    bad, number = [], 0
    for path in sorted(run.rglob("*")):
        if not path.is_file() or path.name.startswith(".part-") or "tfevents" in path.name:
            continue
        number += 1
        try:
            _READERS[path.suffix](path)
        except Exception as error:
            bad.append(f"{path}: {error!r}")
    return bad, number


def _read_tensors(path):
    assert zipfile.ZipFile(path).testzip() is None
    torch.load(path, weights_only=True)


def _read_picture(path):
    with Image.open(path) as picture:
        picture.load()


def _read_table(path):
    text = path.read_text()
    rows = list(csv.reader(text.splitlines()))
    assert text.endswith("\n") and all(len(row) == len(rows[0]) for row in rows)


def _read_page(path):
    assert path.read_text().rstrip().endswith("</html>")


def _read_fits(path):
    fits.open(path, checksum=True)[0].data.sum()


_READERS = {".pt": _read_tensors, ".png": _read_picture, ".csv": _read_table, ".html": _read_page,
            ".lock": Path.read_bytes, ".fits": _read_fits,
            ".json": lambda path: json.loads(path.read_text())}


def result_of(run, iteration):
    """All that must not depend on kills: states, weights, losses, the best, the pictures."""
    state = torch.load(run / f"State/{iteration}.pt", weights_only=True)
    return {"state": {key: value for key, value in state.items() if key != "record"},
            "losses": (run / "losses.csv").read_text(),
            "best": (run / "best.json").read_text(),
            "weights": {path.name: torch.load(path, weights_only=True)
                        for path in sorted((run / "Model").glob("*.pt"))},
            "pictures": {path.name: path.read_bytes() for path in sorted((run / "Image/Train").glob("*.png"))}}


def survive(folder, kills, *, iterations=48, seed=0):
    """Kill a training in `folder`, which holds `data`, `kills` times, and compare the outcome with a run left alone.

    Half of the kills come at random moments, half as soon as a file is being written, up to some milliseconds later.
    """
    chance, outcome = random.Random(seed), Survival()
    flags = [*FLAGS, "--n_iterations", iterations]
    run = folder / "checkpoints" / "run"
    # This starts the server of forks.
    assert finish(start(folder, "Train", *flags, "--dry_run")) == 0, (folder / "log").read_text()
    begun = time.monotonic()
    assert finish(start(folder, "Train", *flags)) == 0, (folder / "log").read_text()
    duration = time.monotonic() - begun
    expected = result_of(run, iterations)
    shutil.rmtree(run)
    while True:
        process = start(folder, "Train", *flags)
        if outcome.kills < kills:
            if outcome.kills % 2:
                time.sleep(chance.uniform(0, duration))
            else:
                _wait_for_writing(run, process, chance)
            process.kill()
        status = finish(process)
        if status == 0:
            outcome.problems += [f"after {outcome.kills} kills: {place}"
                                 for place in differences(expected, result_of(run, iterations))]
            outcome.completed += 1
            shutil.rmtree(run)
        elif status == -9:
            outcome.kills += 1
            bad, number = unreadable(run)
            outcome.problems += bad
            outcome.checked += number
            outcome.mid_save += any(run.rglob(".part-*"))
            outcome.first_save += not any(run.glob("State/[0-9]*.pt"))
        else:
            outcome.problems.append(f"status {status}: {(folder / 'log').read_text()[-2000:]}")
            return outcome
        if outcome.kills == kills and status == 0:
            return outcome


def _wait_for_writing(run, process, chance):
    """Return when, after a random number of them, one of the run's files is being written."""
    patience = chance.choice((1, 1, 2, 4, 8, 16, 32))
    seen = set()
    while process.exitcode is None:
        for place in (run, run / "Model", run / "State", run / "Image" / "Train"):
            try:
                seen |= {name for name in os.listdir(place) if name.startswith(".part-")}
            except OSError:
                continue
            if len(seen) >= patience:
                time.sleep(chance.choice((0, 0, 0.001, 0.003)))
                return
