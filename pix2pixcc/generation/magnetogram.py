"""The product in SunPy: a Map source, registered on import, that names and colours products as magnetograms."""
from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
from astropy.io import fits
from matplotlib.colors import Normalize
from sunpy.map import GenericMap

from pix2pixcc.generation.products import CONTENT, title_of
from pix2pixcc.solar.headers import sunpy_meta
from pix2pixcc.visuals.sheets import MAGNETOGRAM_RANGE


class FarsideMagnetogram(GenericMap):
    """A line-of-sight magnetogram that pix2pixCC made from EUV images.

    It is called 'pix2pixCC farside magnetogram, STEREO-B' and the time, 'farside' only where at least a quarter of the
    disk cannot be seen from the Earth, and drawn in grey within +-100 G; values of unknown unit within their extremes.
    `sunpy.map.Map` makes one of every product once pix2pixcc's functions have been used.
    """

    def __init__(self, data: np.ndarray, header: Any, **kwargs: Any):
        super().__init__(data, header, **kwargs)
        self._nickname = self.meta.get("model", "pix2pixCC")
        limit = MAGNETOGRAM_RANGE["gray"] if self.unit == u.G else float(np.nanmax(np.abs(data), initial=0.0)) or 1.0
        self.plot_settings |= {"cmap": "gray", "norm": Normalize(-limit, limit)}

    @property
    def measurement(self) -> str:
        """What is shown, of which spacecraft's view: 'farside magnetogram, STEREO-B'."""
        return title_of(self.meta)

    @classmethod
    def is_datasource_for(cls, data: np.ndarray, header: Any, **kwargs: Any) -> bool:
        """Return whether a header is a product's."""
        return header.get("content") == CONTENT

    @classmethod
    def of_product(cls, product: fits.PrimaryHDU) -> FarsideMagnetogram:
        """Return the map that `sunpy.map.Map` makes of a product's file."""
        return cls(product.data, sunpy_meta(product.header))
