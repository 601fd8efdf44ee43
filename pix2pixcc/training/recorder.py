"""What a training run writes while it runs: losses, sample pictures, checkpoints, curves and the gallery page.

Only the first rank has a recorder. Files are written by one background thread, in order, so that saving never stalls training.
A checkpoint is the state to resume from, then the weights that follow from it: a run killed in between makes up for it.
"""
from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from types import TracebackType

import torch
from torch.utils.tensorboard import SummaryWriter

from pix2pixcc.parallel.background import BackgroundWriter
from pix2pixcc.training.checkpoints import save_tensors, snapshot
from pix2pixcc.training.folder import Best, RunFolder
from pix2pixcc.training.loss_table import LossTable
from pix2pixcc.training.record import RunRecord
from pix2pixcc.training.validation import Sample
from pix2pixcc.utils import UserError, write_json
from pix2pixcc.visuals.curves import loss_curves
from pix2pixcc.visuals.gallery import gallery

BEST_BY = {"val_cc_binned": "G", "ema_cc_binned": "G_ema"}      # the columns that choose the best checkpoint, and of which network
DRAW_EVERY = 20.0                                               # seconds at least between two drawings of the curves and the page


class Recorder:
    """Writes into a run's folder; a context manager that ends when all is written.

    Parameters
    ----------
    folder : RunFolder
        Locked by this process.
    record : RunRecord
        Written to `options.json` and into every training state.
    columns : sequence of str
        Of `losses.csv`.
    sample : Sample
        The pair to draw.
    start : int
        The iteration that the run goes on from; later rows of an earlier attempt are dropped.
    keep_last : int
        How many training states to keep.
    """

    def __init__(self, folder: RunFolder, record: RunRecord, columns: list[str], sample: Sample, *, start: int, keep_last: int):
        self._folder, self._record, self.sample, self._keep_last = folder, record, sample, keep_last
        self._columns = columns
        self._drawn = time.monotonic()
        folder.remove_leftovers()
        self._begin(start)
        write_json(folder.options, record.content)
        self._writer = BackgroundWriter()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is None:
                self._draw()
                self._submit(self._board.close)
            else:
                with contextlib.suppress(OSError):
                    self._board.close()
        finally:
            self._writer.__exit__(kind, error, trace)

    def _begin(self, iteration: int) -> None:
        """Take up the records until `iteration`, without what came after it."""
        self._table = LossTable(self._folder.losses, self._columns, iteration)
        self._folder.set_best(_best_of(self._table))
        with _disk_errors(self._folder):
            self._board = SummaryWriter(self._folder.board, purge_step=iteration + 1)

    def rewind(self, iteration: int) -> None:
        """Forget what was recorded after `iteration`."""
        self.wait()
        self._board.close()
        self._begin(iteration)

    def _submit(self, job: Callable, *arguments: object) -> None:
        self._writer.submit(self._do, job, *arguments)

    def _do(self, job: Callable, *arguments: object) -> None:
        """Do a job unless the folder has been lost: it would be made anew."""
        self._folder.lock.check()
        with _disk_errors(self._folder):
            job(*arguments)

    def report(self, iteration: int, epoch: float, lr: float, losses: dict[str, float]) -> None:
        self._table.add(iteration, epoch, lr, losses)
        self._submit(self._table.write, self._table.text())
        self._submit(self._add_scalars, iteration, {f"loss/{name}": value for name, value in losses.items()} | {"learning rate": lr})

    def _add_scalars(self, iteration: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._board.add_scalar(name, value, iteration)

    def display(self, iteration: int, generated: torch.Tensor) -> None:
        self._submit(self.sample.draw, self._folder.samples, iteration, generated.cpu())

    def draw(self) -> None:
        """Draw `losses.png` and the page, unless that was a moment ago: it takes most of a second. At the end they are drawn anyway."""
        if time.monotonic() - self._drawn > DRAW_EVERY:
            self._draw()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        self._submit(self._table.write, self._table.text())
        self._submit(loss_curves, self._folder.path / "losses.png", self._folder.losses, tuple(BEST_BY))
        self._submit(gallery, self._folder.path)

    def save(self, iteration: int, epoch: float, lr: float, state: dict, scores: dict[str, float]) -> None:
        """Write the checkpoint of `iteration`."""
        if scores:
            self._table.add(iteration, epoch, lr, scores)
            self._submit(self._add_scalars, iteration, {f"validation/{name}": value for name, value in scores.items()})
        self._submit(self._write_checkpoint, iteration, snapshot(state), self._table.text(), _best_of(self._table))
        self.draw()

    def _write_checkpoint(self, iteration: int, state: dict, losses: str, best: Best | None) -> None:
        """The state comes before all that a restart can make from it: weights, and the best from the table."""
        self._table.write(losses)
        self._write_state(iteration, state)
        self._write_weights(iteration, state["training"])
        self._folder.set_best(best)
        self._folder.prune_states(iteration, self._keep_last)

    def save_state(self, iteration: int, state: dict) -> None:
        """Write only the state to resume from."""
        self._submit(self._write_state, iteration, snapshot(state))

    def _write_state(self, iteration: int, state: dict) -> None:
        save_tensors(self._folder.state(iteration), state | {"record": self._record.content, "iteration": iteration})

    def complete(self, iteration: int, training: dict) -> None:
        """Write the weights of the state at `iteration` that a killed run did not come to write."""
        self._submit(self._write_weights, iteration, snapshot(training), True)

    def _write_weights(self, iteration: int, training: dict, only_missing: bool = False) -> None:
        networks = {"G": training["generator"], "D": training["discriminator"]}
        if "average" in training:
            networks["G_ema"] = {name.removeprefix("module."): value for name, value in training["average"].items() if name != "n_averaged"}
        written = self._folder.state(iteration).stat().st_mtime_ns
        for network, weights in networks.items():
            path = self._folder.weights(iteration, network)
            if not (only_missing and path.is_file() and path.stat().st_mtime_ns >= written):
                self._do(save_tensors, path, weights)

    def wait(self) -> None:
        """Return when everything so far is written."""
        self._writer.wait()


def _best_of(table: LossTable) -> Best | None:
    """The checkpoint with the highest score, the first of equals."""
    candidates = sorted((iteration, network, score) for column, network in BEST_BY.items() for iteration, score in table.scores(column))
    return max((Best(*candidate) for candidate in candidates), key=lambda best: best.cc_binned, default=None)


@contextlib.contextmanager
def _disk_errors(folder: RunFolder) -> Iterator[None]:
    """Errors of the disk in the words of `utils.atomic_path`, for what others write."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write in {folder.path}: {error.strerror or error}. Free some space there, and go on with --resume; "
                        "the checkpoints so far are unchanged") from error
