"""Keeps the memory of a process that serves small: what a load or the start needed goes back to the system.

By itself the C library makes an arena for each thread, and keeps what is smaller than the largest buffer that
was ever freed. The many objects of the start would make full collections of garbage so rare that what
belonged to a closed connection stays for minutes.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Final

# /usr/include/malloc.h
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_ARENA_MAX: Final = -8
_DONT_NEED: Final = 4  # sys/mman.h

_ARENAS: Final = 2
_LARGE: Final = 64 << 10  # octets of a buffer that gets pages of its own: elements of a slice have 80 KB
_SPARE: Final = 1 << 20


def give_back_what_is_free() -> None:
    """Have buffers go back when they are freed. Without glibc this does nothing."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for name, value in ((_ARENA_MAX, _ARENAS), (_MMAP_THRESHOLD, _LARGE), (_TRIM_THRESHOLD, _SPARE)):
            mallopt(name, value)


def settle() -> None:
    """Give back what the start alone needed; leave what is there out of later collections."""
    gc.collect()
    gc.freeze()
    gc.collect()  # so that the next full one comes by what is new
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
        for start, end in _compiler():
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _DONT_NEED)


def _compiler() -> Iterator[tuple[int, int]]:
    """Where the machine code of LLVM is: 60 MB, read to load kernels. If it is needed it is read again."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        where, rights, *_, name = line.split(maxsplit=5)
        if rights == "r-xp" and Path(name).name == "libllvmlite.so":  # what is relocated is not executable
            start, end = (int(part, 16) for part in where.split("-"))
            yield start, end
