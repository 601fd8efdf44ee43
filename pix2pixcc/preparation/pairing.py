"""Which raw files belong together: of one time and observer, and the frontside of when the farside last faced Earth.

Records of an index are paired; no file is opened. An image serves one time only (a reference may serve several), and
only another file of its exposure may stand in for it: an image of another time would be under a name not its own.
"""
from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from pix2pixcc.preparation.index import Record
from pix2pixcc.preparation.settings import REFERENCE_TOLERANCE_MINUTES, TOLERANCE_MINUTES
from pix2pixcc.solar.instruments import AIA_OF_EUVI, EUVI, EUVI_OF_AIA, MAGNETOGRAM, SDO, STEREO, spacecraft_of
from pix2pixcc.solar.observations import mean_time
from pix2pixcc.solar.orbits import SYNODIC_PERIOD_DAYS, reference_time
from pix2pixcc.utils import UserError

EPOCH = datetime(1970, 1, 1)
_SAME_EXPOSURE_S = 5.0      # AIA takes a passband every 12 s, HMI a magnetogram every 45 s
_CANDIDATES = 8             # how many files a channel may fall back on
_LONG_FIRST_S = 720.0       # so near to the nearest magnetogram, one of 720 s is preferred: less noise, the same Sun


@dataclass(frozen=True)
class Choice:
    """The files that may fill one channel, the best first: those of one exposure, in a reference of other times too."""

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
        """Return the mean time of the input's EUV images."""
        return self.input.time


def _seconds(time: datetime) -> float:
    return (time - EPOCH).total_seconds()


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

    def near(self, time: float, tolerance: float) -> list[list[Record]]:
        """Return the exposures within `tolerance` seconds of `time`, the nearest first.

        Of magnetograms within 12 minutes of the nearest one those of the longer cadence go first.
        """
        first = bisect.bisect_left(self.times, time - tolerance)
        last = bisect.bisect_right(self.times, time + tolerance)
        order = sorted(range(first, last), key=lambda k: abs(self.times[k] - time))
        if self.name == MAGNETOGRAM and order:
            nearest = self.times[order[0]]
            order.sort(key=lambda k: (-self.exposures[k][0].cadence
                                      if abs(self.times[k] - nearest) <= _LONG_FIRST_S else 0.0))
        return [self.exposures[k] for k in order[:_CANDIDATES]]

    def nearest(self, time: float) -> Record | None:
        """Return the image closest in time, however far; None if there is none."""
        k = bisect.bisect_left(self.times, time)
        around = [j for j in (k - 1, k) if 0 <= j < len(self.times)]
        return self.exposures[min(around, key=lambda j: abs(self.times[j] - time))][0] if around else None


def tracks_of(records: Iterable[Record]) -> dict[str, Track]:
    """Collect the files of an index whose headers are good: a track for each passband."""
    by_name: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.name and not record.problem:
            by_name[record.name].append(record)
    return {name: Track.of(name, some) for name, some in by_name.items()}


@dataclass(frozen=True)
class Missing:
    """A passband that the group of `time` lacks, wanted at `wanted`; `nearest` is the closest image that there is."""

    observer: str
    time: datetime
    name: str
    wanted: datetime
    why: str
    nearest: Record | None = None
    is_reference: bool = False

    @property
    def minutes_off(self) -> float:
        """Return how far off the nearest image is, in minutes."""
        return float("inf") if self.nearest is None else abs((self.nearest.when - self.wanted).total_seconds()) / 60

    @classmethod
    def beyond(cls, tracks: dict[str, Track], tolerance: float, observer: str, time: datetime, name: str,
               wanted: datetime, is_reference: bool = False) -> Missing:
        """Return what is missing because nothing lies within `tolerance` minutes of `wanted`."""
        nearest = tracks[name].nearest(_seconds(wanted)) if name in tracks else None
        missing = cls(observer, time, name, wanted, "there is no good image at all", nearest, is_reference)
        if nearest is None:
            return missing
        minutes = missing.minutes_off
        off = f"{minutes:.0f} min" if minutes < 2880 else f"{minutes / 1440:.1f} days"
        flag = "--reference_tolerance" if is_reference else "--tolerance"
        return replace(missing, why=f"the nearest is {off} off ({flag} {tolerance:g})")


