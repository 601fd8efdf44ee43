"""When a run does what: the learning rate of each epoch, and the iterations at which it reports, displays and saves."""
from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Due(NamedTuple):
    """What a step has made due; with `epoch` it was the last one of an epoch."""

    report: bool
    display: bool
    save: bool
    epoch: bool

    @property
    def asks_for_networks(self) -> bool:
        """Whether the networks are looked at or kept."""
        return self.report or self.display or self.save


@dataclass(frozen=True)
class Schedule:
    """Say when a run reports, displays and saves: when the count of images passes a multiple, whatever the batch size.

    `epoch` is the number of images in the data set, `end` the iteration of the end, where a run is always saved.
    """

    report: int
    display: int
    save: int
    epoch: int
    end: int

    def passed(self, before: int, now: int, *, stopping: bool) -> Due:
        """Return what is due after the step from iteration `before` to `now`; what is `stopping` is saved first."""
        report, display, save, epoch = (now // every > before // every
                                        for every in (self.report, self.display, self.save, self.epoch))
        return Due(report, display, save or stopping or now >= self.end, epoch)


def learning_rate(lr: float, epoch: int, n_epochs: int, epoch_decay: int | None) -> float:
    """Return the rate in `epoch`, counted from 0: `lr` for `epoch_decay` epochs, then linearly to 0 after the last."""
    if epoch_decay is None or epoch < epoch_decay:
        return lr
    return lr * max(0.0, (n_epochs - epoch) / max(1, n_epochs - epoch_decay))
