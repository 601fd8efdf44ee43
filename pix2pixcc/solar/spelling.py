"""One spelling of headers: what archives, SunPy, astropy and drms write in many ways, as SunPy understands it.

Times become DATE-OBS in UTC, a rotation becomes PCi_j, numbers written as text become numbers, an observer in Cartesian
coordinates becomes HGLN_OBS, HGLT_OBS and DSUN_OBS. A value that is empty, NaN or '(MISSING)' counts as missing.
"""
from __future__ import annotations

import math
import os
import re
from datetime import UTC, datetime, timedelta

from astropy.io import fits
from astropy.io.fits.verify import VerifyError

from pix2pixcc.images.fits import is_blank, is_number
from pix2pixcc.solar.geometry import AU_METRES
from pix2pixcc.utils import UserError

TIME_KEYWORDS = ("DATE-OBS", "DATE_OBS", "DATE__OBS", "DATE-BEG", "T_OBS", "DATE-AVG", "T_REC")   # the first counts
_OTHER_TIMES = ("DATE-AVG", "DATE-BEG", "DATE-END", "T_OBS")
_TIMES_OF_DAY = ("TIME-OBS", "TIME_OBS", "TIME__OBS")
_TIME_SYSTEMS = {"": "utc", "z": "utc", "utc": "utc", "ut": "utc", "gmt": "utc", "tai": "tai", "tt": "tt", "tdb": "tdb"}
_SYSTEM_IN_TIME = re.compile(r"(?:Z|[_ ](TAI|UTC?|GMT|TT|TDB))$", re.IGNORECASE)
_DATE_ALONE = re.compile(r"\d{4}[-./]?\d\d[-./]?\d\d")
_SAME_OBSERVATION = timedelta(hours=1)      # the middle and the end lie within it
_YEARS = range(1995, 2100)                  # JSOC writes a missing time as the year -4712 or 1958

POSITION = ("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2", "CDELT1", "CDELT2")
PC = ("PC1_1", "PC1_2", "PC2_1", "PC2_2")
CD = ("CD1_1", "CD1_2", "CD2_1", "CD2_2")
CROTA = ("CROTA2", "CROTA", "CROTA1")       # the last two in SECCHI's files and where each axis has its own
STONYHURST, CARRINGTON = ("HGLN_OBS", "HGLT_OBS", "DSUN_OBS"), ("CRLN_OBS", "CRLT_OBS", "DSUN_OBS")
CARTESIAN = {"HEQ": "HeliographicStonyhurst", "HEE": "HeliocentricEarthEcliptic", "HAE": "HeliocentricMeanEcliptic",
             "HCI": "HeliocentricInertial"}                     # the frames of SunPy; HEQ is what others call HEEQ
NEAREST, FARTHEST = 0.1 * AU_METRES, 10 * AU_METRES
_OTHER_NUMBERS = ("NAXIS1", "NAXIS2", "WAVELNTH", "EXPTIME", "CADENCE", "LVL_NUM", "NMISSING", "MISSVALS", "OFFSETCR",
                  "BIASMEAN", "IPSUM", "DOORSTAT", "RSUN_OBS")
_ANGLES = {"arcsec": "arcsec", "arcsecs": "arcsec", "arcsecond": "arcsec", "arcseconds": "arcsec", "asec": "arcsec",
           '"': "arcsec", "arcmin": "arcmin", "arcminute": "arcmin", "arcminutes": "arcmin", "deg": "deg",
           "degree": "deg", "degrees": "deg", "rad": "rad", "radian": "rad", "radians": "rad", "mas": "mas"}
_ANGSTROMS = {"nm": 10.0, "nanometer": 10.0, "nanometre": 10.0, "um": 1e4, "micron": 1e4, "m": 1e10}
_AXES = {"HPLN-TAN": "HPLN-TAN", "SOLAR-X": "HPLN-TAN", "SOLAR_X": "HPLN-TAN", "SOLARX": "HPLN-TAN",
         "HPLT-TAN": "HPLT-TAN", "SOLAR-Y": "HPLT-TAN", "SOLAR_Y": "HPLT-TAN", "SOLARY": "HPLT-TAN"}


