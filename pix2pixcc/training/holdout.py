"""Which pairs a training keeps for its validation.

Active regions live for weeks, and pairs a day apart are nearly the same picture. So validation pairs lie in blocks,
spread over the time range and with it over the solar cycle, and training pairs too near to them are left out.
"""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pix2pixcc.utils import UserError, stem_of, time_in_name

Pairs = list[tuple[Path, Path]]

MOST_BLOCKS = 8
MOST_DROPPED = 0.25       # of the pairs, by the gaps; with more, fewer blocks are made


def hold_out(pairs: Sequence[tuple[Path, Path]], fraction: float, gap_days: float) -> tuple[Pairs, Pairs, str]:
    """Split pairs into training and validation, and say how.

    The validation is `fraction` of the pairs, in up to `MOST_BLOCKS` blocks of time; pairs within `gap_days` of it are
    in neither. It is the latest share, without a gap, if `gap_days` is 0, if not every name has a time, or if the gap
    would leave out half of the pairs.

    Raises
    ------
    UserError
        Nothing is left to train on.
    """
    times = [time_in_name(stem_of(pair[0])) or time_in_name(stem_of(pair[1])) for pair in pairs]
    ordered = sorted(range(len(pairs)), key=lambda k: (str(times[k] or ""), str(pairs[k][0])))
    count = max(1, round(fraction * len(pairs)))
    if count >= len(pairs):
        raise UserError(f"--val_fraction {fraction} leaves none of {len(pairs)} pairs to train on")
    if not gap_days:
        why = "--val_gap 0"
    elif None in times:
        why = "not every file's name has a time; the latest by name"
    else:
        days = np.array([times[k] for k in ordered], "datetime64[s]").astype(float) / 86400
        for blocks in range(min(MOST_BLOCKS, count), 0, -1):
            held = _blocks(len(pairs), count, blocks)
            near = _near(days, held, gap_days)
            dropped = int((near & ~held).sum())
            if dropped <= (MOST_DROPPED if blocks > 1 else 0.5) * len(pairs) and not near.all():
                kept, words = set(np.array(ordered)[~near].tolist()), f"{blocks} block{'s' * (blocks > 1)}"
                return ([pair for k, pair in enumerate(pairs) if k in kept],
                        [pairs[k] for k, is_held in zip(ordered, held, strict=True) if is_held],
                        f"validation in {words} of time; {dropped} pairs within {gap_days:g} days of it are left out "
                        "(--val_gap)")
        why = (f"a gap of {gap_days:g} days would leave out most pairs of {days[-1] - days[0]:.0f} days; its scores "
               "will flatter")
    latest = set(ordered[-count:])
    return ([pair for k, pair in enumerate(pairs) if k not in latest], [pairs[k] for k in ordered[-count:]],
            f"validation is the latest share, without a gap ({why})")


def _blocks(number: int, count: int, blocks: int) -> np.ndarray:
    """Return which of `number` places in time are held, `count` in all: a single block is the latest."""
    held = np.zeros(number, bool)
    if blocks == 1:
        held[-count:] = True
        return held
    for block in range(blocks):
        length = count * (block + 1) // blocks - count * block // blocks
        middle = number * (2 * block + 1) / (2 * blocks)
        first = round(middle - length / 2)
        held[first:first + length] = True
    return held


def _near(days: np.ndarray, held: np.ndarray, gap_days: float) -> np.ndarray:
    """Return which of the times, in order, are held or within the gap of one that is."""
    times = days[held]
    after = np.searchsorted(times, days)
    before, following = times[np.maximum(after - 1, 0)], times[np.minimum(after, len(times) - 1)]
    return held | (np.minimum(np.abs(days - before), np.abs(following - days)) <= gap_days)
