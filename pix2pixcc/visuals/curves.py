"""Loss curves: losses by term, validation metrics and learning rate on one page, from a run's `losses.csv`."""
from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from pix2pixcc.utils import UserError, atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = ("losses", "terms", "validation", "validation, data units", "learning rate")
MOST_MARKED, MOST_POINTS = 200, 4000              # a longer curve is smoothed; a still longer one thinned


def read_columns(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read the numeric columns of a CSV file, by name; empty and unreadable cells are NaN."""
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
    """Return the panel on which a column is drawn."""
    if name in ("iteration", "epoch"):
        return None
    if name == "lr":
        return "learning rate"
    if name.startswith(("val_", "ema_")):
        return "validation" if np.nanmax(np.abs(values)) <= 1.5 else "validation, data units"
    return "losses" if name.startswith("loss_") else "terms"


def loss_curves(path: str | os.PathLike, csv_path: str | os.PathLike, best_by: Collection[str]) -> None:
    """Draw losses by term, validation metrics and learning rate of `losses.csv`, each against the iteration.

    Columns go to panels by their names: `loss_...`, `val_...` and `ema_...`, `lr`; all but `epoch` that remain are the
    losses' terms. A star marks the highest value in the columns `best_by`, that of the best checkpoint.

    Raises
    ------
    UserError
        The table cannot be read, or has no column `iteration`.
    """
    from matplotlib.figure import Figure
    panels: dict[str, dict[str, np.ndarray]] = {name: {} for name in PANELS}
    columns = read_columns(csv_path)
    if columns and "iteration" not in columns:
        raise UserError(f"cannot draw {csv_path}: it has no column `iteration`")
    for name, values in columns.items():
        if panel := _panel_of(name, values):
            panels[panel][name] = values
    drawn = [name for name in PANELS if panels[name]]
    rows = max(math.ceil(len(drawn) / 3), 1)
    figure = Figure(figsize=(15, 3.6 * rows), dpi=110, layout="constrained")
    for k, name in enumerate(drawn):
        _draw(figure.add_subplot(rows, 3, k + 1), name, columns["iteration"], panels[name], best_by)
    with atomic_path(path) as temporary:
        figure.savefig(temporary)


def _draw(axes: Axes, panel: str, iteration: np.ndarray, curves: dict[str, np.ndarray],
          best_by: Collection[str]) -> None:
    """Draw one panel: long noisy curves faint, with their running mean over them, and a star on the best checkpoint."""
    colours: dict[str, str] = {}
    for name, values in curves.items():
        score = re.sub(r"^(val|ema)_", "", name)
        colour = colours.setdefault(score, f"C{len(colours) % 10}")
        style, words = ("--", f"{score} (ema)") if name.startswith("ema_") else ("-", score)
        known = np.isfinite(values) & np.isfinite(iteration)
        x, y = iteration[known], values[known]
        if len(x) > MOST_MARKED and panel != "learning rate":
            every = math.ceil(len(x) / MOST_POINTS)
            axes.plot(x[::every], y[::every], color=colour, linewidth=0.5, alpha=0.25)
            width = max(len(x) // 50, 5)
            x = x[width // 2:][:len(x) - width + 1][::every]
            y = np.convolve(y, np.ones(width) / width, "valid")[::every]
        marker = "o" if len(x) < 30 else ""
        axes.plot(x, y, style, color=colour, marker=marker, markersize=3, linewidth=1.3, label=words)
    scores = [(value, x) for name, values in curves.items() if name in best_by
              for x, value in zip(iteration, values, strict=True) if math.isfinite(value)]
    if scores:
        value, x = max(scores)
        axes.plot(x, value, "*", color="black", markersize=9, label=f"best: {value:.3f} at {x:.0f}")
    axes.set_title(panel, fontsize=10, loc="left", pad=14 if panel == "learning rate" else 6)
    axes.set_xlabel("iteration (images seen)", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 5))
    axes.grid(linewidth=0.4, alpha=0.5)
    axes.margins(x=0.02)
    axes.legend(fontsize=8, frameon=False, ncols=2)
