"""The folder of a run: where each of its files lies, and which checkpoints are there."""
from __future__ import annotations

import contextlib
import itertools
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pix2pixcc.training.checkpoints import read_tensors
from pix2pixcc.training.lock import FolderLock
from pix2pixcc.utils import UserError, read_json, write_json

NETWORKS = ("G", "D", "G_ema")      # as they stand in the names of weight files
STATE_KEYS = {"iteration": int, "record": dict, "training": dict, "lr_factor": float}


@dataclass(frozen=True)
class Best:
    """Name the checkpoint with the highest validated correlation: iteration, network (G or G_ema) and its score."""

    iteration: int
    network: str
    cc_binned: float


class RunFolder:
    """Know the paths and files of the run of a data set's `name`, in the folder `root` of all runs.

    Raises
    ------
    UserError
        The name, or a link in the folder, leads elsewhere.
    """

    def __init__(self, name: str, root: str | os.PathLike = "checkpoints"):
        if not name or name in (".", "..") or re.search(r"[/\\\0]", name) or len(os.fsencode(name)) > 255:
            raise UserError(f"--dataset_name {name!r} must be a plain name: it names one folder under ./{root}/")
        self.path = Path(root) / name
        self.options = self.path / "options.json"
        self.losses = self.path / "losses.csv"
        self.model = self.path / "Model"
        self.states = self.path / "State"
        self.samples = self.path / "Image" / "Train"
        self.generated = self.path / "Image" / "Test"
        self.board = self.path / "tensorboard"
        self.best_file = self.path / "best.json"
        self.lock = FolderLock(self.path / "train.lock")
        inside = Path(root).resolve()
        for folder in (self.path, self.model, self.states, self.samples, self.generated, self.board):
            if not (place := _resolved(folder)).is_relative_to(inside):
                raise UserError(f"{folder} leads to {place}: results stay in {inside}. "
                                f"To keep them on another disk, make ./{root} itself a link")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder, made if missing, for one training; `UserError` as `FolderLock.held`."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make {self.path}: {error.strerror}. "
                            "Choose a place that can be written to") from error
        with self.lock.held():
            yield

    def weights(self, iteration: int, network: str) -> Path:
        """Return `Model/<iteration>_<network>.pt`; network is one of `NETWORKS`."""
        return self.model / f"{iteration}_{network}.pt"

    def iterations(self, network: str = "G") -> list[int]:
        """Return the iterations whose weights are there, in order."""
        return _numbers(self.model, rf"(\d+)_{network}\.pt")

    def state(self, iteration: int) -> Path:
        """Return `State/<iteration>.pt`."""
        return self.states / f"{iteration}.pt"

    def state_iterations(self) -> list[int]:
        """Return the iterations whose training states are there, in order."""
        return _numbers(self.states, r"(\d+)\.pt")

    def choose(self, wanted: str, network: str = "G") -> list[int]:
        """Return the iterations that `--iteration` means: a number, `best`, or -1 for all.

        Raises
        ------
        UserError
            No such checkpoint; the message lists those that exist.
        """
        there = self.iterations(network)
        if not there:
            raise UserError(f"no {network} checkpoints in {self.model}: train first, or set --dataset_name"
                            + (" (train with --ema for --average)" if network == "G_ema" else ""))
        if wanted == "-1":
            return there
        if wanted == "best":
            best = self.best()
            if best is None:
                raise UserError(f"--iteration best: {self.path} has no best checkpoint; train with --val_during_train")
            wanted = str(best.iteration)
        if not re.fullmatch(r"[0-9]{1,18}", wanted):
            raise UserError(f"--iteration {wanted}: give a number, 'best', or -1 for all; there are {_listed(there)}")
        if int(wanted) not in there:
            raise UserError(f"--iteration {wanted}: no {self.weights(int(wanted), network)}; "
                            f"there are {_listed(there)}")
        return [int(wanted)]

    def best(self) -> Best | None:
        """Return what `best.json` says, None if there is none; `UserError` if it names no checkpoint."""
        if not self.best_file.is_file():
            return None
        iteration, network, score = map(read_json(self.best_file).get, ("iteration", "network", "cc_binned"))
        if type(iteration) is not int or network not in NETWORKS or not isinstance(score, int | float):
            raise UserError(f"{self.best_file} names no checkpoint; delete it, and choose one with --iteration")
        return Best(iteration, network, float(score))

    def recorded_val_gap(self, otherwise: float) -> float:
        """Return the gap around the validation with which this run began: 0 if its record is older than gaps."""
        with contextlib.suppress(UserError):
            made = read_json(self.options).get("options")
            if isinstance(made, dict) and made.get("val_fraction"):
                gap = made.get("val_gap", 0.0)
                return float(gap) if isinstance(gap, int | float) else otherwise
        return otherwise

    def set_best(self, best: Best | None) -> None:
        """Write `best.json`, or remove it for None."""
        if best is None:
            self.best_file.unlink(missing_ok=True)
        elif best != self._best_or_none():
            write_json(self.best_file, vars(best))

    def _best_or_none(self) -> Best | None:
        with contextlib.suppress(UserError):
            return self.best()
        return None

    def read_state(self, iteration: int) -> dict:
        """Read the training state of `iteration`; `UserError` if it is missing, damaged or another's."""
        path = self.state(iteration)
        state = read_tensors(path)
        wrong = [key for key, kind in STATE_KEYS.items() if not isinstance(state.get(key), kind)]
        if wrong or not isinstance(state["record"].get("options"), dict):
            raise UserError(f"{path} is no training state of this program: it has no {(wrong or ['options'])[0]}; "
                            "move it away")
        if state["iteration"] != iteration:
            raise UserError(f"{path} is the training state of iteration {state['iteration']}; "
                            "give it its own name again, or move it away")
        return state

    def newest_good_state(self, before: int | None = None) -> int | None:
        """Return the iteration of the newest training state that can be read, up to `before`; None in a new folder.

        Unreadable states are passed over with a warning; a `UserError` if there are weights, but no state is left.
        """
        for iteration in reversed([k for k in self.state_iterations() if before is None or k <= before]):
            try:
                self.read_state(iteration)
                return iteration
            except UserError as error:
                print(f"warning: {error}; trying the state before it", file=sys.stderr)
        if self.iterations():
            raise UserError(f"no training state in {self.states} can be read; start from the newest weights with "
                            f"--latest_iter {self.iterations()[-1]}")
        return None

    def prune_states(self, newest: int, keep: int) -> None:
        """Delete training states but `newest`, just written, the `keep` - 1 before it, and that of the best checkpoint.

        Later ones are of a branch that this run has left by going back; they go now that it has a state of its own.
        Weights in `Model/` are never deleted.
        """
        best = self._best_or_none()
        earlier = [iteration for iteration in self.state_iterations() if iteration <= newest]
        kept = {*earlier[-keep:], best.iteration if best else newest}
        for iteration in self.state_iterations():
            if iteration not in kept:
                self.state(iteration).unlink(missing_ok=True)

    def leave_branch(self, iteration: int) -> None:
        """Move states and weights after `iteration`, of the branch that a run leaves by going back, out of its way.

        They go to folders `left-<iteration>` beside them, where no run looks for what to go on from.
        """
        for folder, pattern in ((self.states, r"(\d+)\.pt"), (self.model, rf"(\d+)_(?:{'|'.join(NETWORKS)})\.pt")):
            names = os.listdir(folder) if folder.is_dir() else []
            later = [name for name in names
                     if (match := re.fullmatch(pattern, name, re.ASCII)) and int(match[1]) > iteration]
            if not later:
                continue
            place = next(place for number in itertools.count(1) if not os.path.lexists(
                place := folder / (f"left-{iteration}" + (f"-{number}" if number > 1 else ""))))
            try:
                place.mkdir()
                for name in later:
                    (folder / name).rename(place / name)
            except OSError as error:
                raise UserError(f"cannot move {later[0]} to {place}: {error.strerror}; the run begins at iteration "
                                f"{iteration}, and what is later in {folder} would be gone on with") from error
            print(f"left the branch after iteration {iteration}: {len(later)} files are in {place}", flush=True)

    def remove_leftovers(self) -> None:
        """Delete what a killed process left half-written; beside products, where others may be writing, after a day."""
        for folder in (self.path, self.model, self.states, self.samples):
            for leftover in folder.glob(".part-*"):
                leftover.unlink(missing_ok=True)
        for leftover in self.generated.glob("*/.part-*"):
            with contextlib.suppress(OSError):
                if leftover.lstat().st_mtime < time.time() - 86400:
                    leftover.unlink()


def _resolved(path: Path) -> Path:
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.stat()                           # links in a circle, which Python 3.13 resolves
        return path.resolve()
    except (OSError, RuntimeError) as error:
        raise UserError(f"{path} leads nowhere ({error}); remove that link") from error


def _numbers(folder: Path, pattern: str) -> list[int]:
    names = os.listdir(folder) if folder.is_dir() else []
    numbers = [match[1] for name in names if (match := re.fullmatch(pattern, name, re.ASCII))]
    return sorted(int(number) for number in numbers if number == str(int(number)))      # not 010


def _listed(iterations: list[int]) -> str:
    return ", ".join(map(str, iterations if len(iterations) <= 12 else [*iterations[:4], "...", *iterations[-4:]]))
