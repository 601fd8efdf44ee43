"""Pictures: sample sheets and sample images while training, previews of products, loss curves.

Drawn on `matplotlib.figure.Figure` objects without pyplot's global state, so that a background thread may draw while
training goes on. Geometry and wording are in `view.py`; the page that shows the pictures in `gallery.py`.
"""
from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cubes import Channel
from curves import loss_curves
from utils import UserError, atomic_path
from view import AU_METRES, View, caption, graticule, limb, place, project, signed, spacecraft_name

if TYPE_CHECKING:
    from astropy.io import fits
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from matplotlib.projections.polar import PolarAxes

__all__ = ["sample_sheet", "sample_images", "preview", "story", "loss_curves"]

MAGNETOGRAM_RANGE = {"gray": 100.0, "hmimag": 1500.0}         # gauss
GRID_COLOUR = {"G": "#ffb000"}                                # white lines are lost among white polarities
EUV_GAMMA = 0.3                                               # between SunPy's own stretches of AIA and EUVI
SIDE, APART, LEFT, RIGHT, BELOW, ABOVE, HEAD = 2.7, 0.76, 0.68, 0.68, 0.45, 0.45, 0.32     # inches, around the panels


@dataclass(frozen=True)
class _Panel:
    """One image `(H, W)` and how it is shown."""

    image: np.ndarray
    title: str
    colormap: str = "gray"
    limits: tuple[float, float] = (-1.0, 1.0)
    gamma: float = 1.0
    unit: str = ""
    elsewhere: bool = False                       # seen from another place than the header's observer: no grid

    def colours(self) -> Colormap:
        """The colour map, black where there is no data."""
        import matplotlib
        from sunpy.visualization.colormaps import cmlist

        colours = (cmlist[self.colormap] if self.colormap in cmlist else matplotlib.colormaps[self.colormap]).copy()
        colours.set_bad("black")
        return colours


def _panel(image: np.ndarray, title: str, channel: Channel | None, gauss: float, colormap: str, elsewhere: bool = False) -> _Panel:
    """A channel as it is shown: gauss in grey, a passband in its own colours, anything else in grey between its extremes."""
    if channel is not None and channel.is_magnetogram:
        return _Panel(image, title, colormap, (-gauss, gauss), unit="G", elsewhere=elsewhere)
    finite = image[np.isfinite(image)]
    passband = re.search(r"(AIA|EUVI)\S* (\d+)$", channel.name) if channel is not None else None
    if passband:
        disk = finite[finite > 0]
        upper = max(float(np.percentile(disk, 99.7)), 1.0) if disk.size else 1.0
        name = ("sdoaia" if passband[1] == "AIA" else "euvi") + passband[2]
        return _Panel(image, title, name, (0.0, upper), EUV_GAMMA, "disk median = 100", elsewhere)
    lower, upper = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return _Panel(image, title, limits=(lower, upper if upper > lower else lower + 1))


def _difference(generated: np.ndarray, real: np.ndarray, shown: _Panel) -> _Panel:
    width = shown.limits[1] if shown.limits[0] < 0 else shown.limits[1] - shown.limits[0]
    width = width / 5 if shown.colormap == "hmimag" else width
    return _Panel(generated - real, "generated \N{MINUS SIGN} real", "RdBu_r", (-width, width), unit=shown.unit)


def _show(figure: Figure, axes: Axes, panel: _Panel, view: View | None, *, north_up: bool, numbered: bool = False) -> None:
    """Draw one panel with its colour bar, and limb and grid where the view is known."""
    from matplotlib.colors import PowerNorm
    from matplotlib.transforms import Affine2D

    image = panel.image if view is None else view.on_disk(panel.image)
    picture = axes.imshow(image, cmap=panel.colours(), norm=PowerNorm(panel.gamma, *panel.limits),
                          origin="lower" if north_up else "upper")
    axes.set_title(panel.title, fontsize=9, linespacing=1.25, y=1.0, pad=4)
    if view is not None:
        picture.set_transform(Affine2D(np.vstack([view.matrix, [0, 0, 1]])) + axes.transData)
        reach = 1.06 * view.radius
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), facecolor="black")
        axes.plot(*limb(view.radius), color="white", linewidth=0.6)
        colour = GRID_COLOUR.get(panel.unit, "white")
        if not panel.elsewhere:
            axes.plot(*graticule(view), color=colour, linewidth=0.4, alpha=0.6)
        if numbered:
            _number_meridians(axes, view, colour)
    left, bottom, width, height = axes.get_position().bounds
    ticks = None
    if panel.gamma != 1:
        ticks = [0] + [value for value in (3, 10, 30, 100, 300, 1000, 3000, 10000) if value < 0.95 * panel.limits[1]]
    elif panel.limits[0] == -panel.limits[1]:
        ticks = np.linspace(*panel.limits, 5)
    bar = figure.colorbar(picture, cax=figure.add_axes((left + width * 1.02, bottom, width * 0.035, height)), ticks=ticks)
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=7, length=2, pad=2)
    bar.set_label(panel.unit, fontsize=8, labelpad=2.5)


