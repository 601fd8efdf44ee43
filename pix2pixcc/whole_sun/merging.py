"""The map of one moment: what is seen now, what a model made of the farside, and what was known before, in one field.

A generator sees where flux has emerged and how it lies; what EUV images do not show is the weak large-scale field, and
the net flux of a whole hemisphere, which rule the corona. A chart of the 27 days before knows those. So the farside
takes the fine structure of both, the strong fields of the generator, the weak ones of the chart, and the net flux,
over some twenty degrees, of the chart.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pix2pixcc.utils import UserError
from pix2pixcc.whole_sun.grid import Grid
from pix2pixcc.whole_sun.projection import Layers
from pix2pixcc.whole_sun.sphere import smoothed

BALANCES = ("weighted", "multiplicative", "additive", "none")
MERGES = ("scales", "naive", "history")
POLAR = 60.0                         # degrees: what nobody sees nearer to a pole is filled, elsewhere it is a gap
# How much of the imbalance of flux is put down to each kind of cell, in proportion to its field.
DOUBT = {"observed": 0.1, "generated": 0.3, "unseen": 1.0}
GREATEST_CHANGE = 0.8                # share by which balancing may change a cell's field


@dataclass(frozen=True)
class Merge:
    """How the farside is made of a generator's magnetograms and the chart of what was known before.

    Attributes
    ----------
    method : str
        'scales', as the module says; 'naive': the generator's field as it is; 'history': the chart alone.
    trust : float
        Weight of a generated magnetogram beside an observed one where both see the same place.
    net_degrees : float
        Standard deviation of the bell over which the generated net flux is made that of the chart.
    strong : float
        Gauss: where the generated |B|, smoothed over `split_degrees`, is well above, large scales are the generator's,
        elsewhere the chart's.
    split_degrees : float
        Standard deviation of the bell that tells large from fine scales.
    fine_share : float
        Share of the generator in fine scales; the chart has the rest.
    balance : str
        One of `BALANCES`.
    """

    method: str = "scales"
    trust: float = 0.02
    net_degrees: float = 20.0
    strong: float = 20.0
    split_degrees: float = 4.0
    fine_share: float = 0.6
    balance: str = "weighted"


@dataclass(frozen=True)
class Merged:
    """A map's radial field (gauss), and how much of each cell is the generator's and unseen now, 0 to 1; (H, W)."""

    field: np.ndarray
    generated: np.ndarray
    unseen: np.ndarray
    filled: np.ndarray               # bool: the polar fill
    net: float                       # gauss, summed over the cells before the balance


def merged(observed: Layers, generated: Layers, history: Layers, grid: Grid, merge: Merge) -> Merged:
    """Return the radial field of the whole Sun.

    Parameters
    ----------
    observed, generated, history
        Sums over the magnetograms of now, which are observations or a model's, and over those of before, of which an
        older one weighs less.
    grid, merge
        The map, and the way.

    Raises
    ------
    UserError
        Nobody saw some of the Sun between 60 degrees south and north.
    """
    generated = generated * merge.trust
    if merge.method == "history":
        generated = Layers.empty(grid.shape)
    now = observed + generated
    chart = observed + history
    seen, known = now.weight > 0, chart.weight > 0
    _refuse_gaps(~(seen | known), grid)
    share = np.divide(generated.weight, now.weight, out=np.zeros_like(now.weight), where=seen)
    before = _filled(np.where(known, chart.mean("field"), now.mean("field")), known | seen)
    field = np.where(seen, now.mean("field"), before)
    if merge.method == "scales" and share.any() and history.weight.any():
        # Where the chart knows nothing, it has been given the generated field: nothing changes there.
        sigma = np.sqrt(generated.mean("variance"))
        field = (1 - share) * field + share * _by_scale(field, before, share, sigma, merge)
    unseen = np.where(seen, 0, 1).astype(np.float32)
    doubt = DOUBT["unseen"] * unseen + (1 - unseen) * (DOUBT["generated"] * share + DOUBT["observed"] * (1 - share))
    return Merged(balanced(field, doubt, merge.balance), share, unseen, ~(seen | known),
                  float(field.sum(dtype=np.float64)))


def _by_scale(field: np.ndarray, chart: np.ndarray, share: np.ndarray, sigma: np.ndarray, merge: Merge) -> np.ndarray:
    """Return the field of the farside, of all that is known."""
    excess = smoothed(field - chart, merge.net_degrees) / np.maximum(smoothed(np.abs(field), merge.net_degrees), 1e-3)
    net = field - share * np.clip(excess, -GREATEST_CHANGE, GREATEST_CHANGE) * np.abs(field)
    strength = smoothed(np.abs(field), merge.split_degrees) ** 2
    doubt = merge.strong ** 2 + (smoothed(sigma, merge.split_degrees) ** 2 if sigma.any() else 0)
    weak = doubt / (strength + doubt)
    large = net + weak * smoothed(chart - net, merge.split_degrees)
    certain = (strength + merge.strong ** 2) / (strength + doubt)      # 1 without an uncertainty
    fine = chart + merge.fine_share * certain * (net - chart)
    return fine + smoothed(large - fine, merge.split_degrees)


def _refuse_gaps(unknown: np.ndarray, grid: Grid) -> None:
    """Raise a `UserError` that says which longitudes nobody saw."""
    gap = unknown[np.abs(grid.latitude) < POLAR]
    if not gap.any():
        return
    columns = gap.any(0)
    longitudes = np.sort(grid.longitude[columns])
    breaks = np.flatnonzero(np.diff(longitudes) > 1.5 * 360 / grid.columns)
    starts, ends = longitudes[[0, *(breaks + 1)]], longitudes[[*breaks, -1]]
    where = ", ".join(f"{start:.0f} to {end:.0f}" for start, end in zip(starts, ends, strict=True))
    raise UserError(f"{grid.time:%Y-%m-%dT%H:%M}: nobody saw {gap.mean():.1%} of the Sun within {POLAR:.0f} degrees of "
                    f"the equator, at Carrington longitudes {where}: give magnetograms of the 27 days before, or a "
                    "synoptic chart, as --history")


def _filled(field: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return a field with the unseen pole of each hemisphere filled by the mean of the five rows below.

    The polar field is that of unipolar network elements, and its mean is all that is known of it; on the choices see
    Sun et al. (2011), Solar Phys. 270, 9.
    """
    field, middle = field.copy(), len(field) // 2
    for rows in (np.arange(len(field) - 1, middle - 1, -1), np.arange(middle)):      # from each pole
        if known[rows].all():
            continue
        last = int(np.flatnonzero(~known[rows].all(1))[-1])
        beside = rows[last:last + 6]
        mean = field[beside][known[beside]].mean()
        field[rows] = np.where(known[rows], field[rows], mean)
    return field


def balanced(field: np.ndarray, doubt: np.ndarray, balance: str) -> np.ndarray:
    """Return the field, float32, without net flux.

    'weighted' changes each cell in proportion to its field and to `doubt`, its share in the blame: what was not seen
    now, most of all. 'multiplicative' weakens the stronger polarity everywhere as much as it strengthens the other,
    'additive' takes the mean off.
    """
    field = np.asarray(field, np.float64)
    if balance == "weighted":
        blamed = np.abs(field) * doubt
        most = GREATEST_CHANGE * blamed.sum()
        if most > 0:
            field = field - blamed * (np.clip(field.sum(), -most, most) / blamed.sum())
    if balance in ("weighted", "multiplicative"):
        positive, negative = field[field > 0].sum(), -field[field < 0].sum()
        if positive > 0 and negative > 0:
            ratio = np.sqrt(negative / positive)
            field = np.where(field > 0, field * ratio, field / ratio)
    elif balance == "additive":
        field = field - field.mean()
    return field.astype(np.float32)
