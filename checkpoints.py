"""A run's folder `checkpoints/<dataset_name>/`: weights, training states, options, the lock, and who writes them.

Every file is written beside and renamed, weights before the state that needs them, so a run killed at any moment resumes.
Nothing is unpickled: files are read with `weights_only=True`.
"""
from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor, nn

from utils import UserError, atomic_path, read_json

__all__ = ["RunFolder", "BackgroundWriter", "read_weights", "load_weights", "snapshot", "save_tensors"]


class RunFolder:
    """Paths and files of one run.

    Parameters
    ----------
    name : str
        The data set's name; it must stay inside `root`.
    root : path
        The folder of all runs.
    """

    def __init__(self, name: str, root: str | os.PathLike = "checkpoints"):
        if not name or name in (".", "..") or re.search(r"[/\\\0]", name):
            raise UserError(f"--dataset_name {name!r} must be a plain name: it names one folder under ./{root}/")
        self.path = Path(root) / name
        self.options = self.path / "options.json"
        self.losses = self.path / "losses.csv"
        self.model = self.path / "Model"
        self.states = self.path / "State"
        self.samples = self.path / "Image" / "Train"
        self.generated = self.path / "Image" / "Test"
        self.lock_file = self.path / "train.lock"
        self.best_file = self.path / "best.json"

    def weights(self, iteration: int, network: str) -> Path:
        """`Model/<iteration>_<network>.pt`; network is G, D or G_ema."""
        return self.model / f"{iteration}_{network}.pt"

    def iterations(self, network: str = "G") -> list[int]:
        """The iterations whose weights are there, in order."""
        return self._numbers(self.model, rf"(\d+)_{network}\.pt")

    def state(self, iteration: int) -> Path:
        return self.states / f"{iteration}.pt"

    def state_iterations(self) -> list[int]:
        """The iterations whose training states are there, in order."""
        return self._numbers(self.states, r"(\d+)\.pt")

    @staticmethod
    def _numbers(folder: Path, pattern: str) -> list[int]:
        names = os.listdir(folder) if folder.is_dir() else []
        return sorted(int(match[1]) for name in names if (match := re.fullmatch(pattern, name)))

    def choose(self, wanted: str, network: str = "G") -> list[int]:
        """The iterations that `--iteration` means: a number, `best`, or -1 for all.

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
            if not self.best_file.is_file():
                raise UserError(f"--iteration best: {self.path} has no best checkpoint; train with --val_during_train")
            wanted = str(read_json(self.best_file).get("iteration"))
        if not wanted.isdigit():
            raise UserError(f"--iteration {wanted}: give a number, 'best', or -1 for all; there are {_listed(there)}")
        if int(wanted) not in there:
            raise UserError(f"--iteration {wanted}: no {self.weights(int(wanted), network)}; there are {_listed(there)}")
        return [int(wanted)]

    def read_state(self, iteration: int) -> dict:
        """The training state of `iteration`; `UserError` if it is missing or damaged."""
        return _load(self.state(iteration))

    def newest_good_state(self) -> tuple[int, dict] | None:
        """The newest training state that can be read, unreadable ones passed over with a warning; None in a new folder."""
        for iteration in reversed(self.state_iterations()):
            try:
                return iteration, self.read_state(iteration)
            except UserError as error:
                print(f"warning: {error}; trying the state before it", file=sys.stderr)
        if self.iterations():
            raise UserError(f"no training state in {self.states} can be read; start from the newest weights with "
                            f"--latest_iter {self.iterations()[-1]}")
        return None

    def prune_states(self, keep: int) -> None:
        """Delete all but the newest `keep` training states (weights in Model/ are never deleted)."""
        for iteration in self.state_iterations()[:-keep]:
            self.state(iteration).unlink(missing_ok=True)

    def remove_leftovers(self) -> None:
        """Delete what a killed process left half-written."""
        for leftover in self.path.rglob(".part-*"):
            leftover.unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one training; a lock whose process is gone on this machine is taken over.

        Raises
        ------
        UserError
            Another process holds the folder; the message says which, and how to take over.
        """
        owner = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started": _process_start(os.getpid())})
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            claim = self.path / f".lock-{socket.gethostname()}-{os.getpid()}"
            claim.write_text(owner)
            try:
                while not _link(claim, self.lock_file):
                    self._break_stale_lock()
            finally:
                claim.unlink()
        except OSError as error:
            raise UserError(f"cannot write in {self.path}: {error.strerror}. Choose a folder that can be written to") from error
        try:
            yield
        finally:
            if self._lock_text() == owner:
                self.lock_file.unlink(missing_ok=True)

    def _lock_text(self) -> str:
        try:
            return self.lock_file.read_text()
        except OSError:
            return ""

    def _break_stale_lock(self) -> None:
        """Remove the lock if its process is gone from this machine, else say who holds it."""
        text = self._lock_text()
        try:
            owner = json.loads(text)
            pid, host, started = owner["pid"], owner["host"], owner["started"]
        except (ValueError, KeyError, TypeError):
            pid, host, started = "unknown", "unknown host", None
        if text and not (host == socket.gethostname() and _process_start(pid) != started):
            raise UserError(f"{self.path} is being trained by process {pid} on {host}. Wait for it, or use another --dataset_name; "
                            f"if that process is gone, delete {self.lock_file}")
        if text == self._lock_text():                      # nobody else has taken over in the meantime
            self.lock_file.unlink(missing_ok=True)


