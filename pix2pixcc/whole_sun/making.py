"""A map of what a caller holds: maps, paths, arrays with headers."""
from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from sunpy.map import GenericMap

from pix2pixcc.images.files import Image
from pix2pixcc.images.fits import open_image
from pix2pixcc.utils import UserError
from pix2pixcc.whole_sun.history import HELIOGRAPHIC, chart_of_map, chart_of_strips, read_chart
from pix2pixcc.whole_sun.magnetograms import magnetogram_of
from pix2pixcc.whole_sun.maps import Input, WholeSunMap, card_name, synchronic
from pix2pixcc.whole_sun.projection import Layers, Strip
from pix2pixcc.whole_sun.recipe import Recipe, read_strip


def whole_sun_map(frontside: Sequence[Any], farside: Sequence[Any], history: Sequence[Any], time: datetime | None,
                  recipe: Recipe, image_of: Callable[[Any], Image]) -> WholeSunMap:
    """Return the map of magnetograms, each a path or whatever `image_of` makes an image of; see `synchronic_map`.

    Raises
    ------
    UserError
        As `synchronic`; or there is no frontside magnetogram to take the time from.
    """
    if not frontside:
        raise UserError("there is no magnetogram of the frontside: a map needs one")

    def strip(given: Any, *, history: bool = False) -> Strip:
        if isinstance(given, str | os.PathLike):
            return read_strip(given, recipe, history=history)
        return recipe.strip(magnetogram_of(image_of(given), recipe.side(history=history)), history=history)

    fronts, fars = [strip(given) for given in frontside], [strip(given) for given in farside]
    if time is None:
        time = fronts[0].place.time
    elif time.tzinfo is not None:
        time = time.astimezone(UTC).replace(tzinfo=None)
    grid = recipe.grid(time)
    inputs = [*(_input("frontside", each) for each in fronts), *(_input("farside", each) for each in fars)]
    before = Layers.empty(grid.shape)
    for given in history:
        chart = _chart_of(given)
        if chart is None:
            old = strip(given, history=True)
            before += chart_of_strips([old], grid, recipe.fading)
            inputs.append(_input("history", old))
        else:
            name = card_name(given) if isinstance(given, str | os.PathLike) else chart.name
            before += chart_of_map(chart, grid, recipe.fading, name)
            inputs.append(Input("history", name, "synoptic map"))
    return synchronic(fronts, fars, before, time, recipe, inputs)


def _chart_of(given: Any) -> GenericMap | None:
    """Return a synoptic map, or None for anything else."""
    if isinstance(given, GenericMap):
        return given if given.coordinate_system.axis1.startswith(HELIOGRAPHIC) else None
    if not isinstance(given, str | os.PathLike):
        return None
    axis = ""
    with contextlib.suppress(UserError), open_image(given) as hdu:      # what is wrong is said when it is read
        axis = str(hdu.header.get("CTYPE1", "")).upper()
    return read_chart(given) if axis.startswith(HELIOGRAPHIC) else None


def _input(role: str, strip: Strip) -> Input:
    return Input(role, card_name(strip.source), strip.place.label, f"{strip.place.time:%Y-%m-%dT%H:%M:%S}")
