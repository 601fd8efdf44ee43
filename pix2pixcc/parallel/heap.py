"""Memory that the process has freed: kept for the next image, as fresh pages cost time, or given back where room is short (glibc only)."""
from __future__ import annotations

import contextlib
import ctypes

_SETTINGS = {-8: 1, -4: 0, -1: -1}     # mallopt: M_ARENA_MAX, M_MMAP_MAX, M_TRIM_THRESHOLD
_MUCH = 2 ** 28                        # bytes


class _Counts(ctypes.Structure):
    """`struct mallinfo2`."""

    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
                                                     "fordblks", "keepcost")]


def keep_freed_memory() -> None:
    """Use the memory of one image for the next, instead of asking the system for fresh pages, which cost a fifth of a step on the CPU."""
    with contextlib.suppress(OSError, AttributeError):         # another C library has no such settings
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in _SETTINGS.items():
            mallopt(option, value)


def return_freed_memory() -> None:
    """Give what lies free to the system, if it is much: called where large images need room that the pieces may not offer."""
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallinfo2.restype = _Counts
        if library.mallinfo2().fordblks > _MUCH:
            library.malloc_trim(0)
