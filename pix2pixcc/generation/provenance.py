"""Does a product lead back to where it came from? CHECKSUM, the checkpoint's SHA-256, and the inputs that HISTORY names."""
from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from pix2pixcc.generation.products import inputs_of
from pix2pixcc.images.fits import open_image
from pix2pixcc.utils import file_sha256


@dataclass(frozen=True)
class Finding:
    """One thing that was checked."""

    holds: bool
    text: str


def verify_product(path: str | os.PathLike, checkpoint: str | os.PathLike | None = None) -> list[Finding]:
    """Check a generated FITS file.

    Parameters
    ----------
    path : path
        The product, `.../checkpoints/<dataset_name>/Image/Test/<iteration>/<name>_AI.fits`.
    checkpoint : path, optional
        The weights that made it; by default the file that its header names, in the Model folder of its run.

    Returns
    -------
    list of Finding
        Checksums, checkpoint, inputs.

    Raises
    ------
    UserError
        The file is missing or no FITS file.
    """
    path = Path(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AstropyUserWarning)
        with open_image(path, checksum=True) as hdu:
            hdu.verify("exception")
            header = hdu.header.copy()
    return [_checksums(header, [str(warning.message) for warning in caught]), _checkpoint(path, header, checkpoint), *_inputs(header)]


def _checksums(header: fits.Header, warned: list[str]) -> Finding:
    if "CHECKSUM" not in header or "DATASUM" not in header:
        return Finding(False, "CHECKSUM or DATASUM is missing")
    failed = [line for line in warned if "verification failed" in line]
    return Finding(not failed, "; ".join(failed).strip() or "CHECKSUM and DATASUM hold")


def _checkpoint(path: Path, header: fits.Header, checkpoint: str | os.PathLike | None) -> Finding:
    name, expected = str(header.get("CKPTFILE", "")), str(header.get("CKPTSHA", ""))
    if not name or not expected:
        return Finding(False, "the header names no checkpoint (CKPTFILE, CKPTSHA)")
    run = os.path.normpath(path.absolute().parent / "../../..")
    weights = Path(checkpoint) if checkpoint else Path(run) / "Model" / os.path.basename(name)
    if not weights.is_file():
        return Finding(False, f"its checkpoint {weights} is not there")
    same = file_sha256(weights) == expected
    return Finding(same, f"{weights} {'is' if same else 'is NOT'} the checkpoint that made it (SHA-256)")


def _inputs(header: fits.Header) -> list[Finding]:
    inputs = inputs_of(header)
    if not inputs:
        return [Finding(False, "HISTORY names no inputs")]
    return [Finding(True, "inputs: " + ", ".join(inputs))]
