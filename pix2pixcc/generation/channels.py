"""What the channels of an input show, told by their cards: which are the observer's own, and which a model takes."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from pix2pixcc.images.cubes import Channel, set_channel_cards
from pix2pixcc.images.files import Image
from pix2pixcc.solar.instruments import SDO, STEREO, spacecraft_of
from pix2pixcc.solar.observations import parse_utc
from pix2pixcc.utils import UserError

SAME_GROUP = timedelta(hours=12)      # a frontside reference of the same spacecraft is days older


def are_references(channels: Sequence[Channel]) -> list[bool]:
    """Return for each channel whether it is a frontside reference: of SDO beside STEREO's, or older than the others.

    Where channels say no times, the second of a passband is the reference, and a magnetogram beside EUV images.
    """
    if any(spacecraft_of(channel.name) in STEREO for channel in channels):
        return [spacecraft_of(channel.name) is SDO for channel in channels]
    times = [_time(channel) for channel in channels]
    known = [time for time in times if time is not None]
    if len(known) == len(channels):
        return [max(known) - time >= SAME_GROUP for time in known]
    names = [channel.name for channel in channels]
    alone = all(channel.is_magnetogram for channel in channels)
    return [name in names[:k] or (channel.is_magnetogram and not alone)
            for k, (name, channel) in enumerate(zip(names, channels, strict=True))]


def _time(channel: Channel) -> datetime | None:
    try:
        return parse_utc(channel.time) if channel.time else None
    except ValueError:
        return None


def in_the_order_of(image: Image, channels: Sequence[Channel] | None, size: int | None, *,
                    size_of: str = "this model was trained on") -> Image:
    """Return an image with its channels in the order of a model's.

    AIA's and EUVI's images of one passband may stand for each other, as in training and in use.

    Parameters
    ----------
    image : Image
        A FITS image must say what its channels are; other formats cannot, and are taken as they come.
    channels : sequence of Channel or None
        What the model's channels are; None where nothing says so: any are taken as they come.
    size : int or None
        Pixels on a side that the image must have; None for any.
    size_of : str
        Who says so, for the message.

    Raises
    ------
    UserError
        The image has another size, other channels, or channels of other limits; the message names file and channel.
    """
    side = image.data.shape[-1]
    if size is not None and side != size:
        raise UserError(f"{image.path} is {side} pixels wide, {size_of} {size}: prepare it so")
    if channels is None or image.header is None:
        return image
    if image.channels is None:
        raise UserError(f"{image.path} does not say what its channels are (cards CHAN1, CTIME1, ...); make it with "
                        "pix2pixcc.prepare or pix2pixCC_Prepare.py")
    order = _order(image, channels)
    theirs = [image.channels[k] for k in order]
    for one, ours in zip(theirs, channels, strict=True):
        if (one.lower, one.upper, one.scale) != (ours.lower, ours.upper, ours.scale):
            raise UserError(f"{image.path}: the cards of {one.name} say {_limits(one)}, those of the training data "
                            f"{_limits(ours)}: prepare it as those were")
    if order == list(range(len(order))):
        return image
    header = image.header.copy()
    for k in range(1, len(theirs) + 1):
        header.remove(f"CSER{k}", ignore_missing=True)      # only magnetograms have it
    set_channel_cards(header, theirs)
    return replace(image, data=np.ascontiguousarray(image.data[order]), header=header, channels=theirs)


def _limits(channel: Channel) -> str:
    return f"{channel.lower:g} .. {channel.upper:g} {channel.scale}"


def _order(image: Image, channels: Sequence[Channel]) -> list[int]:
    """Return which channel of the image each of the model's is; `UserError` if one is not there."""
    assert image.channels is not None
    looks, wanted = _looks(image.channels), _looks(channels)
    if looks == wanted:
        return list(range(len(wanted)))
    spacecraft = {spacecraft_of(channel.name) for channel in image.channels} & set(STEREO)
    if len(spacecraft) <= 1 and len(set(wanted)) == len(wanted) and set(looks) == set(wanted):
        return [looks.index(look) for look in wanted]
    k = next(k for k, (one, other) in enumerate(zip(looks, wanted, strict=True)) if one != other)
    raise UserError(f"{image.path} holds {', '.join(channel.name for channel in image.channels)}; this model takes "
                    f"{', '.join(channel.name for channel in channels)}: channel {k + 1} is {image.channels[k].name}"
                    f"{' of an earlier day' if looks[k][1] else ''}, the model's {channels[k].name}"
                    f"{' of an earlier day' if wanted[k][1] else ''}")


def _looks(channels: Sequence[Channel]) -> list[tuple[str, bool]]:
    """Return what each channel shows: its passband as AIA calls it, and whether it is a frontside reference."""
    looks = []
    for channel, is_reference in zip(channels, are_references(channels), strict=True):
        known = spacecraft_of(channel.name) is not None
        passband = SDO.passband(channel.name.rpartition(" ")[2]) if known else channel.name
        looks.append((passband, is_reference and not channel.is_magnetogram))
    return looks
