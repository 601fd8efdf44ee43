"""Whether a product leads back to where it came from: its checksums, the weights that made it, its inputs."""
from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from pathlib import Path

from astropy.io import fits

from pix2pixcc.generation.products import input_name, inputs_of
from pix2pixcc.images.checksums import Finding, check_checksums
from pix2pixcc.images.cubes import Channel, read_channel_cards
from pix2pixcc.images.fits import open_image
from pix2pixcc.preparation.index import Record, index_archive
from pix2pixcc.utils import UserError, file_sha256


def verify_product(path: str | os.PathLike, checkpoint: str | os.PathLike | None = None,
                   inputs: Collection[str] | None = None) -> list[Finding]:
    """Check the checksums of a product, that a checkpoint made it, and that its inputs are there.

    Parameters
    ----------
    path : path
        The product.
    checkpoint : path, optional
        The weights; by default the file that the header names, in the Model folder of the product's run. If that is
        not there, as where the product lies elsewhere, it is not checked.
    inputs : collection of str, optional
        The observations that are there, as `observations_in` returns them; by default the inputs are not looked for.

    Raises
    ------
    UserError
        The file is missing or no FITS file.
    """
    path = Path(path)
    checksums, header = check_checksums(path)
    return [checksums, _checkpoint(path, header, checkpoint), _inputs(header, inputs)]


def _checkpoint(path: Path, header: fits.Header, checkpoint: str | os.PathLike | None) -> Finding:
    name, expected = os.path.basename(str(header.get("CKPTFILE", ""))), str(header.get("CKPTSHA", ""))
    if not name or not expected:
        return Finding(False, "the header names no checkpoint (CKPTFILE, CKPTSHA)")
    run = os.path.normpath(path.absolute().parent / "../../..")
    weights = Path(checkpoint) if checkpoint else Path(run) / "Model" / name
    if not weights.is_file():
        return Finding(None, f"its checkpoint {name} is not there (no {weights}; --checkpoint tells where it is)")
    same = file_sha256(weights) == expected
    return Finding(same, f"{weights} {'is' if same else 'is NOT'} the checkpoint that made it (SHA-256)")


def _inputs(header: fits.Header, there: Collection[str] | None) -> Finding:
    inputs = inputs_of(header)
    if not inputs:
        return Finding(False, "HISTORY names no inputs")
    if there is None:
        return Finding(None, f"inputs: {', '.join(inputs)} (not looked for: --input_dir_test names their folder)")
    if missing := [name for name in inputs if name not in there]:
        return Finding(False, f"inputs that are not there: {', '.join(missing)}")
    return Finding(True, f"inputs: {', '.join(inputs)}")


def observations_in(folder: str | os.PathLike, *, n_workers: int) -> set[str]:
    """Return all that the raw files and the cubes under a folder hold, as HISTORY calls it; `UserError` if none is."""
    names: set[str] = set()
    for record in index_archive([folder], n_workers=n_workers):
        names.update(map(input_name, _channels_of(record)))
    return names


def _channels_of(record: Record) -> list[Channel]:
    if record.name:
        series = f"M{record.cadence:g}s" if record.cadence else ""
        return [Channel(record.name, record.when.isoformat(timespec="seconds"), series=series)]
    with contextlib.suppress(UserError, ValueError, TypeError, fits.VerifyError):      # no image, or none of ours
        with open_image(record.path) as hdu:
            header = hdu.header
        count = next(k for k in range(len(header) + 1) if f"CHAN{k + 1}" not in header)
        return read_channel_cards(header, count) or []
    return []
