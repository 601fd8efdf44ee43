"""The check of a whole data set before the first step: every file is read once, in parallel, and remembered."""
from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pix2pixcc.images.cubes import Channel
from pix2pixcc.images.files import Image, read_image
from pix2pixcc.parallel.workers import in_parallel
from pix2pixcc.utils import UserError, write_json

FORMAT = 1            # of the file that remembers; another number there and all is read anew
SAVE_EVERY = 60       # seconds between two savings of what was found, for a check that is killed


@dataclass(frozen=True)
class Summary:
    """What one side of a data set holds.

    Attributes
    ----------
    number : files
    size : pixels on a side
    count : channels
    dtype : as in the files, 'uint8' or 'float32, int16'
    lowest, highest : finite values, in data units
    channels : what the cards say, or None without cards
    """

    number: int
    size: int
    count: int
    dtype: str
    lowest: float
    highest: float
    channels: list[Channel] | None


@dataclass(frozen=True)
class _Request:
    """A file to check, and its place among the files of the data set."""

    place: int
    path: Path
    channels: int
    side: str

    def key(self) -> str | None:
        """Name the file by path, length and time of change; None if it is not there."""
        try:
            status = self.path.stat()
        except OSError:
            return None
        return f"{self.path.absolute()}|{status.st_size}|{status.st_mtime_ns}|{self.channels}"


def _check(request: _Request) -> tuple[int, dict[str, Any]]:
    """Return the place of a file, and what it holds or why it cannot be used."""
    try:
        return request.place, _findings(read_image(request.path, request.channels, side=request.side))
    except UserError as error:
        return request.place, {"error": str(error)}


def _findings(image: Image) -> dict[str, Any]:
    finite = image.data[np.isfinite(image.data)]
    return {"size": image.data.shape[-1], "dtype": image.dtype, "lowest": float(finite.min()), "highest": float(finite.max()),
            "cards": None if image.channels is None else [channel.to_dict() for channel in image.channels]}


def verify_dataset(pairs: Sequence[tuple[Path, Path]], *, input_ch: int, target_ch: int, data_size: int | None = None, n_workers: int = 1,
                   remember: str | os.PathLike | None = None, progress: bool = True, report: int = 20,
                   check_cards: bool = True) -> tuple[Summary, Summary]:
    """Read every file of a data set once and refuse the set if any cannot be trained on.

    Parameters
    ----------
    pairs : as `pipeline.pair_files` gives them
    input_ch, target_ch : channels
    data_size : pixels on a side that every image must have; None: those of the first
    n_workers : processes that read; 0 reads in this one
    remember : JSON file of what was found, by path, length and time of change; good files in it are not read again
    progress : show a bar
    report : at most so many bad files are listed
    check_cards : refuse cards that ask for a different scaling in different files

    Returns
    -------
    Summary of the inputs, Summary of the targets

    Raises
    ------
    UserError
        Lists the bad files, each with its reason.
    """
    sides = (("input", input_ch), ("target", target_ch))
    files = [(path, channels, side) for pair in pairs for path, (side, channels) in zip(pair, sides, strict=True)]
    requests = [_Request(place, *file) for place, file in enumerate(files)]
    if not requests:
        raise UserError("the data set holds no pairs; set --input_dir_train and --target_dir_train")
    found = _read_all(requests, n_workers=n_workers, remember=remember, progress=progress)
    size = data_size or next((finding["size"] for finding in found if "size" in finding), 0)
    errors = [error for request, finding in zip(requests, found, strict=True) if (error := _error_of(request, finding, size, data_size))]
    if not errors and check_cards:
        errors = _contradictions(requests, found)
    if errors:
        more = f"\nand {len(errors) - report} more" if len(errors) > report else ""
        raise UserError(f"{len(errors)} of {len(requests)} files cannot be used:\n" + "\n".join(errors[:report]) + more)
    return _summary(found[0::2], input_ch), _summary(found[1::2], target_ch)


def _read_all(requests: Sequence[_Request], *, n_workers: int, remember: str | os.PathLike | None,
              progress: bool) -> list[dict[str, Any]]:
    known = _recall(remember)
    keys = [request.key() for request in requests]
    found = {place: known[key] for place, key in enumerate(keys) if key in known}
    unread = [request for request in requests if request.place not in found]
    if not unread:
        return [found[place] for place in range(len(requests))]

    def save() -> None:
        if remember is not None:
            good = {keys[place]: finding for place, finding in found.items() if "error" not in finding and keys[place]}
            write_json(remember, {"format": FORMAT, "files": known | good})

    results = in_parallel(_check, unread, n_workers)
    due = time.monotonic() + SAVE_EVERY
    try:
        for place, finding in tqdm(results, "checking files", len(unread), unit="file", disable=not progress):
            found[place] = finding
            if time.monotonic() > due:
                began = time.monotonic()
                save()
                due = 20 * (time.monotonic() - began) + began + SAVE_EVERY      # a twentieth of the time at most
    finally:      # an interrupted check goes on where it was
        results.close()
        save()
    return [found[place] for place in range(len(requests))]


def _recall(remember: str | os.PathLike | None) -> dict[Any, dict[str, Any]]:
    """What an earlier check found; a damaged or foreign file is as good as none."""
    if remember is None or not Path(remember).is_file():
        return {}
    try:
        content = json.loads(Path(remember).read_text())
        return content["files"] if content["format"] == FORMAT and all(map(_is_finding, content["files"].values())) else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _is_finding(value: Any) -> bool:
    cards = value["cards"] or []
    return value.keys() == {"size", "dtype", "lowest", "highest", "cards"} and all(Channel(**card) for card in cards)


def _error_of(request: _Request, finding: dict[str, Any], size: int, data_size: int | None) -> str:
    if "error" in finding:
        return finding["error"]
    if finding["size"] != size:
        wanted = f"--data_size is {size}" if data_size else f"the first image has {size}"
        return f"{request.path} has {finding['size']} pixels on a side, {wanted}; all images must have one size"
    return ""


def _contradictions(requests: Sequence[_Request], found: Sequence[dict[str, Any]]) -> list[str]:
    """Files whose cards ask for another scaling than those of the first file of their side."""
    errors = []
    for side in (0, 1):
        first = requests[side].path
        scaling = _scaling_cards(found[side])
        errors += [f"{request.path} asks for another scaling in its cards than {first.name}; set --saturation_lower_limit_{request.side}, "
                   f"--saturation_upper_limit_{request.side} and --logscale_{request.side} for all"
                   for request, finding in zip(requests[side::2], found[side::2], strict=True) if _scaling_cards(finding) != scaling]
    return errors


def _scaling_cards(finding: dict[str, Any]) -> list[tuple] | None:
    cards = finding["cards"]
    return None if cards is None else [(card["lower"], card["upper"], card["scale"]) for card in cards]


def _summary(found: Sequence[dict[str, Any]], count: int) -> Summary:
    cards = found[0]["cards"]
    return Summary(number=len(found), size=found[0]["size"], count=count, dtype=", ".join(sorted({finding["dtype"] for finding in found})),
                   lowest=min(finding["lowest"] for finding in found), highest=max(finding["highest"] for finding in found),
                   channels=None if cards is None else [Channel(**card) for card in cards])
