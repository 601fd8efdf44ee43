"""The finished product: an AI-generated magnetogram as a FITS file that SunPy and archives accept as it is.

The header follows that of AISFM v3 (Jeong et al. 2022): the observer is the spacecraft whose images went in, DATE-OBS
the mean of their times, HISTORY the list of all inputs.
"""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from astropy.io import fits

from pix2pixcc.generation.channels import SAME_GROUP, are_references
from pix2pixcc.images.cubes import Channel
from pix2pixcc.solar.geometry import LIMB, disk_of_header
from pix2pixcc.solar.headers import set_times, sky_of_header
from pix2pixcc.solar.instruments import spacecraft_of
from pix2pixcc.solar.observations import mean_time, parse_utc
from pix2pixcc.utils import VERSION, atomic_path

CONTENT = "AI-generated line-of-sight magnetogram"
FARSIDE = 60.0                        # degrees from the Earth, which then cannot see (1 - cos 60) / 2 = 1/4 of the disk


def input_name(channel: Channel) -> str:
    """Return a channel as the published HISTORY writes it: `STEREO/EUVI-B_304a_2011-03-05T11:56:43`."""
    instrument, _, passband = channel.name.rpartition(" ")
    if passband == "magnetogram":
        passband = channel.series or "M720s"      # as published, where nothing says another
    elif passband.isdigit():
        passband += "a"                # angstrom
    return "_".join(part.replace(" ", "_").replace(",", ";") for part in (instrument, passband, channel.time) if part)


def inputs_of(header: Mapping) -> list[str]:
    """Return the inputs of a product in channel order, from HISTORY in its header or in its metadata in SunPy."""
    history = header.get("HISTORY", header.get("history", ""))
    lines = history.splitlines() if isinstance(history, str) else [str(line) for line in history]
    return [name for name in "".join(lines).split(",") if name]


def title_of(header: Mapping) -> str:
    """Return what a product shows by its header, or its metadata in SunPy: 'farside magnetogram, STEREO-B'."""
    longitude = (float(header.get("HGLN_OBS", 0.0)) + 180) % 360 - 180
    keyword = str(header.get("OBSRVTRY", "")).strip()
    spacecraft = spacecraft_of(keyword)
    title = "farside magnetogram" if abs(longitude) >= FARSIDE else "magnetogram"
    return ", ".join(part for part in (title, spacecraft.name if spacecraft else keyword) if part)


def unit_of(channels: Sequence[Channel] | None) -> str:
    """Return the unit of a model's output: 'G' if the cards of its targets say magnetogram, else '' (not known)."""
    return "G" if channels and all("magnetogram" in channel.name.lower() for channel in channels) else ""


def _own(channels: Sequence[Channel]) -> list[Channel]:
    """Return the observer's own channels of now: no frontside reference, and no magnetogram beside EUV images."""
    own = [channel for channel, is_reference in zip(channels, are_references(channels), strict=True)
           if not is_reference]
    return [channel for channel in own if not channel.is_magnetogram] or own


def _observed_time(channels: Sequence[Channel]) -> datetime | None:
    """Return the mean time of the observer's own channels."""
    times = [parse_utc(channel.time) for channel in _own(channels) if channel.time]
    return mean_time(times) if times else None


def _spacecraft(channels: Sequence[Channel], cube_header: fits.Header) -> str:
    """Return the card OBSRVTRY: whose images the observer's own channels are, else what the input's header says."""
    own = _own(channels)
    spacecraft = spacecraft_of(own[0].name) if own else None
    return spacecraft.keyword if spacecraft else str(cube_header.get("OBSRVTRY", "")).strip()


