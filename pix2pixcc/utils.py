"""Small things that every command shares: how it is run, user errors, atomic files, names and formats of files.

Nothing here imports torch or SunPy, so that every module may import this one.
"""
from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import runpy
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from types import FrameType

VERSION = "2.0.0"
FITS_FORMATS = ("fits", "fts", "fit")
STOPPING = (signal.SIGINT, signal.SIGTERM)
FORMATS = ("tif", "tiff", "png", "jpg", "jpeg", "npy", *FITS_FORMATS)
_UMASK = os.umask(0)      # it cannot be read without being set
os.umask(_UMASK)


def available_cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class UserError(Exception):
    """A mistake that the user can mend: the message names the file, flag or keyword, and the way out."""


def leave_when_asked() -> None:
    """Let Ctrl-C and SIGTERM end this process at once, in one line and with status 130 or 143.

    It is the first that a started command does: a `KeyboardInterrupt` between its imports would be a traceback.
    """
    _when_asked_to_stop(_leave)


def run_command(main: Callable[[], int | None]) -> None:
    """Run a command's `main` and leave with its status; a `UserError` is one message on standard error and status 2.

    Ctrl-C and SIGTERM are a `KeyboardInterrupt` in `main`, which tidies up; a second one ends the process at once.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")      # names of files need not be UTF-8
    before = {number: signal.getsignal(number) for number in STOPPING}
    try:
        _when_asked_to_stop(_interrupt)
        status = main() or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt as stop:
        print(_stopped(), end="", file=sys.stderr)
        status = stop_status(stop)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 128 + signal.SIGPIPE
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
    sys.exit(status)


def stop_status(stop: KeyboardInterrupt) -> int:
    """Return the exit status of a command that was stopped: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (stop.args[0] if stop.args else signal.SIGINT)


def _stopped() -> str:
    """Return what a stopped process says: of several ranks only the first speaks."""
    return "stopped\n" if os.environ.get("RANK", "0") == "0" else ""


def _when_asked_to_stop(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:     # as `nohup` or a script's `&` wants it
            signal.signal(number, handler)


def _leave(number: int, _frame: FrameType | None) -> None:
    with contextlib.suppress(OSError):                         # not by print, which may be what was interrupted
        os.write(2, _stopped().encode())
    os._exit(128 + number)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    leave_when_asked()
    raise KeyboardInterrupt(number)


def run_as_script() -> None:
    """Run the command module that the started script is named after, as `python <module>.py` does.

    All console scripts begin here: only the parser is loaded before `--help` answers.
    """
    leave_when_asked()
    run_command(_run_module)


def _run_module() -> None:
    runpy.run_module(Path(sys.argv[0]).stem, run_name="__main__", alter_sys=True)


def limit_spinning() -> None:
    """Let torch's threads fall asleep soon while they wait for each other."""
    # libgomp threads spin while waiting; on a shared machine that slows a step tenfold. Must be set before torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to, and rename it to `path` when the block ends well.

    The folder is made if missing. The temporary name is hidden, keeps the extension, and is removed on any error.

    Raises
    ------
    UserError
        The disk is full, read-only or gone; the file that stood at `path` before is untouched.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".part-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_UMASK)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}. Free some space there, or choose another "
                        "folder; what was there before is unchanged") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def link_or_copy(source: Path, path: Path) -> None:
    """Give the file `source` a second name, atomically, or copy it where a disk has no hard links."""
    with atomic_path(path) as temporary:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def write_json(path: str | os.PathLike, content: dict) -> None:
    """Write `content` as indented JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def read_json(path: str | os.PathLike) -> dict:
    """Read a JSON object; a `UserError` names the file if it is missing or damaged."""
    try:
        content = json.loads(Path(path).read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"cannot read {path}: it should hold a JSON object")
    return content


def file_sha256(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_TIME = re.compile(r"(?<!\d)(?=(\d{4})[-_.]?(\d{2})[-_.]?(\d{2})[Tt_ \-.]?"
                   r"(\d{2})[-_:.h]?(\d{2})(?:[-_:.m]?(\d{2}))?(?!\d))")


def time_in_name(name: str) -> datetime | None:
    """Return the time written in a file's name (`aia_20110305_120403`, `2011-03-05T12:04`), or None."""
    for match in _TIME.finditer(name):
        with contextlib.suppress(ValueError):
            year, month, day, hour, minute, second = (int(part or 0) for part in match.groups())
            return datetime(year, month, day, hour, minute, second)
    return None


def stem_of(path: str | os.PathLike) -> str:
    """Return a file's name without its format: `a.fits.gz` and `a.fits` are both `a`."""
    path = Path(path)
    return Path(path.stem if path.suffix.lower() == ".gz" else path.name).stem


def natural_key(path: str | os.PathLike) -> list:
    """Return a sort key that puts `image_10` after `image_9`."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", str(path)) if part]


def format_of(path: str | os.PathLike) -> str:
    """Return the format that a name's extension tells, '' if it is none of `FORMATS`; `a.FITS.gz` is `fits`."""
    name = Path(path).name.lower()
    bare = name.removesuffix(".gz").removesuffix(".fz")
    extension = Path(bare).suffix.removeprefix(".")
    return extension if extension in FORMATS and (bare == name or extension in FITS_FORMATS) else ""
