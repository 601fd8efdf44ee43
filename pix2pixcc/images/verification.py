"""The check of a whole data set before the first step: every file is read once, in parallel, and remembered.

What the files of one side say of themselves is compared: size, type, unit, channels and scaling, the place and time of
the observer within a pair, and the values with the limits. What is remembered of a file is one short line.
"""
from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from pix2pixcc.images.cubes import Channel
from pix2pixcc.images.files import Image, read_image
from pix2pixcc.images.pairs import View
from pix2pixcc.parallel.workers import in_parallel
from pix2pixcc.utils import UserError, atomic_path

FORMAT = 2            # of the file that remembers; with another number in it all is read anew
SAVE_EVERY = 60.0     # seconds; a check that is killed loses at most this much
TAIL = 1.0            # per cent of a channel's pixels that may lie anywhere: its values run from this percentile up
_ENOUGH = 256         # pixels on a side, of which the percentiles are taken

Tails = Sequence[Sequence[float]]              # lowest and highest value of each channel, but for both TAILs
FarOutside = Callable[[Tails], str]            # how a channel lies far outside the limits of its side, or ''

# Units of one meaning; others are compared as they are spelled.
_UNITS = {"g": "gauss", "mx/cm^2": "gauss", "mx/cm2": "gauss", "mxcm-2": "gauss", "mxcm^-2": "gauss",
          "mx/cm**2": "gauss", "mxcm**-2": "gauss"}


class Finding(NamedTuple):
    """What a file was found to hold, or why it cannot be used."""

    size: int = 0                    # pixels on a side
    dtype: str = ""
    unit: str = ""                   # BUNIT
    lowest: float = 0.0              # of the finite values, in data units
    highest: float = 0.0
    tails: Tails = ()
    cards: str = ""                  # digest of what the cards say of the channels, but for their times; '' without
    view: View = View()
    error: str = ""

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> Finding:
        """Return a finding of JSON's lists; raise TypeError or ValueError for anything else."""
        found = cls(*values)
        found = found._replace(view=View(*found.view))
        tails = [(float(low), float(high)) for low, high in found.tails]
        text = found.dtype + found.unit + found.cards + found.view.time
        if not found.size + found.lowest + found.highest or not tails or text is None or found.error:
            raise ValueError("no finding")
        return found


Cards = dict[str, list[Channel]]               # by their digest


@dataclass(frozen=True)
class Summary:
    """Say what one side of a data set holds."""

    number: int         # of files
    size: int           # pixels on a side
    count: int          # of channels
    dtype: str          # as in the files: 'uint8', or 'float32, int16'
    lowest: float       # of the finite values, in data units
    highest: float
    channels: list[Channel] | None      # what the cards of the first file say but for times; None without cards


class _Request(NamedTuple):
    path: Path
    channels: int
    side: str


def _key(request: _Request) -> str:
    """Name a file by path, length and time of change; '' if it is not there."""
    try:
        status = request.path.stat()
    except OSError:
        return ""
    return f"{request.path.absolute()}|{status.st_size}|{status.st_mtime_ns}|{request.channels}"


def _check(request: _Request) -> tuple[_Request, Finding, list[Channel]]:
    """Return what a file holds or why it cannot be used, and what its cards say of the channels."""
    try:
        image = read_image(request.path, request.channels, side=request.side)
    except UserError as error:
        return request, Finding(error=str(error)), []
    finite = image.data[np.isfinite(image.data)]
    cards = [Channel(one.name, "", one.lower, one.upper, one.scale) for one in image.channels or []]
    digest = hashlib.sha256(repr(cards).encode()).hexdigest()[:16] if cards else ""
    return request, Finding(image.data.shape[-1], image.dtype, _unit(image), float(finite.min()), float(finite.max()),
                            [_tail(channel) for channel in image.data], digest, View.of(image.header)), cards


def _unit(image: Image) -> str:
    text = "" if image.header is None else str(image.header.get("BUNIT", "")).strip()
    short = re.sub(r"[\s()]", "", text).lower()
    return _UNITS.get(short, short)


