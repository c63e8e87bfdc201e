"""Memory that was freed is kept for the next tensor.

The C library of Linux gives large blocks back to the system as soon as they are freed, and gets new pages for the next
ones, each of which costs an interruption when it is first written. A process that does nothing else keeps them.
"""

from __future__ import annotations

import ctypes
import sys

TRIM, MMAP = -1, -3  # mallopt's names (malloc.h) of: free memory kept at most, blocks that are mapped each for itself
LARGEST = (2**30, 2**25)  # bytes; older C libraries take the second at most


def keep_memory() -> bool:
    """Have this process keep what it frees, up to 2 GiB; whether that could be said to its C library."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's; others have none
    if mallopt is None:
        return False
    return bool(mallopt(TRIM, 2**31 - 1)) and any(mallopt(MMAP, size) for size in LARGEST)
