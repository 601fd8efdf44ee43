"""What is chosen when raw files become cubes, and what is taken where nobody chooses (Jeong et al. 2020, 2022)."""
from __future__ import annotations

from dataclasses import dataclass

RULES = 2                                    # counts changes of what a header means: older indices and cubes are remade
SIZE = 1024                                  # pixels on a side
MAX_MISSING = 0.01                           # share of the disk
TOLERANCE_MINUTES = {"train": 10.0, "farside": 30.0}      # EUVI takes its passbands up to half an hour apart
TEST_GAP_DAYS = 13.6                         # half a rotation: what a test pair shows was on the far side
REFERENCE_TOLERANCE_MINUTES = 390.0          # archives at 00 and 12 UT have an image within 6 hours of any time


@dataclass(frozen=True)
class Settings:
    """What besides the files decides a cube's values: its side in pixels, and the greatest share of missing pixels."""

    size: int
    max_missing: float
