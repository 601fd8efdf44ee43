"""Which input belongs to which target: by name, by the name without instruments, or by the time in it."""
from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from pix2pixcc.utils import UserError, stem_of, time_in_name

_INSTRUMENT = re.compile(r"(?<![a-z0-9])(?:sdo|stereo|secchi|soho|aia|hmi|mdi|euvi|aisfm|input|target|real|magnetogram|"
                         r"(?<=stereo[-_. ])[ab]|(?<=euvi[-_. ])[ab])(?![a-z0-9])", re.IGNORECASE)


def _bare_name(path: Path) -> str:
    """The stem without instruments and separators: `AIA_0001` and `hmi.0001` are both `0001`."""
    return re.sub(r"[-_. ]+", "_", _INSTRUMENT.sub("", stem_of(path))).strip("_").lower()


def _time(path: Path) -> str:
    return str(time_in_name(stem_of(path)) or "")


def match_files(inputs: Sequence[Path],
                targets: Sequence[Path]) -> tuple[list[tuple[Path, Path]], list[Path], list[Path]]:
    """Match inputs with targets: by the name, else by the name without instruments, else by the time in the name.

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
    for name_of in (stem_of, _bare_name, _time):
        of_input, of_target = _by_name(lone_inputs, name_of), _by_name(lone_targets, name_of)
        partner |= {path: of_target[name] for name, path in of_input.items() if name in of_target}
        taken = set(partner.values())
        lone_inputs = [path for path in lone_inputs if path not in partner]
        lone_targets = [path for path in lone_targets if path not in taken]
    return [(path, partner[path]) for path in inputs if path in partner], lone_inputs, lone_targets


def refuse_lonely(lone_inputs: Sequence[Path], lone_targets: Sequence[Path]) -> None:
    """Raise a `UserError` that lists up to ten files of each side without a partner, if there are any."""
    if lone_inputs or lone_targets:
        raise UserError(_listed(lone_inputs, "input files without a target of their own")
                        + _listed(lone_targets, "target files without an input of their own")
                        + "Pairs are matched by file name, or by the time in it: rename, add or move files away")


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