def _number_meridians(axes: Axes, view: View, colour: str) -> None:
    """Write the Stonyhurst longitudes on the equator."""
    for longitude in range(-180, 180, 30):
        x, y = project(view, np.array([longitude]), np.zeros(1))[:, 0]
        if np.hypot(x, y) < 0.8 * view.radius:
            axes.annotate(signed(longitude), (x, y), (1.5, 1.5), textcoords="offset points", fontsize=6, color=colour)


def _scale_axes(axes: Axes, view: View | None, *, leftmost: bool, lowest: bool) -> None:
    """Coordinates at the sheet's left and lower edges only."""
    from matplotlib.ticker import MaxNLocator

    unit = "pixel" if view is None else "arcsec"
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], integer=True))
    axes.tick_params(labelsize=7, length=2.5, labelleft=leftmost, labelbottom=lowest)
    axes.set_xlabel(f"x ({unit})" if lowest else "", fontsize=8, labelpad=2)
    axes.set_ylabel(f"y ({unit})" if leftmost else "", fontsize=8, labelpad=0)


def _figure(rows: Sequence[Sequence[_Panel]], view: View | None, title: str, *, north_up: bool, numbered: bool = False,
            blank: int = 0) -> Figure:
    """Rows of panels under one title; `blank` panels' room is left in the last row."""
    from matplotlib.figure import Figure

    columns = max(*map(len, rows), len(rows[-1]) + blank)
    head = HEAD if title else 0.0
    width = LEFT + columns * SIDE + (columns - 1) * APART + RIGHT
    height = head + len(rows) * (ABOVE + SIDE) + BELOW
    figure = Figure(figsize=(width, height), dpi=float(np.clip(rows[0][0].image.shape[0] / SIDE, 140, 220)))
    figure.text(LEFT / width, 1 - 0.14 / height, title, fontsize=11, va="top")
    for r, row in enumerate(rows):
        for c, panel in enumerate(row):
            left, bottom = LEFT + c * (SIDE + APART), height - head - (r + 1) * (ABOVE + SIDE)
            axes = figure.add_axes((left / width, bottom / height, SIDE / width, SIDE / height))
            _show(figure, axes, panel, view, north_up=north_up, numbered=numbered and panel.unit == "G")
            _scale_axes(axes, view, leftmost=c == 0, lowest=r == len(rows) - 1 or c >= len(rows[r + 1]) + blank)
    return figure


def _save(figure: Figure, path: str | os.PathLike) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, pil_kwargs={"compress_level": 4} if Path(path).suffix.lower() == ".png" else None)


def _gauss(target_range: float | None, colormap: str) -> float:
    if colormap not in MAGNETOGRAM_RANGE:
        raise UserError(f"colormap {colormap!r} is not known for magnetograms: choose one of {', '.join(MAGNETOGRAM_RANGE)}")
    return MAGNETOGRAM_RANGE[colormap] if target_range is None else float(target_range)


def _input_rows(input: np.ndarray, channels: Sequence[Channel] | None, gauss: float, colormap: str) -> list[list[_Panel]]:
    """The input's panels, a row for each spacecraft or day that looked."""
    if channels is None:
        return [[_panel(image, "input" if len(input) == 1 else f"input {k}", None, gauss, colormap) for k, image in enumerate(input, 1)]]
    rows: list[list[_Panel]] = []
    first = sight = None
    for image, channel in zip(input, channels, strict=False):
        looked = (spacecraft_name(None, [channel]), channel.time[:7] + channel.time[8:9])
        first = first or looked
        if looked != sight:
            rows.append([])
        sight = looked
        rows[-1].append(_panel(image, caption(channel), channel, gauss, colormap, elsewhere=looked != first))
    return rows


