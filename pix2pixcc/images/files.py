"""One image file of nine formats to one float32 array `(C, H, W)`, and back.

A file is believed only as far as it goes: the size it declares is checked against its length before memory is taken for
it, and nothing is ever unpickled.
"""
from __future__ import annotations

import io
import logging
import math
import os
import stat
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import tifffile
from astropy.io import fits
from PIL import Image as PillowImage
from PIL import ImageSequence

from pix2pixcc.images.cubes import Channel, read_channel_cards
from pix2pixcc.images.fits import CheckShape, open_image, refuse_bomb, refuse_damage
from pix2pixcc.utils import FITS_FORMATS, FORMATS, UserError, atomic_path, format_of, natural_key

logging.getLogger("tifffile").addHandler(logging.NullHandler())      # what it says of a damaged file is in our error

MAX_SIDE = 16384          # pixels: four times an AIA or HMI image


@dataclass(frozen=True)
class Image:
    """An image as its file holds it, in data units."""

    data: np.ndarray                        # float32 (C, H, W), square: H = W
    header: fits.Header | None              # None for formats other than FITS
    channels: list[Channel] | None          # what the cards of the header say of each channel
    is_8bit: bool                           # whether the file holds 8-bit integers
    path: Path = Path()                     # where it was read
    dtype: str = "float32"                  # of the pixels in the file


def list_images(folder: str | os.PathLike, data_format: str, *, side: str = "input") -> list[Path]:
    """List the images of one of `FORMATS` in a folder, in natural order; for FITS also `.gz` and `.fz`.

    Folders in it are not entered; `side`, 'input' or 'target', names the flag in messages.

    Raises
    ------
    UserError
        Unknown format; the folder is missing, unreadable, or holds no such image.
    """
    if data_format not in FORMATS:
        raise UserError(f"--data_format_{side} {data_format}: unknown format; choose one of {', '.join(FORMATS)}")
    try:
        with os.scandir(Path(folder)) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".") and not os.path.isdir(entry)]
    except OSError as error:
        raise UserError(f"cannot list {folder}: {error.strerror}. Set --{side}_dir_train or --{side}_dir_test "
                        f"to the folder of the {side} images") from error
    found = [name for name in names if format_of(name) == data_format]
    if not found:
        others = sorted({format_of(name) for name in names} - {""})
        hint = f"it holds {', '.join(others)}: set --data_format_{side} {others[0]}" if others else "it holds no images"
        raise UserError(f"{folder} holds no .{data_format} files ({hint}, or choose another folder)")
    return [Path(folder) / name for name in sorted(found, key=natural_key)]


def read_image(path: str | os.PathLike, channels: int, *, side: str = "input") -> Image:
    """Read one image of any of the nine formats, whatever HDU, byte order or channel order it has.

    The channel axis, first or last, is found by its length, `channels`; `side` names the flag in messages.

    Raises
    ------
    UserError
        The file is missing, damaged, of another kind than its name says, holds pickled objects, declares more pixels
        than it can hold, is not square, has other channels, or holds no finite pixel.
    """
    path = Path(path)
    data_format = format_of(path)
    if not data_format:
        raise UserError(f"{path}: unknown format; it should be one of {', '.join(FORMATS)}")
    check_shape = partial(_channel_axis, channels=channels, path=path, side=side)
    with refuse_damage(path, data_format), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path} is not a regular file; remove it or put an image there")
        raw, header = _READERS[data_format](path, status.st_size, check_shape)
        return image_of(raw, header, channels, path, side=side)


def image_of(raw: np.ndarray, header: fits.Header | None, channels: int, path: Path, *, side: str = "input") -> Image:
    """Return the image of an array and its header; a big-endian `raw` may be turned in place; `path` is for messages.

    Raises
    ------
    UserError
        The array is not square, has other channels, or holds no finite pixel.
    """
    data = _channels_first(raw, _channel_axis(raw.shape, channels, path, side))
    for k, channel in enumerate(data, 1):
        # A sparse look answers for nearly every file.
        if not (np.isfinite(channel[::16, ::16]).any() or np.isfinite(channel).any()):
            raise UserError(f"{path}: channel {k} holds no finite pixel (all NaN or infinite); move the file away")
    try:
        described = None if header is None else read_channel_cards(header, channels)
    except (ValueError, TypeError, fits.VerifyError) as error:
        reason = f"the cards CHAN1..CSCALE{channels} cannot be read ({error})"
        raise UserError(f"{path}: {reason}; write them anew") from error
    return Image(data, header, described, raw.dtype == np.uint8, path, raw.dtype.name)