class StandardHeader(fits.Header):
    """A header in the one spelling; it is not brought into it again."""


def standard_header(header: fits.Header, path: str | os.PathLike | None = None) -> StandardHeader:
    """Return a copy of a header in one spelling.

    Raises
    ------
    UserError
        A time, a unit, or the pointing is there and cannot be read; the message names `path` and the keyword.
    """
    if isinstance(header, StandardHeader):
        return header
    standard = StandardHeader(header, copy=True)
    place = path or "FITS header"
    _spell_numbers(standard)
    _spell_axes(standard, place)
    _spell_rotation(standard, place)
    _spell_times(standard, place)
    _spell_wavelength(standard)
    _spell_observer(standard, place)
    return standard


def utc_of(text: str, system: str = "") -> datetime:
    """Return a time of any spelling as UTC without a zone, or raise a ValueError.

    It may say its system itself ('2011.02.13_10:36:00_TAI', '2011-02-13T10:35:26Z'), else it is of `system`, by default
    UTC. A leap second is the first second of the next day.
    """
    body = text.strip()
    if match := _SYSTEM_IN_TIME.search(body):
        body, system = body[:match.start()], match[1] or ""
    scale = _TIME_SYSTEMS.get(system.strip().lower())
    if scale is None:
        raise ValueError(f"{system} is no system of time")
    body, n_leaps = re.subn(r"(:\d\d:)60(?=\.|$)", r"\g<1>59", body)
    try:
        time = datetime.fromisoformat(re.sub(r"^(\d{4})[./](\d\d)[./](\d\d)", r"\1-\2-\3", body))
        time = time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
    except ValueError:
        from sunpy.time import parse_time  # knows every dialect, takes a second to import
        time = parse_time(body).to_datetime()
    if scale != "utc":
        from astropy.time import Time
        time = Time(time, scale=scale).utc.to_datetime()
    return time + timedelta(seconds=n_leaps)


def observation_time(header: fits.Header, place: str | os.PathLike) -> datetime:
    """Return when an image was taken (UTC), by the first of `TIME_KEYWORDS` that is there; a `UserError` names it."""
    keyword = next((name for name in TIME_KEYWORDS if not is_blank(_value(header, name))), None)
    if keyword is None:
        raise UserError(f"{place}: keyword DATE-OBS is missing; download the file again, or leave it out")
    text = _time_text(header, keyword, place)
    system = _time_system(header, place)
    try:
        time = utc_of(text, system)
        if time.year not in _YEARS:
            raise ValueError(time.year)
    except (ValueError, TypeError, OverflowError) as error:
        raise UserError(f"{place}: keyword {keyword} = {text!r} is no time") from error
    return time


def _time_text(header: fits.Header, keyword: str, place: str | os.PathLike) -> str:
    text = str(header[keyword]).strip()
    if not _DATE_ALONE.fullmatch(text):
        return text
    of_day = next((name for name in _TIMES_OF_DAY if not is_blank(_value(header, name))), None)
    if of_day is None:
        raise UserError(f"{place}: keyword {keyword} = {text!r} has no time of day, and TIME-OBS is missing")
    return f"{text}T{str(header[of_day]).strip()}"


def _time_system(header: fits.Header, place: str | os.PathLike) -> str:
    value = _value(header, "TIMESYS")
    system = "" if is_blank(value) else str(value).strip()
    if system.lower() not in _TIME_SYSTEMS:
        raise UserError(f"{place}: keyword TIMESYS = {system!r} is no system of time; it should be UTC or TAI")
    return system


def _value(header: fits.Header, keyword: str) -> object:
    try:
        return header.get(keyword)
    except VerifyError:      # a card that breaks the standard
        return None