def _tail(channel: np.ndarray) -> tuple[float, float]:
    """Return two percentiles of a regular sample of the finite pixels, with four digits."""
    step = max(1, len(channel) // _ENOUGH)
    sample = channel[::step, ::step]
    sample = sample[np.isfinite(sample)]
    low, high = np.percentile(sample if sample.size else channel[np.isfinite(channel)], (TAIL, 100 - TAIL))
    return float(f"{low:.4g}"), float(f"{high:.4g}")


def verify_dataset(pairs: Sequence[tuple[Path, Path]], *, input_ch: int, target_ch: int, data_size: int | None = None,
                   far_outside: tuple[FarOutside | None, FarOutside | None] = (None, None), n_workers: int = 1,
                   remember: str | os.PathLike | None = None, progress: bool = True, report: int = 20,
                   check_cards: bool = True) -> tuple[Summary, Summary]:
    """Read every file of a data set once, refuse the set if any cannot be trained on, and say what each side holds.

    All images must have `data_size` pixels on a side (None: as many as the first). Within a side they must be of one
    type and unit and have the same channels in the same order, and `far_outside` (for inputs and targets; None: not
    asked) must find nothing. The two images of a pair must be of one observer and one time. The JSON file `remember`
    keeps what was found by path, length and time of change: good files in it are not read again. With `check_cards`,
    cards that ask for a different scaling in different files are refused.

    Raises
    ------
    UserError
        Lists the bad files, at most `report` of them, each with its reason.
    """
    requests = [_Request(path, channels, side) for pair in pairs
                for path, channels, side in zip(pair, (input_ch, target_ch), ("input", "target"), strict=True)]
    if not requests:
        raise UserError("the data set holds no pairs; set --input_dir_train and --target_dir_train")
    found, cards = _read_all(requests, n_workers=n_workers, remember=remember, progress=progress)
    errors = _unusable(requests, found, data_size)
    if not errors:
        for side in (0, 1):
            errors += _contradictions(requests[side::2], found[side::2], cards, far_outside[side], check_cards)
        errors += _two_views(requests, found)
    if errors:
        more = f"\nand {len(errors) - report} more" if len(errors) > report else ""
        raise UserError(f"{len(errors)} of {len(requests)} files cannot be used:\n" + "\n".join(errors[:report]) + more)
    return _summary(found[0::2], input_ch, cards), _summary(found[1::2], target_ch, cards)


def _read_all(requests: Sequence[_Request], *, n_workers: int, remember: str | os.PathLike | None,
              progress: bool) -> tuple[list[Finding], Cards]:
    known, cards = _recall(remember)
    keys = {request: _key(request) for request in requests}
    found = {request: known[key] for request, key in keys.items() if key in known}
    unread = [request for request in requests if request not in found]

    def save() -> None:
        if remember is not None and unread:
            good = {keys[one]: finding for one, finding in found.items() if not finding.error and keys[one]}
            used = {finding.cards for finding in good.values()}
            channels = {digest: [one.to_dict() for one in said] for digest, said in cards.items() if digest in used}
            with atomic_path(remember) as temporary:
                temporary.write_text(json.dumps({"format": FORMAT, "cards": channels, "files": good},
                                                separators=(",", ":")))

    results = in_parallel(_check, unread, n_workers)
    hidden, due = not (progress and unread), time.monotonic() + SAVE_EVERY
    try:
        for request, finding, said in tqdm(results, "checking files", len(unread), unit="file", disable=hidden):
            found[request], cards[finding.cards] = finding, said
            if (began := time.monotonic()) > due:
                save()
                due = time.monotonic() + SAVE_EVERY + 20 * (time.monotonic() - began)      # of a large set, more seldom
    finally:      # an interrupted check goes on where it was
        results.close()
        save()
    return [found[request] for request in requests], cards


def _recall(remember: str | os.PathLike | None) -> tuple[dict[str, Finding], Cards]:
    """Return what an earlier check found; a damaged or foreign file is as good as none."""
    if remember is None or not Path(remember).is_file():
        return {}, {}
    try:
        content = json.loads(Path(remember).read_text())
        if content["format"] != FORMAT:
            return {}, {}
        cards = {digest: [Channel.from_dict(one) for one in said] for digest, said in content["cards"].items()}
        files = {key: Finding.from_json(values) for key, values in content["files"].items()}
        return {key: finding for key, finding in files.items() if not finding.cards or finding.cards in cards}, cards
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}, {}


