"""What was known before: a chart of the Sun from the magnetograms of 27 days, or from an observatory's synoptic map."""
from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import map_coordinates

from pix2pixcc.images.fits import find_image, is_number, refuse_damage
from pix2pixcc.solar.geometry import RSUN_METRES
from pix2pixcc.solar.observations import MAGNETIC_UNITS
from pix2pixcc.solar.orbits import SYNODIC_PERIOD_DAYS, earth_carrington_longitude
from pix2pixcc.utils import UserError
from pix2pixcc.whole_sun.grid import Grid
from pix2pixcc.whole_sun.projection import FINER, Layers, Strip, place

if TYPE_CHECKING:
    from sunpy.map import GenericMap

HELIOGRAPHIC = ("CRLN", "HGLN", "LONG")      # how CTYPE1 of a synoptic map begins
DAYS = SYNODIC_PERIOD_DAYS           # how far back magnetograms are looked for
OLDEST_CHART = 2 * DAYS              # days before the map, of a synoptic map's newest part
LEAST_WEIGHT = 1e-20                 # of what is old: any view of a place is better than none


def chart_of_strips(strips: Sequence[Strip], grid: Grid, fading: float) -> Layers:
    """Return the sums over the magnetograms of the days before, each weighing exp(-age / `fading`), ages in days."""
    total = Layers.empty(grid.shape)
    for strip in strips:
        age = abs((grid.time - strip.place.time).total_seconds()) / 86400
        total = total + place(strip, grid) * _faded(age, fading)
    return total


def _faded(days: float | np.ndarray, fading: float) -> np.ndarray:
    return np.maximum(np.exp(-np.abs(days) / fading), LEAST_WEIGHT)


def choose(times: Sequence[datetime], time: datetime, cadence_hours: float) -> list[int]:
    """Return which magnetograms of the rotation before `time` make its chart: the nearest to each step of the cadence.

    Steps begin one cadence before `time`; what lies off a step by more than half a cadence is not taken.
    """
    step = timedelta(hours=cadence_hours)
    chosen: list[int] = []
    order = sorted(range(len(times)), key=times.__getitem__)
    stamps = np.array([(times[k] - time).total_seconds() for k in order])
    for number in range(1, int(timedelta(days=DAYS) / step) + 1):
        wanted = -number * step.total_seconds()
        if not len(stamps):
            break
        nearest = int(np.argmin(np.abs(stamps - wanted)))
        if abs(stamps[nearest] - wanted) <= step.total_seconds() / 2 and stamps[nearest] < 0:
            chosen.append(order[nearest])
    return list(dict.fromkeys(chosen))


def read_chart(path: str | os.PathLike) -> GenericMap:
    """Read a synoptic map of HMI, GONG, MDI or ADAPT, or a map of this program, as a SunPy map.

    Raises
    ------
    UserError
        It cannot be read, is no map in heliographic coordinates, or is not in gauss.
    """
    import sunpy.map

    with refuse_damage(path, "a synoptic map"), warnings.catch_warnings(action="ignore"):
        number, _ = find_image(path)
        chart = sunpy.map.Map(path, hdus=number)
        kind = chart.coordinate_system.axis1[:4]
    if kind not in ("CRLN", "HGLN"):
        raise UserError(f"{path}: CTYPE1 = {chart.coordinate_system.axis1}, no map in heliographic coordinates: give a "
                        "synoptic map, or a folder of magnetograms")
    _refuse_unit(chart, path)
    chart.meta.setdefault("rsun_ref", RSUN_METRES)      # else SunPy says that it assumes one
    return chart


def _refuse_unit(chart: GenericMap, path: str | os.PathLike) -> None:
    unit = str(chart.meta.get("bunit", "")).strip()
    if unit and unit.lower() not in MAGNETIC_UNITS:
        raise UserError(f"{path}: BUNIT = {unit}, not gauss: give a synoptic map of the magnetic field")


