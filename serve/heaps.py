"""Freed memory goes back to the system: the C library would keep what lies between pieces still in use, more under every peak."""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time

_M_ARENA_MAX = -8
_EVERY = 5.0  # seconds


def keep_heaps_small() -> None:
    """Two heaps for all threads, trimmed every few seconds. Nothing where the C library is not glibc, which has one a thread."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_ARENA_MAX, 2)
        threading.Thread(target=_trim, args=(libc.malloc_trim,), name="emendo-heaps", daemon=True).start()


def _trim(malloc_trim: ctypes._NamedFuncPointer) -> None:
    while True:
        time.sleep(_EVERY)
        malloc_trim(0)