def _spell_numbers(header: StandardHeader) -> None:
    """Turn text into numbers and remove what is missing, but for the rotation, which is not 0 because it is missing."""
    cartesian = [f"{frame}{axis}_OBS" for frame in CARTESIAN for axis in "XYZ"]
    for keyword in (*POSITION, *PC, *CD, *CROTA, *STONYHURST, *CARRINGTON, *cartesian, *_OTHER_NUMBERS):
        if keyword not in header:
            continue
        value = _value(header, keyword)
        if isinstance(value, str) and not is_blank(value):
            try:      # FORTRAN's exponents too
                value = header[keyword] = float(re.sub(r"(?<=\d)[dD](?=[-+]?\d)", "e", value))
            except ValueError:
                continue
            if value.is_integer() and abs(value) < 1e15:
                header[keyword] = int(value)
        if is_blank(value) and keyword not in (*PC, *CD, *CROTA):
            del header[keyword]


def _spell_axes(header: StandardHeader, place: str | os.PathLike) -> None:
    for axis in "12":
        unit, kind = _value(header, f"CUNIT{axis}"), _value(header, f"CTYPE{axis}")
        if not is_blank(unit):
            name = _ANGLES.get(str(unit).strip().lower())
            if name is None:
                raise UserError(f"{place}: keyword CUNIT{axis} = {unit!r} should be arcsec or deg")
            header[f"CUNIT{axis}"] = name
        elif f"CUNIT{axis}" in header:
            del header[f"CUNIT{axis}"]
        if is_blank(kind):
            header.remove(f"CTYPE{axis}", ignore_missing=True)
        elif not isinstance(kind, str):
            raise UserError(f"{place}: keyword CTYPE{axis} = {kind!r} should be HPL{'NT'[axis == '2']}-TAN")
        else:
            header[f"CTYPE{axis}"] = _AXES.get(kind.strip().upper(), kind)


def _spell_rotation(header: StandardHeader, place: str | os.PathLike) -> None:
    """Write the rotation as PCi_j beside CDELTi, from the first of PCi_j, CDi_j and CROTA that is there."""
    given = {keyword: _value(header, keyword) for keyword in (*PC, *CD, *CROTA) if keyword in header}
    if not given:
        return
    chosen = next((keywords for keywords in (PC, CD, *((one,) for one in CROTA))
                   if any(not is_blank(given.get(keyword)) for keyword in keywords)), None)
    if chosen is None:
        raise UserError(f"{place}: keyword {next(iter(given))} is missing, so the direction of north is not known")
    default = dict(zip(PC, (1.0, 0.0, 0.0, 1.0), strict=True)) | dict.fromkeys(CD, 0.0)
    values = {keyword: given.get(keyword, default.get(keyword)) for keyword in chosen}
    for keyword, value in values.items():
        if not is_number(value):
            raise UserError(f"{place}: keyword {keyword} = {value!r} should be a number")
    numbers = [float(value) for value in values.values() if is_number(value)]
    for keyword in given:
        del header[keyword]
    x_scale, y_scale = (header.get(keyword) for keyword in ("CDELT1", "CDELT2"))
    if chosen == CD:
        x_scale, y_scale = math.hypot(*numbers[:2]), math.hypot(*numbers[2:])
        if not x_scale or not y_scale:
            raise UserError(f"{place}: keyword {CD[0] if not x_scale else CD[3]} = 0 should be the plate scale")
        header["CDELT1"], header["CDELT2"] = x_scale, y_scale
        numbers = [number / scale for number, scale in zip(numbers, 2 * [x_scale] + 2 * [y_scale], strict=True)]
    elif chosen != PC:
        cosine, sine = math.cos(math.radians(numbers[0])), math.sin(math.radians(numbers[0]))
        given_scales = is_number(x_scale) and is_number(y_scale) and x_scale * y_scale
        ratio = float(y_scale) / float(x_scale) if given_scales else 1.0
        numbers = [cosine, -ratio * sine, sine / ratio, cosine]
    header.update(dict(zip(PC, numbers, strict=True)))