def chart_of_map(chart: GenericMap, grid: Grid, fading: float, path: str | os.PathLike = "synoptic map") -> Layers:
    """Return a synoptic map in the cells of a grid, turned by the Sun's rotation since each of its longitudes was seen.

    A longitude is dated by its last passage before the map's time, or within its rotation (CAR_ROT); what the map has
    no value for weighs nothing.

    Raises
    ------
    UserError
        The map is of quite another time, does not go round the Sun, or is not in gauss.
    """
    _refuse_unit(chart, path)
    age = _ages(chart, grid, path)
    column_of, row_of = _axes(chart, path)
    data = np.asarray(chart.data, np.float32)
    # At least as fine as the synoptic map, so that each of its pixels counts and no flux is lost.
    across, down = (max(FINER, -(-its // own)) for its, own in zip(data.shape[::-1], grid.shape[::-1], strict=True))
    fine_columns = (np.arange(grid.columns * across) + 0.5) * 360 / (grid.columns * across)
    sine = (np.arange(grid.rows * down) + 0.5) * 2 / (grid.rows * down) - 1
    rows = row_of(np.degrees(np.arcsin(sine)))
    columns = column_of(fine_columns)
    values = _sampled(data, rows, columns)                       # (fine rows, fine columns), by Carrington longitude
    days = age(fine_columns)
    drift = np.repeat(grid.drift(1.0), down)[:, None] * days[None, :]      # degrees since each column was seen
    at = np.rint((fine_columns[None, :] + drift - grid.left_edge) * len(fine_columns) / 360 - 0.5).astype(int)
    cell = np.arange(len(sine))[:, None] // down * grid.columns + at % len(fine_columns) // across
    weight = np.where(np.isfinite(values), _faded(days, fading)[None, :], 0).astype(np.float32)

    def in_cells(sums: np.ndarray) -> np.ndarray:
        total = np.bincount(cell.ravel(), sums.ravel(), grid.rows * grid.columns) / (across * down)
        return total.reshape(grid.shape).astype(np.float32)

    weights = in_cells(weight)
    field = in_cells(weight * np.nan_to_num(values))
    hours = in_cells(weight * (24 * np.abs(days))[None, :])
    return Layers(weights, field, weights, hours, np.zeros(grid.shape, np.float32))


def _axes(chart: GenericMap, path: str | os.PathLike):
    """Return functions from Carrington longitude to column, and from latitude to row, counted from 0."""
    wcs, (rows, columns) = chart.wcs, chart.data.shape
    offset = 0.0
    if chart.coordinate_system.axis1.startswith("HGLN"):
        offset = earth_carrington_longitude(chart.date.utc.to_datetime())
    middle = float(wcs.wcs.crval[0])
    scale = columns / 360
    first = float(wcs.wcs_world2pix(middle, 0.0, 0)[0])
    width = columns * abs(float(wcs.wcs.cdelt[0]))
    if abs(width - 360) > 1.5 * abs(float(wcs.wcs.cdelt[0])):
        raise UserError(f"{path}: it covers {width:.0f} degrees of longitude, not 360: give a map of the whole Sun")
    in_sine = chart.coordinate_system.axis2.endswith("CEA")
    height = rows * abs(float(wcs.wcs.cdelt[1])) / (math.degrees(2) if in_sine else 180)
    if height < 1 - 1.5 / rows:
        raise UserError(f"{path}: it covers {height:.0%} of the Sun in latitude: give a map of the whole Sun")
    is_too_high = in_sine and height > 1 + 1.5 / rows      # CDELT2 of MDI's small charts, which go from pole to pole
    west = math.copysign(1.0, float(wcs.wcs.cdelt[0]))

    def column_of(longitude: np.ndarray) -> np.ndarray:
        return first + west * (longitude - offset - middle) * scale

    def row_of(latitude: np.ndarray) -> np.ndarray:
        if is_too_high:
            return (np.sin(np.radians(latitude)) + 1) * rows / 2 - 0.5
        pixels = wcs.wcs_world2pix(np.full(len(latitude), middle), latitude, 0)[1]
        return np.clip(pixels, 0, rows - 1)

    return column_of, row_of


def _sampled(data: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return data by linear interpolation, going round in columns; NaN where the nearest pixel is."""
    wrapped = np.concatenate([data[:, -1:], data, data[:, :1]], axis=1)
    at = np.meshgrid(rows, (columns + 0.5) % data.shape[1] + 0.5, indexing="ij")
    valid = np.isfinite(wrapped)
    values = map_coordinates(np.where(valid, wrapped, 0), at, order=1, output=np.float32, mode="nearest")
    near = map_coordinates(valid.astype(np.float32), at, order=0, output=np.float32, mode="nearest")
    return np.where(near > 0.5, values, np.nan)


def _ages(chart: GenericMap, grid: Grid, path: str | os.PathLike):
    """Return a function from Carrington longitude to the age of a synoptic map there, days."""
    from sunpy.coordinates.sun import carrington_rotation_time

    meta, date = chart.meta, chart.date.utc.to_datetime()
    rotation = meta.get("car_rot")
    is_modelled = str(meta.get("model", "")).upper() == "ADAPT" or "whole-sun" in str(meta.get("content", "")).lower()
    if not is_modelled and is_number(rotation) and float(rotation) == int(rotation) and "synoptic" in str(
            meta.get("content", "")).lower():
        date = carrington_rotation_time(int(rotation) + 1).utc.to_datetime()      # its newest longitude is 0
    newest = (grid.time - date).total_seconds() / 86400
    if not -DAYS < newest < OLDEST_CHART:
        raise UserError(f"{path} is of {date:%Y-%m-%d}, {abs(newest):.0f} days from the map's time "
                        f"{grid.time:%Y-%m-%d}: give a synoptic map of the rotation before")
    meridian = earth_carrington_longitude(date)

    def age(longitude: np.ndarray) -> np.ndarray:
        # A place west of the meridian passed it before; the places next to pass did a rotation ago.
        since = 0.0 if is_modelled else (longitude - meridian) % 360 * (DAYS / 360)
        return newest + since + np.zeros_like(longitude)

    return age