def _link(source: Path, target: Path) -> bool:
    """Make `target` a hard link of `source` unless it is there already: the one atomic "create if missing with content"."""
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    return True


def _process_start(pid: int) -> str | None:
    """When process `pid` of this machine started (in clock ticks since boot), or None if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        pass
    try:
        os.kill(pid, 0)
        return "unknown"
    except OSError:
        return None


def _listed(iterations: list[int]) -> str:
    return ", ".join(map(str, iterations if len(iterations) <= 12 else [*iterations[:4], "...", *iterations[-4:]]))


def _load(path: Path) -> dict:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} holds more than weights (a pickled program?); nothing of it was run. "
                        "Save a plain state_dict instead") from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(f"cannot read {path}: it is damaged or no PyTorch file ({type(error).__name__})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no state_dict but a {type(content).__name__}")
    return content


def read_weights(path: str | os.PathLike) -> dict[str, Tensor]:
    """A plain `state_dict` from a file, without the `module.` that DataParallel puts before each name."""
    state = _load(Path(path))
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} is no plain state_dict of tensors")
    return {name.removeprefix("module."): value for name, value in state.items()}


def load_weights(network: nn.Module, path: str | os.PathLike) -> None:
    """Load a `state_dict` file into `network`.

    Raises
    ------
    UserError
        The file is of another model, depth or width; the message names the first difference.
    """
    state, own = read_weights(path), network.state_dict()
    lacking, foreign = [name for name in own if name not in state], [name for name in state if name not in own]
    shapes = [name for name in own if name in state and own[name].shape != state[name].shape]
    if lacking or foreign or shapes:
        if shapes:
            name = shapes[0]
            why = f"{name} is {tuple(state[name].shape)} there and {tuple(own[name].shape)} here"
        else:
            why = f"it lacks {lacking[0]}" if lacking else f"it has {foreign[0]}, which this network lacks"
        raise UserError(f"{path} is of another network: {why}. Check --model, --input_ch, --target_ch, --n_gf, --n_downsample, "
                        "--n_residual, --norm_type and --trans_conv")
    network.load_state_dict(state)


def snapshot(state: object) -> object:
    """A copy of a nested state on the CPU, which training no longer changes."""
    if isinstance(state, Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, dict):
        return {key: snapshot(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(snapshot(value) for value in state)
    return state


def save_tensors(path: Path, state: object) -> None:
    """`torch.save`, atomically."""
    with atomic_path(path) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:                      # torch reports a full disk as a RuntimeError
            raise OSError(str(error).splitlines()[0]) from error


class BackgroundWriter:
    """Runs jobs one after the other in a thread, so that saving never stalls training.

    An error in a job is raised at the next `submit`, or at the end of the `with` block, which waits for all jobs.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer")
        self._pending: list[Future] = []

    def __enter__(self) -> BackgroundWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True)
        self._raise_errors()

    def submit(self, job: Callable, *arguments: object, **named: object) -> None:
        """Queue `job(*arguments, **named)`; waits while more than three jobs stand in line, to bound the memory they hold."""
        self._raise_errors()
        while len(self._pending) > 3:
            self._pending[0].exception()
            self._raise_errors()
        self._pending.append(self._pool.submit(job, *arguments, **named))

    def wait(self) -> None:
        """Return when all jobs are done."""
        for job in list(self._pending):
            job.exception()
        self._raise_errors()

    def _raise_errors(self) -> None:
        finished = [job for job in self._pending if job.done()]
        self._pending = [job for job in self._pending if not job.done()]
        for job in finished:
            job.result()
