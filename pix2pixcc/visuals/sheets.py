"""Sample sheets and plain samples while training, and previews of products.

They are drawn on `matplotlib.figure.Figure` objects without pyplot's global state, so that a background thread may draw
while training goes on.
"""
from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pix2pixcc.images.cubes import Channel
from pix2pixcc.utils import UserError, atomic_path
from pix2pixcc.visuals.panels import Panel, channel_panel, difference_panel, rows_of_panels
from pix2pixcc.visuals.view import View, caption, place, spacecraft_name

if TYPE_CHECKING:
    from astropy.io import fits
    from matplotlib.figure import Figure

MAGNETOGRAM_RANGE = {"gray": 100.0, "hmimag": 1500.0}         # gauss


def save_figure(figure: Figure, path: str | os.PathLike) -> None:
    """Write a figure in the format of its name; PNG with little compression, for speed."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, pil_kwargs={"compress_level": 3} if Path(path).suffix.lower() == ".png" else None)


def _input_rows(input: np.ndarray, channels: Sequence[Channel] | None, gauss: float,
                colormap: str) -> list[list[Panel]]:
    """Return the input's panels, one row per look at the Sun: by another spacecraft, or on another day."""
    panel = functools.partial(channel_panel, gauss=gauss, colormap=colormap)
    if channels is None:
        titles = ["input"] if len(input) == 1 else [f"input {k}" for k in range(1, len(input) + 1)]
        return [[panel(image, title, None) for image, title in zip(input, titles, strict=True)]]
    rows: list[list[Panel]] = []
    for k, (image, channel) in enumerate(zip(input, channels, strict=False)):
        if k == 0 or not _one_look(channel, channels[k - 1]):
            rows.append([])
        elsewhere = not _one_look(channel, channels[0])
        rows[-1].append(panel(image, caption(channel), channel, elsewhere=elsewhere))
    return rows


def _one_look(channel: Channel, other: Channel) -> bool:
    """Return whether one spacecraft saw two channels within a day."""
    if spacecraft_name(None, [channel]) != spacecraft_name(None, [other]):
        return False
    try:
        apart = datetime.fromisoformat(channel.time) - datetime.fromisoformat(other.time)
    except (TypeError, ValueError):               # no time, or one with and one without a zone
        return channel.time == other.time
    return abs(apart) < timedelta(days=1)


def sample_sheet(path: str | os.PathLike, input: Any, real: Any, generated: Any,
                 channels: Sequence[Channel] | None = None, *, target_range: float | None = None,
                 title: str | None = None, colormap: str = "gray", header: fits.Header | None = None,
                 target_channels: Sequence[Channel] | None = None) -> None:
    """Draw a labelled sheet: the input's channels, the real and the generated target, and their difference.

    Parameters
    ----------
    input, real, generated : array (C, H, W), (K, H, W), (K, H, W)
        In data units: EUV images of disk median 100, magnetograms in gauss. `real` may be None.
    channels, target_channels : sequence of Channel, optional
        What each channel is; None for images that do not say. Targets are magnetograms where only `channels` is given.
    target_range : float, optional
        Magnetograms are shown at plus and minus this many gauss; by default 100, and 1500 with `hmimag`.
    title : str, optional
        Put before the line of spacecraft, time and place.
    colormap : {'gray', 'hmimag'}
        Of magnetograms.
    header : fits.Header, optional
        The input's, for limb, grid and title.
    """
    if colormap not in MAGNETOGRAM_RANGE:
        raise UserError(f"colormap {colormap!r} is not known for magnetograms: "
                        f"choose one of {', '.join(MAGNETOGRAM_RANGE)}")
    gauss = MAGNETOGRAM_RANGE[colormap] if target_range is None else float(target_range)
    generated = np.asarray(generated, dtype=np.float32)
    rows = _input_rows(np.asarray(input, dtype=np.float32), channels, gauss, colormap)
    if target_channels is None and channels is not None:
        target_channels = [Channel.magnetogram(f"magnetogram {k}", "") for k in range(1, len(generated) + 1)]
    for k, image in enumerate(generated):
        channel = target_channels[k] if target_channels else None
        name = caption(channel).splitlines()[0] if channel else str(k + 1)
        number = "" if len(generated) == 1 else f" {name}"
        if real is None:
            outputs = [channel_panel(image, f"generated{number}", channel, gauss=gauss, colormap=colormap)]
        else:
            truth = np.asarray(real[k], dtype=np.float32)
            shown = channel_panel(truth, f"real{number}", channel, gauss=gauss, colormap=colormap)
            fake = replace(shown, image=image, title=f"generated{number}")
            outputs = [shown, fake, difference_panel(image, truth, shown)]
        rows.append(outputs)
    if sum(map(len, rows)) <= 4:
        rows = [[panel for row in rows for panel in row]]
    line = ",  ".join(part for part in (title, place(header, channels)) if part)
    north_up = header is not None or channels is not None
    save_figure(rows_of_panels(rows, View.of_header(header), line, north_up=north_up), path)