def _spell_times(header: StandardHeader, place: str | os.PathLike) -> None:
    """Write the time as DATE-OBS in UTC, and others that belong to it in UTC; others are removed."""
    if all(is_blank(_value(header, keyword)) for keyword in TIME_KEYWORDS):
        return
    time, system = observation_time(header, place), _time_system(header, place)
    _write_time(header, "DATE-OBS", time)
    for keyword in _OTHER_TIMES:
        value = _value(header, keyword)
        try:
            other = utc_of(str(value), system)
            apart = abs(other - time)
        except (ValueError, TypeError, OverflowError):
            apart = timedelta.max
        if apart > _SAME_OBSERVATION:
            header.remove(keyword, ignore_missing=True)
        else:
            _write_time(header, keyword, other)
    header.remove("TIMESYS", ignore_missing=True)


def _write_time(header: StandardHeader, keyword: str, time: datetime) -> None:
    text = header.get(keyword)
    if not (isinstance(text, str) and text[10:11] == "T" and _is_plain(text, time)):
        header[keyword] = time.isoformat()


def _is_plain(text: str, time: datetime) -> bool:
    try:
        return datetime.fromisoformat(text) == time
    except (ValueError, TypeError):      # of another spelling, or of a zone
        return False


def _spell_wavelength(header: StandardHeader) -> None:
    unit = str(_value(header, "WAVEUNIT") or "").strip().lower()
    if is_number(wavelength := header.get("WAVELNTH")) and unit in _ANGSTROMS:
        header["WAVELNTH"] = float(wavelength) * _ANGSTROMS[unit]
    header.remove("WAVEUNIT", ignore_missing=True)
    if "WAVELNTH" in header:
        header["WAVEUNIT"] = "Angstrom"


def _spell_observer(header: StandardHeader, place: str | os.PathLike) -> None:
    """Complete the observer's place from Cartesian coordinates where Stonyhurst's and Carrington's are not whole."""
    limits = {"HGLN_OBS": (-360, 360, "degrees"), "HGLT_OBS": (-90, 90, "degrees"), "CRLN_OBS": (-360, 360, "degrees"),
              "CRLT_OBS": (-90, 90, "degrees"), "DSUN_OBS": (NEAREST, FARTHEST, "metres")}
    for keyword, (lowest, highest, unit) in limits.items():
        value = header.get(keyword)
        if keyword in header and not (is_number(value) and lowest <= value <= highest):
            raise UserError(f"{place}: keyword {keyword} = {value!r} should be {unit}")
    found = {}
    for frame in CARTESIAN:
        values = [header.get(f"{frame}{axis}_OBS") for axis in "XYZ"]
        numbers = [float(value) for value in values if is_number(value)]
        if len(numbers) == 3 and NEAREST <= math.hypot(*numbers) <= FARTHEST:
            found[frame] = numbers
        else:
            for axis in "XYZ":
                header.remove(f"{frame}{axis}_OBS", ignore_missing=True)
    if not found:
        return
    frame, numbers = next(iter(found.items()))
    header.setdefault("DSUN_OBS", math.hypot(*numbers))
    is_placed = any(all(keyword in header for keyword in keywords) for keywords in (STONYHURST, CARRINGTON))
    if not is_placed and (place_on_sky := _stonyhurst(frame, numbers, header)) is not None:
        header["HGLN_OBS"], header["HGLT_OBS"] = place_on_sky


def _stonyhurst(frame: str, metres: list[float], header: StandardHeader) -> tuple[float, float] | None:
    """Return Stonyhurst longitude and latitude (degrees) of Cartesian coordinates; None without a time."""
    if frame == "HEQ":
        x, y, z = metres
        return math.degrees(math.atan2(y, x)), math.degrees(math.asin(z / math.hypot(x, y, z)))
    time = next((header[keyword] for keyword in ("T_OBS", "DATE-AVG", "DATE-OBS") if keyword in header), None)
    if time is None:
        return None
    import astropy.units as u  # SunPy takes seconds to import
    from astropy.coordinates import SkyCoord
    from sunpy.coordinates import HeliographicStonyhurst

    place = SkyCoord(*(metres * u.m), representation_type="cartesian", frame=CARTESIAN[frame].lower(), obstime=time)
    place = place.transform_to(HeliographicStonyhurst(obstime=time))
    return float(place.lon.deg), float(place.lat.deg)
