"""Loss curves: losses by term, validation metrics and learning rate on one page, from a run's `losses.csv`."""
from __future__ import annotations

import csv
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from utils import UserError, atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["loss_curves", "read_columns"]

NOT_DRAWN = ("epoch", "time", "second", "rate", "speed", "eta", "memory", "images", "step")
MOST_POINTS = 4000


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
    figure = Figure(figsize=(11, 3.1 * math.ceil(max(len(order), 1) / 2)), dpi=110, layout="constrained")
    for axes, name in zip(figure.subplots(math.ceil(max(len(order), 1) / 2), 2, squeeze=False).flat, order, strict=False):
        _draw(axes, name, panels[name])
    for axes in figure.axes[len(order):]:
        axes.set_axis_off()
    with atomic_path(path) as temporary:
        figure.savefig(temporary)


def _draw(axes: Axes, panel: str, curves: list[tuple[str, np.ndarray, np.ndarray]]) -> None:
    """One panel: long noisy curves faint, with their running mean over them."""
    for k, (name, iteration, values) in enumerate(curves):
        known = np.isfinite(values) & np.isfinite(iteration)
        x, y, colour = iteration[known], values[known], f"C{k % 10}"
        marker = "o" if len(x) < 30 else ""
        style = "--" if "ema" in name.lower() else "-"
        if len(x) <= 200 or panel == "learning rate":
            axes.plot(x, y, style, color=colour, marker=marker, markersize=3, linewidth=1.2, label=name)
            continue
        every = math.ceil(len(x) / MOST_POINTS)
        axes.plot(x[::every], y[::every], color=colour, linewidth=0.5, alpha=0.25)
        width = max(len(x) // 50, 5)
        smooth = np.convolve(y, np.ones(width) / width, "valid")
        axes.plot(x[width // 2:width // 2 + len(smooth)][::every], smooth[::every], style, color=colour, linewidth=1.4, label=name)
    drawn = np.concatenate([values[np.isfinite(values)] for _, _, values in curves])
    if panel in ("losses", "terms") and drawn.size and drawn.min() > 0 and drawn.max() > 20 * np.median(drawn):
        axes.set_yscale("log")
    axes.set_title(panel, fontsize=10, loc="left")
    axes.set_xlabel("iteration (images seen)", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(linewidth=0.4, alpha=0.5)
    axes.margins(x=0.02)
    axes.legend(fontsize=8, frameon=False, ncols=2)
