"""The corona of a map on disk: `<stem>_pfss.fits`, which SunPy opens, and `<stem>_pfss.json` with its numbers."""
from __future__ import annotations

import os
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits

from pix2pixcc.images.fits import open_image, refuse_damage
from pix2pixcc.utils import VERSION, atomic_path, read_json, write_json
from pix2pixcc.whole_sun.grid import sphere_header
from pix2pixcc.whole_sun.pfss import Corona, FieldLine

if TYPE_CHECKING:
    from sunpy.map import GenericMap

SOLVERS = ("sunkit-magex", "streamtracer", "sunpy")


def write_corona(stem: str | os.PathLike, corona: Corona, map: GenericMap) -> tuple[Path, Path]:
    """Write a corona as FITS and JSON, each atomically, and return their paths.

    The FITS file holds the source-surface field with its coordinates, the image extension OPEN (the polarity of open
    cells of the photosphere, 0 where closed) and the table LINES (a field line per row: POLARITY, and arrays of
    Carrington LONGITUDE, LATITUDE in degrees and RADIUS in solar radii). The JSON file holds the numbers.

    Parameters
    ----------
    stem : path
        Of the files' names: that of the map's file without `.fits`, which HISTORY and the JSON file name.
    corona : `Corona` of `map`
    map : `~sunpy.map.GenericMap`

    Raises
    ------
    UserError
        A file cannot be written.
    """
    stem = Path(stem)
    table, numbers = stem.with_name(f"{stem.name}_pfss.fits"), stem.with_name(f"{stem.name}_pfss.json")
    hdus = fits.HDUList([_surface_hdu(corona, map, f"{stem.name}.fits"), _open_hdu(corona, map), _lines_hdu(corona)])
    with atomic_path(table) as temporary:
        hdus.writeto(temporary, overwrite=True, checksum=True)
    software = {name: _version(name) for name in SOLVERS}
    write_json(numbers, {"map": f"{stem.name}.fits", "time_utc": map.date.utc.isot[:19], **corona.numbers(),
                         "software": {"pix2pixcc": VERSION, **software}})
    return table, numbers


def read_corona(stem: str | os.PathLike) -> Corona:
    """Read what `write_corona` wrote; a `UserError` names what is missing or damaged."""
    stem = Path(stem)
    path = stem.with_name(f"{stem.name}_pfss.fits")
    numbers = read_json(stem.with_name(f"{stem.name}_pfss.json"))
    with refuse_damage(path, "a corona of pix2pixCC"), open_image(path), fits.open(path, memmap=False) as hdus:
        surface, open_field = (np.array(hdus[k].data) for k in (0, "OPEN"))
        harmonics = {name.removesuffix("_gauss"): value for degree in ("dipole", "quadrupole")
                     for name, value in numbers[degree].items() if name[0] in "gh"}
        traced = numbers["open_area_traced_from"]
        return Corona(surface, open_field, (traced["rows"], traced["columns"]), numbers["source_surface_radius_rsun"],
                      numbers["shells"], harmonics, numbers["mean_field_left_out_gauss"],
                      [_line_of(row) for row in hdus["LINES"].data])


def _surface_hdu(corona: Corona, map: GenericMap, name: str) -> fits.PrimaryHDU:
    hdu = fits.PrimaryHDU(corona.source_surface.astype(np.float32), sphere_header(map, corona.source_radius))
    strength, longitude, latitude = corona.dipole
    hdu.header.extend([
        ("BUNIT", "G", "gauss"), ("CONTENT", "radial field on the source surface (PFSS)", "positive: outwards"),
        ("RSS", corona.source_radius, "[solar radius] source surface"), ("SHELLS", corona.shells, "below it"),
        ("OPENFLUX", corona.open_flux, "[Mx] unsigned, through the source surface"),
        ("DIPOLE", strength, "[G] strength, Schmidt-normalised"),
        ("DIPLON", longitude, "[deg] Carrington longitude of its axis"), ("DIPLAT", latitude, "[deg] latitude of it"),
        ("QUADRUP", corona.quadrupole, "[G] strength, Schmidt-normalised"),
        ("MEANOUT", corona.mean_field, "[G] mean of the map, left out"),
        ("CREATOR", "pix2pixCC", "software"), ("VERS_SW", VERSION, "software version"),
        ("SOLVER", f"sunkit-magex {_version('sunkit-magex')}", "potential field"),
        ("DATE", f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}", "[UTC] file written")])
    hdu.header.add_history(f"potential field of {name}")
    return hdu


def _open_hdu(corona: Corona, map: GenericMap) -> fits.ImageHDU:
    hdu = fits.ImageHDU(corona.open_field.astype(np.int16), sphere_header(map), name="OPEN")
    hdu.header["CONTENT"] = ("polarity of open cells", "0: closed")
    hdu.header["TRACED1"], hdu.header["TRACED2"] = corona.traced[1], corona.traced[0]
    hdu.header.comments["TRACED1"], hdu.header.comments["TRACED2"] = "columns of starts", "rows of starts"
    return hdu


def _lines_hdu(corona: Corona) -> fits.BinTableHDU:
    def arrays(name: str) -> np.ndarray:
        column = np.empty(len(corona.lines), dtype=object)
        column[:] = [getattr(line, name).astype(np.float32) for line in corona.lines]
        return column

    polarity = fits.Column("POLARITY", "I", array=np.array([line.polarity for line in corona.lines], np.int16))
    columns = [fits.Column(name.upper(), "PE()", unit=unit, array=arrays(name))
               for name, unit in (("longitude", "deg"), ("latitude", "deg"), ("radius", "solRad"))]
    hdu = fits.BinTableHDU.from_columns([polarity, *columns], name="LINES")
    hdu.header["LONFRAME"] = ("Carrington", "of LONGITUDE")
    return hdu


def _line_of(row: fits.FITS_record) -> FieldLine:
    longitude, latitude, radius = (np.asarray(row[name], np.float64) for name in ("LONGITUDE", "LATITUDE", "RADIUS"))
    return FieldLine(longitude, latitude, radius, int(row["POLARITY"]))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
