"""Memory that is free again, given back to the system: the C library keeps what was needed once, half a GiB after one
large transfer. ctypes, as Python has no call for it.
"""

import ctypes
from contextlib import suppress


def give_back() -> None:
    """Give back what is free; nothing where the C library has no call for it (it is one of glibc)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
