"""How each generated image is written: its file, its header and its preview; and which are there already."""
from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from torch import Tensor

from pix2pixcc.generation.products import product_header, write_product
from pix2pixcc.generation.sources import FileState, Loaded, Source, state_of
from pix2pixcc.images.cubes import CHANNEL_CARDS
from pix2pixcc.images.files import read_image, write_image
from pix2pixcc.images.fits import open_image
from pix2pixcc.pipeline import Scaling
from pix2pixcc.solar.headers import has_observer
from pix2pixcc.utils import FITS_FORMATS, VERSION, UserError
from pix2pixcc.visuals.sheets import preview, sample_sheet
from pix2pixcc.visuals.story import story

KEY_CARD = "GENKEY"             # digest of all that decides about the values and the header of an output
LIST = ".written.jsonl"         # the keys of files without a header: name, time of modification, both keys
PREVIEW_CARD = "PREVKEY"        # the same of the preview that was drawn of it


@dataclass(frozen=True)
class Output:
    """How generated images are written.

    Attributes
    ----------
    folder, data_format
        Where to, and the extension, one of `utils.FORMATS`.
    scaling : Scaling
        Of the target; undone before saving.
    unit : str
        Of the model's output in data units: 'G', or '' where it is not known.
    save_scale : float
        Multiplies the values before saving.
    bits : int
        Of a sample, in PNG; see `bits_of_pictures`.
    image_mode : str or None
        Format of the preview beside each image; None for no preview.
    provenance : dict
        `model`, `checkpoint`, `checkpoint_sha256`, `iteration`, for the header of a product.
    settings : dict
        What else decides about the values, for JSON.
    story : bool
        Whether previews also show where the spacecraft stood.
    truths : dict of str to path
        The true images where known, by the input's name, for the previews.
    """

    folder: Path
    data_format: str
    scaling: Scaling
    unit: str
    save_scale: float
    image_mode: str | None
    provenance: dict
    settings: dict[str, Any] = field(default_factory=dict)
    story: bool = False
    truths: dict[str, Path] = field(default_factory=dict)
    bits: int = 8

    @property
    def saved_unit(self) -> str:
        """The unit of what is written: that of the model's output, not known of values that are multiplied."""
        return self.unit if self.save_scale == 1 else ""

    def path(self, source: Source) -> Path:
        """Return the file of a source's output."""
        return self.folder / f"{source.name}_AI.{self.data_format}"

    def preview_path(self, source: Source) -> Path:
        """Return the file of a source's preview, which never takes the output's own name."""
        if self.image_mode == self.data_format:
            return self.folder / f"{source.name}_AI.preview.{self.image_mode}"
        return self.folder / f"{source.name}_AI.{self.image_mode}"

    def is_finished(self, source: Source) -> bool:
        """Return whether a source's output and its preview are there, as they would be written again.

        The header of a FITS file says it; of other formats, a list in the folder.
        """
        path, state = self.path(source), source.state()
        if not path.is_file() or (self.image_mode is not None and not self.preview_path(source).is_file()):
            return False
        if self.data_format not in FITS_FORMATS:
            keys = self._listed().get((path.name, path.stat().st_mtime_ns), (None, None))
        else:
            try:
                with open_image(path) as hdu:
                    keys = hdu.header.get(KEY_CARD), hdu.header.get(PREVIEW_CARD)
            except UserError:
                return False
        is_same_preview = self.image_mode is None or keys[1] == self._preview_key(source)
        return keys[0] == self._key(state) and is_same_preview

    def _listed(self) -> dict[tuple[str, int], tuple[str | None, str | None]]:
        """Return the keys of files without a header, by name and time of modification, as `_list` wrote them."""
        listed = {}
        with contextlib.suppress(OSError), open(self.folder / LIST, encoding="utf-8") as lines:
            for line in lines:
                with contextlib.suppress(ValueError):      # a line that is not whole, of a run that was killed
                    name, written, *keys = json.loads(line)
                    listed[name, written] = keys[0], keys[1]
        return listed

    def _list(self, path: Path, loaded: Loaded) -> None:
        """Remember the keys of a file without a header; a line is written at once, whoever else writes."""
        preview_key = None if self.image_mode is None else self._preview_key(loaded.source)
        line = json.dumps([path.name, path.stat().st_mtime_ns, self._key(loaded.state), preview_key])
        with open(self.folder / LIST, "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _key(self, state: FileState) -> str:
        """Return a digest of the weights, the settings and the input: the same key, the same file."""
        made_by = {name: value for name, value in self.provenance.items() if name != "checkpoint"}
        return _digest([VERSION, made_by, os.path.basename(self.provenance["checkpoint"]), self.settings,
                        self.scaling.to_dict(), self.unit, self.save_scale, state])

    def _preview_key(self, source: Source) -> str:
        truth = self.truths.get(source.name)
        return _digest([self.story, None if truth is None else state_of([truth])])

    def _truth(self, source: Source) -> np.ndarray | None:
        """Return the true image of a source's name, if there is one."""
        path = self.truths.get(source.name)
        return None if path is None else read_image(path, 1, side="target").data

    def write(self, loaded: Loaded, generated: Tensor) -> None:
        """Write one image, `(K, H, W)` scaled to -1..1, and its preview.

        A one-channel FITS output of an input with an observer becomes a product: gauss, NaN off the disk, full header.
        """
        values = self.scaling.unscale(generated).mul_(self.save_scale).numpy()
        path, header, channels = self.path(loaded.source), loaded.image.header, loaded.image.channels
        if self.image_mode is not None:
            self.preview_path(loaded.source).unlink(missing_ok=True)      # of what is overwritten
        if self.data_format in FITS_FORMATS and header is not None and len(values) == 1 and has_observer(header):
            header = product_header(header, channels, bunit=self.saved_unit, **self.provenance)
            self._set_keys(header, loaded)
            write_product(path, values, header)
            if self.image_mode is not None:
                draw = story if self.story else preview
                draw(self.preview_path(loaded.source), values, header, euv=loaded.image.data, channels=channels,
                     unit=self.saved_unit, truth=self._truth(loaded.source))
        else:
            written = fits.Header() if header is None else header.copy()
            for card in [f"{name}{k}" for name in CHANNEL_CARDS for k in range(1, len(loaded.image.data) + 1)]:
                written.remove(card, ignore_missing=True)      # they speak of the input
            self._set_keys(written, loaded)
            write_image(path, values, written, bits=self.bits)
            if self.data_format not in FITS_FORMATS:
                self._list(path, loaded)
            if self.image_mode is not None:
                sample_sheet(self.preview_path(loaded.source), loaded.image.data, None, values, channels, header=header)

    def _set_keys(self, header: fits.Header, loaded: Loaded) -> None:
        header[KEY_CARD] = (self._key(loaded.state), "of weights, input and settings")
        if self.image_mode is not None:
            header[PREVIEW_CARD] = (self._preview_key(loaded.source), "of the preview")


def bits_of_pictures(data_format: str, scaling: Scaling, save_scale: float, *, as_trained: bool) -> int:
    """Return the bits of a sample, 8 or 16, with which a format holds what a model gives, from 0 to the limits.

    `as_trained` says that the model's own targets were of this format, and so cannot have been negative.

    Raises
    ------
    UserError
        A picture (PNG, JPEG) cannot hold it.
    """
    if data_format not in ("png", "jpg", "jpeg"):
        return 8
    limits = [save_scale * limit for limit in (*scaling.lower, *scaling.upper)]
    held = as_trained and save_scale == 1
    if (min(limits) >= 0 or held) and (max(limits) <= 255 or (held and data_format != "png")):
        return 8
    if (min(limits) >= 0 or held) and data_format == "png" and len(scaling.lower) == 1 and max(limits) <= 65535:
        return 16
    raise UserError(f"--data_format_target {data_format} cannot hold values from {min(limits):g} to {max(limits):g}: "
                    "choose fits, npy or tif")


def _digest(content: list) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]
