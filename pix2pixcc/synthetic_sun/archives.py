"""The raw files of a synthetic Sun, with the quirks of their archives: AIA level 1, HMI 720 s and EUVI level 0.

AIA is Rice-compressed with a small roll; HMI is upside down and NaN outside the disk; EUVI carries a CCD bias and the
spacecraft's roll.
"""
from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from astropy.io import fits

from pix2pixcc.solar.geometry import AU_METRES, RSUN_METRES
from pix2pixcc.solar.orbits import Observer, earth_carrington_longitude
from pix2pixcc.synthetic_sun.camera import Camera
from pix2pixcc.utils import atomic_path

AIA_EXPOSURE = {"304": 2.90, "193": 2.00, "171": 2.00, "211": 2.90, "335": 2.90, "131": 2.90, "94": 2.90}   # seconds
AIA_MEDIAN = {"304": 16.0, "193": 190.0, "171": 170.0, "211": 62.0, "335": 4.0, "131": 8.0, "94": 2.0}      # DN
AIA_OFFSET = {"304": 8, "193": 7, "171": 0, "211": 0, "335": 3, "131": 9, "94": 1}     # seconds after the nominal time
AIA_TELESCOPE = {"304": 4, "94": 4, "131": 1, "335": 1, "193": 2, "211": 2, "171": 3}
EUVI_EXPOSURE = {"304": 4.0, "195": 16.0, "171": 16.0, "284": 32.0}
EUVI_MEDIAN = {"304": 200.0, "195": 600.0, "171": 800.0, "284": 160.0}
EUVI_OFFSET = {"304": -257, "195": -2, "171": 568, "284": 1100}
SATURATION = 16383                   # DN


@dataclass(frozen=True)
class Instrument:
    """A full-disk imager."""

    detector: int                    # pixels on a side of the full detector
    scale: float                     # arcsec per pixel there
    roll: float                      # degrees
    pointing: tuple[float, float]    # arcsec
    bias: float = 0.0                # DN


INSTRUMENTS = {
    "AIA": Instrument(4096, 0.599489, 0.0194, (-4.5, 2.9)),
    "HMI": Instrument(4096, 0.504357, 180.0136, (7.6, 2.7)),
    "STEREO-A": Instrument(2048, 1.587774, 6.7925, (-13.5, 56.0), 725.242),
    "STEREO-B": Instrument(2048, 1.590000, -7.7356, (-18.8, -35.5), 688.221),
}


def raw_camera(instrument: Instrument, observer: Observer, size: int) -> Camera:
    """Return the camera of an instrument, binned to `size` pixels: its own scale, roll and pointing."""
    scale = instrument.scale * instrument.detector / size
    angle = np.radians(instrument.roll)
    x, y = -instrument.pointing[0] / scale, -instrument.pointing[1] / scale
    column = (size - 1) / 2 + np.cos(angle) * x + np.sin(angle) * y
    row = (size - 1) / 2 - np.sin(angle) * x + np.cos(angle) * y
    return Camera(size, solar_radius(observer) / scale, (column, row), instrument.roll)


def solar_radius(observer: Observer) -> float:
    """Return the Sun's apparent radius, arcsec."""
    return float(np.degrees(np.arcsin(RSUN_METRES / (observer.distance * AU_METRES))) * 3600)


def sky_header(camera: Camera, observer: Observer, time: datetime) -> fits.Header:
    """Return an image's helioprojective coordinates, the Sun's centre as reference pixel, and the observer's place."""
    scale = solar_radius(observer) / camera.radius
    cosine, sine = np.cos(np.radians(camera.roll)), np.sin(np.radians(camera.roll))
    header = fits.Header()
    header["WCSAXES"] = 2
    for axis, (name, centre) in enumerate(zip(("HPLN-TAN", "HPLT-TAN"), camera.centre, strict=True), 1):
        header.update({f"CTYPE{axis}": name, f"CUNIT{axis}": "arcsec", f"CRPIX{axis}": centre + 1,
                       f"CRVAL{axis}": 0.0, f"CDELT{axis}": scale})
    when = time.isoformat(timespec="milliseconds")
    header.update({
        "PC1_1": cosine, "PC1_2": -sine, "PC2_1": sine, "PC2_2": cosine, "DATE-OBS": when, "DATE-AVG": when,
        "TIMESYS": "UTC", "RSUN_REF": (RSUN_METRES, "[m]"), "RSUN_OBS": (solar_radius(observer), "[arcsec]"),
        "DSUN_OBS": (observer.distance * AU_METRES, "[m]"), "HGLN_OBS": (observer.longitude, "[deg] Stonyhurst"),
        "HGLT_OBS": (observer.latitude, "[deg]"),
        "CRLN_OBS": ((observer.longitude + earth_carrington_longitude(time)) % 360, "[deg] Carrington"),
        "CRLT_OBS": (observer.latitude, "[deg]"), "OBSRVTRY": observer.name.replace("-", "_")})
    return header