def _channel_axis(shape: tuple[int, ...], channels: int, path: Path, side: str) -> int | None:
    """Return which axis of a square image counts the channels (None: a plane), or refuse its shape by file and flag."""
    text = " x ".join(map(str, shape)) or "a single number"
    if len(shape) == 2 and channels == 1:
        axis, plane = None, shape
    elif len(shape) == 3 and shape[0] == channels:
        axis, plane = 0, shape[1:]
    elif len(shape) == 3 and shape[-1] == channels:
        axis, plane = 2, shape[:2]
    else:
        raise UserError(f"{path} is {text}, which has no channel axis of length {channels}, first or last: "
                        f"set --{side}_ch to its channels, or give images of that many")
    if plane[0] != plane[1] or plane[0] == 0:
        raise UserError(f"{path} is {text}: images must be square and hold pixels; "
                        "crop or register it first (pix2pixCC_Prepare.py)")
    if plane[0] > MAX_SIDE:
        raise UserError(f"{path} declares {text} pixels, more than {MAX_SIDE} on a side: "
                        "the header is damaged, or bin the image first")
    return axis


def _channels_first(raw: np.ndarray, axis: int | None) -> np.ndarray:
    """Return native float32 `(C, H, W)` in one conversion; float32 that was read in this order keeps its memory."""
    if raw.dtype.kind not in "biuf":
        raise ValueError(f"its pixels are of type {raw.dtype}, not numbers")
    if axis != 2:
        if raw.dtype == np.dtype(">f4") and raw.flags.c_contiguous and raw.flags.writeable and not raw.dtype.isnative:
            raw = raw.byteswap(inplace=True).view(np.float32)
        return raw.astype(np.float32, order="C", copy=not raw.flags.writeable).reshape((-1, *raw.shape[-2:]))
    data = np.empty((raw.shape[2], *raw.shape[:2]), np.float32)
    for row in range(0, raw.shape[0], 16):      # a few rows at a time stay in the cache while they are transposed
        data[:, row:row + 16] = raw[row:row + 16].transpose(2, 0, 1)
    return data


_Raw = tuple[np.ndarray, fits.Header | None]


def _read_fits(path: Path, file_bytes: int, check_shape: CheckShape) -> _Raw:
    with open_image(path, check_shape) as hdu:
        return hdu.data, hdu.header


def _read_npy(path: Path, file_bytes: int, check_shape: CheckShape) -> _Raw:
    """Read a plain array; mapping it first checks its shape against the file without reading or allocating."""
    with open(path, "rb") as file:
        beginning = file.read(6)
    if beginning.startswith(b"PK"):
        raise UserError(f"{path} is an archive (.npz or PyTorch), not one array; save the array with numpy.save")
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if beginning.startswith((b"\x80", b"\x93NUMPY")) and ("pickle" in str(error) or "Python objects" in str(error)):
            raise UserError(f"{path} holds pickled Python objects, which are never loaded; "
                            "save it again as a plain array of numbers (numpy.save)") from error
        raise ValueError("it holds no plain array" if "pickle" in str(error) else str(error)) from error
    check_shape(mapped.shape)
    del mapped
    return np.load(path, allow_pickle=False), None


