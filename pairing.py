"""Which raw files belong together: observations of one time and observer, and the frontside seen when the farside last faced Earth.

Works on the records of `archive.py`; opens no file. An image serves one time only (a reference may serve several).
"""
from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from archive import Record
from solar import SYNODIC_PERIOD_DAYS, mean_time, reference_time
from utils import UserError

__all__ = ["Choice", "Group", "Missing", "Pair", "Track", "tracks_of", "farside_channels", "frontside_names", "farside_groups",
           "frontside_pairs", "near_test", "split_pairs", "MAGNETOGRAM", "SPACECRAFT", "TOLERANCE_MINUTES", "REFERENCE_TOLERANCE_MINUTES"]

MAGNETOGRAM = "SDO/HMI magnetogram"
SPACECRAFT = {"SDO": "SDO/AIA", "STEREO-A": "STEREO/EUVI-A", "STEREO-B": "STEREO/EUVI-B"}
TOLERANCE_MINUTES = {"train": 10.0, "farside": 20.0}
REFERENCE_TOLERANCE_MINUTES = 390.0          # archives at 00 and 12 UT have an image within 6 hours of any time
EUVI_OF_AIA = {"304": "304", "193": "195", "171": "171"}
AIA_OF_EUVI = {euvi: aia for aia, euvi in EUVI_OF_AIA.items()}
_SAME_EXPOSURE_S = 5.0                       # AIA takes a passband every 12 s, HMI a magnetogram every 45 s
_CANDIDATES = 8                              # how many images a time may fall back on
_OFF_GROUP_S = 86400.0


@dataclass(frozen=True)
class Choice:
    """The images that may fill one channel, the best first."""

    name: str
    candidates: tuple[Record, ...]
    is_reference: bool = False


@dataclass(frozen=True)
class Group:
    """One observer at one time (the mean of the EUV images'): a choice for each channel, in channel order."""

    observer: str
    time: datetime
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class Pair:
    """A training pair: the channels of the input, and the magnetogram."""

    input: Group
    target: Group

    @property
    def time(self) -> datetime:
        return self.input.time


@dataclass(frozen=True)
class Missing:
    """A passband that the group of `time` lacks; it was wanted at `wanted`, and `nearest` is the closest image there is, if any."""

    observer: str
    time: datetime
    name: str
    wanted: datetime
    nearest: Record | None = None
    is_reference: bool = False

    @property
    def minutes_off(self) -> float:
        """How far the nearest image is off, in minutes."""
        return float("inf") if self.nearest is None else abs((self.nearest.when - self.wanted).total_seconds()) / 60

    def reason(self, tolerance: float, reference_tolerance: float) -> str:
        """Why there is none; the tolerances in minutes."""
        if self.nearest is None:
            return "there is no good image at all"
        off = f"{self.minutes_off:.0f} min" if self.minutes_off < 2880 else f"{self.minutes_off / 1440:.1f} days"
        flag = f"--reference_tolerance {reference_tolerance:g}" if self.is_reference else f"--tolerance {tolerance:g}"
        return f"the nearest is {off} off ({flag})"


def _seconds(time: datetime) -> float:
    return (time - datetime(1970, 1, 1)).total_seconds()


@dataclass
class Track:
    """The good observations of one passband, in time order; `exposures` holds the files of each, the better first."""

    name: str
    exposures: list[list[Record]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, name: str, records: Iterable[Record]) -> Track:
        """Collect the files of one exposure: the same passband within 5 s, and for HMI of the same cadence."""
        track = cls(name)
        for record in sorted(records, key=lambda record: (record.time, record.path)):
            when = _seconds(record.when)
            if (track.times and when - track.times[-1] <= _SAME_EXPOSURE_S
                    and (name != MAGNETOGRAM or track.exposures[-1][0].cadence == record.cadence)):
                track.exposures[-1].append(record)
            else:
                track.times.append(when)
                track.exposures.append([record])
        for exposure in track.exposures:
            exposure.sort(key=lambda record: record.rank, reverse=True)
        return track

    def near(self, time: float, tolerance: float) -> tuple[Record, ...]:
        """The images within `tolerance` seconds of `time`: 720 s magnetograms first, then by distance in time, then the better file."""
        first, last = bisect.bisect_left(self.times, time - tolerance), bisect.bisect_right(self.times, time + tolerance)
        order = sorted(range(first, last), key=lambda k: (-self.exposures[k][0].cadence if self.name == MAGNETOGRAM else 0,
                                                          abs(self.times[k] - time)))
        return tuple(record for k in order[:_CANDIDATES] for record in self.exposures[k])[:_CANDIDATES]

    def nearest(self, time: float) -> Record | None:
        """The image closest in time, however far."""
        k = bisect.bisect_left(self.times, time)
        around = [j for j in (k - 1, k) if 0 <= j < len(self.times)]
        return self.exposures[min(around, key=lambda j: abs(self.times[j] - time))][0] if around else None


