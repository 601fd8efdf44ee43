"""The story of a product on one page: what the spacecraft saw, what the model made of it, and where everyone stood."""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from pix2pixcc.images.cubes import Channel
from pix2pixcc.solar.geometry import AU_METRES
from pix2pixcc.utils import UserError
from pix2pixcc.visuals.panels import GRID_COLOUR, polar_axes, rows_of_panels
from pix2pixcc.visuals.sheets import product_rows, save_figure
from pix2pixcc.visuals.view import View, place, signed, spacecraft_name

if TYPE_CHECKING:
    from astropy.io import fits
    from matplotlib.projections.polar import PolarAxes

COLOURS = {"Earth": "#2e8b57", "STEREO-A": "#c8102e", "STEREO-B": "#1f5fbf"}
STEREO_B_LOST = 2014                 # the last year of its observations
Places = Mapping[str, tuple[float, float]]     # Stonyhurst longitude (degrees) and distance (au) by name


def story(path: str | os.PathLike, magnetogram: Any, header: fits.Header, *, euv: Any = None,
          channels: Sequence[Channel] | None = None, truth: Any = None, unit: str | None = None,
          spacecraft: Places | None = None) -> None:
    """Draw the images of `preview` and, beside them, where the spacecraft stood around the Sun.

    `spacecraft` gives Stonyhurst longitude (degrees) and distance (au) of other spacecraft by name. STEREO spacecraft
    that it does not name are drawn hollow, where their mean orbits put them.

    Raises
    ------
    UserError
        The header does not say where the observer was, or when.
    """
    view = View.of_header(header)
    if view is None or not header.get("DATE-OBS"):
        raise UserError(f"{path}: the story needs HGLN_OBS, HGLT_OBS, DSUN_OBS, DATE-OBS and helioprojective axes in "
                        "the header; draw a preview instead")
    rows = product_rows(magnetogram, header, euv=euv, channels=channels, truth=truth, unit=unit, room=3)
    figure = rows_of_panels(rows, view, place(header, channels), north_up=True, numbered=True, blank=1)
    axes, observer = polar_axes(figure, len(rows[-1])), spacecraft_name(header, channels)
    time = datetime.fromisoformat(str(header["DATE-OBS"]))
    told, computed = _places(view, observer, time, spacecraft or {})
    _draw_orbits(axes, view, observer, told, computed)
    save_figure(figure, path)


def _places(view: View, observer: str, time: datetime, known: Places) -> tuple[Places, Places]:
    """Return the places as told, and as computed from mean orbits."""
    from pix2pixcc.solar.orbits import observer_at
    told = {"Earth": (0.0, observer_at("SDO", time).distance), **known,
            observer: (view.longitude, view.distance / AU_METRES)}
    computed = {}
    for name in ("STEREO-A", "STEREO-B"):
        if name not in told and not (name == "STEREO-B" and time.year > STEREO_B_LOST):
            there = observer_at(name, time)
            computed[name] = there.longitude, there.distance
    return told, computed


def _draw_orbits(axes: PolarAxes, view: View, observer: str, told: Places, computed: Places) -> None:
    """Draw the Sun from solar north, Earth below, with the spacecraft and the hemisphere that the observer saw."""
    axes.set_theta_zero_location("S")
    axes.bar(np.radians(view.longitude), 1.0, width=np.pi, color=GRID_COLOUR, alpha=0.18, linewidth=0)
    axes.plot(0, 0, "o", color="#f5b800", markersize=14)
    places = {**told, **computed}
    for name, (longitude, distance) in places.items():
        angle, colour = np.radians(longitude), COLOURS.get(name, "black")
        axes.plot(angle, distance, "o", color=colour, markersize=7, fillstyle="none" if name in computed else "full")
        is_beside = 45 < abs(longitude) < 135          # there a name is written inwards
        above = abs(longitude) < 90 and name != "Earth"
        aside = "left" if (longitude > 0) != is_beside else "right"
        axes.annotate(name, (angle, distance), (0, 6 if above else -6), textcoords="offset points", color=colour,
                      fontsize=8, ha="center" if name == "Earth" else aside, va="bottom" if above else "top")
    axes.set(ylim=(0, 1.35), yticks=[0.5, 1.0], yticklabels=["0.5", "1 au"])
    # The distances are written where no spacecraft stands.
    taken = np.array([longitude for longitude, _ in places.values()])
    free = max(np.arange(22.5, 360, 45), key=lambda angle: np.abs((angle - taken + 180) % 360 - 180).min())
    axes.set_rlabel_position(free)
    axes.set_thetagrids(range(0, 360, 45), [signed(longitude) for longitude in (0, 45, 90, 135, 180, -135, -90, -45)])
    axes.tick_params(labelsize=7, pad=0)
    axes.grid(linewidth=0.4, alpha=0.6)
    axes.set_title(f"seen from solar north\nshaded: the half facing {observer or 'the observer'}", fontsize=9,
                   linespacing=1.25, pad=8)
    if computed:
        axes.text(0.5, -0.17, "hollow: placed by its mean orbit", fontsize=7, ha="center", transform=axes.transAxes)