def raw_name(name: str, passband: str, time: datetime) -> str:
    """Return a file's folder and name as its archive gives them; `passband` is 'magnetogram' for HMI."""
    if passband == "magnetogram":
        return f"SDO/HMI/hmi.m_720s.{time:%Y%m%d_%H%M%S}_TAI.3.magnetogram.fits"
    if name == "SDO":
        return f"SDO/AIA/{passband}/aia.lev1_euv_12s.{time:%Y-%m-%dT%H%M%S}Z.{passband}.image_lev1.fits"
    return f"{name.replace('-', '_')}/{time:%Y%m%d}/{time:%Y%m%d_%H%M%S}_n4eu{name[-1]}.fts"


def write_aia(path: str | os.PathLike, image: np.ndarray, camera: Camera, observer: Observer, time: datetime,
              passband: str, random: np.random.Generator) -> None:
    """Write an image of disk median 100 as an AIA level 1 file in DN; `time` is the middle of the exposure."""
    exposure = AIA_EXPOSURE[passband]
    data = image * (AIA_MEDIAN[passband] / 100) + random.normal(0, 1.2, image.shape)
    header = _sdo_header(camera, observer, time)
    start = time - timedelta(seconds=exposure / 2)
    header.update({
        "DATE-OBS": start.isoformat(timespec="milliseconds"), "T_OBS": time.isoformat(timespec="milliseconds") + "Z",
        "T_REC": time.isoformat(timespec="seconds") + "Z", "CROTA2": camera.roll, "TELESCOP": "SDO/AIA",
        "DETECTOR": "AIA", "INSTRUME": f"AIA_{AIA_TELESCOPE[passband]}", "WAVELNTH": int(passband),
        "WAVEUNIT": "angstrom", "WAVE_STR": f"{passband}_THIN", "EXPTIME": exposure, "EXPSDEV": 0.00013, "QUALITY": 0,
        "QUALLEV0": 0, "LVL_NUM": 1.0, "BUNIT": "DN", "PIXLUNIT": "DN", "IMG_TYPE": "LIGHT", "AECTYPE": 0,
        "ACS_MODE": "SCIENCE", "ACS_ECLP": "NO", "AIFTSID": 40960, "AIAGP6": 0, "ORIGIN": "SDO/JSOC-SDP",
        "R_SUN": camera.radius, "IMSCL_MP": header["CDELT1"], "DSUN_REF": AU_METRES, "PERCENTD": 100.0, "MISSVALS": 0,
        "NSATPIX": int((data > SATURATION).sum()), "DATAMEDN": int(np.median(data))})
    _write_compressed(path, np.clip(np.rint(data), -50, SATURATION).astype(np.int16), header)


def write_hmi(path: str | os.PathLike, image: np.ndarray, camera: Camera, observer: Observer, time: datetime,
              random: np.random.Generator) -> None:
    """Write a line-of-sight magnetogram (gauss) as an HMI 720 s file: steps of 0.1 G, NaN outside the disk."""
    noise = max(1.0, 6.0 * camera.size / 4096)         # 6 G in a pixel of 0.5 arcsec (Liu et al. 2012)
    noisy = image + random.normal(0, noise, image.shape)
    data = np.where(np.hypot(*camera.sky()) < 0.9995, noisy, np.nan).astype(np.float32)
    header = _sdo_header(camera, observer, time)
    tai = time + timedelta(seconds=34)                 # TAI - UTC from 2009 to mid-2012, near enough after
    header.update({
        "DATE-OBS": (time - timedelta(seconds=65)).isoformat(timespec="milliseconds"),
        "T_OBS": f"{tai:%Y.%m.%d_%H:%M:%S}_TAI", "T_REC": f"{tai:%Y.%m.%d_%H:%M:%S}_TAI", "CADENCE": 720.0,
        "CROTA2": camera.roll, "TELESCOP": "SDO/HMI", "INSTRUME": "HMI_COMBINED", "DETECTOR": "HMI", "WAVELNTH": 6173.0,
        "WAVEUNIT": "angstrom", "CONTENT": "MAGNETOGRAM", "BUNIT": "Gauss", "QUALITY": 0, "QUALLEV1": 0, "CAMERA": 3,
        "WCSNAME": "Helioprojective-cartesian", "ORIGIN": "SDO/JSOC-SDP", "DSUN_REF": AU_METRES,
        "DATAMEDN": float(np.nanmedian(data))})
    _write_compressed(path, data, header, quantize_level=-0.1)


