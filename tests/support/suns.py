"""Images of Suns that several tests share: their time, disk and header, and how alike two of them are."""
import math
from datetime import datetime

import numpy as np
from astropy.io import fits
from scipy import ndimage

from pix2pixcc.solar.geometry import disk_mask

TIME = datetime(2011, 3, 1)
ON_DISK = disk_mask(128)
SIZE = 64


def correlation(one, other, where=ON_DISK):
    return float(np.corrcoef(one[where], other[where])[0, 1])


def magnetogram(seed, size=SIZE):
    """Network of a few gauss with two bipoles of several hundred."""
    random = np.random.default_rng(seed)
    field = 40 * ndimage.gaussian_filter(random.normal(size=(size, size)), 1)
    rows, columns = np.indices(field.shape)
    for row, column in random.uniform(0.3, 0.7, size=(2, 2)) * size:
        for sign, step in ((1, -0.06), (-1, 0.06)):
            squared = (rows - row) ** 2 + (columns - column - step * size) ** 2
            field += sign * random.uniform(200, 600) * np.exp(-squared / (0.03 * size) ** 2)
    return field.astype(np.float32)


def sun_header(size=SIZE, *, centre=None, share=450 / 1024):
    """A helioprojective header; the solar radius is `share` of the side."""
    distance = 1.5e11
    x, y = centre or ((size - 1) / 2, (size - 1) / 2)
    scale = math.degrees(math.asin(695.7e6 / distance)) * 3600 / (share * size)
    return fits.Header({"CTYPE1": "HPLN-TAN", "CTYPE2": "HPLT-TAN", "CUNIT1": "arcsec", "CUNIT2": "arcsec",
                        "CRPIX1": x + 1, "CRPIX2": y + 1,
                        "CRVAL1": 0.0, "CRVAL2": 0.0, "CDELT1": scale, "CDELT2": scale, "DSUN_OBS": distance})