def sample_sheet(path: str | os.PathLike, input: Any, real: Any, generated: Any, channels: Sequence[Channel] | None = None, *,
                 target_range: float | None = None, title: str | None = None, colormap: str = "gray",
                 header: fits.Header | None = None, target_channels: Sequence[Channel] | None = None) -> None:
    """Draw a labelled sheet: the input's channels, the real and the generated target, and their difference.

    Parameters
    ----------
    path : path
        The picture to write.
    input : array (C, H, W)
        Data units: EUV images of disk median 100, magnetograms in gauss.
    real, generated : array (K, H, W)
        The target in data units; `real` may be None.
    channels : sequence of Channel, optional
        What each input channel is; None for images that do not say.
    target_range : float, optional
        Magnetograms are shown at plus and minus this many gauss; by default 100, and 1500 with `hmimag`.
    title : str, optional
        Put before the line of spacecraft, time and place.
    colormap : {'gray', 'hmimag'}
        Of magnetograms.
    header : fits.Header, optional
        The input's, for limb, grid and title.
    target_channels : sequence of Channel, optional
        What each target channel is; by default magnetograms where `channels` is given.
    """
    input, generated = np.asarray(input, dtype=np.float32), np.asarray(generated, dtype=np.float32)
    gauss = _gauss(target_range, colormap)
    rows = _input_rows(input, channels, gauss, colormap)
    if target_channels is None and channels is not None:
        target_channels = [Channel.magnetogram(f"magnetogram {k}", "") for k in range(1, len(generated) + 1)]
    for k, image in enumerate(generated):
        channel = target_channels[k] if target_channels else None
        number = "" if len(generated) == 1 else f" {caption(channel).splitlines()[0]}" if channel else f" {k + 1}"
        if real is None:
            outputs = [_panel(image, f"generated{number}", channel, gauss, colormap)]
        else:
            truth = np.asarray(real[k], dtype=np.float32)
            shown = _panel(truth, f"real{number}", channel, gauss, colormap)
            outputs = [shown, replace(shown, image=image, title=f"generated{number}"), _difference(image, truth, shown)]
        rows.append(outputs)
    if sum(map(len, rows)) <= 4:
        rows = [[panel for row in rows for panel in row]]
    line = ",  ".join(part for part in (title, place(header, channels)) if part)
    _save(_figure(rows, View.of_header(header), line, north_up=header is not None or channels is not None), path)


def sample_images(folder: str | os.PathLike, iteration: int, real: Any, generated: Any, *, display_scale: float = 1.0,
                  image_mode: str = "png", north_up: bool = False) -> list[Path]:
    """Write the plain pictures `<iteration>_real.png` and `<iteration>_fake.png`.

    Parameters
    ----------
    folder : path
        Where to write them.
    iteration : int
        Images seen so far; names the files.
    real, generated : array or tensor (K, H, W) or (N, K, H, W)
        Scaled to -1..1. Several images, and channels that are not 1 or 3, are laid out on a grid.
    display_scale : float
        Multiplies the images before they are clipped to -1..1 and shown, -1 black and 1 white.
    image_mode : str
        File extension: png, jpg, jpeg, tif or tiff.
    north_up : bool
        The first row is at the bottom, as in FITS images.
    """
    import torch
    from PIL import Image
    from torchvision.utils import make_grid

    paths = []
    for name, images in (("real", real), ("fake", generated)):
        batch = torch.as_tensor(images).detach().float().cpu()
        batch = batch[None] if batch.ndim == 3 else batch
        batch = batch if batch.shape[1] in (1, 3) else batch.flatten(0, 1)[:, None]
        batch = batch.flip(-2) if north_up else batch
        grey = ((batch * display_scale).nan_to_num(0.0).clamp(-1, 1) + 1) * 127.5
        grid = make_grid(grey, nrow=int(np.ceil(np.sqrt(len(grey)))), padding=2 if len(grey) > 1 else 0)
        pixels = grid.round().byte().permute(1, 2, 0).numpy()
        path = Path(folder) / f"{iteration}_{name}.{image_mode}"
        with atomic_path(path) as temporary:
            Image.fromarray(pixels[..., 0] if batch.shape[1] == 1 else pixels).save(temporary)
        paths.append(path)
    return paths


def _product_rows(magnetogram: Any, euv: Any, channels: Sequence[Channel] | None, truth: Any, room: int) -> list[list[_Panel]]:
    """The observer's own EUV images, the generated magnetogram, and the true one where known; one row if `room` panels hold them."""
    images: list[_Panel] = []
    if euv is not None:
        cube = np.asarray(euv, dtype=np.float32)
        images = _input_rows(cube.reshape(-1, *cube.shape[-2:]), channels, MAGNETOGRAM_RANGE["gray"], "gray")[0]
    gauss = MAGNETOGRAM_RANGE["gray"]
    fields = [_Panel(np.asarray(image, dtype=np.float32).squeeze(), title, "gray", (-gauss, gauss), unit="G")
              for image, title in ((magnetogram, "generated magnetogram"), (truth, "true magnetogram")) if image is not None]
    return [images, fields] if len(images) + len(fields) > room else [images + fields]


