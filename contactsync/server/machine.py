"""What `doctor` finds out about the machine before all else: Numba may not even load without it."""

from __future__ import annotations

import ctypes
import mmap
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

TO_DO: Final = 12
"""The exit code of a check that has found something to do."""

LEAST_FILES: Final = 4096
"""Open files that a process of the server should be allowed: one for each connection, and its own."""

CLOCK_SECONDS: Final = 5.0
"""By so much clocks may differ."""

State = Literal["ok", "advice", "problem"]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing that was examined. `todo` says what to do; it is empty where all is well."""

    area: str
    state: State
    text: str
    todo: str = ""


def executable_memory() -> Iterator[Diagnosis]:
    """Whether memory that was written may be executed: kernels are compiled when they are first used."""
    try:
        with mmap.mmap(-1, mmap.PAGESIZE) as page:
            view = ctypes.c_char.from_buffer(page)
            address = ctypes.c_void_p(ctypes.addressof(view))
            denied = ctypes.CDLL(None, use_errno=True).mprotect(
                address, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC
            )
            del view
    except OSError:
        denied = 1
    if denied:
        yield Diagnosis(
            "memory",
            "problem",
            "memory that was written may not be executed here, and Numba needs that for its kernels",
            "set MemoryDenyWriteExecute=no in the systemd unit (SELinux: allow execmem)",
        )
    else:
        yield Diagnosis("memory", "ok", "kernels may be compiled")


def open_files() -> Iterator[Diagnosis]:
    """Whether enough files may be open: each connection is one. `serve` raises its limit to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        yield Diagnosis("open files", "ok", "`serve` may have any number of files open")
    elif hard < LEAST_FILES:
        yield Diagnosis(
            "open files",
            "problem",
            f"`serve` may have {hard:,} files open, and each connection is one",
            "set LimitNOFILE=65536 in the systemd unit, or `ulimit -Hn 65536` as root before `serve`",
        )
    else:
        raised = f": it raises its limit of {soft:,}" if 0 <= soft < hard else ""
        yield Diagnosis("open files", "ok", f"`serve` may have {hard:,} files open{raised}")
