"""The lock of a run's folder: one training at a time."""
from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from pix2pixcc.utils import UserError

NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)      # what file systems without `flock` answer


class FolderLock:
    """Hold a folder through a kernel lock on a file, which names its holder for those who are refused.

    The kernel drops the lock with its process, however that ends, so that the next training takes over, on whichever
    node; forked loader processes do not keep it. Over NFS it reaches other nodes unless the folder is mounted with
    `nolock` or `local_lock`: nobody is refused there, and the earlier of two trainings stops at its next `check`, which
    finds another name in the file. A file system without `flock` gives no lock: whoever is named in the file holds the
    folder until the file is deleted.

    Parameters
    ----------
    path : path
        The lock file; its folder is made if missing.
    """

    def __init__(self, path: Path):
        self.path = path
        self._holder = b""

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock.

        Raises
        ------
        UserError
            Another process holds it, and the message says which; or the file cannot be written.
        """
        since = datetime.now().isoformat()
        holder = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}).encode()
        lock = FileLock(self.path, blocking=False, thread_local=False,
                        on_acquired=lambda file: _overwrite(file, holder))
        try:
            lock.acquire()
        except Timeout:
            raise self._refusal() from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise UserError(f"cannot write {self.path}: {error.strerror}. Choose a folder that can be written to, "
                                "or delete what is in that place") from error
            if self._text():
                raise self._refusal() from None
            self.path.write_bytes(holder)
        self._holder = holder
        try:
            yield
        finally:
            self._holder = b""
            if self._text() == holder:
                with contextlib.suppress(OSError):         # on a disk turned read-only it stays, and nobody holds it
                    self.path.unlink()
            lock.release()

    def check(self) -> None:
        """Raise a `UserError` if the lock that this process took is gone: two trainings never write into one folder."""
        if self._holder and self._text() != self._holder:
            raise UserError(f"{self.path} is gone or another process has taken it: the folder was moved, deleted or "
                            "taken over. Nothing more is written to it; go on with --resume once it is back and free")

    def _text(self) -> bytes:
        try:
            return self.path.read_bytes()
        except OSError:
            return b""

    def _refusal(self) -> UserError:
        try:
            named = "process {pid} on {host}".format_map(json.loads(self._text()))
        except (ValueError, TypeError, KeyError):
            named = "another process"
        return UserError(f"{self.path.parent} is being trained by {named}. Wait for it, or use another --dataset_name; "
                         f"if that process is gone, delete {self.path}")


def _overwrite(file: int, content: bytes) -> None:
    os.ftruncate(file, 0)
    os.pwrite(file, content, 0)