def product_header(cube_header: fits.Header, channels: Sequence[Channel] | None, *, bunit: str = "G",
                   model: str = "pix2pixCC", checkpoint: str = "", checkpoint_sha256: str = "",
                   iteration: int | None = None) -> fits.Header:
    """Return the complete header of a generated magnetogram.

    Parameters
    ----------
    cube_header : `~astropy.io.fits.Header`
        Of the model's input: its pointing and observer become the product's. NAXIS1 and NAXIS2 must be the image's.
    channels : sequence of `Channel` or None
        The model's input channels, in order. They give HISTORY, INPUTDAT and DATE-OBS, the mean time of the
        spacecraft's own images.
    bunit : str
        Unit of the magnetogram, 'G' for gauss; empty where it is not known.
    model, checkpoint, checkpoint_sha256, iteration
        What made it: the name of the networks, the file of weights, its SHA-256, the images seen in training.

    Raises
    ------
    UserError
        `cube_header` lacks the pointing, the time or the observer.
    """
    channels = list(channels or [])
    header = sky_of_header(cube_header)
    start, middle = parse_utc(header["DATE-OBS"]), parse_utc(header["DATE-AVG"])
    observed = _observed_time(channels)
    if observed is not None and timedelta(seconds=1) < abs(observed - start) < SAME_GROUP:
        start = observed                  # nearer, the input itself knows better: times of channels are cut to seconds
    set_times(header, start.replace(microsecond=0) if observed else start, middle)

    spacecraft = _spacecraft(channels, cube_header)
    if spacecraft:
        header["OBSRVTRY"] = (spacecraft, "the observer's place")
        header["TELESCOP"] = spacecraft.split("_")[0]
        header["INPUTDAT"] = (spacecraft, "whose images were the input")
    header["INSTRUME"] = (model, "no instrument: computed from EUV images")
    header["DETECTOR"] = (f"{model} {title_of(header)}", "title in SunPy")
    header["CONTENT"] = (CONTENT, "positive: toward us")
    if bunit:
        header["BUNIT"] = (bunit, "gauss" if bunit == "G" else "")
    header["MASKRAD"] = (LIMB, "[solar radius] NaN beyond")
    header["MODEL"] = (model, "generator")
    if checkpoint:
        header["CKPTFILE"] = (os.path.basename(checkpoint), "generator weights")
    if checkpoint_sha256:
        header["CKPTSHA"] = checkpoint_sha256        # 64 digits leave no room for a comment
    if iteration is not None:
        header["ITERATN"] = (iteration, "images seen in training")
    header["CREATOR"] = ("pix2pixCC", "software")
    header["VERS_SW"] = (VERSION, "software version")
    if channels:
        header.add_history(",".join(input_name(channel) for channel in channels))
    return header


def product_hdu(magnetogram: np.ndarray, header: fits.Header) -> fits.PrimaryHDU:
    """Return the product of a magnetogram `(H, W)` or `(1, H, W)` and its header: float32 (H, W), NaN beyond `LIMB`.

    Raises
    ------
    ValueError
        The image has not the size that the header says.
    """
    data = np.array(magnetogram, dtype=np.float32)
    if data.ndim == 3 and data.shape[0] == 1:
        data = data[0]
    if data.shape != (header.get("NAXIS2"), header.get("NAXIS1")):
        raise ValueError(f"image {data.shape}, header {header.get('NAXIS2')} x {header.get('NAXIS1')}")
    data[~disk_of_header(header, data.shape).mask()] = np.nan
    hdu = fits.PrimaryHDU(data, header)
    hdu.verify("exception")
    return hdu


def write_product(path: str | os.PathLike, magnetogram: np.ndarray, header: fits.Header) -> None:
    """Write the `product_hdu` of a magnetogram, dated and with checksums, atomically.

    Raises
    ------
    ValueError
        The image has not the size that the header says.
    UserError
        The file cannot be written.
    """
    hdu = product_hdu(magnetogram, header)
    hdu.header["DATE"] = (f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}", "[UTC] file written")
    with atomic_path(path) as temporary:
        hdu.writeto(temporary, overwrite=True, checksum=True)
