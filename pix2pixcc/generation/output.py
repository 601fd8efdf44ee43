"""How each generated image is written: its file, its header and its preview."""
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor

from pix2pixcc.generation.products import product_header, unit_of, write_product
from pix2pixcc.generation.sources import Loaded, Source
from pix2pixcc.images.files import read_image, write_image
from pix2pixcc.pipeline import Scaling
from pix2pixcc.solar.headers import has_observer
from pix2pixcc.utils import FITS_FORMATS
from pix2pixcc.visuals.sheets import preview, sample_sheet
from pix2pixcc.visuals.story import story


@dataclass(frozen=True)
class Output:
    """How generated images are written.

    Attributes
    ----------
    folder, data_format
        Where to, and the extension, one of `utils.FORMATS`.
    scaling : Scaling
        Of the target; undone before saving.
    save_scale : float
        Multiplies the values before saving.
    image_mode : str or None
        Format of the preview beside each image; None for no preview.
    provenance : dict
        `model`, `checkpoint`, `checkpoint_sha256`, `iteration`, for the header of a product.
    story : bool
        Whether previews also show where the spacecraft stood.
    truths : dict of str to path
        The true images where known, by the input's name, for the previews.
    """

    folder: Path
    data_format: str
    scaling: Scaling
    save_scale: float
    image_mode: str | None
    provenance: dict
    story: bool = False
    truths: dict[str, Path] = field(default_factory=dict)

    @property
    def unit(self) -> str:
        """The unit of what is written: 'G' if the model learned gauss or values are multiplied, else '' (unknown)."""
        return "G" if self.save_scale != 1 else unit_of(self.scaling)

    def path(self, source: Source) -> Path:
        """Return the file of a source's output."""
        return self.folder / f"{source.name}_AI.{self.data_format}"

    def preview_path(self, source: Source) -> Path:
        """Return the file of a source's preview, which never takes the output's own name."""
        if self.image_mode == self.data_format:
            return self.folder / f"{source.name}_AI.preview.{self.image_mode}"
        return self.folder / f"{source.name}_AI.{self.image_mode}"

    def is_finished(self, source: Source) -> bool:
        """Return whether a source's output and its preview are there."""
        return self.path(source).is_file() and (self.image_mode is None or self.preview_path(source).is_file())

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
        if self.data_format in FITS_FORMATS and header is not None and len(values) == 1 and has_observer(header):
            header = product_header(header, channels, bunit=self.unit, **self.provenance)
            write_product(path, values, header)
            if self.image_mode is not None:
                draw = story if self.story else preview
                draw(self.preview_path(loaded.source), values, header, euv=loaded.image.data, channels=channels,
                     unit=self.unit, truth=self._truth(loaded.source))
        else:
            write_image(path, values, header)
            if self.image_mode is not None:
                sample_sheet(self.preview_path(loaded.source), loaded.image.data, None, values, channels, header=header)