def tracks_of(records: Iterable[Record]) -> dict[str, Track]:
    """A track of each passband in an index, of the files whose headers are good."""
    by_name: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.name and not record.problem:
            by_name[record.name].append(record)
    return {name: Track.of(name, some) for name, some in by_name.items()}


def frontside_names(passbands: Sequence[str]) -> list[str]:
    """`['304', '195']` -> `['SDO/AIA 304', 'SDO/AIA 193']`."""
    return [f"SDO/AIA {AIA_OF_EUVI.get(passband, passband)}" for passband in passbands]


def farside_channels(training_names: Sequence[str]) -> list[str]:
    """What a farside input needs in each channel, from the names of the channels that a model was trained on.

    An EUV passband becomes EUVI's (`SDO/AIA 193` -> `STEREO/EUVI 195`); where it stands a second time, and for magnetograms, it is
    the frontside reference and stays SDO's. Names of farside cubes (`STEREO/EUVI-A 304`) are understood as well.

    Returns
    -------
    list of str
        In channel order: `STEREO/EUVI 304`, …, `SDO/AIA 304`, …, `SDO/HMI magnetogram`.

    Raises
    ------
    UserError
        EUVI has no such passband.
    """
    wanted: list[str] = []
    for name in training_names:
        passband = name.rpartition(" ")[2]
        if passband == "magnetogram":
            wanted.append(MAGNETOGRAM)
            continue
        euvi = f"STEREO/EUVI {EUVI_OF_AIA.get(passband, passband)}"
        if euvi in wanted:
            wanted.append(f"SDO/AIA {AIA_OF_EUVI.get(passband, passband)}")
        elif passband in EUVI_OF_AIA or passband in AIA_OF_EUVI:
            wanted.append(euvi)
        else:
            raise UserError(f"channel '{name}': EUVI has no such passband; it sees 304, 195 and 171, so a model for the farside "
                            f"must be trained on AIA 304, 193 and 171")
    return wanted


def _simultaneous(tracks: dict[str, Track], names: Sequence[str], tolerance: float,
                  cadence: float | None) -> list[tuple[float, dict[str, tuple[Record, ...]]]]:
    """Times at which the tracks in `names` were observed together, complete or not, and the images of each.

    Without a cadence every image offers its own time; the most complete and then the closest together are taken first, each image once.
    """
    own = [tracks.get(name, Track(name)) for name in names]
    observed = sorted(time for track in own for time in track.times)
    if cadence:
        offers = sorted({round(time / cadence) * cadence for time in observed})
    else:
        offers = observed
    scored = []
    for time in offers:
        images = {track.name: found for track in own if (found := track.near(time, tolerance))}
        if images:
            offsets = [_seconds(found[0].when) - time for found in images.values()]
            scored.append((len(names) - len(images), max(offsets) - min(offsets), time, images))
    scored.sort(key=lambda one: one[:3])
    accepted: list[tuple[float, dict[str, tuple[Record, ...]]]] = []
    times: list[float] = []
    used: set[str] = set()
    for n_missing, _, time, images in scored:
        if any(found[0].path in used for found in images.values()):
            continue
        k = bisect.bisect_left(times, time)
        if n_missing and any(abs(other - time) <= 2 * tolerance for other in times[max(k - 1, 0):k + 1]):
            continue                             # the same time as one that is already there
        used |= {found[0].path for found in images.values()}
        times.insert(k, time)
        accepted.append((time, images))
    return sorted(accepted, key=lambda one: one[0])


def _with_reference(tracks: dict[str, Track], group: Group, reference_names: Sequence[str], when: datetime,
                    tolerance: float) -> tuple[Group, list[Missing]]:
    choices, missing = [], []
    for name in reference_names:
        track = tracks.get(name, Track(name))
        found = track.near(_seconds(when), tolerance)
        choices.append(Choice(name, found, is_reference=True))
        if not found:
            missing.append(Missing(group.observer, group.time, name, when, track.nearest(_seconds(when)), is_reference=True))
    return Group(group.observer, group.time, group.choices + tuple(choices)), missing


def _groups(tracks: dict[str, Track], observer: str, names: Sequence[str], tolerance_minutes: float,
            cadence_hours: float | None) -> tuple[list[Group], list[Missing]]:
    groups, missing = [], []
    for anchor, images in _simultaneous(tracks, names, 60 * tolerance_minutes, 3600 * cadence_hours if cadence_hours else None):
        euv = [found[0].when for name, found in images.items() if name != MAGNETOGRAM]
        when = mean_time(euv) if euv else datetime(1970, 1, 1) + timedelta(seconds=anchor)
        lacking = [Missing(observer, when, name, when, tracks[name].nearest(anchor) if name in tracks else None)
                   for name in names if name not in images]
        missing += lacking
        if not lacking:
            groups.append(Group(observer, when, tuple(Choice(name, images[name]) for name in names)))
    return groups, missing


