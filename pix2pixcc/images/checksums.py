"""Whether a FITS file is as it was written: its checksums; and what a check of a product finds, in words."""
from __future__ import annotations

import os
import warnings
from dataclasses import dataclass

from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from pix2pixcc.images.fits import open_image


@dataclass(frozen=True)
class Finding:
    """One thing about a product: whether it holds (None: it was not checked), and in words."""

    holds: bool | None
    text: str

    @property
    def answer(self) -> str:
        """'ok', 'BAD' or 'not checked'."""
        return "not checked" if self.holds is None else "ok" if self.holds else "BAD"


def check_checksums(path: str | os.PathLike) -> tuple[Finding, fits.Header]:
    """Return whether CHECKSUM and DATASUM hold in every HDU of a file, and the header of its first image.

    Raises
    ------
    UserError
        The file is missing, damaged or no FITS file.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AstropyUserWarning)
        with open_image(path) as hdu:
            header = hdu.header.copy()
        with open_image(path, checksum=True) as hdu, fits.open(path, memmap=False, checksum=True) as hdus:
            hdu.verify("exception")
            lacking = [each.name for each in hdus if "CHECKSUM" not in each.header or "DATASUM" not in each.header]
            for each in hdus:
                _ = each.data
    failed = [str(warning.message) for warning in caught if "verification failed" in str(warning.message)]
    if lacking:
        return Finding(False, "CHECKSUM or DATASUM is missing"), header
    return Finding(not failed, "; ".join(failed).strip() or "CHECKSUM and DATASUM hold"), header
