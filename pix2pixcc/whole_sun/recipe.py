"""How maps are made, whatever their time, and magnetograms as they go into them."""
from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pix2pixcc.utils import UserError
from pix2pixcc.whole_sun.grid import FRAMES, LAWS, Grid
from pix2pixcc.whole_sun.magnetograms import Magnetogram, read_magnetogram
from pix2pixcc.whole_sun.merging import BALANCES, MERGES, Merge
from pix2pixcc.whole_sun.projection import Strip, project, side_for


@dataclass(frozen=True)
class Recipe:
    """How maps are made, but for their time.

    Attributes
    ----------
    columns, rows : int
    frame, rotation : str
        As in `Grid`.
    mu_limit, mu_power : float
        As in `project`.
    tolerance : float
        Hours that a magnetogram of now may lie off the map's time.
    fading, history_cadence : float
        Days after which a magnetogram of before weighs 1/e, and hours between those that are taken.
    merge : Merge
    """

    columns: int = 360
    rows: int = 180
    frame: str = "carrington"
    rotation: str = "howard"
    mu_limit: float = 0.1
    mu_power: float = 2.0
    tolerance: float = 6.0
    fading: float = 4.0
    history_cadence: float = 24.0
    merge: Merge = field(default_factory=Merge)

    @classmethod
    def of(cls, shape: Sequence[int], merge: str = "scales", **choices: Any) -> Recipe:
        """Return the recipe of a shape, (columns, rows), and of choices named as the fields here and of `Merge`.

        Raises
        ------
        UserError
            A choice does not exist, or has no such value.
        """
        of_merge = {name: choices.pop(name) for name in list(choices) if name in Merge.__dataclass_fields__}
        try:
            recipe = cls(int(shape[0]), int(shape[1]), merge=Merge(merge, **of_merge), **choices)
            recipe._check()
        except (TypeError, ValueError) as error:
            raise UserError(f"{error}: see pix2pixCC_Map.py --help for the choices") from error
        return recipe

    def _check(self) -> None:
        for name, value, allowed in (("merge", self.merge.method, MERGES), ("balance", self.merge.balance, BALANCES),
                                     ("rotation", self.rotation, LAWS), ("frame", self.frame, FRAMES)):
            if value not in allowed:
                raise UserError(f"{name} {value!r}: choose one of {', '.join(allowed)}")
        smallest = min(self.columns / 2, self.rows)
        if not (smallest >= 16 and self.columns % 2 == 0 and self.rows % 2 == 0):
            raise UserError(f"shape {self.columns} {self.rows}: give even numbers, of 32 columns and 16 rows or more")
        if not all(180 / smallest <= scale <= 180 for scale in (self.merge.split_degrees, self.merge.net_degrees)):
            raise UserError(f"scales of {self.merge.split_degrees:g} and {self.merge.net_degrees:g} degrees are finer "
                            f"than a cell of {180 / smallest:.1f}, or above 180: give others, or more columns and rows")
        above = (self.merge.trust, self.merge.strong, self.fading, self.history_cadence, self.tolerance)
        if not (0 < self.mu_limit < 1 and 0 <= self.merge.fine_share <= 1 and 0 <= self.mu_power <= 20
                and all(0 < value < math.inf for value in above)):
            raise UserError("mu_limit and fine_share are from 0 to 1, mu_power from 0 to 20; trust, strong, fading, "
                            "history_cadence and tolerance above 0")

    def grid(self, time: datetime) -> Grid:
        """Return the grid of the map of a time."""
        return Grid(self.columns, self.rows, time, self.frame, self.rotation)

    def side(self, *, history: bool) -> int:
        """Return to how many pixels on a side observations are registered, of now or of the `history`."""
        return side_for(self.columns, history=history)

    def strip(self, image: Magnetogram, *, history: bool = False) -> Strip:
        """Return a magnetogram on the rows of the map; one of the `history` is interpolated linearly: it is faster."""
        return project(image, self.columns, self.rows, mu_limit=self.mu_limit, mu_power=self.mu_power,
                       order=1 if history else 3)


def read_strip(path: str | os.PathLike, recipe: Recipe, *, history: bool) -> Strip:
    """Return the magnetogram of a file on the rows of a map; a `UserError` names the file and what is wrong with it."""
    try:
        magnetogram = read_magnetogram(path, recipe.side(history=history))
    except MemoryError:
        raise
    except Exception as error:              # headers can be wrong in any way, and SunPy and wcslib raise anything
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        raise UserError(reason if str(path) in reason else f"{path}: {reason}") from error
    return recipe.strip(magnetogram, history=history)
