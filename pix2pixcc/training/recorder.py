"""What a training run writes while it runs: losses, sample pictures, checkpoints, curves and the gallery page."""
from __future__ import annotations

import contextlib
import csv
import errno
import io
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from types import TracebackType

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from pix2pixcc.parallel.background import BackgroundWriter
from pix2pixcc.parallel.workers import Workers
from pix2pixcc.training.checkpoints import save_tensors, snapshot
from pix2pixcc.training.folder import Best, RunFolder
from pix2pixcc.training.record import RunRecord
from pix2pixcc.training.validation import Sample
from pix2pixcc.utils import UserError, atomic_path, write_json
from pix2pixcc.visuals.curves import loss_curves
from pix2pixcc.visuals.gallery import gallery

BEST_BY = {"val_cc_binned": "G", "ema_cc_binned": "G_ema"}      # columns that choose the best, and their network
DRAW_EVERY = 20.0      # seconds from one drawing of the curves and the page to the next: each takes most of one
_ALWAYS = ("iteration", "epoch", "lr")


class Recorder:
    """Record nothing: what every rank but the first does. A context manager that ends when all is written."""

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        pass

    def report(self, iteration: int, lr: float, losses: dict[str, float]) -> None:
        """Record the losses of the steps since the last report."""

    def display(self, iteration: int, generate: Callable[[Tensor], Tensor]) -> None:
        """Draw the sample as `generate` makes it now."""

    def draw(self) -> None:
        """Draw `losses.png` and the page, unless that was a moment ago; at the end they are drawn anyway."""

    def save(self, iteration: int, lr: float, state: dict, scores: dict[str, float]) -> None:
        """Write the checkpoint of `iteration`: the state to resume from, then the weights that follow from it."""

    def complete(self, iteration: int, training: dict) -> None:
        """Write those weights of the state at `iteration` that a killed run did not come to write."""

    def rewind(self, iteration: int, state: dict) -> None:
        """Go back to `iteration`: forget what was recorded after it, and write the state to resume from."""

    def wait(self) -> None:
        """Return when everything so far is written."""


