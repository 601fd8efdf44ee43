"""What a caller holds of the Sun (Maps, paths, arrays with headers) as an image that a model takes."""
from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from sunpy.map import GenericMap

from pix2pixcc.generation.channels import SAME_GROUP, in_the_order_of
from pix2pixcc.generation.sources import is_raw, prepared_image, raw_sources
from pix2pixcc.images.cubes import Channel, set_channel_cards
from pix2pixcc.images.files import Image, image_of, read_image
from pix2pixcc.images.fits import open_image
from pix2pixcc.preparation.index import Record, record_of_header
from pix2pixcc.preparation.pairing import Choice, Group
from pix2pixcc.solar.headers import has_observer
from pix2pixcc.solar.instruments import spacecraft_of
from pix2pixcc.solar.observations import Observation, observation_of, read_observation
from pix2pixcc.utils import FITS_FORMATS, UserError, format_of


def model_input(given: Any, *, channels: Sequence[Channel] | None, count: int, size: int | None,
                tolerance: float) -> Image:
    """Return one input of a model.

    Parameters
    ----------
    given
        A cube: a path, an array with its header, or an `Image`. Or raw images: a Map, a path or an array with its
        header, or a tuple of them, one per channel, in any order.
    channels : sequence of Channel or None
        What the model's channels are; None takes cubes of `count` channels as they are, and no raw images.
    count, size
        How many channels the model has, and pixels on a side of the images that it was trained on.
    tolerance : float
        Minutes within which raw images of several passbands belong together.

    Raises
    ------
    UserError
        The images are not what the model needs, or do not say where their observer stood.
    TypeError
        `given` is none of these.
    """
    parts = _parts(given)
    if len(parts) == 1 and _is_cube(parts[0], described=channels is not None):
        image = in_the_order_of(cube(parts[0], count), channels, size)
    elif channels is None or size is None:
        raise UserError(f"{_where(parts[0])}: this model does not say what its channels are, so that it cannot take "
                        "raw images; give it a cube (pix2pixcc.prepare, pix2pixCC_Prepare.py)")
    else:
        image = _raw_input(parts, channels, size, tolerance)
    if image.header is None or not has_observer(image.header):
        raise UserError(f"{image.path}: its header does not say where the observer stood (HGLN_OBS, HGLT_OBS, "
                        "DSUN_OBS) and when, so that a magnetogram would have no place on the Sun")
    return image


def cube(given: Any, count: int) -> Image:
    """Return a model-ready image of `count` channels: from a path, a Map, an array with its header, or as it is."""
    if isinstance(given, str | os.PathLike):
        return read_image(given, count)
    data, header = (given.data, given.header) if isinstance(given, Image) else _pixels(given)
    return image_of(np.array(data, dtype=np.float32), header, count, Path(_where(given)))


def prepared(given: Any, size: int) -> Image:
    """Return a cube of raw images, its channels in the order given; see `pix2pixcc.prepare`."""
    observations = _observations(_parts(given))
    first = next(iter(observations.values()))
    spacecraft = spacecraft_of(first.name)
    assert spacecraft is not None            # an observation is of one of them
    choices = tuple(Choice(record.name, (record,), is_reference=spacecraft_of(record.name) is not spacecraft
                           or abs(record.when - first.time) >= SAME_GROUP) for record in _records(observations))
    image = prepared_image(Group(spacecraft.name, first.time, choices), size, observations.__getitem__)
    assert image.header is not None and image.channels is not None
    set_channel_cards(image.header, image.channels)
    return image


def _parts(given: Any) -> tuple:
    """Return the images that make up one input; an array with its header is one image."""
    parts = given if isinstance(given, tuple) and not _is_array_with_header(given) else (given,)
    if not parts:
        raise TypeError("no image was given")
    return parts


def _is_array_with_header(given: tuple) -> bool:
    return len(given) == 2 and isinstance(given[0], np.ndarray) and hasattr(given[1], "keys")


