"""The finished product: an AI-generated magnetogram as a FITS file that SunPy and an archive accept as it is.

The header follows that of AISFM v3 (Jeong et al. 2022): the observer is the spacecraft whose images went in, DATE-OBS the mean
of their times, HISTORY the list of all inputs. The geometry comes from `sky.py`.
"""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from astropy.io import fits

from pix2pixcc.images.cubes import Channel
from pix2pixcc.solar.geometry import LIMB, disk_of_header
from pix2pixcc.solar.headers import set_times, sky_of_header
from pix2pixcc.solar.instruments import spacecraft_of
from pix2pixcc.solar.observations import mean_time, parse_utc
from pix2pixcc.utils import VERSION, atomic_path

SAME_GROUP = timedelta(hours=12)      # a frontside reference is days older than the images of now


def input_name(channel: Channel, magnetogram_series: str = "M720s") -> str:
    """A channel as the published HISTORY writes it: `STEREO/EUVI-B_304a_2011-03-05T11:56:43`, `SDO/HMI_M720s_2011-02-13T10:34:12`."""
    instrument, _, passband = channel.name.rpartition(" ")
    if passband == "magnetogram":
        passband = magnetogram_series
    elif passband.isdigit():
        passband += "a"                # angstrom
    return "_".join(part.replace(" ", "_").replace(",", ";") for part in (instrument, passband, channel.time) if part)


def inputs_of(header: Mapping) -> list[str]:
    """The inputs of a product in channel order, from the HISTORY of a FITS header or of a SunPy map's metadata."""
    history = header.get("HISTORY", header.get("history", ""))
    lines = history.splitlines() if isinstance(history, str) else [str(line) for line in history]
    return [name for name in "".join(lines).split(",") if name]


def _observed_time(channels: Sequence[Channel]) -> datetime | None:
    """Mean time of the channels that belong to the first one's time; the frontside reference does not."""
    times = [parse_utc(channel.time) for channel in channels if channel.time]
    return mean_time([time for time in times if abs(time - times[0]) < SAME_GROUP]) if times else None


def _spacecraft(channels: Sequence[Channel], cube_header: fits.Header) -> str:
    """The card OBSRVTRY: whose image the first channel is, else what the input's own header says."""
    spacecraft = spacecraft_of(channels[0].name) if channels else None
    return spacecraft.keyword if spacecraft else str(cube_header.get("OBSRVTRY", "")).strip()


def product_header(cube_header: fits.Header, channels: Sequence[Channel] | None, *, bunit: str = "G", model: str = "pix2pixCC",
                   checkpoint: str = "", checkpoint_sha256: str = "", iteration: int | None = None,
                   magnetogram_series: str = "M720s") -> fits.Header:
    """The complete header of a generated magnetogram.

    Parameters
    ----------
    cube_header : `~astropy.io.fits.Header`
        Of the model's input: its pointing and observer become the product's. NAXIS1 and NAXIS2 must be the image's.
    channels : sequence of `~cubes.Channel` or None
        The model's input channels, in order. They give HISTORY, INPUTDAT and DATE-OBS, the mean time of the spacecraft's own images.
    bunit : str
        Unit of the magnetogram, 'G' for gauss; empty: not known.
    model, checkpoint, checkpoint_sha256, iteration
        What made it: name, file, SHA-256 of that file, images seen in training.
    magnetogram_series : str
        How HISTORY calls an HMI input: 'M720s' or 'M45s'.

    Raises
    ------
    UserError
        `cube_header` lacks the pointing, the time or the observer.
    """
    channels = list(channels or [])
    header = sky_of_header(cube_header)
    start, middle = parse_utc(header["DATE-OBS"]), parse_utc(header["DATE-AVG"])
    observed = _observed_time(channels)
    if observed is not None and abs(observed - start) < SAME_GROUP:
        start = observed.replace(microsecond=0)
    set_times(header, start, middle)

    spacecraft = _spacecraft(channels, cube_header)
    if spacecraft:
        header["OBSRVTRY"] = (spacecraft, "the observer's place")
        header["TELESCOP"] = spacecraft.split("_")[0]
        header["INPUTDAT"] = (spacecraft, "whose images were the input")
    header["INSTRUME"] = (model, "no instrument: computed from EUV images")
    header["CONTENT"] = ("AI-generated line-of-sight magnetogram", "positive: toward us")
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
        header.add_history(",".join(input_name(channel, magnetogram_series) for channel in channels))
    return header


def write_product(path: str | os.PathLike, magnetogram: np.ndarray, header: fits.Header) -> None:
    """Write a magnetogram `(H, W)` or `(1, H, W)` with its product header: float32, NaN off the disk, checksums, atomically.

    Raises
    ------
    ValueError
        The image has not the size that the header says.
    UserError
        The file cannot be written.
    """
    data = np.array(magnetogram, dtype=np.float32)
    if data.ndim == 3 and data.shape[0] == 1:
        data = data[0]
    if data.shape != (header.get("NAXIS2"), header.get("NAXIS1")):
        raise ValueError(f"image {data.shape}, header {header.get('NAXIS2')} x {header.get('NAXIS1')}")
    data[~disk_of_header(header, data.shape).mask()] = np.nan
    header = header.copy()
    header["DATE"] = (f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}", "[UTC] file written")
    hdu = fits.PrimaryHDU(data, header)
    hdu.verify("exception")
    with atomic_path(path) as temporary:
        hdu.writeto(temporary, overwrite=True, checksum=True)