class FolderRecorder(Recorder):
    """Record into a run's folder.

    Files are written by one background thread, in order, so that saving never stalls training. What can be made from a
    file is written after it: a run that is killed in between makes up for it. Pictures are drawn by a process of their
    own, for which that thread waits: they are seconds of Python, which a thread would take from the training.

    Parameters
    ----------
    folder, record, sample
        The folder, locked by this process; what `options.json` and every training state say; the pair to draw.
    columns : list of str
        Of `losses.csv`.
    start : int
        The iteration that the run goes on from; later rows of an earlier attempt are dropped.
    epoch, keep_last : int
        Images in the data set; how many training states to keep.
    """

    def __init__(self, folder: RunFolder, record: RunRecord, columns: list[str], sample: Sample, *, start: int,
                 epoch: int, keep_last: int):
        self._folder, self._record, self._columns, self._sample = folder, record, columns, sample
        self._epoch, self._keep_last = epoch, keep_last
        self._drawn = time.monotonic()
        folder.remove_leftovers()
        self._begin(start)
        write_json(folder.options, record.following(folder.options, start))
        self._artist = Workers(partial(_draw, folder, sample), 1)
        self._writer = BackgroundWriter()

    def _begin(self, iteration: int) -> None:
        """Take up the records until `iteration`, without what came after it."""
        self._table = LossTable(self._folder.losses, self._columns, iteration)
        self._folder.set_best(self._table.best)
        with _disk_errors(self._folder):
            self._board = SummaryWriter(self._folder.board, purge_step=iteration + 1)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        try:
            if error is None:
                self._draw()
                self._submit(self._board.close)
            else:
                with contextlib.suppress(OSError):
                    self._board.close()
        finally:
            with closing(self._artist):
                self._writer.__exit__(kind, error, trace)

    def _submit(self, job: Callable, *arguments: object) -> None:
        self._writer.submit(self._do, job, *arguments)

    def _do(self, job: Callable, *arguments: object) -> None:
        """Do a job unless the folder has been lost: it would be made anew."""
        self._folder.lock.check()
        with _disk_errors(self._folder):
            job(*arguments)

    def report(self, iteration: int, lr: float, losses: dict[str, float]) -> None:
        self._submit(self._table.write, *self._table.add(iteration, iteration / self._epoch, lr, losses))
        scalars = {f"loss/{name}": loss for name, loss in losses.items()}
        self._submit(self._add_scalars, iteration, scalars | {"learning rate": lr})

    def _add_scalars(self, iteration: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._board.add_scalar(name, value, iteration)

    def display(self, iteration: int, generate: Callable[[Tensor], Tensor]) -> None:
        self._submit(self._drawn_elsewhere, (iteration, generate(self._sample.input).cpu()))

    def draw(self) -> None:
        if time.monotonic() - self._drawn > DRAW_EVERY:
            self._draw()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        self._submit(self._drawn_elsewhere, None)

    def _drawn_elsewhere(self, sample: tuple[int, Tensor] | None) -> None:
        self._artist.submit(sample).result()

    def save(self, iteration: int, lr: float, state: dict, scores: dict[str, float]) -> None:
        if scores:
            self._submit(self._table.write, *self._table.add(iteration, iteration / self._epoch, lr, scores))
            self._submit(self._add_scalars, iteration, {f"validation/{name}": score for name, score in scores.items()})
        self._submit(self._write_checkpoint, iteration, snapshot(state), self._table.best)
        self.draw()

    def _write_checkpoint(self, iteration: int, state: dict, best: Best | None) -> None:
        """The state comes before all that a restart can make from it: weights, and the best from the table."""
        self._write_state(iteration, state)
        self._write_weights(iteration, _weights_of(state["training"]))
        self._folder.set_best(best)
        self._folder.prune_states(iteration, self._keep_last)

    def _write_state(self, iteration: int, state: dict) -> None:
        save_tensors(self._folder.state(iteration), state | {"record": self._record.content, "iteration": iteration})

    def _write_weights(self, iteration: int, weights: dict[str, dict]) -> None:
        for network, state in weights.items():
            self._do(save_tensors, self._folder.weights(iteration, network), state)

    def complete(self, iteration: int, training: dict) -> None:
        written = self._folder.state(iteration).stat().st_mtime_ns
        paths = {network: self._folder.weights(iteration, network) for network in ("G", "D", "G_ema")}
        there = [network for network, path in paths.items() if path.is_file() and path.stat().st_mtime_ns >= written]
        missing = {network: weights for network, weights in _weights_of(training).items() if network not in there}
        if missing:
            self._submit(self._write_weights, iteration, snapshot(missing))

    def rewind(self, iteration: int, state: dict) -> None:
        self._submit(self._write_state, iteration, snapshot(state))
        self.wait()
        self._board.close()
        self._begin(iteration)

    def wait(self) -> None:
        self._writer.wait()


def _draw(folder: RunFolder, sample: Sample, generated: tuple[int, Tensor] | None) -> None:
    """Draw the sample as it was generated at an iteration; for None, `losses.png` and the page."""
    with _disk_errors(folder):
        if generated is None:
            loss_curves(folder.path / "losses.png", folder.losses, tuple(BEST_BY))
            gallery(folder.path, with_products=False)
        else:
            sample.draw(folder.samples, *generated)


def _weights_of(training: dict) -> dict[str, dict]:
    """The weights of each network of a training's state, as in the files of `Model/`."""
    weights = {"G": training["generator"], "D": training["discriminator"]}
    if "average" in training:
        weights["G_ema"] = {name.removeprefix("module."): value for name, value in training["average"].items()
                            if name != "n_averaged"}
    return weights


@contextlib.contextmanager
def _disk_errors(folder: RunFolder) -> Iterator[None]:
    """Errors of the disk in the words of `utils.atomic_path`, for what others write."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write in {folder.path}: {error.strerror or error}. Free some space there, and go on "
                        "with --resume; the checkpoints so far are unchanged") from error


class LossTable:
    """Keep `losses.csv`: one row per iteration, with its losses, the scores of its validation, or both.

    The file at `path`, if it is there, is taken up whole once, without rows after the iteration `keep_until`, left by a
    run that was killed, and without a last row that is not whole. Then rows are appended, which takes as long for the
    last of a run as for the first. `columns` come after `iteration`, `epoch` and `lr`; `best` is the checkpoint with
    the highest score, the first of equals.
    """

    def __init__(self, path: Path, columns: Sequence[str], keep_until: int):
        rows = _read_rows(path, keep_until) if keep_until and path.exists() else []
        self.path, self.columns = path, [*_ALWAYS, *columns]
        self.best: Best | None = None
        self.columns += [name for name in (rows[0] if rows else {}) if name and name not in self.columns]
        self._last: dict[str, str] = {}
        for row in rows:
            self._take(row)
        self._line = self._text(self._last) if rows else ""      # the last row, as it stands in the file
        self._header = self._text({name: name for name in self.columns})
        with atomic_path(path) as temporary:
            temporary.write_text(self._header + self._text(*rows), encoding="utf-8")

    def add(self, iteration: int, epoch: float, lr: float, values: dict[str, float]) -> tuple[str, str]:
        """Add values to the row of `iteration`; return it, and what it replaces at the end of the file, or ''."""
        is_new = self._last.get("iteration") != str(iteration)
        row = {"iteration": str(iteration), "epoch": f"{epoch:.4f}", "lr": f"{lr:.6g}"} if is_new else self._last
        self._take(row | {name: f"{value:.6g}" if math.isfinite(value) else "" for name, value in values.items()})
        replaced, self._line = "" if is_new else self._line, self._text(self._last)
        return self._line, replaced

    def write(self, line: str, replaced: str) -> None:
        """Append the `line` that `add` returned, in place of the one `replaced`; called from another thread."""
        with open(self.path, "ab+", buffering=0) as file:
            end = file.tell()
            file.seek(max(0, end - len(replaced.encode())))
            if replaced and file.read() == replaced.encode():
                end -= len(replaced.encode())
            text = (line if end else self._header + line).encode()      # the file may have been moved away
            file.truncate(end)
            if (file.write(text) or 0) < len(text):
                file.truncate(end)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())

    def _take(self, row: dict[str, str]) -> None:
        self._last = row
        for column, network in BEST_BY.items():
            with contextlib.suppress(KeyError, ValueError):
                score = float(row[column])
                if math.isfinite(score) and (self.best is None or score > self.best.cc_binned):
                    self.best = Best(int(row["iteration"]), network, score)

    def _text(self, *rows: dict[str, str]) -> str:
        stream = io.StringIO()
        csv.DictWriter(stream, self.columns, restval="", extrasaction="ignore", lineterminator="\n").writerows(rows)
        return stream.getvalue()


def _read_rows(path: Path, keep_until: int) -> list[dict[str, str]]:
    """The whole rows of a table up to the iteration `keep_until`."""
    try:
        text = path.read_bytes().decode()
        reader = csv.DictReader(io.StringIO(text[:text.rfind("\n") + 1], newline=""), restkey="", restval="")
        if "iteration" not in (reader.fieldnames or ()):
            raise KeyError("iteration")
        return [row for row in reader if int(row["iteration"]) <= keep_until]
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise UserError(f"cannot read {path}: it is damaged, or not the table of a run ({type(error).__name__}). "
                        "Move it away, and the run goes on with a new one") from error
