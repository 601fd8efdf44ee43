"""Real observations that installed packages carry, and raw-like files of any size made under their headers."""
from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
from astropy.io import fits
from scipy.ndimage import map_coordinates

REPROJECT, SUNPY = files("reproject.tests") / "data", files("sunpy.data.test")
EUVI_A, EUVI_B = (Path(str(REPROJECT / f"secchi_l0_{spacecraft}.fits")) for spacecraft in "ab")
AIA = Path(str(REPROJECT / "aia_171_level1.fits"))
HMI = Path(str(SUNPY / "resampled_hmi.fits"))             # continuum, with the header cards of a 45 s magnetogram
EUVI_HEADER = Path(str(SUNPY / "euvi_20090615_000900_n4euA_s.header"))
RSUN_ARCSEC = 695.7e6 * 180 / np.pi * 3600                # over the distance in metres, for small angles


def real_header(path: Path) -> fits.Header:
    if path.suffix == ".header":
        header = fits.Header.fromtextfile(path)
    else:
        with fits.open(path, ignore_blank=True) as hdus:
            header = hdus[0].header.copy()
    header.remove("BLANK", ignore_missing=True)             # wrong in a file of floats
    return header


def magnetogram_header() -> fits.Header:
    """The real HMI header, as a full-disk 720 s magnetogram has it."""
    header = real_header(HMI)
    header["CONTENT"], header["BUNIT"], header["CADENCE"] = "MAGNETOGRAM", "Gauss", 720.0
    return header


def rescaled(header: fits.Header, size: int) -> fits.Header:
    """The header of the same field of view on `size` pixels."""
    header, factor = header.copy(), size / header["NAXIS1"]
    for axis in "12":
        header[f"CDELT{axis}"] /= factor
        header[f"CRPIX{axis}"] = (header[f"CRPIX{axis}"] - 0.5) * factor + 0.5
        header[f"NAXIS{axis}"] = size
    return header


def pointed(header: fits.Header, *, centre: tuple[float, float], roll: float = 0.0,
            scale: float | None = None) -> fits.Header:
    """A header whose Sun stands at `centre` (column, row from 0), rolled by `roll` degrees, by CRVAL, not CRPIX."""
    header, turn = header.copy(), np.deg2rad(roll)
    for keyword in ("CROTA", "CROTA2", "PC1_1", "PC1_2", "PC2_1", "PC2_2"):
        header.remove(keyword, ignore_missing=True)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    if header.get("DETECTOR") == "EUVI":
        for row in (0, 1):
            for column in (0, 1):
                header[f"PC{row + 1}_{column + 1}"] = rotation[row, column]
    else:
        header["CROTA2"] = roll
    if scale is not None:
        header["CDELT1"] = header["CDELT2"] = scale
    offset = np.array([header["CRPIX1"] - 1 - centre[0], header["CRPIX2"] - 1 - centre[1]])
    header["CRVAL1"], header["CRVAL2"] = rotation @ offset * header["CDELT1"]
    return header


def disk_image(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    """1 on a disk, 0 off it, the share of its area in a limb pixel."""
    rows, columns = np.indices(shape)
    return np.clip(radius + 0.5 - np.hypot(columns - centre[0], rows - centre[1]), 0, 1).astype(np.float32)


def fitted_limb(image: np.ndarray) -> tuple[float, float, float]:
    """Column, row and radius of the circle on which the image falls through half of its greatest value."""
    rows, columns = np.indices(image.shape)
    inside = image > image.max() / 2
    column, row = columns[inside].mean(), rows[inside].mean()
    edge = []
    for angle in np.linspace(0, 2 * np.pi, 180, endpoint=False):
        along = np.arange(0.0, image.shape[0] / 2 - 1, 0.05)
        profile = map_coordinates(image, [row + along * np.sin(angle), column + along * np.cos(angle)], order=1)
        last = along[np.flatnonzero(profile > image.max() / 2)[-1]]
        edge.append((column + last * np.cos(angle), row + last * np.sin(angle)))
    x, y = np.array(edge).T
    (a, b, c), *_ = np.linalg.lstsq(np.stack([2 * x, 2 * y, np.ones_like(x)], 1), x ** 2 + y ** 2, rcond=None)
    return a, b, float(np.sqrt(c + a ** 2 + b ** 2))


def correlation(image: np.ndarray, other: np.ndarray, mask: np.ndarray) -> float:
    return float(np.corrcoef(image[mask], other[mask])[0, 1])