def _unusable(requests: Sequence[_Request], found: Sequence[Finding], data_size: int | None) -> list[str]:
    """List the files that cannot be read or have another size than all must have."""
    first = next((finding.size for finding in found if not finding.error), 0)
    size, wanted = (data_size, f"--data_size is {data_size}") if data_size else (first, f"the first image has {first}")
    return [finding.error or f"{request.path} has {finding.size} pixels on a side, {wanted}; "
                             "all images must have one size"
            for request, finding in zip(requests, found, strict=True) if finding.size != size]


def _contradictions(requests: Sequence[_Request], found: Sequence[Finding], cards: Cards,
                    far_outside: FarOutside | None, check_cards: bool) -> list[str]:
    """List the files of one side that say something else than most of them, and those with values far outside."""
    side = requests[0].side
    names, scalings = ({digest: said_of(said) for digest, said in (cards | {"": []}).items()}
                       for said_of in (_names, _scalings))
    errors = [
        *_odd(requests, [names[finding.cards] for finding in found], "holds {0}, {2} holds {1}; prepare all inputs "
              "with the same channels in the same order (pix2pixCC_Prepare.py --channels)"),
        *_odd(requests, [_kind(finding.dtype) for finding in found], "holds {0}, {2} {1}; save all in one type and "
              "unit"),
        *_odd(requests, [finding.unit for finding in found], "is in {0} (BUNIT), {2} in {1}; convert it, or put its "
              "header right", unsaid="")]
    if check_cards and not errors:
        flags = f"set --saturation_lower_limit_{side}, --saturation_upper_limit_{side} and --logscale_{side} for all"
        errors += _odd(requests, [scalings[finding.cards] for finding in found],
                       "asks for another scaling in its cards ({0}, not {1}) than {2}; " + flags)
    if far_outside is not None and not errors:
        errors += [f"{request.path}: {far}; put its unit right, leave it out, or set --saturation_lower_limit_{side}, "
                   f"--saturation_upper_limit_{side} and --logscale_{side} to what all the data are"
                   for request, finding in zip(requests, found, strict=True) if (far := far_outside(finding.tails))]
    return errors


def _odd(requests: Sequence[_Request], said: Sequence[str], message: str, unsaid: str | None = None) -> Iterator[str]:
    """Say of every file that says something else than most: what it says, what most do, and the first of those.

    Files that say `unsaid` contradict nobody.
    """
    count = Counter(one for one in said if one != unsaid)
    usual = max(count, key=lambda one: count[one], default="")      # the first of equals
    first = requests[said.index(usual)].path.name if count else ""
    for request, one in zip(requests, said, strict=True):
        if one not in (usual, unsaid):
            yield f"{request.path} " + message.format(one, usual, first)


def _kind(dtype: str) -> str:
    """Return the type of a file's pixels in words; floating point is one kind, whatever its precision."""
    return "floating-point numbers" if dtype.startswith("float") else dtype


def _names(channels: Sequence[Channel]) -> str:
    """Return instruments and passbands in order; the two STEREO spacecraft carry the same instrument."""
    return ", ".join(re.sub(r"(?i)(EUVI)-[AB]\b", r"\1", " ".join(one.name.split())) for one in channels) \
        or "no cards of its channels"


def _scalings(channels: Sequence[Channel]) -> str:
    said = [f"{one.lower:g} .. {one.upper:g} {one.scale}" for one in channels]
    return said[0] if len(set(said)) == 1 else ", ".join(said)


def _two_views(requests: Sequence[_Request], found: Sequence[Finding]) -> list[str]:
    """List the pairs whose headers tell of two observers or two times."""
    return [f"{requests[k].path} and its target {requests[k + 1].path}: {words}; name files of one observer and time "
            "alike, and move the others away"
            for k in range(0, len(found), 2) if (words := found[k].view.other_than(found[k + 1].view))]


def _summary(found: Sequence[Finding], count: int, cards: Cards) -> Summary:
    dtypes = sorted({finding.dtype for finding in found})
    return Summary(len(found), found[0].size, count, ", ".join(dtypes), min(finding.lowest for finding in found),
                   max(finding.highest for finding in found), cards[found[0].cards] if found[0].cards else None)
