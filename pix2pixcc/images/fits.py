"""FITS files opened with distrust: the image is found and checked before memory is taken for it, keywords before use.

astropy believes a header: it counts to any NAXIS or TFIELDS and takes memory for any size. So the headers are walked
here first (1.2 ms for a header of 243 cards), and a file is opened only when what they declare fits into it.
"""
from __future__ import annotations

import contextlib
import gzip
import itertools
import math
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeGuard

from astropy.io import fits
from astropy.io.fits.verify import VerifyError
from astropy.utils.exceptions import AstropyUserWarning

from pix2pixcc.utils import UserError

MAX_EXPANSION = 1100      # deflate reaches 1032 at most; a smaller file that declares more holds no image
_MAX_COUNT = 999          # of axes and of table fields: FITS standard 4.0, sections 4.4.1.1 and 7.3.1

CheckShape = Callable[[tuple[int, ...]], object]      # raises a UserError for a shape that is not wanted


@contextlib.contextmanager
def refuse_damage(path: str | os.PathLike, data_format: str = "FITS") -> Iterator[None]:
    """Turn whatever the reading of a file raises within this context into a `UserError` that names the file."""
    try:
        yield
    except UserError:
        raise
    except (FileNotFoundError, PermissionError) as error:
        raise UserError(f"cannot read {path}: {error.strerror}. "
                        "Check the name, the link behind it and its permissions") from error
    # The decoders raise whatever a damaged file leads them to, from struct.error to RecursionError.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"cannot read {path}: it is damaged, or not {data_format} ({reason}); "
                        "replace it with a good copy, or move it away") from error


@contextlib.contextmanager
def open_image(path: str | os.PathLike, check_shape: CheckShape | None = None, *,
               checksum: bool = False) -> Iterator[fits.ImageHDU]:
    """Open the first image of a FITS file, in any HDU, tile-compressed or gzipped; its pixels are read when asked for.

    `check_shape` may refuse the shape before anything is read; with `checksum` astropy warns where CHECKSUM or DATASUM
    does not hold.

    Raises
    ------
    UserError
        As `find_image`, or the file is missing or damaged, also where it is found out within the context.
    """
    with refuse_damage(path), warnings.catch_warnings():
        warnings.filterwarnings("error", ".*truncated", AstropyUserWarning)
        number, shape = find_image(path)
        if check_shape is not None:
            check_shape(shape)
        with fits.open(path, memmap=False, checksum=checksum) as hdus:
            yield hdus[number]


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether the value of a keyword is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_blank(value: object) -> bool:
    """Return whether a keyword's value says that there is none: absent, empty, NaN, or JSOC's '(MISSING)'."""
    if value is None or isinstance(value, fits.card.Undefined):
        return True
    return str(value).strip().strip("()").lower() in ("", "nan", "-nan", "+nan", "missing", "n/a")


def required(header: fits.Header, keyword: str, path: str | os.PathLike | None = None) -> str | float | int | bool:
    """Return the value of a keyword, or raise a `UserError` that names it and the file where it is missing or empty."""
    try:
        value = header[keyword]
    except (KeyError, VerifyError):
        value = None
    if is_blank(value) and not isinstance(value, float):
        raise UserError(f"{path or 'FITS header'}: keyword {keyword} is missing; "
                        "download the file again, or leave it out")
    return value


def required_number(header: fits.Header, keyword: str, path: str | os.PathLike | None = None) -> float:
    """Return the value of a keyword as a finite number, or raise a `UserError` that names it and the file."""
    value = required(header, keyword, path)
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (ValueError, TypeError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{path or 'FITS header'}: keyword {keyword} = {value!r} should be a number")
    return number


def find_image(path: str | os.PathLike) -> tuple[int, tuple[int, ...]]:
    """Return HDU number (from 0) and shape (NAXIS1 last) of the first image of two axes or more, without `fits.open`.

    Raises
    ------
    UserError
        Not a FITS file, none of its HDUs holds an image, or they declare more than the file can hold.
    ValueError, KeyError, OSError, EOFError
        The headers are damaged.
    """
    path = Path(path)
    file_bytes = path.stat().st_size
    with open(path, "rb") as beginning:
        is_gzip = beginning.read(2) == b"\x1f\x8b"      # whatever its name, as astropy has it
    with gzip.open(path, "rb") if is_gzip else open(path, "rb") as file:
        if file.read(6) != b"SIMPLE":
            raise UserError(f"{path} is not a FITS file: it does not begin with SIMPLE; choose another file or format")
        file.seek(0)
        for number in itertools.count():
            try:
                header = fits.Header.fromfile(file, padding=False)
            except EOFError:
                break
            shape = _shape(header, "")
            if not is_gzip and file.tell() + header.data_size > file_bytes:
                raise UserError(f"{path} is truncated: a header declares {header.data_size} bytes of data, "
                                f"the file has {file_bytes} in all; replace it with a good copy, or move it away")
            if header.get("ZIMAGE") is True:
                shape = _shape(header, "Z")
                refuse_bomb(math.prod(shape) * abs(int(header["ZBITPIX"])) // 8, file_bytes, path)
                _check_tiles(header, shape)
                return number, shape
            is_array = number == 0 or str(header.get("XTENSION")).strip() == "IMAGE"
            if is_array and header.get("GROUPS") is not True and len(shape) > 1:
                refuse_bomb(header.data_size, file_bytes, path)
                return number, shape
            file.seek(file.tell() + header.data_size_padded)
    raise UserError(f"{path} has no HDU with an image; choose another file or format")


def refuse_bomb(declared_bytes: int, file_bytes: int, path: Path) -> None:
    """Raise a `UserError` for a file that declares more pixels than any compression could have put into it."""
    if declared_bytes > MAX_EXPANSION * file_bytes:
        raise UserError(f"{path} declares {declared_bytes} bytes of pixels in a file of {file_bytes}: it is damaged; "
                        "replace it with a good copy, or move it away")


def _shape(header: fits.Header, prefix: str) -> tuple[int, ...]:
    """Return the lengths of the axes, NAXIS1 last; `prefix` is 'Z' for those of a compressed image."""
    for keyword in (f"{prefix}NAXIS", "TFIELDS"):
        if not 0 <= int(header.get(keyword, 0)) <= _MAX_COUNT:
            raise ValueError(f"{keyword} is {header[keyword]}")
    shape = tuple(int(header[f"{prefix}NAXIS{axis}"]) for axis in range(int(header[f"{prefix}NAXIS"]), 0, -1))
    if any(length < 0 for length in shape) or int(header.get("PCOUNT", 0)) < 0 or int(header.get("GCOUNT", 1)) < 0:
        raise ValueError(f"axes of {shape} pixels, PCOUNT {header.get('PCOUNT')}, GCOUNT {header.get('GCOUNT')}")
    return shape


def _check_tiles(header: fits.Header, shape: tuple[int, ...]) -> None:
    """Refuse a table that has not one row for each tile of the image (FITS standard 4.0, section 10.1)."""
    sides = [int(header.get(f"ZTILE{axis}", shape[-1] if axis == 1 else 1)) for axis in range(len(shape), 0, -1)]
    if any(not 0 < side <= length for side, length in zip(sides, shape, strict=True)):
        raise ValueError(f"tiles of {sides} pixels in an image of {shape}")
    tiles = math.prod(-(-length // side) for side, length in zip(sides, shape, strict=True))
    if tiles != int(header["NAXIS2"]):
        raise ValueError(f"{header['NAXIS2']} tiles where {tiles} make up the image")
