"""Panels: one image with its colours, colour bar, limb and grid, and rows of them under one title."""
from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pix2pixcc.images.cubes import Channel
from pix2pixcc.visuals.view import View, graticule, limb, project, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.projections.polar import PolarAxes

GRID_COLOUR = "#ffb000"              # on grey: white lines are lost among white polarities
EUV_GAMMA = 0.3                      # between SunPy's own stretches of AIA and EUVI
EUV_TICKS = (3, 10, 30, 100, 300, 1000, 3000, 10000)
SIDE, APART, LEFT, RIGHT, BELOW, ABOVE, HEAD = 2.7, 0.76, 0.68, 0.68, 0.45, 0.45, 0.32     # inches, around the panels
LINE, CHARACTERS_PER_INCH = 0.19, 11.5                                                     # of the title


@dataclass(frozen=True)
class Panel:
    """One image `(H, W)` and how it is shown."""

    image: np.ndarray
    title: str
    colormap: str = "gray"
    limits: tuple[float, float] = (-1.0, 1.0)
    gamma: float = 1.0
    unit: str = ""
    elsewhere: bool = False          # seen from another place than the header's observer: no grid

    def colours(self) -> Colormap:
        """Return the colour map, black where there is no data."""
        import matplotlib
        from sunpy.visualization.colormaps import cmlist
        colours = cmlist[self.colormap] if self.colormap in cmlist else matplotlib.colormaps[self.colormap]
        return colours.with_extremes(bad="black")


def channel_panel(image: np.ndarray, title: str, channel: Channel | None, *, gauss: float, colormap: str,
                  elsewhere: bool = False) -> Panel:
    """Return a channel as it is shown: a magnetogram in gauss, a passband in its colours, anything else in grey.

    Magnetograms are shown in `colormap` at plus and minus `gauss`. `elsewhere` is as in `Panel`.
    """
    if channel is not None and channel.is_magnetogram:
        return Panel(image, title, colormap, (-gauss, gauss), unit="G", elsewhere=elsewhere)
    finite = image[np.isfinite(image)]
    passband = re.search(r"(AIA|EUVI)\S* (\d+)$", channel.name) if channel is not None else None
    if passband:
        disk = finite[finite > 0]
        upper = max(float(np.percentile(disk, 99.7)), 1.0) if disk.size else 1.0
        name = ("sdoaia" if passband[1] == "AIA" else "euvi") + passband[2]
        return Panel(image, title, name, (0.0, upper), EUV_GAMMA, "disk median = 100", elsewhere)
    lower, upper = map(float, np.percentile(finite, (0.5, 99.5))) if finite.size else (0.0, 1.0)
    return Panel(image, title, limits=(lower, upper if upper > lower else lower + 1))


def difference_panel(generated: np.ndarray, real: np.ndarray, shown: Panel) -> Panel:
    """Return the difference of two images that are shown as the panel `shown`."""
    width = shown.limits[1] if shown.limits[0] < 0 else shown.limits[1] - shown.limits[0]
    width = width / 5 if shown.colormap == "hmimag" else width
    with np.errstate(invalid="ignore"):           # infinite minus infinite, when a generator has diverged
        difference = generated - real
    return Panel(difference, "generated \N{MINUS SIGN} real", "RdBu_r", (-width, width), unit=shown.unit)


def rows_of_panels(rows: Sequence[Sequence[Panel]], view: View | None, title: str, *, north_up: bool,
                   numbered: bool = False, blank: int = 0) -> Figure:
    """Return a figure of rows of panels under one title, with limb, grid and arcsec where the view is known.

    `north_up` puts the first row of an image at the bottom, `numbered` writes the longitudes of the meridians on
    magnetograms, and `blank` leaves the room of so many panels in the last row.
    """
    from matplotlib.figure import Figure
    columns = max(*map(len, rows), len(rows[-1]) + blank)
    width = LEFT + columns * SIDE + (columns - 1) * APART + RIGHT
    lines = textwrap.wrap(title, int((width - LEFT) * CHARACTERS_PER_INCH))
    head = HEAD + LINE * (len(lines) - 1) if lines else 0.0
    height = head + len(rows) * (ABOVE + SIDE) + BELOW
    figure = Figure(figsize=(width, height), dpi=float(np.clip(rows[0][0].image.shape[0], 380, 512)) / SIDE)
    figure.text(LEFT / width, 1 - 0.14 / height, "\n".join(lines), fontsize=11, va="top", parse_math=False)
    for r, row in enumerate(rows):
        for c, panel in enumerate(row):
            left, bottom = LEFT + c * (SIDE + APART), height - head - (r + 1) * (ABOVE + SIDE)
            axes = figure.add_axes((left / width, bottom / height, SIDE / width, SIDE / height))
            _show(figure, axes, panel, view, north_up=north_up, numbered=numbered and panel.gamma == 1)
            is_lowest = r == len(rows) - 1 or c >= len(rows[r + 1]) + blank
            _scale_axes(axes, view, leftmost=c == 0, lowest=is_lowest)
    return figure


