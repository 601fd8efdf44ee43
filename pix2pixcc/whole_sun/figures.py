"""One page of a whole-Sun map: who saw what of it, where its corona is open, and how both look from the observers."""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Patch
from matplotlib.patheffects import withStroke
from scipy import ndimage

from pix2pixcc.solar.instruments import SDO, spacecraft_of
from pix2pixcc.solar.orbits import earth_carrington_longitude, observer_at
from pix2pixcc.visuals.panels import GRID_COLOUR
from pix2pixcc.visuals.sheets import save_figure
from pix2pixcc.visuals.story import COLOURS
from pix2pixcc.visuals.view import signed
from pix2pixcc.whole_sun.grid import carrington_grid
from pix2pixcc.whole_sun.pfss import Corona

if TYPE_CHECKING:
    from sunpy.map import GenericMap

POSITIVE, NEGATIVE, CLOSED, OTHERS = "#b5331e", "#1f5f8b", "0.4", ("#7b3fa0", "#a0522d", "#008b8b")
NEAR_EARTH = 2.0                 # degrees: an observer nearer is drawn as the Earth
LABEL = (34.0, 0.16)             # degrees of longitude and sine of latitude that a region's label takes
DISK_PIXELS = 600
VIEWS = 3
WIDTH, LEFT, CHART, APART = 11.0, 0.72, 9.35, 0.12                # inches: page, its margin, a map, between views
HEAD, TITLE, AXIS, VIEW_TITLE, FOOT = 0.98, 0.4, 0.55, 0.38, 0.3  # inches, above and below the maps and the views


