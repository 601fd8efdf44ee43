"""Loss curves: losses by term, validation metrics and learning rate on one page, from a run's `losses.csv`."""
from __future__ import annotations

import csv
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pix2pixcc.utils import UserError, atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NOT_DRAWN = ("epoch", "time", "second", "rate", "speed", "eta", "memory", "images", "step")
BEST_BY = ("val_cc_binned", "ema_cc_binned")      # what chooses the best checkpoint
MOST_MARKED, MOST_POINTS = 200, 4000              # a longer curve is smoothed; a still longer one thinned


def read_columns(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The numeric columns of a CSV file, by name; empty and unreadable cells are NaN.

    Raises
    ------
    UserError
        The file cannot be read.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    names = [name for name in (rows[0] if rows else {}) if name]
    columns = {name: np.array([_number(row.get(name)) for row in rows]) for name in names}
    return {name: values for name, values in columns.items() if np.isfinite(values).any()}


def _number(cell: str | None) -> float:
    try:
        return float(cell or "nan")
    except (TypeError, ValueError):
        return math.nan


def _panel_of(name: str, values: np.ndarray) -> str | None:
    """On which panel a column is drawn."""
    low = name.lower()
    if low == "iteration":
        return None
    if low.startswith(("lr", "learning")):
        return "learning rate"
    if low.startswith(("val", "ema")):
        return "validation" if np.nanmax(np.abs(values)) <= 1.5 else "validation, data units"
    if low.startswith("loss"):
        return "losses"
    return None if low.startswith(NOT_DRAWN) else "terms"


def loss_curves(path: str | os.PathLike, csv_path: str | os.PathLike) -> None:
    """Draw losses by term, validation metrics and learning rate, each against the iteration.

    Parameters
    ----------
    path : path
        The picture to write.
    csv_path : path
        `losses.csv` with a column `iteration`; a `validation.csv` beside it is drawn as well. Columns go to panels by their names:
        `loss...`, `lr`, `val...` and `ema...`; all others but times and counts are the losses' terms.
    """
    from matplotlib.figure import Figure

    panels: dict[str, list[tuple[str, np.ndarray, np.ndarray]]] = {"losses": [], "terms": []}
    tables = [read_columns(csv_path)]
    beside = Path(csv_path).with_name("validation.csv")
    if beside.exists():
        tables.append({name if name == "iteration" else f"val_{name.removeprefix('val_')}": values
                       for name, values in read_columns(beside).items()})
    for table in tables:
        iteration = table.get("iteration", np.arange(len(next(iter(table.values()), []))))
        for name, values in table.items():
            if panel := _panel_of(name, values):
                panels.setdefault(panel, []).append((name, iteration, values))
    order = [name for name in ("losses", "terms", "validation", "validation, data units", "learning rate") if panels.get(name)]
    rows = max(math.ceil(len(order) / 3), 1)
    figure = Figure(figsize=(15, 3.6 * rows), dpi=110, layout="constrained")
    for k, name in enumerate(order):
        _draw(figure.add_subplot(rows, 3, k + 1), name, panels[name])
    with atomic_path(path) as temporary:
        figure.savefig(temporary)


def _draw(axes: Axes, panel: str, curves: list[tuple[str, np.ndarray, np.ndarray]]) -> None:
    """One panel: long noisy curves faint, with their running mean over them; of validation scores, the best marked."""
    colours: dict[str, str] = {}
    for name, iteration, values in curves:
        score = re.sub(r"^(val|ema)_", "", name)
        colour = colours.setdefault(score, f"C{len(colours) % 10}")
        style, words = ("--", f"{score} (ema)") if name.startswith("ema") else ("-", score)
        known = np.isfinite(values) & np.isfinite(iteration)
        x, y = iteration[known], values[known]
        if len(x) > MOST_MARKED and panel != "learning rate":
            every = math.ceil(len(x) / MOST_POINTS)
            axes.plot(x[::every], y[::every], color=colour, linewidth=0.5, alpha=0.25)
            width = max(len(x) // 50, 5)
            x = x[width // 2:][:len(x) - width + 1][::every]
            y = np.convolve(y, np.ones(width) / width, "valid")[::every]
        axes.plot(x, y, style, color=colour, marker="o" if len(x) < 30 else "", markersize=3, linewidth=1.3, label=words)
    _mark_best(axes, curves)
    axes.set_title(panel, fontsize=10, loc="left", pad=14 if panel == "learning rate" else 6)
    axes.set_xlabel("iteration (images seen)", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 5))
    axes.grid(linewidth=0.4, alpha=0.5)
    axes.margins(x=0.02)
    axes.legend(fontsize=8, frameon=False, ncols=2)


def _mark_best(axes: Axes, curves: list[tuple[str, np.ndarray, np.ndarray]]) -> None:
    """A star on the best checkpoint, the one of the highest binned correlation."""
    scores = [(value, x) for name, iteration, values in curves if name in BEST_BY
              for x, value in zip(iteration, values, strict=True) if math.isfinite(value)]
    if scores:
        value, x = max(scores)
        axes.plot(x, value, "*", color="black", markersize=9, label=f"best: {value:.3f} at {x:.0f}")