def polar_axes(figure: Figure, panels: int) -> PolarAxes:
    """Add axes for a plot seen from above to the last row of a figure, after so many panels."""
    from matplotlib.projections.polar import PolarAxes
    width, height = figure.get_size_inches()
    left, side = LEFT + panels * (SIDE + APART) + 0.2, 0.88 * SIDE
    axes = PolarAxes(figure, (left / width, BELOW / height, side / width, side / height))
    figure.add_axes(axes)
    return axes


def _show(figure: Figure, axes: Axes, panel: Panel, view: View | None, *, north_up: bool, numbered: bool) -> None:
    """Draw one panel with its colour bar, and limb and grid where the view is known."""
    from matplotlib.colors import PowerNorm
    from matplotlib.transforms import Affine2D
    image = panel.image if view is None else view.on_disk(panel.image)
    picture = axes.imshow(image, cmap=panel.colours(), norm=PowerNorm(panel.gamma, *panel.limits),
                          origin="lower" if north_up else "upper", interpolation_stage="data")
    axes.set_title(panel.title, fontsize=9, linespacing=1.25, y=1.0, pad=4, parse_math=False)
    if view is not None:
        picture.set_transform(Affine2D(np.vstack([view.matrix, [0, 0, 1]])) + axes.transData)
        reach = 1.06 * view.radius
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), facecolor="black")
        axes.plot(*limb(view.radius), color="white", linewidth=0.6)
        colour = GRID_COLOUR if panel.gamma == 1 else "white"
        if not panel.elsewhere:
            axes.plot(*graticule(view), color=colour, linewidth=0.4, alpha=0.6)
        if numbered:
            _number_meridians(axes, view, colour)
    _add_colour_bar(figure, axes, picture, panel)


def _number_meridians(axes: Axes, view: View, colour: str) -> None:
    """Write the Stonyhurst longitudes on the equator."""
    for longitude in range(-180, 180, 30):
        x, y = project(view, np.array([longitude]), np.zeros(1))[:, 0]
        if np.hypot(x, y) < 0.8 * view.radius:
            axes.annotate(signed(longitude), (x, y), (1.5, 1.5), textcoords="offset points", fontsize=6, color=colour)


def _add_colour_bar(figure: Figure, axes: Axes, picture: AxesImage, panel: Panel) -> None:
    left, bottom, width, height = axes.get_position().bounds
    ticks: Sequence[float] | np.ndarray | None = None
    if panel.gamma != 1:
        ticks = [0, *(value for value in EUV_TICKS if value < 0.95 * panel.limits[1])]
    elif panel.limits[0] == -panel.limits[1]:
        ticks = np.linspace(*panel.limits, 5)
    place = figure.add_axes((left + width * 1.02, bottom, width * 0.035, height))
    bar = figure.colorbar(picture, cax=place, ticks=ticks)
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=7, length=2, pad=2)
    bar.set_label(panel.unit, fontsize=8, labelpad=2.5)


def _scale_axes(axes: Axes, view: View | None, *, leftmost: bool, lowest: bool) -> None:
    """Write coordinates at the sheet's left and lower edges only."""
    from matplotlib.ticker import MaxNLocator, MultipleLocator
    for axis in (axes.xaxis, axes.yaxis):
        pixels = MaxNLocator(4, steps=[1, 2, 5, 10], integer=True)
        axis.set_major_locator(pixels if view is None else MultipleLocator(500))
    axes.tick_params(labelsize=7, length=2.5, labelleft=leftmost, labelbottom=lowest)
    x, y = ("x (pixel)", "y (pixel)") if view is None else ("solar X (arcsec)", "solar Y (arcsec)")
    axes.set_xlabel(x if lowest else "", fontsize=8, labelpad=2)
    axes.set_ylabel(y if leftmost else "", fontsize=8, labelpad=0)
