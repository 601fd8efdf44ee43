"""The table `losses.csv` of a run: one row a report, with the scores of the validation where there was one."""
from __future__ import annotations

import contextlib
import csv
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from pix2pixcc.utils import UserError, atomic_path

_ALWAYS = ("iteration", "epoch", "lr")


class LossTable:
    """The rows in memory; written whole, so that the file is never half a table.

    Parameters
    ----------
    path : path
        The file, read if it is there.
    columns : sequence of str
        After `iteration`, `epoch` and `lr`.
    keep_until : int
        Rows of later iterations, left by a run that was killed, are dropped.

    Raises
    ------
    UserError
        The file cannot be read.
    """

    def __init__(self, path: Path, columns: Sequence[str], keep_until: int = 0):
        self.path = path
        self.columns = [*_ALWAYS, *columns]
        self._rows: list[dict[str, str]] = []
        if not keep_until or not path.exists():
            return
        try:
            with open(path, newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file, restkey="", restval="")
                if "iteration" not in (reader.fieldnames or ()):
                    raise KeyError("iteration")
                self._rows = [row for row in reader if int(row["iteration"]) <= keep_until]
        except (OSError, ValueError, KeyError, csv.Error) as error:
            raise UserError(f"cannot read {path}: it is damaged, or not the table of a run ({type(error).__name__}). Move it away, "
                            "and the run goes on with a new one") from error
        self.columns += [name for name in (self._rows[0] if self._rows else {}) if name and name not in self.columns]

    def add(self, iteration: int, epoch: float, lr: float, values: dict[str, float]) -> None:
        """Add values at `iteration`; a second call for the same iteration fills the same row."""
        if not self._rows or self._rows[-1]["iteration"] != str(iteration):
            self._rows.append({"iteration": str(iteration), "epoch": f"{epoch:.4f}", "lr": f"{lr:.6g}"})
        self._rows[-1].update({name: f"{value:.6g}" if math.isfinite(value) else "" for name, value in values.items()})

    def scores(self, column: str) -> Iterator[tuple[int, float]]:
        """The iterations where `column` has a number, and that number."""
        for row in self._rows:
            with contextlib.suppress(KeyError, ValueError):
                if math.isfinite(score := float(row[column])):
                    yield int(row["iteration"]), score

    def text(self) -> str:
        stream = io.StringIO()
        writer = csv.DictWriter(stream, self.columns, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        return stream.getvalue()

    def write(self, text: str) -> None:
        """Write what `text` gave at some time; called from another thread."""
        with atomic_path(self.path) as temporary:
            temporary.write_text(text, encoding="utf-8")
