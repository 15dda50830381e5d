"""What a fuzz target is, and what counts as a finding.

A target is a function over octets. It may return, or raise what it is documented to raise. Anything else is a finding:
another exception (an invariant that does not hold is an AssertionError), an error that a person cannot read, too much
CPU time, too much memory.
"""

from __future__ import annotations

import contextlib
import gc
import resource
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from contactsync.foundation.errors import ContactSyncError

PACKAGE = "contactsync"
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_PEAK_ONLY = "5"  # proc(5): resets the peak of the resident set, and nothing else


@dataclass(frozen=True)
class Target:
    """`run` takes an input. `refuses` are the errors that it may raise. `words` are what inputs are made of.

    `longest` bounds the inputs that are tried, in octets. `seconds` of CPU time and `mebibytes` of memory are what one
    of them may take. `runs` is how many are tried in an ordinary test.
    """

    name: str
    run: Callable[[bytes], object]
    seeds: Callable[[], Iterable[bytes]]
    refuses: tuple[type[Exception], ...] = ()
    words: tuple[bytes, ...] = field(default=(), repr=False)
    longest: int = 4096
    seconds: float = 2.0
    mebibytes: int = 192
    runs: int = 150


class Finding(Exception):
    """An input did what it must not. `signature` is the same for the same fault."""

    def __init__(self, target: Target, data: bytes, what: str, signature: str) -> None:
        super().__init__(f"{target.name}: {what} (input of {len(data)} octets)")
        self.target, self.data, self.signature = target, data, signature


class _Hangs(BaseException):
    """Raised wherever the program is when the time is up. Not an Exception: nothing may take it for its own."""


def check(target: Target, data: bytes) -> None:
    """Give one input to a target. Raises Finding."""
    before = _reset_peak()
    started = time.process_time()
    try:
        with _limited(5 * target.seconds):
            target.run(data)
    except target.refuses as error:
        _check_words(target, data, error)
    except _Hangs:
        raise Finding(target, data, f"still running after {5 * target.seconds:g} s", "hangs") from None
    except Exception as error:
        raise Finding(target, data, f"{type(error).__name__}: {error}", signature_of(error)) from error
    spent, grown = time.process_time() - started, _peak() - before
    if spent > target.seconds:
        raise Finding(target, data, f"{spent:.1f} s of CPU time", "slow")
    if grown > target.mebibytes << 20:
        raise Finding(target, data, f"{grown >> 20} MiB of memory", "memory")


def warm_up(target: Target, inputs: Iterable[bytes]) -> None:
    """Run inputs without limits and without judgement: the first use of a kernel may compile it."""
    for data in inputs:
        with contextlib.suppress(Exception):
            target.run(data)


def signature_of(error: BaseException) -> str:
    """The kind of an error, and the last place of the package that it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if f"/{PACKAGE}/" in frame.filename] or frames
    name = inside[-1].filename.rpartition(f"/{PACKAGE}/")[2]
    return f"{type(error).__name__}-{name.replace('/', '.').removesuffix('.py')}-{inside[-1].name}"


def _check_words(target: Target, data: bytes, error: Exception) -> None:
    """An error is one line for a person, whatever a peer put into it."""
    if not isinstance(error, ContactSyncError):
        return
    text = f"{error}{error.hint}"
    if not str(error) or not text.isprintable() or len(text) > 2000:
        raise Finding(
            target, data, f"not a line for a person: {text[:200]!r}", f"words-{signature_of(error)}"
        )


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise _Hangs after so much CPU time. Compiled code that does not return is ended by the caller's own limit."""

    def stop(*_: object) -> None:
        raise _Hangs

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _reset_peak() -> int:
    """Forget the peak of the memory; how much is resident now, in octets."""
    try:
        _CLEAR.write_text(_PEAK_ONLY)
    except OSError:  # not Linux: only the peak of the whole process is known
        gc.collect()
    return _peak()


def _peak() -> int:
    try:
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    return int(line.split()[1]) << 10