def _read_tiff(path: Path, file_bytes: int, check_shape: CheckShape) -> _Raw:
    """Read one page of any number of samples, or one page per channel."""
    with tifffile.TiffFile(path) as tiff:
        pages, first = list(tiff.pages), tiff.pages.first
        shape = first.shape if len(pages) == 1 else (len(pages), *first.shape)
        check_shape(shape)
        refuse_bomb(math.prod(shape) * np.dtype(first.dtype).itemsize, file_bytes, path)
        if first.photometric == tifffile.PHOTOMETRIC.PALETTE:
            raise UserError(f"{path} has palette colours; convert it to grey or RGB first")
        if any(page.shape != first.shape or page.dtype != first.dtype for page in pages):
            raise UserError(f"{path} has pages of unequal size or type; give one page a channel")
        try:
            planes = [page.asarray() for page in pages]
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            with PillowImage.open(path, formats=("TIFF",)) as picture:      # for LZW and JPEG, which need imagecodecs
                planes = [np.asarray(page) for page in ImageSequence.Iterator(picture)]
            if planes[0].dtype != first.dtype:      # Pillow cuts 16-bit colour down to 8 bits
                raise UserError(f"{path}: {first.dtype} pixels cannot be decoded from this compression; "
                                "save the file without compression, or with deflate") from error
    return np.stack(planes).reshape(shape), None


def _read_picture(path: Path, file_bytes: int, check_shape: CheckShape) -> _Raw:
    """Read a PNG or JPEG; 16-bit colour by torchvision, since Pillow would cut it down to 8 bits."""
    content = path.read_bytes()      # in memory a chunk that declares 4 GB reads no further than the file goes
    with PillowImage.open(io.BytesIO(content), formats=("PNG", "JPEG")) as picture:
        mode = {"1": "L", "P": "RGB"}.get(picture.mode, picture.mode)
        bands = PillowImage.getmodebands(mode)
        check_shape((picture.height, picture.width) if bands == 1 else (picture.height, picture.width, bands))
        refuse_bomb(picture.height * picture.width * bands, file_bytes, path)
        if picture.format == "PNG" and bands > 1 and content[24] == 16:      # bits of a sample
            from torchvision.io import ImageReadMode, decode_image  # takes two seconds and 170 MB

            return decode_image(str(path), ImageReadMode.UNCHANGED).numpy().transpose(1, 2, 0), None
        return np.asarray(picture if mode == picture.mode else picture.convert(mode)), None


_READERS = {**dict.fromkeys(FITS_FORMATS, _read_fits), "npy": _read_npy, "tif": _read_tiff, "tiff": _read_tiff,
            "png": _read_picture, "jpg": _read_picture, "jpeg": _read_picture}


def write_image(path: str | os.PathLike, data: np.ndarray, header: fits.Header | None = None, *,
                bits: int = 8) -> None:
    """Write an image in data units in the format of the name's extension, atomically.

    FITS, npy and TIFF hold float32 as it is: (H, W) for one channel, else channels first (TIFF: one page per channel).
    PNG and JPEG hold one or three channels, rounded to 8 bits and clipped to 0..255, NaN as 0: good for images that
    were 8-bit to begin with, not for gauss; a PNG of one channel may hold 16 `bits`. `data` is (C, H, W); `header`, set
    to fit its structure, is for FITS only.

    Raises
    ------
    UserError
        Unknown extension, channels that the format cannot hold, or the file cannot be written.
    """
    path = Path(path)
    data_format = format_of(path)
    if not data_format:
        raise UserError(f"{path}: unknown format; name it with one of {', '.join(FORMATS)}")
    if data_format in ("png", "jpg", "jpeg") and len(data) not in (1, 3):
        raise UserError(f"{path}: {data_format} holds 1 or 3 channels, not {len(data)}; "
                        "use --data_format_target fits, npy or tif")
    data = np.ascontiguousarray(data, dtype=np.float32)
    image = data[0] if len(data) == 1 else data
    with atomic_path(path) as temporary:
        if data_format in FITS_FORMATS:
            fits.PrimaryHDU(image, header).writeto(temporary, overwrite=True, checksum=True)
        elif data_format == "npy":
            np.save(temporary, image, allow_pickle=False)
        elif data_format in ("tif", "tiff"):
            tifffile.imwrite(temporary, image, photometric="minisblack", metadata=None)
        else:
            kind = np.uint16 if bits == 16 and data_format == "png" and image.ndim == 2 else np.uint8
            pixels = np.rint(np.clip(np.nan_to_num(image, nan=0.0), 0, np.iinfo(kind).max)).astype(kind)
            picture = PillowImage.fromarray(pixels if pixels.ndim == 2 else pixels.transpose(1, 2, 0))
            picture.save(temporary, quality=100, subsampling=0)