def preview(path: str | os.PathLike, magnetogram: Any, header: fits.Header | None, *, euv: Any = None,
            channels: Sequence[Channel] | None = None, truth: Any = None) -> None:
    """Draw the picture that lies beside a product: the EUV input, the generated magnetogram, and the true one where known.

    Parameters
    ----------
    path : path
        The picture to write.
    magnetogram, truth : array (H, W) or (1, H, W)
        Gauss, NaN off the disk; `truth` may be None.
    header : fits.Header
        The product's or the input's, for limb, grid and title.
    euv : array (H, W) or (C, H, W), optional
        The input in data units. Only the observer's own images are shown, not a reference from another day.
    channels : sequence of Channel, optional
        What each input channel is.
    """
    rows = _product_rows(magnetogram, euv, channels, truth, room=4)
    _save(_figure(rows, View.of_header(header), place(header, channels), north_up=True, numbered=True), path)


def story(path: str | os.PathLike, magnetogram: Any, header: fits.Header, *, euv: Any = None,
          channels: Sequence[Channel] | None = None, truth: Any = None,
          spacecraft: Mapping[str, tuple[float, float]] | None = None) -> None:
    """Draw the preview's images and, beside them, where the spacecraft stood around the Sun.

    Parameters
    ----------
    path, magnetogram, header, euv, channels, truth
        As in `preview`; the header must give the observer's place.
    spacecraft : mapping of str to (float, float), optional
        Stonyhurst longitude (degrees) and distance (au) of other spacecraft, by name. STEREO spacecraft that are not named
        are drawn hollow, where their mean orbits put them.

    Raises
    ------
    UserError
        The header does not say where the observer was, or when.
    """
    view = View.of_header(header)
    if view is None or not header.get("DATE-OBS"):
        raise UserError(f"{path}: the story needs HGLN_OBS, HGLT_OBS, DSUN_OBS, DATE-OBS and helioprojective axes in the header; "
                        "draw a preview instead")
    rows = _product_rows(magnetogram, euv, channels, truth, room=3)
    figure = _figure(rows, view, place(header, channels), north_up=True, numbered=True, blank=1)
    width, height = figure.get_size_inches()
    side = 0.88 * SIDE
    left = LEFT + len(rows[-1]) * (SIDE + APART) + 0.2
    axes = figure.add_axes((left / width, BELOW / height, side / width, side / height), projection="polar")
    _show_orbits(axes, view, spacecraft_name(header, channels), datetime.fromisoformat(str(header["DATE-OBS"])), spacecraft or {})
    _save(figure, path)


def _show_orbits(axes: PolarAxes, view: View, observer: str, time: datetime, known: Mapping[str, tuple[float, float]]) -> None:
    """The Sun from solar north with the Earth below, the hemisphere that the observer saw, and the spacecraft around it."""
    from synthetic_view import observer_at

    earth = observer_at("SDO", time)
    places = {"Earth": (0.0, earth.distance), **known, observer: (view.longitude, view.distance / AU_METRES)}
    computed = {name: (there.longitude, there.distance) for name in ("STEREO-A", "STEREO-B") if name not in places
                and not (name == "STEREO-B" and time.year > 2014) for there in [observer_at(name, time)]}
    axes.set_theta_zero_location("S")
    axes.bar(np.radians(view.longitude), 1.0, width=np.pi, color=GRID_COLOUR["G"], alpha=0.18, linewidth=0)
    axes.plot(0, 0, "o", color="#f5b800", markersize=14)
    for name, (longitude, distance) in {**places, **computed}.items():
        angle = np.radians(longitude)
        colour = {"Earth": "#2e8b57", "STEREO-A": "#c8102e", "STEREO-B": "#1f5fbf"}.get(name, "black")
        axes.plot(angle, distance, "o", color=colour, markersize=7, fillstyle="none" if name in computed else "full")
        inwards = 45 < abs(longitude) < 135
        aside = "center" if name == "Earth" else "left" if (longitude > 0) != inwards else "right"
        above = abs(longitude) < 90 and name != "Earth"
        axes.annotate(name, (angle, distance), (0, 6 if above else -6), textcoords="offset points", color=colour, fontsize=8,
                      ha=aside, va="bottom" if above else "top")
    axes.set(ylim=(0, 1.35), yticks=[0.5, 1.0], yticklabels=["0.5", "1 au"])
    axes.set_rlabel_position(22.5)
    axes.set_thetagrids(range(0, 360, 45), [signed(longitude) for longitude in (0, 45, 90, 135, 180, -135, -90, -45)])
    axes.tick_params(labelsize=7, pad=0)
    axes.grid(linewidth=0.4, alpha=0.6)
    axes.set_title(f"seen from solar north\nshaded: the half facing {observer or 'the observer'}", fontsize=9, linespacing=1.25, pad=8)
    if computed:
        axes.text(0.5, -0.17, "hollow: placed by its mean orbit", fontsize=7, ha="center", transform=axes.transAxes)
