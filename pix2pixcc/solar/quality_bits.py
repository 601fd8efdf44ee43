"""What the bits of QUALITY mean for an image, of HMI's and AIA's files.

HMI: http://jsoc.stanford.edu/doc/data/hmi/Quality_Bits/QUALITY.txt (level 1.5, the observables). AIA, and QUALLEV1 of
both: `proj/lev0/apps/quallev1.h` of JSOC's source. What is not listed as harmless forbids the use of an image.
"""
from __future__ import annotations

from astropy.io import fits

from pix2pixcc.images.fits import is_blank
from pix2pixcc.utils import UserError

NEAR_REAL_TIME = {"AIA": 0x40000000, "HMI": 0x400}     # such an image stands behind a definitive one
HARMLESS = {
    "AIA": {0x40000000: "near-real-time", 0x100: "some pixels missing", 0x200: "more than 1% of the pixels missing"},
    "HMI": {0x400: "cosmic-ray lists missing, as in near-real-time files", 0x800: "some filtergrams discarded",
            0x1000: "some filtergrams not gap-filled", 0x2000: "default temperature of the polarimeter",
            0x4000: "image stabilisation open in some filtergrams", 0x8000: "keywords of the nearest filtergram"}}
_LEVEL_1 = {
    0x1: "no flat field", 0x2: "no orbit data", 0x4: "no ancillary data", 0x8: "no master pointing",
    0x10: "no fit to the limb", 0x400: "more than 5% of the pixels missing", 0x800: "more than 25% missing",
    0x1000: "not in science mode", 0x2000: "eclipse", 0x4000: "no Sun", 0x8000: "safe mode", 0x10000: "dark image",
    0x20000: "image stabilisation open", 0x40000: "calibration image", 0x80000: "calibration mode",
    0x100000: "out of focus", 0x200000: "register flag", 0x400000: "thermal recovery", 0x800000: "lunar transit",
    0x80000000: "no image"}
MEANINGS = {"AIA": _LEVEL_1, "HMI": {
    0x20: "poor quality", 0x40: "calibration sequence or noise", 0x100: "calibration sequence or eclipse",
    0x200: "eclipse", 0x20000000: "keywords not interpolated", 0x40000000: "no target filtergram",
    0x80000000: "no observable"}}


def bits_of(header: fits.Header, keyword: str) -> int:
    """Return the 32 bits of a card, written as a number or as text ('0x00000400', '1024'); 0 where it is missing."""
    value = header.get(keyword)
    if is_blank(value):
        return 0
    try:
        number = value if not isinstance(value, str) else int(value, 16 if "x" in value.lower() else 10)
        bits = int(number)
        if bits != number or not -2 ** 31 <= bits < 2 ** 32:
            raise ValueError(number)
    except (ValueError, TypeError, OverflowError) as error:
        raise UserError(f"FITS header: keyword {keyword} = {value!r} should be 32 bits") from error
    return bits & 0xffffffff


def bad_bits(header: fits.Header, instrument: str) -> str:
    """Return what QUALITY (QUALLEV1 where it is missing) says against an image of 'AIA' or 'HMI', '' if nothing."""
    keyword = "QUALLEV1" if is_blank(header.get("QUALITY")) else "QUALITY"
    table = instrument if keyword == "QUALITY" else "AIA"
    bits = bits_of(header, keyword)
    bad = bits & ~sum(HARMLESS[table])
    if not bad:
        return ""
    single = [1 << k for k in range(32) if bad >> k & 1]
    meanings = ", ".join(MEANINGS[table].get(bit, f"bit {bit:#x}") for bit in single)
    return f"{keyword} = 0x{bits:08x}, not 0: {meanings}"


def is_near_real_time(header: fits.Header, instrument: str) -> bool:
    """Return whether a file of 'AIA' or 'HMI' was made before the definitive calibration."""
    return bool(bits_of(header, "QUALITY") & NEAR_REAL_TIME[instrument])
