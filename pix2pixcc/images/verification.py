"""The check of a whole data set before the first step: every file is read once, in parallel, and remembered."""
from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from pix2pixcc.images.cubes import Channel
from pix2pixcc.images.files import read_image
from pix2pixcc.parallel.workers import in_parallel
from pix2pixcc.utils import UserError, write_json

FORMAT = 1            # of the file that remembers; with another number in it all is read anew
SAVE_EVERY = 60.0     # seconds; a check that is killed loses at most this much

Finding = dict[str, Any]


@dataclass(frozen=True)
class Summary:
    """Say what one side of a data set holds."""

    number: int         # of files
    size: int           # pixels on a side
    count: int          # of channels
    dtype: str          # as in the files: 'uint8', or 'float32, int16'
    lowest: float       # of the finite values, in data units
    highest: float
    channels: list[Channel] | None      # what the cards of the first file say; None without cards


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


def _check(request: _Request) -> tuple[_Request, Finding]:
    """Return what a file holds or why it cannot be used."""
    try:
        image = read_image(request.path, request.channels, side=request.side)
    except UserError as error:
        return request, {"error": str(error)}
    finite = image.data[np.isfinite(image.data)]
    cards = None if image.channels is None else [channel.to_dict() for channel in image.channels]
    return request, {"size": image.data.shape[-1], "dtype": image.dtype, "lowest": float(finite.min()),
                     "highest": float(finite.max()), "cards": cards}


def verify_dataset(pairs: Sequence[tuple[Path, Path]], *, input_ch: int, target_ch: int, data_size: int | None = None,
                   n_workers: int = 1, remember: str | os.PathLike | None = None, progress: bool = True,
                   report: int = 20, check_cards: bool = True) -> tuple[Summary, Summary]:
    """Read every file of a data set once, refuse the set if any cannot be trained on, and say what each side holds.

    All images must have `data_size` pixels on a side (None: as many as the first). The JSON file `remember` keeps what
    was found by path, length and time of change: good files in it are not read again. With `check_cards`, cards that
    ask for a different scaling in different files are refused.

    Raises
    ------
    UserError
        Lists the bad files, at most `report` of them, each with its reason.
    """
    requests = [_Request(path, channels, side) for pair in pairs
                for path, channels, side in zip(pair, (input_ch, target_ch), ("input", "target"), strict=True)]
    if not requests:
        raise UserError("the data set holds no pairs; set --input_dir_train and --target_dir_train")
    found = _read_all(requests, n_workers=n_workers, remember=remember, progress=progress)
    errors = _unusable(requests, found, data_size) or (_contradictions(requests, found) if check_cards else [])
    if errors:
        more = f"\nand {len(errors) - report} more" if len(errors) > report else ""
        raise UserError(f"{len(errors)} of {len(requests)} files cannot be used:\n" + "\n".join(errors[:report]) + more)
    return _summary(found[0::2], input_ch), _summary(found[1::2], target_ch)


def _read_all(requests: Sequence[_Request], *, n_workers: int, remember: str | os.PathLike | None,
              progress: bool) -> list[Finding]:
    known = _recall(remember)
    keys = {request: _key(request) for request in requests}
    found = {request: known[key] for request, key in keys.items() if key in known}
    unread = [request for request in requests if request not in found]

    def save() -> None:
        if remember is not None and unread:
            good = {keys[one]: finding for one, finding in found.items() if "error" not in finding and keys[one]}
            write_json(remember, {"format": FORMAT, "files": known | good})

    results = in_parallel(_check, unread, n_workers)
    hidden, due = not (progress and unread), time.monotonic() + SAVE_EVERY
    try:
        for request, finding in tqdm(results, "checking files", len(unread), unit="file", disable=hidden):
            found[request] = finding
            if (began := time.monotonic()) > due:
                save()
                due = time.monotonic() + SAVE_EVERY + 20 * (time.monotonic() - began)      # of a large set, more seldom
    finally:      # an interrupted check goes on where it was
        results.close()
        save()
    return [found[request] for request in requests]


def _recall(remember: str | os.PathLike | None) -> dict[str, Finding]:
    """Return what an earlier check found; a damaged or foreign file is as good as none."""
    if remember is None or not Path(remember).is_file():
        return {}
    try:
        content = json.loads(Path(remember).read_text())
        files = content["files"]
        return files if content["format"] == FORMAT and all(map(_is_finding, files.values())) else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _is_finding(value: Any) -> bool:
    cards = value["cards"] or []
    return value.keys() == {"size", "dtype", "lowest", "highest", "cards"} and all(Channel(**card) for card in cards)


def _unusable(requests: Sequence[_Request], found: Sequence[Finding], data_size: int | None) -> list[str]:
    """List the files that cannot be read or have another size than all must have."""
    first = next((finding["size"] for finding in found if "size" in finding), 0)
    size, wanted = (data_size, f"--data_size is {data_size}") if data_size else (first, f"the first image has {first}")
    return [finding.get("error") or f"{request.path} has {finding['size']} pixels on a side, {wanted}; "
                                    "all images must have one size"
            for request, finding in zip(requests, found, strict=True) if finding.get("size") != size]


def _contradictions(requests: Sequence[_Request], found: Sequence[Finding]) -> list[str]:
    """List the files whose cards ask for another scaling than those of the first file of their side."""
    errors = []
    for side in (0, 1):
        first, scaling = requests[side].path.name, _scaling_cards(found[side])
        errors += [f"{request.path} asks for another scaling in its cards than {first}; "
                   f"set --saturation_lower_limit_{request.side}, --saturation_upper_limit_{request.side} and "
                   f"--logscale_{request.side} for all"
                   for request, finding in zip(requests[side::2], found[side::2], strict=True)
                   if _scaling_cards(finding) != scaling]
    return errors


def _scaling_cards(finding: Finding) -> list[tuple] | None:
    cards = finding["cards"]
    return None if cards is None else [(card["lower"], card["upper"], card["scale"]) for card in cards]


def _summary(found: Sequence[Finding], count: int) -> Summary:
    cards, dtypes = found[0]["cards"], sorted({finding["dtype"] for finding in found})
    return Summary(len(found), found[0]["size"], count, ", ".join(dtypes), min(finding["lowest"] for finding in found),
                   max(finding["highest"] for finding in found), cards and [Channel(**card) for card in cards])
