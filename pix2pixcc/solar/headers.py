"""Headers of registered images and stacks: pointing, observer and times, read by SunPy and written in one spelling."""
from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import Wcsprm

from pix2pixcc.images.fits import is_number, required, required_number
from pix2pixcc.solar.geometry import RADIUS_FRACTION, RSUN_METRES, angular_radius
from pix2pixcc.solar.instruments import spacecraft_of
from pix2pixcc.solar.observations import identify, mean_time, parse_utc
from pix2pixcc.solar.spelling import CARRINGTON, PC, POSITION, STONYHURST, standard_header
from pix2pixcc.utils import UserError

if TYPE_CHECKING:
    from sunpy.map import GenericMap

_OBSERVER_CARDS = (STONYHURST, CARRINGTON)      # others become Stonyhurst's, but AIA's own:
_ECLIPTIC = ("HAEX_OBS", "HAEY_OBS", "HAEZ_OBS")
# All that SunPy needs to know of an image's place; other cards can only stop it.
_FOR_SUNPY = ("NAXIS1", "NAXIS2", *POSITION, *PC, "CTYPE1", "CTYPE2", "CUNIT1", "CUNIT2", *STONYHURST, *CARRINGTON,
              *_ECLIPTIC, "DATE-OBS", "DATE-AVG", "DATE-BEG", "DATE-END", "T_OBS", "WAVELNTH", "WAVEUNIT")


def has_observer(header: fits.Header) -> bool:
    """Return whether a header says where its observer stood and when, so that its image has a place on the Sun."""
    try:
        header = standard_header(header)
    except UserError:
        return False
    return _is_placed(header) and "DATE-OBS" in header and "CDELT1" in header


def _is_placed(header: fits.Header) -> bool:
    return any(all(is_number(header.get(key)) for key in keys) for keys in _OBSERVER_CARDS)


def sunpy_map(header: fits.Header, path: str | os.PathLike | None = None) -> GenericMap:
    """Return SunPy's map of a header, which knows the habits of each instrument; it holds no pixels.

    A `UserError` names the keyword of the pointing, the time or the observer that is missing.
    """
    import sunpy.map  # takes seconds to import: only those who need geometry pay

    header = standard_header(header, path)
    for keyword in ("NAXIS1", "NAXIS2", *(key for key in POSITION if key in header or not key.startswith("CRVAL"))):
        required_number(header, keyword, path)
    if not (_is_placed(header) and "DATE-OBS" in header):
        missing = next((key for key in STONYHURST if not is_number(header.get(key))), "DATE-OBS")
        raise UserError(f"{path or 'FITS header'}: keyword {missing} is missing, so the observer's place is not known")
    for axis in "12":
        required(header, f"CUNIT{axis}", path)
    texts = {key: str(header[key]) for key in ("TELESCOP", "INSTRUME", "DETECTOR", "OBSRVTRY") if header.get(key)}
    lean = fits.Header({key: header[key] for key in _FOR_SUNPY if key in header} | texts)
    lean.setdefault("WAVELNTH", 171)            # an EUVI map cannot choose its colours without
    lean.setdefault("WAVEUNIT", "Angstrom")
    lean["RSUN_REF"] = RSUN_METRES              # else it says that it assumes one
    empty = np.broadcast_to(np.float32(0), (int(header["NAXIS2"]), int(header["NAXIS1"])))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sunpy.map.Map((empty, lean))


def sunpy_meta(header: fits.Header) -> dict[str, Any]:
    """Return a header as SunPy keeps it when it reads a file: HISTORY and COMMENT as lines, and the cards' comments."""
    meta: dict[str, Any] = dict(header)
    meta |= {keyword: "\n".join(header.get(keyword, [])) for keyword in ("COMMENT", "HISTORY")}
    meta["KEYCOMMENTS"] = {card.keyword: card.comment for card in header.cards if card.comment}
    return meta


def _sky_header(shape: tuple[int, int], wcs: Wcsprm, observer: tuple[float, float, float],
                times: tuple[datetime, datetime]) -> fits.Header:
    """Return the cards of axes, observer (Stonyhurst longitude, latitude, degrees; distance, metres) and times."""
    longitude, latitude, distance = observer
    (pc11, pc12), (pc21, pc22) = wcs.get_pc().tolist()
    x_scale, y_scale = (3600 * wcs.get_cdelt()).tolist()
    x_value, y_value = (3600 * wcs.crval).tolist()
    radius = angular_radius(distance)
    header = fits.Header([
        ("NAXIS", 2), ("NAXIS1", shape[1]), ("NAXIS2", shape[0]), ("WCSNAME", "Helioprojective-cartesian"),
        ("CTYPE1", wcs.ctype[0]), ("CTYPE2", wcs.ctype[1]), ("CUNIT1", "arcsec"), ("CUNIT2", "arcsec"),
        ("CRPIX1", float(wcs.crpix[0]), "[pixel] from 1"), ("CRPIX2", float(wcs.crpix[1]), "[pixel] from 1"),
        ("CRVAL1", x_value, "[arcsec] at the reference pixel"), ("CRVAL2", y_value, "[arcsec] at the reference pixel"),
        ("CDELT1", x_scale, "[arcsec/pixel] plate scale"), ("CDELT2", y_scale, "[arcsec/pixel] plate scale"),
        ("PC1_1", pc11), ("PC1_2", pc12), ("PC2_1", pc21), ("PC2_2", pc22),
        ("HGLN_OBS", (longitude + 180) % 360 - 180, "[deg] Stonyhurst heliographic longitude"),
        ("HGLT_OBS", latitude, "[deg] Stonyhurst heliographic latitude"),
        ("DSUN_OBS", distance, "[m] distance to the centre of the Sun"),
        ("RSUN_REF", RSUN_METRES, "[m] solar radius"), ("RSUN_OBS", radius, "[arcsec] apparent solar radius"),
        ("R_SUN", radius / abs(x_scale * y_scale) ** 0.5, "[pixel] solar radius in the image")])
    set_times(header, *times)
    return header