def describe_missing(missing: Iterable[Missing], limit: int = 10) -> list[str]:
    """Say what is missing: one line per time and reason, at most `limit` lines and one that counts the rest."""
    names: dict[tuple, list[str]] = defaultdict(list)
    for one in sorted(missing, key=lambda one: (one.time, one.observer, one.is_reference)):
        names[one.time, one.observer, one.wanted, one.is_reference, one.why].append(one.name)
    lines = []
    for (time, observer, wanted, is_reference, why), some in list(names.items())[:limit]:
        when = f" of {wanted:%Y-%m-%dT%H:%M}" if is_reference else ""
        lines.append(f"{time:%Y-%m-%dT%H:%M} {observer} lacks {', '.join(some)}{when}: {why}")
    if len(names) > limit:
        lines.append(f"… and {len(names) - limit} more")
    return lines


def frontside_names(passbands: Sequence[str]) -> list[str]:
    """Return AIA's channel of each passband: `['304', '195']` -> `['SDO/AIA 304', 'SDO/AIA 193']`."""
    return [SDO.channel(passband) for passband in passbands]


def farside_channels(training_names: Sequence[str]) -> list[str]:
    """Return what a farside input needs in each channel, from the names of the channels that a model was trained on.

    An EUV passband becomes EUVI's (`SDO/AIA 193` -> `STEREO/EUVI 195`); where it stands a second time, and for
    magnetograms, it is the frontside reference and stays SDO's. Names of farside cubes (`STEREO/EUVI-A 304`) are
    understood as well.

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
        euvi = f"{EUVI} {EUVI_OF_AIA.get(passband, passband)}"
        if euvi in wanted:
            wanted.append(SDO.channel(passband))
        elif passband in EUVI_OF_AIA or passband in AIA_OF_EUVI:
            wanted.append(euvi)
        else:
            raise UserError(f"channel '{name}': EUVI has no such passband; it sees 304, 195 and 171, "
                            "so a model for the farside must be trained on AIA 304, 193 and 171")
    return wanted


def _simultaneous(tracks: dict[str, Track], names: Sequence[str], tolerance: float,
                  cadence: float | None) -> list[tuple[float, dict[str, tuple[Record, ...]]]]:
    """Return times (s) at which `names` were observed together, complete or not, and the images of each.

    Without a cadence every image offers its own time; the most complete and then the closest together are taken first,
    each image once.
    """
    own = [tracks.get(name, Track(name)) for name in names]
    offers = [time for track in own for time in track.times]
    if cadence:
        offers = list({round(time / cadence) * cadence for time in offers})
    scored = []
    for time in offers:
        images = {track.name: tuple(found[0][:_CANDIDATES]) for track in own if (found := track.near(time, tolerance))}
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
        exposures = tracks.get(name, Track(name)).near(_seconds(when), 60 * tolerance)
        found = tuple(record for exposure in exposures for record in exposure)[:_CANDIDATES]
        choices.append(Choice(name, found, is_reference=True))
        if not found:
            missing.append(Missing.beyond(tracks, tolerance, group.observer, group.time, name, when, is_reference=True))
    return Group(group.observer, group.time, group.choices + tuple(choices)), missing


def _groups(tracks: dict[str, Track], observer: str, names: Sequence[str], tolerance_minutes: float,
            cadence_hours: float | None) -> tuple[list[Group], list[Missing]]:
    groups, missing = [], []
    cadence = 3600 * cadence_hours if cadence_hours else None
    for anchor, images in _simultaneous(tracks, names, 60 * tolerance_minutes, cadence):
        euv = [found[0].when for name, found in images.items() if name != MAGNETOGRAM]
        wanted = EPOCH + timedelta(seconds=anchor)
        when = mean_time(euv) if euv else wanted
        lacking = [Missing.beyond(tracks, tolerance_minutes, observer, when, name, wanted)
                   for name in names if name not in images]
        missing += lacking
        if not lacking:
            groups.append(Group(observer, when, tuple(Choice(name, images[name]) for name in names)))
    return groups, missing


def farside_groups(records: Iterable[Record], channels: Sequence[str], *,
                   tolerance: float = TOLERANCE_MINUTES["farside"],
                   reference_tolerance: float = REFERENCE_TOLERANCE_MINUTES,
                   cadence: float | None = None) -> tuple[list[Group], list[Missing]]:
    """Group EUVI images by spacecraft and time, with the frontside as it was when that longitude last faced Earth.

    Parameters
    ----------
    channels : sequence of str
        As by `farside_channels`: `STEREO/EUVI <passband>` now, `SDO/…` for the reference.
    tolerance, reference_tolerance : float
        Minutes that an image may lie off the others, and a reference off the time it is wanted for.
    cadence : float, optional
        Hours between the times to take, counted from 0 UT; None: every time that is there.

    Returns
    -------
    The complete groups, in order of spacecraft and time, and what the others lack.
    """
    tracks = tracks_of(records)
    names = [name for name in channels if not _is_reference(name)]
    reference_names = [name for name in channels if _is_reference(name)]
    groups, missing = [], []
    for spacecraft in STEREO:
        own = [f"{spacecraft.euv} {name.rpartition(' ')[2]}" for name in names]
        if not any(name in tracks for name in own):
            continue
        found, lacking = _groups(tracks, spacecraft.name, own, tolerance, cadence)
        missing += lacking
        for group in found:
            when = reference_time(group.time, group.choices[0].candidates[0].longitude)
            group, lacking = _with_reference(tracks, group, reference_names, when, reference_tolerance)
            missing += lacking
            if not lacking:
                groups.append(_in_order(group, channels))
    return groups, missing


def _is_reference(name: str) -> bool:
    return spacecraft_of(name) is SDO


def _in_order(group: Group, channels: Sequence[str]) -> Group:
    """Return the group with its choices in the order of `channels`, which may mix now and the reference."""
    now = iter([choice for choice in group.choices if not choice.is_reference])
    reference = iter([choice for choice in group.choices if choice.is_reference])
    choices = tuple(next(reference if _is_reference(name) else now) for name in channels)
    return Group(group.observer, group.time, choices)


def frontside_pairs(records: Iterable[Record], passbands: Sequence[str], *, reference: bool = False,
                    tolerance: float = TOLERANCE_MINUTES["train"],
                    reference_tolerance: float = REFERENCE_TOLERANCE_MINUTES,
                    cadence: float | None = None) -> tuple[list[Pair], list[Missing]]:
    """Pair AIA images with the HMI magnetogram of their time; with `reference`, add AIA and HMI of one rotation before.

    Parameters and returns as in `farside_groups`; `passbands` are AIA's, in channel order.
    """
    tracks = tracks_of(records)
    names = frontside_names(passbands)
    found, missing = _groups(tracks, SDO.name, [*names, MAGNETOGRAM], tolerance, cadence)
    pairs = []
    for group in found:
        inputs = replace(group, choices=group.choices[:-1])
        lacking: list[Missing] = []
        if reference:
            when = group.time - timedelta(days=SYNODIC_PERIOD_DAYS)
            inputs, lacking = _with_reference(tracks, inputs, [*names, MAGNETOGRAM], when, reference_tolerance)
            missing += lacking
        if not lacking:
            pairs.append(Pair(inputs, replace(group, choices=group.choices[-1:])))
    return pairs, missing
