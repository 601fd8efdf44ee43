"""Where observers stand: spacecraft on their orbits, the Sun's rotation, and when a hemisphere last faced Earth."""
from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from pix2pixcc.solar.geometry import AU_METRES, RSUN_METRES
from pix2pixcc.solar.instruments import SDO, SPACECRAFT, STEREO_A

SYNODIC_PERIOD_DAYS = 27.2753


@dataclass(frozen=True)
class Observer:
    """Who looks: Stonyhurst longitude and latitude (degrees) and distance from the Sun's centre (AU)."""

    name: str
    longitude: float
    latitude: float
    distance: float

    @property
    def radii(self) -> float:
        """Return the distance in solar radii."""
        return self.distance * AU_METRES / RSUN_METRES


@functools.lru_cache(maxsize=256)
def observer_at(name: str, time: datetime) -> Observer:
    """Return where a spacecraft was: 'SDO' at the Earth, 'STEREO-A' and 'STEREO-B' on their drifting orbits to 2014.

    STEREO's places are fitted to real headers of February and March 2011 and hold to about a degree around them.
    """
    from astropy import units as u
    from astropy.coordinates import HeliocentricMeanEcliptic, SkyCoord
    from sunpy.coordinates import HeliographicStonyhurst, get_earth  # takes a second to import

    if name not in SPACECRAFT:
        raise ValueError(f"{name!r} is none of {', '.join(SPACECRAFT)}")
    earth = get_earth(time)
    if name == SDO.name:
        return Observer(name, 0.0, float(earth.lat.deg), float(earth.radius.au))
    days = (time - datetime(2011, 2, 15)).total_seconds() / 86400
    if name == STEREO_A.name:
        separation, distance = 86.75 + 21.65 * days / 365.25, 0.9622 - 0.0055 * np.cos(2 * np.pi * (days - 68) / 346.6)
    else:
        separation, distance = -94.05 - 21.5 * days / 365.25, 1.0432 - 0.0427 * np.cos(2 * np.pi * (days - 74) / 388.2)
    ecliptic = HeliocentricMeanEcliptic(obstime=time)
    place = SkyCoord(earth.transform_to(ecliptic).lon + separation * u.deg, 0 * u.deg, distance * u.au,
                     frame=ecliptic).transform_to(HeliographicStonyhurst(obstime=time))
    return Observer(name, float(place.lon.wrap_at(180 * u.deg).deg), float(place.lat.deg), float(distance))


@functools.lru_cache(maxsize=256)
def earth_carrington_longitude(time: datetime) -> float:
    """Return the Carrington longitude (degrees) of the central meridian as seen from the Earth."""
    from sunpy.coordinates import sun

    return float(sun.L0(time).deg)


def reference_time(time: datetime, stonyhurst_longitude_deg: float) -> datetime:
    """Return when the hemisphere that an observer at this Stonyhurst longitude sees at `time` last faced Earth.

    It is t - 27.2753 d * (L mod 360) / 360 (Jeong et al. 2022): 0 to one synodic rotation earlier.
    """
    return time - timedelta(days=SYNODIC_PERIOD_DAYS * (stonyhurst_longitude_deg % 360) / 360)
