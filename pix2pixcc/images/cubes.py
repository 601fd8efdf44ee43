"""Cube FITS: the model-ready file that says of itself what each channel is and how it goes to -1..1.

A cube is one primary HDU: float32, channels first `(C, H, W)`, physical values (EUV: disk median 100; magnetograms:
gauss), under a full helioprojective header of the observer, with cards for each channel k = 1..C (`Channel`).
"""
from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace

import numpy as np
from astropy.io import fits

from pix2pixcc.utils import atomic_path

EUV_LIMITS = (1.0, 200.0)          # of an image whose disk median is 100 (Jeong et al. 2020)
MAGNETOGRAM_LIMIT = 1500.0         # gauss (Jeong et al. 2022)
CHANNEL_CARDS = ("CHAN", "CTIME", "CLOW", "CHIGH", "CSCALE", "CSER")      # with the channel's number


@dataclass(frozen=True)
class Channel:
    """One channel of a cube: what it is, when, and the limits (data units) under which it goes to -1..1."""

    name: str                   # CHAN<k>: 'STEREO/EUVI-B 304', 'SDO/AIA 193', 'SDO/HMI magnetogram'
    time: str = ""              # CTIME<k>, UTC: '2011-03-05T11:56:43'
    lower: float = -1.0         # CLOW<k>: the value that becomes -1
    upper: float = 1.0          # CHIGH<k>: the value that becomes +1
    scale: str = "linear"       # CSCALE<k>: 'linear' or 'log10'
    series: str = ""            # CSER<k>, of a magnetogram where its cadence is known: 'M720s' or 'M45s'

    @classmethod
    def euv(cls, name: str, time: str) -> Channel:
        """Return the channel of an EUV image of disk median 100, log10 scaled."""
        return cls(name, time, *EUV_LIMITS, "log10")

    @classmethod
    def magnetogram(cls, name: str, time: str, limit: float = MAGNETOGRAM_LIMIT, series: str = "") -> Channel:
        """Return the channel of a line-of-sight magnetogram in gauss, linearly scaled."""
        return cls(name, time, -limit, limit, "linear", series)

    @property
    def is_magnetogram(self) -> bool:
        """Return whether its name is that of a magnetogram."""
        return "HMI" in self.name or "magnetogram" in self.name.lower()

    def to_dict(self) -> dict:
        """Return its fields, as JSON holds them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict) -> Channel:
        """Return the channel of `to_dict`'s fields; raise ValueError or TypeError for anything else."""
        channel = cls(**content)
        words = all(isinstance(word, str) for word in (channel.name, channel.time, channel.series))
        if not words or channel.scale not in ("linear", "log10"):
            raise ValueError(f"no channel: {content}")
        return replace(channel, lower=float(channel.lower), upper=float(channel.upper))


def set_channel_cards(header: fits.Header, channels: list[Channel]) -> None:
    """Write the self-describing cards of `channels` into `header`, in channel order."""
    for k, channel in enumerate(channels, 1):
        header[f"CHAN{k}"] = (channel.name, f"channel {k}")
        header[f"CTIME{k}"] = (channel.time, "[UTC] time of observation")
        header[f"CLOW{k}"] = (channel.lower, "value that becomes -1")
        header[f"CHIGH{k}"] = (channel.upper, "value that becomes +1")
        header[f"CSCALE{k}"] = (channel.scale, "linear or log10")
        if channel.series:
            header[f"CSER{k}"] = (channel.series, "series of the magnetogram")


def read_channel_cards(header: fits.Header, count: int) -> list[Channel] | None:
    """Return the `count` channels that a header describes, or None if it does not describe all of them."""
    if any(f"CHAN{k}" not in header for k in range(1, count + 1)):
        return None
    return [Channel(str(header[f"CHAN{k}"]), str(header.get(f"CTIME{k}", "")),
                    float(header.get(f"CLOW{k}", -1.0)), float(header.get(f"CHIGH{k}", 1.0)),
                    str(header.get(f"CSCALE{k}", "linear")), str(header.get(f"CSER{k}", "")))
            for k in range(1, count + 1)]


def write_cube(path: str | os.PathLike, data: np.ndarray, header: fits.Header, channels: list[Channel]) -> None:
    """Write `data` `(C, H, W)` as a cube FITS with `header` and the cards of `channels`, atomically."""
    header = header.copy()
    set_channel_cards(header, channels)
    hdu = fits.PrimaryHDU(np.ascontiguousarray(data, dtype=np.float32), header)
    with atomic_path(path) as temporary:
        hdu.writeto(temporary, overwrite=True, checksum=True)