def farside_groups(records: Iterable[Record], channels: Sequence[str], *, tolerance: float = TOLERANCE_MINUTES["farside"],
                   reference_tolerance: float = REFERENCE_TOLERANCE_MINUTES,
                   cadence: float | None = None) -> tuple[list[Group], list[Missing]]:
    """Group EUVI images by spacecraft and time, with the frontside as it was when that longitude last faced Earth.

    Parameters
    ----------
    records
        An index of the raw files.
    channels
        What each channel holds, as `farside_channels` says it: `STEREO/EUVI <passband>` now, `SDO/…` for the reference.
    tolerance, reference_tolerance : float
        Minutes that an image may lie off its group's time, and a reference image off the reference time.
    cadence : float, optional
        Hours between the wanted times, counted from 0 UT; None: all there are.

    Returns
    -------
    groups : list of Group
        The complete ones, in order of spacecraft and time.
    missing : list of Missing
        What the others lack.
    """
    tracks = tracks_of(records)
    names = [name for name in channels if not name.startswith("SDO/")]
    reference_names = [name for name in channels if name.startswith("SDO/")]
    groups, missing = [], []
    for observer in ("STEREO-A", "STEREO-B"):
        own = [f"{SPACECRAFT[observer]} {name.rpartition(' ')[2]}" for name in names]
        if not any(name in tracks for name in own):
            continue
        found, lacking = _groups(tracks, observer, own, tolerance, cadence)
        missing += lacking
        for group in found:
            when = reference_time(group.time, group.choices[0].candidates[0].longitude)
            group, lacking = _with_reference(tracks, group, reference_names, when, 60 * reference_tolerance)
            missing += lacking
            if not lacking:
                groups.append(_in_order(group, channels))
    return groups, missing


def _in_order(group: Group, channels: Sequence[str]) -> Group:
    """The group's choices in the order of `channels`, which may mix images of now and of the reference."""
    now = iter([choice for choice in group.choices if not choice.is_reference])
    reference = iter([choice for choice in group.choices if choice.is_reference])
    return Group(group.observer, group.time, tuple(next(reference if name.startswith("SDO/") else now) for name in channels))


def frontside_pairs(records: Iterable[Record], passbands: Sequence[str], *, reference: bool = False,
                    tolerance: float = TOLERANCE_MINUTES["train"], reference_tolerance: float = REFERENCE_TOLERANCE_MINUTES,
                    cadence: float | None = None) -> tuple[list[Pair], list[Missing]]:
    """Pair AIA images with the HMI magnetogram of their time; with `reference`, add AIA and HMI of one rotation before.

    Parameters and returns as in `farside_groups`; `passbands` are AIA's, in channel order.
    """
    tracks = tracks_of(records)
    names = frontside_names(passbands)
    found, missing = _groups(tracks, "SDO", [*names, MAGNETOGRAM], tolerance, cadence)
    pairs = []
    for group in found:
        target = Group("SDO", group.time, group.choices[-1:])
        inputs = Group("SDO", group.time, group.choices[:-1])
        lacking: list[Missing] = []
        if reference:
            when = group.time - timedelta(days=SYNODIC_PERIOD_DAYS)
            inputs, lacking = _with_reference(tracks, inputs, [*names, MAGNETOGRAM], when, 60 * reference_tolerance)
            missing += lacking
        if not lacking:
            pairs.append(Pair(inputs, target))
    return pairs, missing


def near_test(times: Sequence[datetime], test_times: Sequence[datetime], *, reference: bool, gap_days: float) -> list[bool]:
    """Which of `times`, trained on, would show the Sun as it is within `gap_days` of a test time.

    With `reference` a pair shows the Sun twice: at its time and one rotation before. So does a test pair.
    """
    tests = np.sort([_seconds(time) / 86400 for time in test_times])
    if not len(tests):
        return [False] * len(times)
    shifts = (0.0, -SYNODIC_PERIOD_DAYS, SYNODIC_PERIOD_DAYS) if reference else (0.0,)
    return [any(np.abs(tests - _seconds(time) / 86400 - shift).min() <= gap_days for shift in shifts) for time in times]


def split_pairs(pairs: Sequence[Pair], is_test: Sequence[bool], *, reference: bool, gap_days: float,
                other_tests: Sequence[datetime] = ()) -> tuple[list[Pair], list[Pair], int]:
    """Divide pairs in those to train on and those to test, so that no test field was seen in training.

    Parameters
    ----------
    pairs, is_test
        The pairs, and which of them are to be tested.
    reference : bool
        Whether inputs hold a frontside reference. Then a training pair is dropped also when its reference falls on a test time, or its
        time on the reference of a test pair.
    gap_days : float
        How near is too near; negative: drop none.
    other_tests
        Test times that exist already.

    Returns
    -------
    train, test : list of Pair
    dropped : int
    """
    tests = [pair for pair, test in zip(pairs, is_test, strict=True) if test]
    others = [pair for pair, test in zip(pairs, is_test, strict=True) if not test]
    if gap_days < 0:
        return others, tests, 0
    near = near_test([pair.time for pair in others], [*(pair.time for pair in tests), *other_tests], reference=reference, gap_days=gap_days)
    train = [pair for pair, drop in zip(others, near, strict=True) if not drop]
    return train, tests, len(others) - len(train)
