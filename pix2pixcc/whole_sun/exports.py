"""A whole-Sun map in the formats that solar-wind and flux-transport models read: GONG's FITS and HipFT's HDF5."""
from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits
from astropy.time import Time

from pix2pixcc.utils import VERSION, UserError, atomic_path
from pix2pixcc.whole_sun.grid import carrington_grid

if TYPE_CHECKING:
    from sunpy.map import GenericMap

GONG_SHAPE = (180, 360)
LEAST_MU = 0.1                   # HipFT's own limit: no weight at or below it
HIPFT_LAYERS = (("magneto", "data"), ("assim_weight", "assim_weight"), ("mu", "mu"))     # as MagMAP calls them


def export_gong(path: str | os.PathLike, map: GenericMap) -> None:
    """Write a map as GONG writes its synoptic maps, which WSA, EUHFORIA and SunPy's `GONGSynopticMap` read.

    It has 360 x 180 cells, the step of CDELT2 in sine of latitude, and TELESCOP = 'NSO-GONG', by which readers know the
    format; ORIGIN, CREATOR, CONTENT and COMMENT say whose map it is. A larger map is averaged down, which keeps its
    flux, as all its cells are of one area.

    Parameters
    ----------
    path : path
    map : `~sunpy.map.GenericMap` (H, W)
        Radial field in gauss without NaN, CEA, Carrington longitude 0 at the left edge.

    Raises
    ------
    UserError
        The map begins elsewhere, or its size is no multiple of 360 x 180.
    """
    field, (rows, columns) = _checked(path, map), GONG_SHAPE
    height, width = (side // small for side, small in zip(field.shape, GONG_SHAPE, strict=True))
    if field.shape != (height * rows, width * columns):
        raise UserError(f"{path}: a map of {field.shape[1]} x {field.shape[0]} cells cannot become GONG's 360 x 180; "
                        "make it with --shape 360 180 or a multiple of it")
    field = field.reshape(rows, height, columns, width).mean(axis=(1, 3))
    time = map.date.utc.to_datetime()
    minute = f"{time:%H:%M:%S}" if time.second else f"{time:%H:%M}"
    rotation, now = _rotation(time)
    header = fits.Header([
        ("ORIGIN", "pix2pixCC", "not the National Solar Observatory"),
        ("TELESCOP", "NSO-GONG", "names the format, not the telescope"),
        ("CREATOR", "pix2pixCC", "software"), ("VERS_SW", VERSION, "software version"),
        ("CONTENT", "synchronic map of the radial field", "positive: outwards"),
        ("DATE", f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}", "[UTC] file written"),
        ("DATE-OBS", f"{time:%Y-%m-%d}", "[UTC] of the whole map"), ("TIME-OBS", minute, "[UTC] of the whole map"),
        ("MAPDATE", f"{time:%Y-%m-%d}", "[UTC] of the whole map"), ("MAPTIME", minute, "[UTC] of the whole map"),
        ("BUNIT", "Gauss"), ("IMTYPE", "MAGNETIC"),
        ("WCSNAME", "Carrington Cylin-equal-area"),
        ("CTYPE1", "CRLN-CEA", "Carrington longitude"), ("CTYPE2", "CRLT-CEA", "sine of latitude"),
        ("CRPIX1", columns / 2 + 0.5), ("CRPIX2", rows / 2 + 0.5, "equator"),
        ("CRVAL1", 180.0, "[deg] Carrington longitude of the middle"), ("CRVAL2", 0.0, "sine of latitude"),
        ("CDELT1", 360 / columns, "[deg]"), ("CDELT2", 2 / rows, "step in sine of latitude"),
        ("PV2_1", 1.0, "equal area"),
        ("CARROT", rotation, "Carrington rotation at the map's time"), ("CAR_ROT", rotation, "the same"),
        ("CRNOW", now, "the same, with its fraction"), ("CRCENTER", rotation + 0.5, "of the middle"),
        ("LONG0", 0, "[deg] Carrington longitude of the left edge"), ("MAPEDGE", 0, "the same"),
        ("MAPNAME", f"{rotation}_000", "Carrington rotation and left edge"),
        ("IMGMN01", float(field.mean()), "[G] mean"), ("IMGRMS01", float(field.std()), "[G] standard deviation"),
        ("IMGMIN01", float(field.min()), "[G]"), ("IMGMAX01", float(field.max()), "[G]")])
    header.add_comment("A map of one moment by pix2pixCC in the format of GONG's synoptic maps. No data of GONG are "
                       "claimed to be in it: HISTORY names what is.")
    for line in _history(map):
        header.add_history(line)
    hdu = fits.PrimaryHDU(field.astype(np.float32), header)
    with atomic_path(path) as temporary:
        hdu.writeto(temporary, overwrite=True, checksum=True)


def hdf5() -> Any:
    """Return h5py's module; a `UserError` says what to install if it is not there."""
    try:
        import h5py
    except ImportError as error:
        raise UserError('files for HipFT need h5py: pip install "pix2pixcc[hipft]" or pip install h5py '
                        f"({error})") from error
    return h5py


def export_hipft(path: str | os.PathLike, map: GenericMap, layers: Mapping[str, np.ndarray], *,
                 shape: tuple[int, int] | None = None) -> None:
    """Write a map as MagMAP writes the maps that HipFT assimilates: HDF5 with layers of field, weight and mu.

    The dataset `Data` (3, rows, columns), float32, has as scales `dim1` longitude from 0 to 2 pi, `dim2` colatitude
    from 0 to pi, both ends included, in radians, and `dim3` the numbers of the layers. Each node holds the mean of the
    map over the cell around it, by area, so that flux is kept. Weights go from 0 (the model's own field stays) to 1
    (the map replaces it): mu^4, MagMAP's 'mu4_upton', and 0 at mu <= 0.1 and where nothing was observed, for history
    and polar fill are not data.

    Parameters
    ----------
    path : path
    map : `~sunpy.map.GenericMap` (H, W)
        Radial field in gauss without NaN, CEA, Carrington longitude 0 at the left edge. Its cards SRCLN<k> tell which
        of its sources are observers.
    layers : mapping of str to ndarray (H, W)
        MU, cosine of the heliocentric angle of what was observed, and SOURCE, the index of each cell's source.
    shape : tuple of int, optional
        Rows and columns of the nodes, those of the run's initial map: HipFT does not interpolate. By default a row
        and a column more than the map's: 181 x 361 of 180 x 360.

    Raises
    ------
    UserError
        h5py is not installed; the map begins elsewhere; layers are missing.
    """
    h5py = hdf5()
    field = _checked(path, map)
    if missing := [name for name in ("SOURCE", "MU") if name not in layers]:
        raise UserError(f"{path}: HipFT weighs what was observed, but the map has no layer {', '.join(missing)}")
    rows, columns = (side + 1 for side in field.shape) if shape is None else shape
    observers = [k for k in range(100) if f"srcln{k}" in map.meta]
    mu = np.where(np.isin(layers["SOURCE"], observers), np.nan_to_num(layers["MU"]), 0.0).clip(0, 1)
    weight = np.where(mu > LEAST_MU, mu ** 4, 0.0)
    down, across = _sine_shares(field.shape[0], rows), _longitude_shares(field.shape[1], columns)
    data = np.stack([down @ layer @ across.T for layer in (field, weight, mu)])
    data[:, [0, -1]] = data[:, [0, -1], :-1].mean(axis=2, keepdims=True)          # a pole is one place
    numbers = np.arange(len(data))
    scales = (np.linspace(0, 2 * np.pi, columns), np.linspace(0, np.pi, rows), numbers)
    table = {"columns": ["layer_num", "layer_name", "py_field_name"], "index": numbers.tolist(),
             "data": [[k, *names] for k, names in enumerate(HIPFT_LAYERS)]}
    time = map.date.utc.isot[:19]
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        dataset = file.create_dataset("Data", data=data.astype(np.float32))
        for axis, scale in enumerate(scales):
            # MagMAP attaches the scales in the order of memory in Fortran, which reads `dim1` as the first axis.
            name = f"dim{axis + 1}"
            file.create_dataset(name, data=scale.astype(np.float32)).make_scale(name)
            dataset.dims[axis].attach_scale(file[name])
            dataset.dims[axis].label = name
        file.attrs.update({"layers": json.dumps(table), "assim_method": "mu4_upton", "T_REC": time,
                           "creator": f"pix2pixCC {VERSION}", "history": "\n".join(_history(map)),
                           "content": "synchronic map of the radial field, gauss"})


def write_hipft_index(path: str | os.PathLike, maps: Iterable[tuple[datetime, str]]) -> None:
    """Write the list that HipFT's `assimilate_data_map_list_filename` names: time (UTC) and file name of each map.

    File names are relative to its `assimilate_data_map_root_dir`. HipFT reads the columns by their width.
    """
    lines = ["target_datetime_utc,obs_datetime_utc,obs_jd,map_path"]
    for time, name in sorted(maps):
        stamp = f"{time:%Y-%m-%dT%H:%M:%S}"
        lines.append(f"{stamp},{stamp},{Time(time, scale='utc').jd:13.5f},{name}")
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def _checked(path: str | os.PathLike, map: GenericMap) -> np.ndarray:
    """Return the field of a map that begins at Carrington longitude 0."""
    longitude, _ = carrington_grid(map)
    left = longitude[0] - 180 / map.data.shape[1]
    if not map.coordinate_system.axis1.startswith("CRLN") or min(left % 360, -left % 360) > 1e-6:
        raise UserError(f"{path}: models want maps that begin at Carrington longitude 0; make it with "
                        "--frame carrington")
    field = np.asarray(map.data, np.float64)
    if not np.isfinite(field).all():
        raise UserError(f"{path}: {np.count_nonzero(~np.isfinite(field))} pixels of the map are NaN, which models "
                        "refuse: fill them before the export")
    return field


def _rotation(time: datetime) -> tuple[int, float]:
    from sunpy.coordinates.sun import carrington_rotation_number

    now = float(carrington_rotation_number(time))
    return math.floor(now), now


def _history(map: GenericMap) -> list[str]:
    return [line for line in str(map.meta.get("history", "")).splitlines() if line.strip()]


def _overlaps(edges: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return how much of each interval low..high (N,) lies in each cell between edges (M + 1,): shares (N, M)."""
    shared = np.minimum(edges[1:], high[:, None]) - np.maximum(edges[:-1], low[:, None])
    return shared.clip(0) / (high - low)[:, None]


def _sine_shares(rows: int, nodes: int) -> np.ndarray:
    """Return the shares of a map's rows, growing in sine of latitude, in nodes evenly spaced from north to south."""
    edges = np.clip((np.arange(nodes + 1) - 0.5) / (nodes - 1), 0, 1) * np.pi       # half a cell at each pole
    return _overlaps(np.linspace(-1, 1, rows + 1), np.cos(edges[1:]), np.cos(edges[:-1]))


def _longitude_shares(columns: int, nodes: int) -> np.ndarray:
    """Return the shares of a map's columns in nodes evenly spaced over 0 to 360 degrees: the last is the first."""
    middle, half = np.arange(nodes) / (nodes - 1), 0.5 / (nodes - 1)
    edges = np.linspace(0, 1, columns + 1)
    turns = [_overlaps(edges + turn, middle - half, middle + half) for turn in (-1, 0, 1)]
    return np.sum(turns, axis=0)
