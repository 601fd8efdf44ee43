"""Which generated magnetogram belongs to which true one, and both in gauss with their disk."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pix2pixcc.evaluation.frames import in_one_frame
from pix2pixcc.images.files import Image, list_images, read_image
from pix2pixcc.images.pairs import match_files, refuse_lonely
from pix2pixcc.solar.geometry import Disk
from pix2pixcc.utils import FITS_FORMATS, FORMATS, UserError, format_of, stem_of


def list_magnetograms(folder: Path, data_format: str | None, flag: str) -> list[Path]:
    """List the images of a folder: of `data_format`, else FITS if there are any, else of whatever format there is.

    Raises
    ------
    UserError
        There is no such folder, or no such image in it; the message names the flag `--<flag>`.
    """
    if not folder.is_dir():
        raise UserError(f"--{flag} {folder}: there is no such folder")
    present = {format_of(path) for path in folder.iterdir()}
    choice = data_format or next((each for each in (*FITS_FORMATS, "npy", *FORMATS) if each in present), None)
    if choice is None or choice not in present:
        wanted = f".{data_format} files" if data_format else f"images ({', '.join(FORMATS)})"
        raise UserError(f"--{flag} {folder} holds no {wanted}; choose another folder or --data_format_{flag}")
    return list_images(folder, choice)


def match_products(generated: Sequence[Path],
                   real: Sequence[Path]) -> tuple[list[tuple[Path, Path]], list[Path], list[Path]]:
    """Match generated with true magnetograms as training matches its files, without the `_AI` at the end of a name.

    The result is the pairs (generated, real), and the generated and the true files without a partner.

    Raises
    ------
    UserError
        No file has a partner.
    """
    plain = {path.with_name(path.name.replace(stem_of(path), stem_of(path).removesuffix("_AI"), 1)): path
             for path in generated}
    if len(plain) < len(generated):
        plain = {path: path for path in generated}
    try:
        pairs, lone_generated, lone_real = match_files(list(plain), real)
        if not pairs:
            refuse_lonely(lone_generated, lone_real)
    except UserError as error:
        raise UserError(f"cannot pair --generated (the inputs) with --real (the targets): {error}") from error
    return [(plain[first], second) for first, second in pairs], [plain[path] for path in lone_generated], lone_real


def read_pair(pair: tuple[Path, Path]) -> tuple[Image, Image, Disk, str]:
    """Return the generated and the true magnetogram in one frame, their disk, and which header gives it.

    Raises
    ------
    UserError
        A file cannot be read, or the two are not of one size, view and disk.
    """
    generated, real = (read_image(path, 1, side="target") for path in pair)
    generated, disk, source = in_one_frame(generated, real)
    return generated, real, disk, source


def in_gauss(image: Image, limits: Sequence[float] | None) -> np.ndarray:
    """Return a one-channel image as float64 `(H, W)` in gauss.

    It is in gauss already if `limits` is None; else 0..255 of an 8-bit image and -1..1 of others stand for `limits`.
    """
    field = image.data[0].astype(np.float64)
    if limits is None:
        return field
    lowest, highest = (0.0, 255.0) if image.is_8bit else (-1.0, 1.0)
    return limits[0] + (field - lowest) / (highest - lowest) * (limits[1] - limits[0])
