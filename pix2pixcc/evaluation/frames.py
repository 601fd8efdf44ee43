"""A pair of images in one frame: their disk, and the generated image turned to lie as the true one does."""
from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from pix2pixcc.images.files import Image
from pix2pixcc.images.pairs import View
from pix2pixcc.solar.geometry import Disk, disk_of_header, is_helioprojective, registered_disk
from pix2pixcc.utils import UserError

ASSUMED = "assumed registered"                # where the geometry comes from if no header gives it
MOST_PIXELS = 1.0                             # by which the two disks, their centres or their limbs, may differ


def in_one_frame(generated: Image, real: Image) -> tuple[Image, Disk, str]:
    """Return the generated image as the true one lies, the disk of both, and which header gives it.

    The image is turned by multiples of 90 degrees or mirrored, without interpolation, where the headers say that it
    lies so.

    Raises
    ------
    UserError
        The images differ in size; or by their headers in observer, time, orientation or place of the disk.
    """
    shape = real.data.shape[-2:]
    if generated.data.shape[-2:] != shape:
        raise UserError("unequal sizes: generated {} x {}, true {} x {}".format(*generated.data.shape[-2:], *shape))
    if differ := View.of(generated.header).other_than(View.of(real.header)):
        raise UserError(f"{differ}: choose pairs of one observer and time")
    placed = {name: disk_of_header(image.header, shape) for name, image in (("real", real), ("generated", generated))
              if is_helioprojective(image.header)}
    if not placed:
        return generated, registered_disk(shape), ASSUMED
    name, disk = next(iter(placed.items()))
    if len(placed) == 1:
        _refuse_turned(name, disk)
        return generated, disk, f"{name} header"
    turn = _turn(placed["generated"], disk)
    turned, lies = _turned(generated, placed["generated"], turn)
    off = max(math.dist(disk.centre, lies.centre), abs(disk.radius - lies.radius))
    if not off <= MOST_PIXELS:
        raise UserError(f"by their headers the two disks differ by {off:.1f} pixels: register both the same way "
                        "(pix2pixCC_Prepare.py)")
    return turned, disk, f"{name} header"


def _direction(disk: Disk) -> np.ndarray:
    """Return the matrix of a disk's scale without its size: steps along columns and rows, to west and north."""
    return disk.scale * disk.radius


def _turn(generated: Disk, real: Disk) -> np.ndarray:
    """Return how steps in the generated image become steps in the true one: a matrix of 0, 1 and -1."""
    turn = np.linalg.solve(_direction(real), _direction(generated))
    exact = np.rint(turn)
    if not (np.abs(turn - exact).max() * real.radius <= MOST_PIXELS and abs(np.linalg.det(exact)) == 1):
        raise UserError(f"by their headers north lies {_angle(generated):.1f} degrees from up in the generated image "
                        f"and {_angle(real):.1f} in the true one (PC, CD, CROTA2): register both "
                        "(pix2pixCC_Prepare.py)")
    return exact


def _refuse_turned(name: str, disk: Disk) -> None:
    """Refuse a pair of which one image alone has a header, which says that it does not lie north up."""
    if not np.abs(_direction(disk) - np.eye(2)).max() * disk.radius <= MOST_PIXELS:
        other = {"real": "generated", "generated": "true"}[name]
        raise UserError(f"the header of the {name.replace('real', 'true')} image turns or mirrors it (north lies "
                        f"{_angle(disk):.1f} degrees from up; PC, CD, CROTA2) and the {other} image has none to say "
                        "how it lies: register both (pix2pixCC_Prepare.py)")


def _angle(disk: Disk) -> float:
    """Return how far north lies from up, clockwise as CROTA2 counts, degrees."""
    column, row = np.linalg.solve(_direction(disk), (0.0, 1.0))
    return round(math.degrees(math.atan2(column, row)), 1) + 0.0       # not -0.0


def _turned(image: Image, disk: Disk, turn: np.ndarray) -> tuple[Image, Disk]:
    """Return an image and its disk after `turn`."""
    if (turn == np.eye(2)).all():
        return image, disk
    data, (x, y), (height, width) = image.data, disk.centre, disk.shape
    if turn[0, 0] == 0:
        data, (x, y), (height, width) = data.swapaxes(-1, -2), (y, x), (width, height)
    if turn[0].sum() < 0:
        data, x = data[..., ::-1], width - 1 - x
    if turn[1].sum() < 0:
        data, y = data[..., ::-1, :], height - 1 - y
    return (replace(image, data=np.ascontiguousarray(data)),
            Disk((height, width), (x, y), disk.scale @ np.linalg.inv(turn), disk.angular_radius))
