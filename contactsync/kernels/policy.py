"""How kernels are compiled: the decorators, the compile cache, and the features of the CPU.

Every module of this package uses the four decorators below and no others:

`kernel`    an entry point: module level, called from Python, releases the GIL, cached on disk
`function`  called by kernels; a real call in the machine code
`inlined`   called by kernels; LLVM inlines it into the caller
`body`      large and used once: Numba itself inlines it into the caller, so it is never compiled alone

The cache. Numba's own cache becomes stale when a callee in another file changes, and a damaged file in it
causes an exception or worse. Ours is a folder named by everything that the machine code depends on (all
kernel sources, Python, Numba, llvmlite, NumPy, the CPU's features). Each file contains a SHA-256 of its
content and is put in place by a rename. If a file is missing, damaged or not trusted, its kernel is compiled
again. If the folder cannot be written, the code stays in memory. Neither is an error.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import llvmlite
import llvmlite.binding
import numba
import numpy as np
import platformdirs
from numba.core import compiler, serialize
from numba.core.caching import _Cache
from numba.core.registry import cpu_target
from numba.core.runtime import rtsys

from contactsync.foundation.errors import BadInput

P = ParamSpec("P")
R = TypeVar("R")

CACHE_DIR = "CONTACTSYNC_CACHE_DIR"
LANES = "CONTACTSYNC_LANES"
DIGEST = hashlib.sha256().digest_size

_BARE = {"nogil": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """An entry point: compiled at its first call for the types of its arguments, then stored on disk."""
    dispatcher = numba.njit(nogil=True, no_cfunc_wrapper=True, forceinline=False)(function)
    dispatcher._cache = _KernelCache(function)  # noqa: SLF001 - instead of Numba's enable_caching()
    return dispatcher  # type: ignore[no-any-return]


def function(function: Callable[P, R]) -> Callable[P, R]:
    """A function that kernels call."""
    # Stated explicitly, because a callee inherits the options of its first caller.
    return numba.njit(forceinline=False, **_BARE)(function)  # type: ignore[no-any-return]


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """A function that LLVM inlines into every caller."""
    return numba.njit(forceinline=True, **_BARE)(function)  # type: ignore[no-any-return]


def body(function: Callable[P, R]) -> Callable[P, R]:
    """A function that Numba inlines into its caller: for large ones that are called from one place."""
    return numba.njit(inline="always", **_BARE)(function)  # type: ignore[no-any-return]


def has_ifma() -> bool:
    """Whether compiled code may use AVX-512 IFMA.

    It checks the target, not the CPU: NUMBA_CPU_NAME may restrict the target, and LLVM aborts the process at
    an instruction that the target lacks.
    """
    return {"+avx512f", "+avx512dq", "+avx512vl", "+avx512ifma"} <= _x86_features()


def has_aes() -> bool:
    """Whether compiled code may use the AES instructions of x86 (AES-NI)."""
    return "+aes" in _x86_features()


def _x86_features() -> set[str]:
    """The features of the target, as LLVM writes them; none where it is no x86-64."""
    triple, _, features = cpu_target.target_context.codegen().magic_tuple()
    return set(features.split(",")) if triple.startswith("x86_64") else set()


@functools.cache
def lanes() -> int:
    """How many lanes this process uses: 8 with AVX-512 IFMA, else 1. CONTACTSYNC_LANES overrides it.

    Raises BadInput if the variable is wrong, or asks for more than the CPU has.
    """
    forced = os.environ.get(LANES, "")
    if forced not in ("", "1", "8"):
        raise BadInput(f"{LANES} is neither 1 nor 8", hint=f"unset {LANES} to let the CPU decide")
    if forced == "8" and not has_ifma():
        raise BadInput(
            f"{LANES}=8 needs a CPU with AVX-512 IFMA, which this CPU does not have",
            hint=f"unset {LANES}, or set it to 1: slower, same results",
        )
    return int(forced) if forced else (8 if has_ifma() else 1)


@functools.cache
def fingerprint() -> str:
    """Hex digits that identify everything the machine code depends on."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    versions = (sys.version, numba.__version__, llvmlite.__version__, np.__version__)
    cpu = cpu_target.target_context.codegen().magic_tuple()
    digest.update(repr((versions, cpu, numba.config.BOUNDSCHECK)).encode())
    return digest.hexdigest()[:24]


