"""What an observer sees of the Sun: the limb and the heliographic grid in his image, who and where he is, in words.

Plain arithmetic instead of coordinate frames, because sheets are drawn while training goes on; the tests hold it against SunPy.
"""
from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from pix2pixcc.images.cubes import Channel
from pix2pixcc.solar.geometry import LIMB, RSUN_METRES
from pix2pixcc.solar.instruments import spacecraft_of


@dataclass(frozen=True)
class View:
    """Where an image lies on the sky, and who looks from where.

    Attributes
    ----------
    matrix : ndarray (2, 3)
        From a pixel (column, row, 1), counted from 0, to helioprojective (x, y) in arcsec from the Sun's centre.
    longitude, latitude : float
        The observer's Stonyhurst place, degrees.
    distance : float
        The observer's distance from the Sun's centre, metres.
    """

    matrix: np.ndarray
    longitude: float
    latitude: float
    distance: float

    @classmethod
    def of_header(cls, header: fits.Header | None) -> View | None:
        """The view that a header describes, or None where it has no helioprojective axes or no observer."""
        if header is None or any(key not in header for key in ("HGLN_OBS", "HGLT_OBS", "DSUN_OBS")):
            return None
        wcs = WCS(header, naxis=2, fix=False)
        if not wcs.has_celestial:
            return None
        scale = 3600 * wcs.pixel_scale_matrix
        reference = 3600 * ((np.asarray(wcs.wcs.crval) + 180) % 360 - 180)
        origin = reference - scale @ (np.asarray(wcs.wcs.crpix) - 1)
        return cls(np.column_stack([scale, origin]), float(header["HGLN_OBS"]), float(header["HGLT_OBS"]), float(header["DSUN_OBS"]))

    @property
    def radius(self) -> float:
        """Apparent solar radius, arcsec."""
        return 3600 * math.degrees(math.asin(RSUN_METRES / self.distance))

    def on_disk(self, image: np.ndarray, limit: float = LIMB) -> np.ndarray:
        """`image` `(H, W)` with NaN beyond `limit` radii."""
        rows, columns = np.ogrid[:image.shape[0], :image.shape[1]]
        x, y = (row[0] * columns + row[1] * rows + row[2] for row in self.matrix)
        return np.where(x * x + y * y <= (limit * self.radius) ** 2, image, np.nan)


def limb(radius: float) -> np.ndarray:
    """The limb, a closed curve `(2, N)` in arcsec."""
    angle = np.linspace(0, 2 * np.pi, 361)
    return radius * np.array([np.cos(angle), np.sin(angle)])


def graticule(view: View, spacing: float = 30.0) -> np.ndarray:
    """Stonyhurst meridians and parallels, `spacing` degrees apart, as one `(2, N)` curve in arcsec broken by NaN.

    References
    ----------
    Thompson 2006, A&A 449, 791, equations 11 and 15.
    """
    along, around = np.linspace(-90, 90, 91), np.linspace(-180, 180, 181)
    curves = [project(view, np.full_like(along, meridian), along) for meridian in np.arange(-180, 180, spacing)]
    curves += [project(view, around, np.full_like(around, parallel)) for parallel in np.arange(spacing - 90, 90, spacing)]
    gap = np.full((2, 1), np.nan)
    return np.hstack([part for curve in curves for part in (curve, gap)])


def project(view: View, longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Helioprojective (x, y) in arcsec of Stonyhurst points in degrees; NaN where they are behind the Sun."""
    lon, lat, tilt = np.radians(longitude - view.longitude), np.radians(latitude), math.radians(view.latitude)
    x = np.cos(lat) * np.sin(lon)
    y = np.sin(lat) * math.cos(tilt) - np.cos(lat) * np.cos(lon) * math.sin(tilt)
    z = np.sin(lat) * math.sin(tilt) + np.cos(lat) * np.cos(lon) * math.cos(tilt)
    distance = view.distance / RSUN_METRES
    sky = 3600 * np.degrees([np.arctan2(x, distance - z), np.arctan2(y, np.hypot(x, distance - z))])
    return np.where(z >= 1 / distance, sky, np.nan)


def spacecraft_name(header: fits.Header | None, channels: Sequence[Channel] | None = None) -> str:
    """`STEREO-B`, `SDO`, or what the header says; empty where nothing is said."""
    words = [channels[0].name] if channels else []
    if header is not None:
        words += [str(header[key]) for key in ("OBSRVTRY", "INPUTDAT", "TELESCOP", "INSTRUME") if key in header]
    for word in words:
        if spacecraft := spacecraft_of(word):
            return spacecraft.name
    return words[0].replace("_", " ") if words else ""


def caption(channel: Channel) -> str:
    """What a channel is and when, in two lines: `EUVI-B 304 Å`, `2011-03-05 11:56`."""
    name = channel.name.rsplit("/", 1)[-1]
    name = f"{name} Å" if re.search(r" \d+$", name) else name
    return f"{name}\n{_minute(channel.time)}"


def place(header: fits.Header | None, channels: Sequence[Channel] | None = None) -> str:
    """Who looked, when and from where, in one line."""
    time = str(header.get("DATE-OBS", "")) if header is not None else ""
    time = time or (channels[0].time if channels else "")
    words = [spacecraft_name(header, channels), f"{_minute(time)} UT" if time else ""]
    if header is not None and "HGLN_OBS" in header:
        longitude, latitude = (float(header["HGLN_OBS"]) + 180) % 360 - 180, float(header.get("HGLT_OBS", 0.0))
        words.append(f"Stonyhurst longitude {signed(longitude)}")
        words.append(f"latitude {signed(latitude)}")
    return ",  ".join(word for word in words if word)


def signed(degrees: float) -> str:
    """`−94.8°`, `+30°`, `0°`, with a true minus sign."""
    degrees = round(degrees, 1)
    if degrees % 180 == 0:
        return f"{abs(degrees):.0f}°"
    return (f"{degrees:+.0f}°" if degrees % 1 == 0 else f"{degrees:+.1f}°").replace("-", "\N{MINUS SIGN}")


def _minute(time: str) -> str:
    return time.replace("T", " ")[:16]
