"""Each evaluation is proven, by the one key of the signed manifest, for everyone, and always alike."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Never, TypeVar

from contactsync.audit.probe.budget import BATCH, LARGE, LINES, REPEATS, ProbePlan
from contactsync.audit.probe.probed import Caller, Probed, joined, selected
from contactsync.audit.probe.wire import RawReply
from contactsync.foundation.errors import ContactSyncError
from contactsync.voprf.blinding import Blinding
from contactsync.voprf.client import blind

_Found = TypeVar("_Found")

_INPUT_BYTES = 18
"""Octets of an input: as many as many an identifier has. No identifier is random octets."""


def nobody(count: int) -> list[bytes]:
    """Inputs that are no identifier of anybody, as those of padding points are."""
    return [secrets.token_bytes(_INPUT_BYTES) for _ in range(count)]


def check_evaluations(probed: Probed, plan: ProbePlan) -> None:
    """All steps of the plan that judge evaluations. Raises nothing of the error tree."""
    first = twice = None
    with probed.report.guard("proof", "the first evaluation"):
        # Each input twice, so that different blinds of it can be compared.
        inputs = nobody(BATCH // 2)
        first = blind([*inputs, *inputs])
        probed.evaluate("proof", probed.first, first)
    if first is None:
        return
    if "accounts" in plan:
        _accounts(probed, first)
    if "determinism" in plan:
        with probed.report.guard("determinism", "known points in other batches"):
            twice = _known(probed, first)
    if "next" in plan:
        with probed.report.guard("proof", "the epoch that is announced"):
            probed.evaluate("proof", probed.first, blind(nobody(BATCH)), ahead=True)
    if "parallel" in plan:
        with probed.report.guard("parallel", f"{LINES} connections at once"):
            _parallel(probed, twice or first)
    if "sizes" in plan:
        for size in (1, LARGE):
            with probed.report.guard("proof", f"a batch of {size}"):
                probed.evaluate("proof", probed.first, blind(nobody(size)))
    if "repeats" in plan:
        with probed.report.guard("proof", "one batch after the other"), probed.wire.line() as line:
            for _ in range(REPEATS):
                probed.evaluate("proof", probed.first, blind(nobody(BATCH)), line=line)


def _accounts(probed: Probed, first: Blinding) -> None:
    """The same points from every other account, all at once; of another audience: other points."""
    others = [one for one in probed.callers[1:] if one.audience in probed.manifests]

    def ask(caller: Caller) -> tuple[Blinding, RawReply]:
        same = caller.audience == probed.first.audience
        blinding = first if same else blind(nobody(BATCH))
        return blinding, probed.post(caller, blinding.blinded)

    for caller, result in zip(others, at_once([partial(ask, caller) for caller in others]), strict=True):
        with probed.report.guard("accounts", caller.name):
            blinding, reply = result()
            probed.judge("accounts", caller, blinding, reply)


def _known(probed: Probed, first: Blinding) -> Blinding:
    """Known points among new ones, in another order; one alone. The batch that it sent."""
    new = blind(nobody(BATCH // 2))
    order = list(range(BATCH - 1, BATCH // 2 - 1, -1))
    mixed = joined([selected(new, [0, 1]), selected(first, order), selected(new, [2, 3])])
    probed.evaluate("proof", probed.first, mixed)
    probed.evaluate("proof", probed.first, selected(mixed, range(len(mixed) - 1, -1, -1)))
    probed.evaluate("proof", probed.first, selected(first, [0]))
    return mixed


def _parallel(probed: Probed, known: Blinding) -> None:
    """Two batches on each of several connections; a known point is in each."""
    batches = [
        joined([blind(nobody(BATCH - 1)), selected(known, [index % len(known)])])
        for index in range(2 * LINES)
    ]

    def ask(mine: Sequence[Blinding]) -> list[RawReply]:
        with probed.wire.line() as line:
            return [probed.post(probed.first, one.blinded, line=line) for one in mine]

    tasks = [partial(ask, batches[2 * index : 2 * index + 2]) for index in range(LINES)]
    for index, result in enumerate(at_once(tasks)):
        with probed.report.guard("parallel", f"connection {index + 1} of {LINES}"):
            for blinding, reply in zip(batches[2 * index : 2 * index + 2], result(), strict=True):
                probed.judge("parallel", probed.first, blinding, reply)


def at_once(tasks: Sequence[Callable[[], _Found]]) -> list[Callable[[], _Found]]:
    """Run these in threads of their own; for each a function that gives its result, or raises its error."""

    def run(task: Callable[[], _Found]) -> Callable[[], _Found]:
        try:
            found = task()
        except ContactSyncError as error:
            return _raising(error)
        return lambda: found

    with ThreadPoolExecutor(max_workers=max(1, len(tasks))) as threads:
        return list(threads.map(run, tasks))


def _raising(error: ContactSyncError) -> Callable[[], Never]:
    def result() -> Never:
        raise error

    return result