@functools.cache
def cache_folders() -> tuple[Path, ...]:
    """Folders for compiled kernels, best first: the user's cache folder, then one in the temp folder.

    CONTACTSYNC_CACHE_DIR overrides the first. A folder that other users could write to is left out, because
    its content is run as code.
    """
    folders = (_private_folder(root / "kernels" / fingerprint()) for root in _roots())
    return tuple(folder for folder in folders if folder)


def _roots() -> Iterator[Path]:
    named = os.environ.get(CACHE_DIR)
    yield Path(named) if named else Path(platformdirs.user_cache_dir("contactsync", appauthor=False))
    with contextlib.suppress(OSError):  # if no folder can be written, there is no temp folder either
        yield Path(tempfile.gettempdir()) / f"contactsync-{os.getuid()}"


def _private_folder(folder: Path) -> Path | None:
    """The folder, created if necessary; None if it cannot be created, or others may write to it."""
    try:
        for part in (folder.parent.parent, folder.parent, folder):
            part.mkdir(mode=0o700, parents=True, exist_ok=True)
            state = part.lstat()
            # With the sticky bit (/tmp), others cannot replace our folder, but they can add files.
            safe = _only_ours(state) or (part != folder and state.st_mode & stat.S_ISVTX and _owned(state))
            if not (safe and stat.S_ISDIR(state.st_mode)):
                return None
    except OSError:
        return None
    return folder


def _owned(state: os.stat_result) -> bool:
    return state.st_uid in (os.getuid(), 0)


def _only_ours(state: os.stat_result) -> bool:
    """Whether only we and root can write to it."""
    return _owned(state) and not state.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


@functools.cache
def _announce() -> None:
    """Say once in a process why nothing happens for a while."""
    print("contactsync: compiling kernels for this machine (once, up to 20 s) …", file=sys.stderr, flush=True)


class _KernelCache(_Cache):  # type: ignore[misc]
    """The compile cache of one entry point, with the interface that Numba's dispatcher uses."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._name = f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}"

    @property
    def cache_path(self) -> str:
        """The first folder, for Numba's own statistics."""
        return str(next(iter(cache_folders()), ""))

    def load_overload(self, signature: Any, target_context: Any) -> Any | None:
        """The compiled code for one signature. If it is None, Numba compiles it."""
        # The machine code needs no more. Numba's own caches also load every type and function that it knows.
        rtsys.initialize(target_context)
        for folder in cache_folders():
            # Whatever is wrong with a file, the kernel is compiled again.
            with contextlib.suppress(Exception):
                content = _read(folder / self._file(signature))
                if hashlib.sha256(content[DIGEST:]).digest() == content[:DIGEST]:
                    reduced = pickle.loads(content[DIGEST:])  # noqa: S301 - only from a folder of our own
                    return compiler.CompileResult._rebuild(target_context, *reduced)  # noqa: SLF001
        _announce()
        return None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Store newly compiled code, if there is a folder for it."""
        if result.library.has_dynamic_globals:  # it contains addresses of this process: useless to others
            return
        content = serialize.dumps(result._reduce())  # noqa: SLF001
        for folder in cache_folders():
            with contextlib.suppress(OSError):
                _write(folder / self._file(signature), hashlib.sha256(content).digest() + content)
                return

    def _file(self, signature: Any) -> str:
        return f"{self._name}-{hashlib.sha256(str(signature).encode()).hexdigest()[:16]}"

    def enable(self) -> None:
        """Part of Numba's interface; ours is always on."""

    def disable(self) -> None:
        """Part of Numba's interface; ours is always on."""

    def flush(self) -> None:
        """Part of Numba's interface: a stale folder is never read, so there is nothing to flush."""


def _read(file: Path) -> bytes:
    """The content of a file that no one else can have written. Raises PermissionError for other files."""
    with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as stream:
        if not _only_ours(os.fstat(stream.fileno())):
            raise PermissionError
        return stream.read()


def _write(file: Path, content: bytes) -> None:
    """Write a file so that another process sees the whole file or nothing."""
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        Path(temporary).replace(file)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