@dataclass(frozen=True)
class _Place:
    """A place from where the Sun is seen: Carrington longitude and latitude, degrees."""

    name: str
    longitude: float
    latitude: float
    colour: str

    def project(self, longitude: np.ndarray, latitude: np.ndarray, radius: np.ndarray | float) -> np.ndarray:
        """Return x to the west, y to the north and z towards the observer of places on the Sun, seen from infinity."""
        lon, lat, tilt = np.radians(longitude - self.longitude), np.radians(latitude), np.radians(self.latitude)
        x, y, z = np.cos(lat) * np.sin(lon), np.sin(lat), np.cos(lat) * np.cos(lon)
        return radius * np.array([x, y * np.cos(tilt) - z * np.sin(tilt), y * np.sin(tilt) + z * np.cos(tilt)])

    def disk(self, columns: int, left: float, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the rows and columns of a map that the pixels of a picture of the Sun see, and which see it."""
        side = (np.arange(DISK_PIXELS) + 0.5) * 2 / DISK_PIXELS - 1
        x, y = np.meshgrid(side, side)
        on_disk, tilt = x ** 2 + y ** 2 <= 1, np.radians(self.latitude)
        z = np.sqrt(np.clip(1 - x ** 2 - y ** 2, 0, None))
        longitude = self.longitude + np.degrees(np.arctan2(x, z * np.cos(tilt) - y * np.sin(tilt)))
        sine = y * np.cos(tilt) + z * np.sin(tilt)
        return (sine + 1) / 2 * rows - 0.5, (longitude - left) % 360 / 360 * columns - 0.5, on_disk


@dataclass(frozen=True)
class _Chart:
    """How a map is laid out on a page: its own longitudes, degrees, along x and the sine of latitude along y."""

    is_carrington: bool
    left: float                  # of the page, degrees
    carrington_left: float       # the same meridian's Carrington longitude
    shape: tuple[int, int]

    @classmethod
    def of_map(cls, map: GenericMap) -> _Chart:
        carrington_left = float(carrington_grid(map)[0][0]) - 180 / map.data.shape[1]
        is_carrington = map.coordinate_system.axis1.startswith("CRLN")
        return cls(is_carrington, carrington_left if is_carrington else -180.0, carrington_left, map.data.shape)

    @property
    def extent(self) -> tuple[float, float, float, float]:
        return self.left, self.left + 360, -1, 1

    def x_of(self, carrington: float) -> float:
        return self.left + (carrington - self.carrington_left) % 360

    def of_cells(self, columns: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.left + (columns + 0.5) * 360 / self.shape[1], (rows + 0.5) * 2 / self.shape[0] - 1

    def scale(self, axes: Axes, title: str, *, labelled: bool) -> None:
        """Write title and degrees; axes pi times as wide as high show cells of one area in one size."""
        latitudes = np.arange(-90, 91, 30)
        longitudes = np.arange(np.ceil(self.left / 30) * 30, self.left + 361, 30)
        axes.set(xlim=self.extent[:2], ylim=(-1, 1), xticks=longitudes, yticks=np.sin(np.radians(latitudes)),
                 xticklabels=[(f"{longitude - 360 * (longitude > 360):.0f}°" if self.is_carrington
                               else signed(longitude)) for longitude in longitudes],
                 yticklabels=["", *(signed(latitude) for latitude in latitudes[1:-1]), ""])
        axes.tick_params(labelsize=8.5, length=3, labelbottom=labelled)
        axes.set_ylabel("latitude", fontsize=9.5)
        if labelled:
            axes.set_xlabel(f"{'Carrington' if self.is_carrington else 'Stonyhurst'} longitude", fontsize=9.5)
        axes.set_title(title, fontsize=10.5, loc="left", pad=5)


def whole_sun_page(path: str | os.PathLike, map: GenericMap, layers: Mapping[str, np.ndarray],
                   corona: Corona | None = None, *, display_limit: float = 50.0) -> None:
    """Draw `whole_sun_figure` as a picture in the format of its name, atomically."""
    save_figure(whole_sun_figure(map, layers, corona, display_limit=display_limit), path)


def whole_sun_figure(map: GenericMap, layers: Mapping[str, np.ndarray], corona: Corona | None = None, *,
                     display_limit: float = 50.0) -> Figure:
    """Return the page of a map.

    It shows the map with the borders between its sources and the points below the observers, the open areas over the
    field of the source surface, and the Sun with its field lines from the Earth and from the map's other observers;
    where there are fewer than three, from behind and from the north too. Without a corona, map and views stand alone.

    Parameters
    ----------
    map : `~sunpy.map.GenericMap` (H, W)
        Radial field in gauss. Its cards SRC0, SRC1, ... name the sources; SRCLN<k> and SRCLT<k> are the Carrington
        longitude and latitude of the observer of source k, degrees, absent where a source has no observer.
    layers : mapping of str to ndarray (H, W)
        SOURCE, the index of each cell's source; without it no borders are drawn.
    corona : `Corona` of the map, optional
    display_limit : float
        Where the photospheric field saturates, gauss.
    """
    chart, places = _Chart.of_map(map), _places(map)
    maps, side = 1 if corona is None else 2, (CHART - (VIEWS - 1) * APART) / VIEWS
    height = HEAD + maps * CHART / np.pi + (maps - 1) * TITLE + AXIS + VIEW_TITLE + side + (0.7 if corona else FOOT)
    figure = Figure(figsize=(WIDTH, height), dpi=150)
    figure.text(LEFT / WIDTH, 1 - 0.2 / height, f"The whole Sun on {map.date.utc.strftime('%Y-%m-%d, %H:%M')} UT",
                fontsize=15, va="top", weight="bold")
    figure.text(LEFT / WIDTH, 1 - 0.5 / height, _caption(map, corona), fontsize=9, va="top", color="0.3")

    def place(left: float, top: float, width: float, tall: float) -> Axes:
        return figure.add_axes((left / WIDTH, 1 - (top + tall) / height, width / WIDTH, tall / height))

    top = HEAD
    _draw_map(place(LEFT, top, CHART, CHART / np.pi), chart, map, layers, places, corona, display_limit)
    if corona is not None:
        top += CHART / np.pi + TITLE
        _draw_open_areas(place(LEFT, top, CHART, CHART / np.pi), chart, corona, places)
    top += CHART / np.pi + AXIS + VIEW_TITLE
    for k, seen_from in enumerate(_views(places)):
        _draw_view(place(LEFT + k * (side + APART), top, side, side), chart, map, seen_from, corona, display_limit)
    if corona is not None:
        handles = [Line2D([], [], color=colour, lw=1.4, label=name) for name, colour in (
            ("open, away from the Sun", POSITIVE), ("open, towards the Sun", NEGATIVE),
            ("closed (light before the disk)", CLOSED))]
        figure.legend(handles=handles, loc="lower center", ncols=3, fontsize=9, frameon=False,
                      bbox_to_anchor=((LEFT + CHART / 2) / WIDTH, 0.12 / height), borderaxespad=0)
    return figure


def _caption(map: GenericMap, corona: Corona | None) -> str:
    unsigned = f"mean unsigned field {np.abs(map.data).mean():.1f} G"
    if corona is None:
        return unsigned
    strength, longitude, latitude = corona.dipole
    exponent = int(np.floor(np.log10(corona.open_flux or 1)))
    return "    ".join((
        f"open flux ${corona.open_flux / 10 ** exponent:.1f}\\times10^{{{exponent}}}$ Mx",
        f"open area {100 * (corona.open_field != 0).mean():.0f}%",
        f"dipole {strength:.2f} G, axis at Carrington longitude {longitude:.0f}°, latitude {signed(round(latitude))}",
        f"quadrupole {corona.quadrupole:.2f} G", unsigned))


def _places(map: GenericMap) -> list[_Place]:
    """Return the Earth and the map's observers who stand elsewhere."""
    time = map.date.utc.to_datetime()
    earth = _Place("Earth", earth_carrington_longitude(time), observer_at("SDO", time).latitude, COLOURS["Earth"])
    places, others = [earth], list(OTHERS)
    for k in range(_sources(map)):
        if f"srcln{k}" not in map.meta:
            continue
        longitude, latitude = (float(map.meta[f"{card}{k}"]) for card in ("srcln", "srclt"))
        name = str(map.meta[f"src{k}"])
        spacecraft = spacecraft_of(name)
        apart = np.hypot((longitude - earth.longitude + 180) % 360 - 180, latitude - earth.latitude)
        if spacecraft is SDO or apart < NEAR_EARTH:
            continue
        short = spacecraft.name if spacecraft else name.split(" (")[0]
        colour = COLOURS.get(short) or (others.pop(0) if others else "black")
        places.append(_Place(short, longitude, latitude, colour))
    return places


def _sources(map: GenericMap) -> int:
    return next(k for k in range(1000) if f"src{k}" not in map.meta)


def _views(places: Sequence[_Place]) -> list[_Place]:
    """Return the places from which the Sun is shown: the Earth and other observers, else from behind and the north."""
    earth = places[0]
    behind = _Place("behind", (earth.longitude + 180) % 360, -earth.latitude, "0.2")
    north = _Place("the north", earth.longitude, 90.0, "0.2")
    return [*places, behind, north][:VIEWS]


def _halo(width: float = 2.5) -> list[withStroke]:
    return [withStroke(linewidth=width, foreground="white", alpha=0.85)]


def _draw_map(axes: Axes, chart: _Chart, map: GenericMap, layers: Mapping[str, np.ndarray], places: Sequence[_Place],
              corona: Corona | None, limit: float) -> None:
    """Draw the photospheric field, the borders of its sources and their names, the neutral line and the observers."""
    chart.scale(axes, "Radial field of the photosphere", labelled=corona is None)
    picture = axes.imshow(map.data, cmap="gray", vmin=-limit, vmax=limit, origin="lower", extent=chart.extent,
                          aspect="auto", interpolation="nearest")
    _bar(axes, picture, "$B_r$ [G]", np.linspace(-limit, limit, 5))
    handles = []
    if "SOURCE" in layers:
        handles += _draw_sources(axes, chart, map, np.asarray(layers["SOURCE"]))
    if corona is not None:
        handles.append(_draw_neutral_line(axes, chart, corona))
    _mark(axes, chart, places)
    if handles:
        axes.legend(handles=handles, loc="lower right", bbox_to_anchor=(1, 1.0), ncols=len(handles), fontsize=8.5,
                    frameon=False, borderaxespad=0.1, handlelength=1.8, columnspacing=1.4)


def _draw_sources(axes: Axes, chart: _Chart, map: GenericMap, source: np.ndarray) -> list[Line2D]:
    """Draw the borders between sources and write each one's name into its largest free stretch."""
    rows, columns = source.shape
    edges_x, edges_y = np.linspace(*chart.extent[:2], columns + 1), np.linspace(-1, 1, rows + 1)
    upright, level = np.nonzero(source[:, 1:] != source[:, :-1]), np.nonzero(source[1:] != source[:-1])
    borders = [np.array([[edges_x[j + 1], edges_y[i]], [edges_x[j + 1], edges_y[i + 1]]])
               for i, j in zip(*upright, strict=True)]
    borders += [np.array([[edges_x[j], edges_y[i + 1]], [edges_x[j + 1], edges_y[i + 1]]])
                for i, j in zip(*level, strict=True)]
    line = np.concatenate([np.vstack([border, [[np.nan, np.nan]]]) for border in borders] or [np.zeros((0, 2))])
    axes.plot(line[:, 0], line[:, 1], color="black", lw=0.9, solid_capstyle="butt")
    unlabelled = []
    for k in np.unique(source):
        name, spot = str(map.meta.get(f"src{k}", f"source {k}")), _room(source == k, chart)
        if spot is None:
            unlabelled.append(f"{name} {100 * (source == k).mean():.1f}%")
            continue
        axes.text(*spot, name, fontsize=8.5, ha="center", va="center", color="black", path_effects=_halo())
    border = "border of the sources" + (f" (not named: {', '.join(unlabelled)})" if unlabelled else "")
    return [Line2D([], [], color="black", lw=0.9, label=border)]


def _room(mask: np.ndarray, chart: _Chart) -> tuple[float, float] | None:
    """Return where in a region (H, W) a name finds room, as far from the equator, where observers stand, as it can."""
    rows, columns = mask.shape
    high, wide = max(round(LABEL[1] * rows / 2), 1), max(round(LABEL[0] * columns / 360), 1)
    free = ndimage.minimum_filter(mask, (high, wide), mode="constant")
    sine = (np.arange(rows) + 0.5) * 2 / rows - 1
    room = free * np.exp(-(np.abs(sine) - 0.75) ** 2 / 0.05)[:, None] * (1 + 0.2 * (sine > 0))[:, None]
    best = room.max(axis=1).argmax() if free.any() else 0
    if not free[best].any():
        return None
    stretches, count = ndimage.label(free[best])
    longest = 1 + np.argmax(ndimage.sum(free[best], stretches, np.arange(1, count + 1)))
    x, y = chart.of_cells(np.flatnonzero(stretches == longest).mean(keepdims=True), np.array([float(best)]))
    return float(x[0]), float(y[0])


def _draw_neutral_line(axes: Axes, chart: _Chart, corona: Corona, colour: str = GRID_COLOUR) -> Line2D:
    for line in corona.neutral_lines():
        axes.plot(*chart.of_cells(line[:, 0], line[:, 1]), color=colour, lw=2.0, solid_capstyle="round")
    return Line2D([], [], color=colour, lw=2.0, label=f"neutral line at {corona.source_radius:g} $R_\\odot$")


def _mark(axes: Axes, chart: _Chart, places: Sequence[_Place]) -> None:
    """Mark the points below the observers."""
    for place in places:
        x, y = chart.x_of(place.longitude), np.sin(np.radians(place.latitude))
        axes.plot(x, y, "o", ms=7, mfc=place.colour, mec="white", mew=1.2, zorder=5)
        right = x - chart.left < 320
        axes.annotate(place.name, (x, y), (7 if right else -7, 0), textcoords="offset points", fontsize=8.5,
                      va="center", ha="left" if right else "right", color=place.colour, weight="bold",
                      path_effects=_halo(), zorder=5)


def _draw_open_areas(axes: Axes, chart: _Chart, corona: Corona, places: Sequence[_Place]) -> None:
    """Draw the open areas by polarity over the field of the source surface."""
    chart.scale(axes, "Open areas of the photosphere over the field of the source surface", labelled=True)
    limit = float(np.abs(corona.source_surface).max()) or 1.0
    pale = ListedColormap(_pale("RdBu_r"))
    picture = axes.imshow(corona.source_surface, cmap=pale, vmin=-limit, vmax=limit, origin="lower",
                          extent=chart.extent, aspect="auto", interpolation="bilinear")
    _bar(axes, picture, f"$B_r$ at {corona.source_radius:g} $R_\\odot$ [G]", None)
    opened = np.ma.masked_equal(corona.open_field, 0)
    axes.imshow(opened, cmap=ListedColormap([NEGATIVE, POSITIVE]), vmin=-1, vmax=1, origin="lower",
                extent=chart.extent, aspect="auto", interpolation="nearest")
    handles = [Patch(color=POSITIVE, label="open, positive"), Patch(color=NEGATIVE, label="open, negative"),
               _draw_neutral_line(axes, chart, corona)]
    _mark(axes, chart, places)
    axes.legend(handles=handles, loc="lower right", bbox_to_anchor=(1, 1.0), ncols=3, fontsize=8.5, frameon=False,
                borderaxespad=0.1, handlelength=1.4, columnspacing=1.4)


def _pale(name: str) -> np.ndarray:
    import matplotlib
    return 1 - 0.42 * (1 - matplotlib.colormaps[name](np.linspace(0.05, 0.95, 256))[:, :3])


def _bar(axes: Axes, picture: AxesImage, label: str, ticks: np.ndarray | None) -> None:
    assert axes.figure is not None
    bar = axes.figure.colorbar(picture, cax=axes.inset_axes((1.012, 0, 0.013, 1)), ticks=ticks,
                          extend="neither" if ticks is None else "both", extendfrac=0.03)
    bar.ax.tick_params(labelsize=8.5, length=2.5, pad=2)
    bar.set_label(label, fontsize=9.5, labelpad=3)


def _draw_view(axes: Axes, chart: _Chart, map: GenericMap, place: _Place, corona: Corona | None, limit: float) -> None:
    """Draw the Sun as it looks from a place, with its field lines but for what the Sun hides."""
    rows, columns, on_disk = place.disk(chart.shape[1], chart.carrington_left, chart.shape[0])
    wrapped = np.pad(map.data, ((1, 1), (1, 1)), mode="wrap")
    wrapped[[0, -1]] = wrapped[[1, -2]]
    field = ndimage.map_coordinates(wrapped, [rows + 1, columns + 1], order=1)
    axes.imshow(np.where(on_disk, field, np.nan), cmap="gray", vmin=-limit, vmax=limit, origin="lower",
                extent=(-1, 1, -1, 1), interpolation="antialiased", zorder=2)
    axes.add_patch(Circle((0, 0), 1, fill=False, lw=0.7, color="0.15", zorder=2.5))
    reach = 1.08
    if corona is not None:
        reach = 1.02 * corona.source_radius
        axes.add_patch(Circle((0, 0), corona.source_radius, fill=False, lw=0.7, ls=(0, (2, 3)), color="0.5"))
        for polarity, colour, width in ((0, CLOSED, 0.5), (1, POSITIVE, 0.75), (-1, NEGATIVE, 0.75)):
            lines = [place.project(line.longitude, line.latitude, line.radius) for line in corona.lines
                     if line.polarity == polarity]
            if not lines:
                continue
            gap = np.full((3, 1), np.nan)
            x, y, z = np.hstack([part for line in lines for part in (line, gap)])
            beside = np.hypot(x, y) >= 1
            before = "0.92" if polarity == 0 else colour              # grey is lost before the grey disk
            for shown, shade, alpha, order in (((z < 0) & beside, colour, 0.35, 1.0),
                                               ((z >= 0) & beside, colour, 0.9, 3.0),
                                               ((z >= 0) & ~beside, before, 0.8, 3.0)):
                axes.plot(np.where(shown, x, np.nan), y, color=shade, lw=width, alpha=alpha, zorder=order)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.set_axis_off()
    axes.set_title(f"seen from {place.name}", fontsize=10.5, color=place.colour,
                   weight="bold", pad=3)
    axes.text(0.5, -0.01, f"Carrington longitude {place.longitude % 360:.0f}°, latitude {signed(place.latitude)}",
              transform=axes.transAxes, ha="center", va="top", fontsize=8.5, color="0.35")