def _registered_sky(size: int, observer: tuple[float, float, float], times: tuple[datetime, datetime]) -> fits.Header:
    """Return the cards of a registered image: north up, the Sun in its middle, its radius a fixed share of the side."""
    wcs = Wcsprm(naxis=2)
    wcs.ctype, wcs.crpix = ["HPLN-TAN", "HPLT-TAN"], 2 * [(size + 1) / 2]
    wcs.cdelt = 2 * [angular_radius(observer[2]) / 3600 / (RADIUS_FRACTION * size)]
    return _sky_header((size, size), wcs, observer, times)


def _observer_and_times(source: GenericMap) -> tuple[tuple[float, float, float], tuple[datetime, datetime]]:
    observer = source.observer_coordinate
    return ((float(observer.lon.deg), float(observer.lat.deg), float(observer.radius.to_value("m"))),
            (source.date.utc.to_datetime(), source.reference_date.utc.to_datetime()))


def sky_of_header(header: fits.Header) -> fits.Header:
    """Return the cards of any header that place its image, or each image of a cube, on the sky, in one spelling."""
    source = sunpy_map(header)
    return _sky_header(source.data.shape, source.wcs.wcs, *_observer_and_times(source))


def set_times(header: fits.Header, start: datetime, middle: datetime) -> None:
    """Write DATE-OBS and DATE-AVG, and both as modified Julian dates, else wcslib warns that it adds them."""
    for keyword, time, meaning in (("OBS", start, "observation"), ("AVG", middle, "mid-observation")):
        text = time.isoformat(timespec="milliseconds" if time.microsecond else "seconds")
        header[f"DATE-{keyword}"] = (text, f"[UTC] {meaning}")
        header[f"MJD-{keyword}"] = (Time(text, scale="utc").mjd, f"[d] {meaning}")
    header["TIMESYS"] = "UTC"


def registered_header(header: fits.Header, size: int, source: GenericMap | None = None) -> fits.Header:
    """Return the header of the image that registration makes: helioprojective, north up, centred, with its observer.

    Parameters
    ----------
    header : `~astropy.io.fits.Header` of the raw image
    size : int
        Side of the registered image, pixels: the Sun is at (size + 1) / 2, its radius `RADIUS_FRACTION` * size.
    source : `~sunpy.map.GenericMap` of `header`, optional, where it is at hand
    """
    registered = _registered_sky(size, *_observer_and_times(sunpy_map(header) if source is None else source))
    identity = identify(header)
    if identity is not None and (spacecraft := spacecraft_of(identity[0])):
        registered["OBSRVTRY"] = spacecraft.keyword
    for keyword in ("OBSRVTRY", "TELESCOP", "INSTRUME", "DETECTOR", "WAVELNTH", "EXPTIME", "CADENCE"):
        if keyword not in registered and header.get(keyword) not in (None, ""):
            registered[keyword] = (header[keyword], header.comments[keyword])
    if "WAVELNTH" in registered:
        registered["WAVEUNIT"] = "Angstrom"
    return registered


def mean_header(headers: Sequence[fits.Header]) -> fits.Header:
    """Return the header of a stack of one observer's registered images: the first one's, at the mean time and place.

    DATE-OBS is rounded to the second, which the file is called after.
    """
    longitude = float(np.unwrap([header["HGLN_OBS"] for header in headers], period=360).mean())
    latitude, distance = (float(np.mean([header[key] for header in headers])) for key in ("HGLT_OBS", "DSUN_OBS"))
    start, middle = (mean_time([parse_utc(header[key]) for header in headers]) for key in ("DATE-OBS", "DATE-AVG"))
    start = (start + timedelta(seconds=0.5)).replace(microsecond=0)
    mean = headers[0].copy()
    mean.update(_registered_sky(int(mean["NAXIS1"]), (longitude, latitude, distance), (start, middle)))
    if len(headers) > 1:
        for keyword in ("INSTRUME", "DETECTOR", "WAVELNTH", "WAVEUNIT", "EXPTIME", "CADENCE", "TELESCOP"):
            mean.remove(keyword, ignore_missing=True)       # SunPy asks of each instrument's images their wavelength
        mean["TELESCOP"] = str(mean.get("OBSRVTRY", "")).split("_")[0]
    return mean