def sample_picture(path: Path, images: Any, *, display_scale: float = 1.0, north_up: bool = False) -> None:
    """Write a plain picture of images, in the format of its name.

    Parameters
    ----------
    images : array or tensor (K, H, W) or (N, K, H, W)
        Scaled to -1..1. Several images, and channels that are not 1 or 3, are laid out on a grid.
    display_scale : float
        Multiplies the images before they are clipped to -1..1 and shown, -1 black and 1 white.
    north_up : bool
        The first row is at the bottom, as in FITS images.
    """
    import torch
    from PIL import Image

    batch = torch.as_tensor(images).detach().float().cpu()
    batch = batch[None] if batch.ndim == 3 else batch
    batch = batch if batch.shape[1] in (1, 3) else batch.flatten(0, 1)[:, None]
    batch = batch.flip(-2) if north_up else batch
    grey = ((batch * display_scale).nan_to_num(0.0).clamp(-1, 1) + 1) * 127.5
    if len(grey) == 1:
        grid = grey[0]
    else:
        from torchvision.utils import make_grid  # takes two seconds and 170 MB
        grid = make_grid(grey, nrow=int(np.ceil(np.sqrt(len(grey)))))
    pixels = grid.round().byte().permute(1, 2, 0).numpy()
    with atomic_path(path) as temporary:
        Image.fromarray(pixels[..., 0] if batch.shape[1] == 1 else pixels).save(temporary)


def product_rows(magnetogram: Any, header: fits.Header | None, *, euv: Any, channels: Sequence[Channel] | None,
                 truth: Any, unit: str | None, room: int) -> list[list[Panel]]:
    """Return the panels of a product: the observer's own EUV images, the generated and the true magnetogram.

    They stand in one row if that has `room` for them, else in two; the other parameters are those of `preview`.
    """
    images: list[Panel] = []
    if euv is not None:
        cube = np.asarray(euv, dtype=np.float32)
        images = _input_rows(cube.reshape(-1, *cube.shape[-2:]), channels, MAGNETOGRAM_RANGE["gray"], "gray")[0]
    unit = str((header or {}).get("BUNIT", "G")).strip() if unit is None else unit
    fields = []
    for image, title in ((magnetogram, "generated magnetogram"), (truth, "true magnetogram")):
        if image is not None:
            field = np.asarray(image, dtype=np.float32).squeeze()
            finite = np.abs(field[np.isfinite(field)])
            limit = float(np.percentile(finite, 99)) if finite.any() else 1.0
            limit = MAGNETOGRAM_RANGE["gray"] if unit == "G" else limit
            fields.append(Panel(field, title, "gray", (-limit, limit), unit=unit))
    return [images, fields] if len(images) + len(fields) > room else [images + fields]


def preview(path: str | os.PathLike, magnetogram: Any, header: fits.Header | None, *, euv: Any = None,
            channels: Sequence[Channel] | None = None, truth: Any = None, unit: str | None = None) -> None:
    """Draw a product's preview: the EUV input, the generated magnetogram, and the true one where known.

    Parameters
    ----------
    magnetogram, truth : array (H, W) or (1, H, W)
        Gauss, NaN off the disk; `truth` may be None.
    header : fits.Header
        The product's or the input's, for limb, grid and title.
    euv, channels : array (H, W) or (C, H, W), sequence of Channel, optional
        The input in data units. Only the observer's own images are shown, not a reference from another day.
    unit : str, optional
        Of the magnetograms; by default the header's BUNIT, else G. In gauss they are shown at +-100 G, in any other
        unit over nearly all their values.
    """
    rows = product_rows(magnetogram, header, euv=euv, channels=channels, truth=truth, unit=unit, room=4)
    title = place(header, channels)
    save_figure(rows_of_panels(rows, View.of_header(header), title, north_up=True, numbered=True), path)