def _sdo_header(camera: Camera, observer: Observer, time: datetime) -> fits.Header:
    """Return `sky_header` without the cards that SDO's files lack; they give the roll as CROTA2."""
    header = sky_header(camera, observer, time)
    for key in ("PC1_1", "PC1_2", "PC2_1", "PC2_2", "DATE-AVG", "OBSRVTRY", "TIMESYS", "WCSAXES"):
        del header[key]
    return header


def _write_compressed(path: str | os.PathLike, data: np.ndarray, header: fits.Header, **settings: float) -> None:
    """Write a Rice-compressed image into the first extension."""
    hdu = fits.CompImageHDU(data, header, compression_type="RICE_1", name="COMPRESSED_IMAGE", **settings)
    with atomic_path(path) as temporary:
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(temporary, overwrite=True, checksum=True)


def write_euvi(path: str | os.PathLike, image: np.ndarray, camera: Camera, observer: Observer, time: datetime,
               passband: str, random: np.random.Generator) -> None:
    """Write an image of disk median 100 as an EUVI level 0 file with its bias; `time` is the middle of the exposure."""
    instrument = INSTRUMENTS[observer.name]
    exposure = EUVI_EXPOSURE[passband]
    data = instrument.bias + image * (EUVI_MEDIAN[passband] / 100) + random.normal(0, 2.0, image.shape)
    header = sky_header(camera, observer, time)
    # SECCHI puts the reference pixel in the middle of the frame and the pointing into CRVAL.
    for axis, pointing in enumerate(instrument.pointing, 1):
        header[f"CRPIX{axis}"] = (camera.size + 1) / 2
        header[f"CRVAL{axis}"] = pointing
    start = time - timedelta(seconds=exposure / 2)
    letter = observer.name[-1]
    header.update({
        "DATE-OBS": start.isoformat(timespec="milliseconds"), "DATE-AVG": time.isoformat(timespec="milliseconds"),
        "DATE-END": (start + timedelta(seconds=exposure)).isoformat(timespec="milliseconds"),
        "FILENAME": os.path.basename(os.fspath(path)), "TELESCOP": "STEREO", "OBSRVTRY": f"STEREO_{letter}",
        "INSTRUME": "SECCHI", "DETECTOR": "EUVI", "WAVELNTH": int(passband), "WAVEUNIT": "Angstrom", "FILTER": "S1",
        "EXPTIME": exposure, "BIASMEAN": instrument.bias, "BIASSDEV": 0.02, "OFFSET": 600, "OFFSETCR": 0.0,
        "NMISSING": 0, "MISSLIST": "", "COMPRSSN": 94, "SUMMED": 1.0 + np.log2(instrument.detector / camera.size),
        "IPSUM": 1.0, "CCDSUM": 1.0, "RECTIFY": True, "RECTROTA": 6 if letter == "A" else 3, "DOORSTAT": 2,
        "SEB_PROG": "NORMAL", "LEDCOLOR": "NONE", "DIV2CORR": True, "DISTCORR": False, "N_IMAGES": 1, "VERSION": 4,
        "BUNIT": "DN", "ORIGIN": "NRL", "CROTA": camera.roll, "RSUN": solar_radius(observer),
        "XCEN": instrument.pointing[0], "YCEN": instrument.pointing[1], "READPORT": "L" if letter == "A" else "R",
        "DATASAT": 0, "DSATVAL": 15000})
    del header["RSUN_OBS"], header["WCSAXES"], header["TIMESYS"]
    counts = np.clip(np.rint(data), 0, SATURATION).astype(np.uint16)
    with atomic_path(path) as temporary:
        fits.PrimaryHDU(counts, header).writeto(temporary, overwrite=True)
