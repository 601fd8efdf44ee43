"""Which input belongs to which target: by name, by the name without instruments, or by the time in it.

Two observers see two hemispheres, so that files of two never belong together, by their names or by their headers.
"""
from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from astropy.io import fits

from pix2pixcc.images.fits import is_number
from pix2pixcc.utils import UserError, stem_of, time_in_name

MOST_DEGREES = 2.0                     # between the observers of one pair; the Sun turns by about 1 in MOST_TIME
MOST_TIME = timedelta(hours=2)         # between the images of one pair

_WORD, _END = r"(?<![a-z0-9])", r"(?![a-z0-9])"
_INSTRUMENT = re.compile(f"{_WORD}(?:sdo|stereo|secchi|soho|aia|hmi|mdi|euvi|aisfm|input|target|real|magnetogram|"
                         f"ahead|behind|(?<=stereo[-_. ])[ab]|(?<=euvi[-_. ])[ab]|(?:stereo|euvi|st)[ab]){_END}",
                         re.IGNORECASE)
# What a name says of the observer; the last group is of SECCHI's own names, 20110215_001400_n4euA.fts.
_OBSERVER = re.compile(f"{_WORD}(?:(?P<earth>sdo|soho|aia|hmi|mdi)|(?P<solo>solo|eui|phi)|"
                       "(?:stereo|secchi|euvi)(?:[-_. ]?(?P<letter>[ab]|ahead|behind))?|"
                       f"(?:[a-z0-9]{{2}}eu|st)(?P<secchi>[ab])){_END}", re.IGNORECASE)


class View(NamedTuple):
    """Where an image was seen from, and when, as far as its header says."""

    stonyhurst: float | None = None      # heliographic longitude of the observer, degrees
    carrington: float | None = None
    time: str = ""                       # DATE-OBS

    @classmethod
    def of(cls, header: fits.Header | None) -> View:
        """Return what a header says."""
        if header is None:
            return cls()
        longitudes = [header.get(keyword) for keyword in ("HGLN_OBS", "CRLN_OBS")]
        stonyhurst, carrington = (float(value) if is_number(value) else None for value in longitudes)
        return cls(stonyhurst, carrington, str(header.get("DATE-OBS", "")))

    def other_than(self, other: View) -> str:
        """Return how two views differ too far for one pair, '' if they do not or if one of them does not say."""
        for keyword, mine, its in (("HGLN_OBS", self.stonyhurst, other.stonyhurst),
                                   ("CRLN_OBS", self.carrington, other.carrington)):
            if mine is not None and its is not None:
                if abs(math.remainder(mine - its, 360)) > MOST_DEGREES:
                    return f"by their headers two observers saw them ({keyword} {mine:.2f} and {its:.2f} degrees)"
                break
        times = _utc(self.time), _utc(other.time)
        if times[0] and times[1] and abs(times[0] - times[1]) > MOST_TIME:
            return f"by their headers they are of two times (DATE-OBS {self.time} and {other.time})"
        return ""


def _utc(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.strip()).replace(tzinfo=None)
    except ValueError:
        return None


def _bare_name(path: Path) -> str:
    """The stem without instruments and separators: `AIA_0001` and `hmi.0001` are both `0001`."""
    return re.sub(r"[-_. ]+", "_", _INSTRUMENT.sub("", stem_of(path))).strip("_").lower()


def _time(path: Path) -> str:
    return str(time_in_name(stem_of(path)) or "")


def _observer(path: Path) -> str:
    """The observer that a name tells: `earth`, `solo`, `stereo a`, `stereo b`, `stereo` for either; '' for none."""
    found = set()
    for match in _OBSERVER.finditer(stem_of(path)):
        letter = (match["letter"] or match["secchi"] or "")[:1].lower()
        found.add("earth" if match["earth"] else "solo" if match["solo"] else f"stereo {letter}".strip())
    spelled = {one for one in found if not any(other != one and other.startswith(one) for other in found)}
    return spelled.pop() if len(spelled) == 1 else ""


def _together(first: Path, second: Path) -> bool:
    """Whether two names can be of one observer."""
    one, other = _observer(first), _observer(second)
    return one.startswith(other) or other.startswith(one)


def _with_observer(name_of: Callable[[Path], str]) -> Callable[[Path], str]:
    def named(path: Path) -> str:
        name = name_of(path)
        return f"{_observer(path)} {name}" if name else ""
    return named


def match_files(inputs: Sequence[Path],
                targets: Sequence[Path]) -> tuple[list[tuple[Path, Path]], list[Path], list[Path]]:
    """Match inputs with targets: by the name, else by the name without instruments, else by the time in the name.

    Names that tell two observers are never matched; of several equal ones, those that tell the same one are.

    Returns
    -------
    pairs : list of (input, target), in the order of the inputs
    lone_inputs, lone_targets : list of path
        The files without a partner, or with several that are equally good.

    Raises
    ------
    UserError
        Two inputs or two targets have the same name.
    """
    _refuse_namesakes(inputs, "input")
    _refuse_namesakes(targets, "target")
    partner: dict[Path, Path] = {}
    lone_inputs, lone_targets = list(inputs), list(targets)
    for name_of in (stem_of, _with_observer(_bare_name), _bare_name, _with_observer(_time), _time):
        of_input, of_target = _by_name(lone_inputs, name_of), _by_name(lone_targets, name_of)
        partner |= {path: of_target[name] for name, path in of_input.items()
                    if name in of_target and _together(path, of_target[name])}
        taken = set(partner.values())
        lone_inputs = [path for path in lone_inputs if path not in partner]
        lone_targets = [path for path in lone_targets if path not in taken]
    return [(path, partner[path]) for path in inputs if path in partner], lone_inputs, lone_targets


def refuse_lonely(lone_inputs: Sequence[Path], lone_targets: Sequence[Path]) -> None:
    """Raise a `UserError` that lists up to ten files of each side without a partner, if there are any."""
    if lone_inputs or lone_targets:
        raise UserError(_listed(lone_inputs, "input files without a target of their own")
                        + _listed(lone_targets, "target files without an input of their own")
                        + "Pairs are matched by file name, or by the time in it, and are of one observer: "
                        "rename, add or move files away")


def pair_files(inputs: Sequence[Path], targets: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Match every input with its target, as `match_files` does, in the order of the inputs.

    Raises
    ------
    UserError
        Files without a partner, or several for one; the message lists up to ten names of each.
    """
    pairs, lone_inputs, lone_targets = match_files(inputs, targets)
    refuse_lonely(lone_inputs, lone_targets)
    return pairs


def _by_name(paths: Sequence[Path], name_of: Callable[[Path], str]) -> dict[str, Path]:
    """The paths whose name is not empty and no other's."""
    names = [name_of(path) for path in paths]
    count = Counter(names)
    return {name: path for name, path in zip(names, paths, strict=True) if name and count[name] == 1}


def _refuse_namesakes(paths: Sequence[Path], side: str) -> None:
    count = Counter(map(stem_of, paths))
    namesakes = [path for path in paths if count[stem_of(path)] > 1]
    if namesakes:
        raise UserError(_listed(namesakes, f"{side} files share their name with another") + "Keep one of each name")


def _listed(paths: Sequence[Path], what: str) -> str:
    names = ", ".join(path.name for path in paths[:10]) + (", ..." if len(paths) > 10 else "")
    return f"{len(paths)} {what} ({names}). " if paths else ""
