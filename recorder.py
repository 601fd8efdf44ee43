"""What a training run writes while it runs: losses, sample pictures, checkpoints, curves and the gallery page.

Only the first rank has a recorder. Files are written by one background thread, in order, so that saving never stalls training.
"""
from __future__ import annotations

from contextlib import ExitStack

import torch
from torch.utils.tensorboard import SummaryWriter

from checkpoints import BackgroundWriter, RunFolder, save_tensors, snapshot
from curves import loss_curves
from gallery import gallery
from runs import LossTable
from utils import read_json, write_json
from validation import Sample

__all__ = ["Recorder"]


class Recorder:
    """Writes into a run's folder; a context manager that ends when all is written.

    Parameters
    ----------
    folder : RunFolder
    record : dict
        Of `runs.options_record`.
    columns : sequence of str
        Of `losses.csv`.
    sample : Sample
        The pair to draw.
    start : int
        The iteration that the run goes on from; later rows of an earlier attempt are dropped.
    keep_last : int
        How many training states to keep.
    """

    def __init__(self, folder: RunFolder, record: dict, columns: list[str], sample: Sample, *, start: int, keep_last: int):
        self._folder, self._record, self.sample, self._keep_last = folder, record, sample, keep_last
        self._columns = columns
        self._stack = ExitStack()
        folder.remove_leftovers()
        write_json(folder.options, record)
        self._writer = self._stack.enter_context(BackgroundWriter())
        self.rewind(start)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self._board.close()
        self._stack.close()

    def rewind(self, iteration: int) -> None:
        """Forget what was recorded after `iteration`."""
        self._table = LossTable(self._folder.losses, self._columns, iteration)
        self._board = SummaryWriter(self._folder.path / "tensorboard", purge_step=iteration + 1)

    def report(self, iteration: int, epoch: float, lr: float, losses: dict[str, float]) -> None:
        self._table.add(iteration, epoch, lr, losses)
        for name, value in losses.items():
            self._board.add_scalar(f"loss/{name}", value, iteration)
        self._board.add_scalar("learning rate", lr, iteration)
        self._writer.submit(self._table.write, self._folder.losses, self._table.text())

    def display(self, iteration: int, generated: torch.Tensor) -> None:
        self._writer.submit(self.sample.draw, self._folder.samples, iteration, generated.cpu())

    def curves(self) -> None:
        """Draw `losses.png` and the gallery page."""
        self._writer.submit(self._draw_curves, self._table.text())

    def save(self, iteration: int, epoch: float, lr: float, state: dict, scores: dict[str, float]) -> None:
        """Write the checkpoint of `iteration`: weights, then the state to resume from."""
        if scores:
            self._table.add(iteration, epoch, lr, scores)
            for name, value in scores.items():
                self._board.add_scalar(f"validation/{name}", value, iteration)
        self._writer.submit(self._write_checkpoint, iteration, snapshot(state), self._table.text(), scores)
        self.curves()

    def _write_checkpoint(self, iteration: int, state: dict, losses: str, scores: dict[str, float]) -> None:
        folder, training = self._folder, state["training"]
        self._table.write(folder.losses, losses)
        save_tensors(folder.weights(iteration, "G"), training["generator"])
        save_tensors(folder.weights(iteration, "D"), training["discriminator"])
        if "average" in training:
            average = {name.removeprefix("module."): value for name, value in training["average"].items() if name != "n_averaged"}
            save_tensors(folder.weights(iteration, "G_ema"), average)
        self._write_state(iteration, state)
        for network, name in (("G", "val_cc_binned"), ("G_ema", "ema_cc_binned")):
            if scores.get(name, float("nan")) > self._best_score():
                write_json(folder.best_file, {"iteration": iteration, "network": network, "cc_binned": scores[name]})
        folder.prune_states(self._keep_last)

    def save_state(self, iteration: int, state: dict) -> None:
        """Write only the state to resume from."""
        self._writer.submit(self._write_state, iteration, snapshot(state))

    def _write_state(self, iteration: int, state: dict) -> None:
        save_tensors(self._folder.state(iteration), state | {"record": self._record, "iteration": iteration})

    def wait(self) -> None:
        """Return when everything so far is written."""
        self._writer.wait()

    def _best_score(self) -> float:
        return read_json(self._folder.best_file).get("cc_binned", -2.0) if self._folder.best_file.is_file() else -2.0

    def _draw_curves(self, losses: str) -> None:
        self._table.write(self._folder.losses, losses)
        loss_curves(self._folder.path / "losses.png", self._folder.losses)
        gallery(self._folder.path)