def _pixels(given: Any) -> tuple[np.ndarray, fits.Header]:
    """Return the pixels of a Map or of an array with its header, NaN where a Map is masked, and the header."""
    if isinstance(given, GenericMap):
        with warnings.catch_warnings(action="ignore"):      # about cards that FITS cannot hold
            header = given.fits_header
        return given.data if given.mask is None else np.where(given.mask, np.nan, given.data), header
    if isinstance(given, tuple) and _is_array_with_header(given):
        return given[0], given[1] if isinstance(given[1], fits.Header) else _header_of(given[1])
    raise TypeError(f"{type(given).__name__} {str(given)[:80]!r} is neither a Map, nor a path, nor an array with its "
                    "header in a tuple, nor a cube of pix2pixcc.prepare")


def _header_of(meta: Mapping[str, Any]) -> fits.Header:
    """Return the cards of metadata; what no card can hold, such as SunPy's comments of several lines, is left out."""
    header = fits.Header()
    for keyword, value in meta.items():
        with contextlib.suppress(ValueError), warnings.catch_warnings(action="ignore"):
            header[keyword] = value
    return header


def _where(given: Any) -> str:
    """Return what messages call an image."""
    if isinstance(given, str | os.PathLike):
        return os.fspath(given)
    if isinstance(given, Image):
        return str(given.path)
    return f"Map of {given.name}" if isinstance(given, GenericMap) else "array"


def _is_cube(given: Any, *, described: bool) -> bool:
    """Return whether an image is model-ready: no FITS file, or of several axes, or with cards that describe channels.

    For a model whose own channels are not `described`, every image is, but one that comes raw from an instrument.
    """
    if isinstance(given, Image):
        return True
    if not isinstance(given, str | os.PathLike):
        data, header = _pixels(given)
        shape = data.shape
    elif os.path.isdir(given):
        raise UserError(f"{given} is a folder: give its files, or let pix2pixCC_Test.py take it")
    elif format_of(given) not in FITS_FORMATS:
        return True
    else:
        with warnings.catch_warnings(action="ignore", category=AstropyUserWarning), open_image(given) as hdu:
            shape, header = hdu.shape, hdu.header
    return len(shape) > 2 or "CHAN1" in header or not (described or is_raw(header))


def _observations(parts: Sequence[Any]) -> dict[str, Observation]:
    """Return the raw images by what messages call them."""
    observations: dict[str, Observation] = {}
    for k, part in enumerate(parts, 1):
        where = _where(part)
        if where in observations:
            where = f"{where} (image {k})"
        if _is_cube(part, described=True):
            raise UserError(f"{where} is a prepared cube, or no FITS file; only raw images can be put together")
        if isinstance(part, str | os.PathLike):
            observations[where] = read_observation(part)
        else:
            data, header = _pixels(part)
            observations[where] = observation_of(np.asarray(data, dtype=np.float32), header, Path(where))
    return observations


def _records(observations: dict[str, Observation]) -> list[Record]:
    """Return the records of raw images; raise a `UserError` for one whose header forbids its use."""
    records = [record_of_header(Record(where, 0, 0.0), image.header) for where, image in observations.items()]
    if bad := next((record for record in records if record.problem), None):
        raise UserError(f"{bad.path}: {bad.problem}")
    return records


def _raw_input(parts: Sequence[Any], channels: Sequence[Channel], size: int, tolerance: float) -> Image:
    """Return the input of raw images of one time, in the order of the model's `channels`."""
    observations = _observations(parts)
    given = ", ".join(f"{image.name} {image.time:%Y-%m-%dT%H:%M:%S}" for image in observations.values())
    if len(observations) != len(channels):
        raise UserError(f"{given}: this model needs one image of each of its {len(channels)} channels, "
                        f"{', '.join(channel.name for channel in channels)}; {len(observations)} were given. "
                        "The images of one input go in a tuple, a list is of several inputs")
    sources, _ = raw_sources(_records(observations), channels, size=size, tolerance=tolerance, where=given,
                             read=observations.__getitem__)
    return sources[0].read()
