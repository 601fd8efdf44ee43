"""Limb, heliographic grid and captions of an image, from its header.

Plain arithmetic instead of SunPy's coordinate frames, because sheets are drawn while training goes on.
"""
from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from astropy.io import fits

from pix2pixcc.images.cubes import Channel
from pix2pixcc.solar.geometry import LIMB, RSUN_METRES, Disk, disk_of_header, is_helioprojective
from pix2pixcc.solar.instruments import spacecraft_of


@dataclass(frozen=True)
class View:
    """Where an image lies on the sky, and who looks from where."""

    disk: Disk                       # the Sun in the image
    longitude: float                 # of the observer, Stonyhurst, degrees
    latitude: float                  # of the observer, degrees
    distance: float                  # of the observer from the Sun's centre, metres

    @classmethod
    def of_header(cls, header: fits.Header | None) -> View | None:
        """Return the view that a header describes, or None where it has no helioprojective axes or no observer."""
        if header is None or not is_helioprojective(header) or not {"HGLN_OBS", "HGLT_OBS", "DSUN_OBS"} <= set(header):
            return None
        disk = disk_of_header(header, (int(header.get("NAXIS2", 0)), int(header.get("NAXIS1", 0))))
        return cls(disk, float(header["HGLN_OBS"]), float(header["HGLT_OBS"]), float(header["DSUN_OBS"]))

    @property
    def matrix(self) -> np.ndarray:
        """Return the matrix (2, 3) from pixels (column, row, 1), counted from 0, to helioprojective arcsec (x, y)."""
        scale = self.radius * self.disk.scale
        return np.column_stack([scale, -scale @ self.disk.centre])

    @property
    def radius(self) -> float:
        """Return the apparent solar radius, arcsec."""
        return self.disk.angular_radius

    def on_disk(self, image: np.ndarray, limit: float = LIMB) -> np.ndarray:
        """Return `image` `(H, W)` with NaN beyond `limit` radii."""
        return np.where(replace(self.disk, shape=image.shape).mask(limit), image, np.nan)


def limb(radius: float) -> np.ndarray:
    """Return the limb, a closed curve `(2, N)` in arcsec."""
    angle = np.linspace(0, 2 * np.pi, 361)
    return radius * np.array([np.cos(angle), np.sin(angle)])


def graticule(view: View) -> np.ndarray:
    """Return Stonyhurst meridians and parallels, 30 degrees apart: one `(2, N)` curve in arcsec broken by NaN."""
    along, around = np.linspace(-90, 90, 91), np.linspace(-180, 180, 181)
    curves = [project(view, np.full_like(along, meridian), along) for meridian in range(-180, 180, 30)]
    curves += [project(view, around, np.full_like(around, parallel)) for parallel in range(-60, 90, 30)]
    gap = np.full((2, 1), np.nan)
    return np.hstack([part for curve in curves for part in (curve, gap)])


def project(view: View, longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Return helioprojective (x, y) in arcsec of Stonyhurst points in degrees; NaN where they are behind the Sun.

    Thompson (2006, A&A 449, 791), equations 11 and 15.
    """
    lon, lat, tilt = np.radians(longitude - view.longitude), np.radians(latitude), math.radians(view.latitude)
    x = np.cos(lat) * np.sin(lon)
    y = np.sin(lat) * math.cos(tilt) - np.cos(lat) * np.cos(lon) * math.sin(tilt)
    z = np.sin(lat) * math.sin(tilt) + np.cos(lat) * np.cos(lon) * math.cos(tilt)
    distance = view.distance / RSUN_METRES
    sky = 3600 * np.degrees([np.arctan2(x, distance - z), np.arctan2(y, np.hypot(x, distance - z))])
    return np.where(z >= 1 / distance, sky, np.nan)


def spacecraft_name(header: fits.Header | None, channels: Sequence[Channel] | None = None) -> str:
    """Return the spacecraft's name (`STEREO-B`, `SDO`) or what the header says; empty where nothing is said."""
    words = [channels[0].name] if channels else []
    if header is not None:
        words += [str(header[key]) for key in ("OBSRVTRY", "INPUTDAT", "TELESCOP", "INSTRUME") if key in header]
    for word in words:
        if spacecraft := spacecraft_of(word):
            return spacecraft.name
    return words[0].replace("_", " ") if words else ""


def caption(channel: Channel) -> str:
    """Return what a channel is and when, in two lines: `EUVI-B 304 Å`, `2011-03-05 11:56`."""
    name = channel.name.rsplit("/", 1)[-1]
    name = f"{name} Å" if re.search(r" \d+$", name) else name
    return f"{name}\n{_minute(channel.time)}"


def place(header: fits.Header | None, channels: Sequence[Channel] | None = None) -> str:
    """Return who looked, when and from where, in one line."""
    time = str(header.get("DATE-OBS", "")) if header is not None else ""
    time = time or (channels[0].time if channels else "")
    words = [spacecraft_name(header, channels), f"{_minute(time)} UT" if time else ""]
    if header is not None and "HGLN_OBS" in header:
        longitude, latitude = (float(header["HGLN_OBS"]) + 180) % 360 - 180, float(header.get("HGLT_OBS", 0.0))
        words += [f"Stonyhurst longitude {signed(longitude)}", f"latitude {signed(latitude)}"]
    return ",  ".join(word for word in words if word)


def signed(degrees: float) -> str:
    """Return an angle as `−94.8°`, `+30°`, `0°`, with a true minus sign."""
    degrees = round(degrees, 1)
    if degrees % 180 == 0:
        return f"{abs(degrees):.0f}°"
    return (f"{degrees:+.0f}°" if degrees % 1 == 0 else f"{degrees:+.1f}°").replace("-", "\N{MINUS SIGN}")


def _minute(time: str) -> str:
    return time.replace("T", " ")[:16]
