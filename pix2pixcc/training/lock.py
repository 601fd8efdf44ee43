"""One training a folder: a lock file that says which process holds it, and that a dead process cannot keep.

The file is made by a hard link, which is there whole or not at all, on network file systems too.
"""
from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pix2pixcc.utils import UserError

UNKNOWN = "unknown"
PROCESSES = Path("/proc")


class FolderLock:
    """The lock file of a folder.

    Parameters
    ----------
    path : path
        The lock file; its folder must exist when the lock is taken.
    """

    def __init__(self, path: Path):
        self.path = path
        self._owner = ""

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock; one whose process is gone from this machine is taken over.

        Raises
        ------
        UserError
            Another process holds it; the message says which, and how to take over.
        """
        owner = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started": _start_of(os.getpid())})
        try:
            while not self._claim(owner):
                self._break_if_stale()
        except OSError as error:
            raise UserError(f"cannot write in {self.path.parent}: {error.strerror}. Choose a folder that can be written to") from error
        self._owner = owner
        try:
            yield
        finally:
            self._owner = ""
            if self._text() == owner:
                self.path.unlink(missing_ok=True)

    def check(self) -> None:
        """Raise a `UserError` if the lock that this process took is gone, so that two trainings never write into one folder."""
        if self._owner and self._text() != self._owner:
            raise UserError(f"{self.path} is gone or another process has taken it: the folder was moved, deleted or taken over. "
                            "Nothing more is written to it; go on with --resume once it is back and free")

    def _claim(self, owner: str) -> bool:
        """Make the lock file unless it is there."""
        handle, name = tempfile.mkstemp(prefix=".part-", dir=self.path.parent)
        try:
            with open(handle, "w") as file:
                file.write(owner)
            os.chmod(name, 0o644)                          # others may read who holds it
            _link(Path(name), self.path)
        except (FileExistsError, FileNotFoundError):       # held, or the holder tidied this file up
            return False
        finally:
            Path(name).unlink(missing_ok=True)
        return True

    def _text(self) -> str | None:
        """What the lock file says; None if there is none."""
        if self.path.is_symlink():
            return "a link"
        try:
            return self.path.read_text(errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            return f"unreadable: {error.strerror}"

    def _break_if_stale(self) -> None:
        """Remove the lock if its process is gone from this machine, else say who holds it.

        Whoever looks and removes holds the folder meanwhile: else a second one could remove the lock that the first has just taken.
        """
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):             # a file system without flock: all but that race is still excluded
                fcntl.flock(folder, fcntl.LOCK_EX)
            text = self._text()
            if text is not None and not _is_stale(text):
                raise UserError(f"{self.path.parent} is being trained by {_named(text)}. Wait for it, or use another --dataset_name; "
                                f"if that process is gone, delete {self.path}")
            if text is not None:
                self.path.unlink()
        finally:
            os.close(folder)


def _link(source: Path, target: Path) -> None:
    """Make `target` with the content of `source`, or raise FileExistsError."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        with open(target, "x") as file:                    # a file system without hard links
            file.write(source.read_text())


def _owner_of(text: str) -> dict:
    try:
        owner = json.loads(text)
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _named(text: str) -> str:
    owner = _owner_of(text)
    return f"process {owner.get('pid', 'unknown')} on {owner.get('host', 'an unknown host')}"


def _is_stale(text: str) -> bool:
    """Whether the lock is of a process of this machine that has ended; of another machine, nobody here can tell."""
    owner = _owner_of(text)
    pid = owner.get("pid")
    if owner.get("host") != socket.gethostname() or not isinstance(pid, int):
        return False
    started = _start_of(pid)
    return started is None or started not in (owner.get("started"), UNKNOWN)


def _start_of(pid: int) -> str | None:
    """When process `pid` of this machine started (in clock ticks since boot); None if it has ended."""
    try:
        fields = (PROCESSES / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()
        return None if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):                          # no /proc here, or processes of others are hidden in it
        pass
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        pass
    return UNKNOWN
