"""Whether what a client draws at random looks like it: padding, blinds, and the order of points.

A client that lies about its randomness in a few bits cannot be told from an honest one by any transcript.
These tests find what is systematic: padding made of contacts, blinds from a bad generator, no shuffling.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from contactsync.audit.report import AuditReport
from contactsync.audit.uniformity import MOST_DEVIATIONS, deviation

_LEAST_ORDERED: Final = 64
"""Below this, even the most orderly order may come by chance more often than that."""


class Chance:
    """Collects what was drawn in one sync."""

    def __init__(self, identifiers: Sequence[bytes]) -> None:
        self._place: Mapping[bytes, int] = {name: at for at, name in enumerate(identifiers)}
        self._octets = {"padding": np.zeros(256, np.int64), "blinds": np.zeros(256, np.int64)}
        self._order: list[int] = []
        self._above = self._expected = self._variance = 0.0

    def add(self, whose: Sequence[bytes | None], blinds: np.ndarray, padding: Sequence[bytes]) -> None:
        """Add a batch: the identifier of each point, None for padding; its blinds, and padding inputs."""
        self._octets["blinds"] += np.bincount(blinds[:, 0], minlength=256)
        octets = np.frombuffer(b"".join(padding), np.uint8)
        self._octets["padding"] += np.bincount(octets, minlength=256)
        contacts = [at for at, name in enumerate(whose) if name is not None]
        self._order += [self._place[name] for name in whose if name is not None]
        m, n = len(contacts), len(whose)
        self._above += sum(contacts) - m * (m - 1) / 2  # Mann and Whitney 1947: padding before each contact
        self._expected += m * (n - m) / 2
        self._variance += m * (n - m) * (n + 1) / 12

    def check(self, report: AuditReport) -> None:
        """Enter what is too far from chance, and what was too little for a test."""
        away = {what: deviation(seen) for what, seen in self._octets.items()}
        away["the places of contacts among padding"] = self._among()
        away["the order of contacts"] = self._as_in_the_book()
        few = [what for what, one in away.items() if one is None]
        if few:
            report.note(
                "padding", report.subject, f"too few points for a statistical test of {', '.join(few)}"
            )
        for what, one in away.items():
            if one is not None and one > MOST_DEVIATIONS:
                report.disprove("padding", what, f"{one:.1f} standard deviations from chance")
            elif one is not None:
                report.prove("padding")

    def _among(self) -> float | None:
        if self._variance < _LEAST_ORDERED**2:
            return None
        return abs(self._above - self._expected) / math.sqrt(self._variance)

    def _as_in_the_book(self) -> float | None:
        """Spearman's rank correlation between the order of sending and that of the book, normalised."""
        n = len(self._order)
        if n < _LEAST_ORDERED:
            return None
        ranks = np.argsort(np.argsort(np.array(self._order)))
        rho = 1 - 6 * float(((ranks - np.arange(n)) ** 2).sum()) / (n * (n * n - 1))
        return abs(rho) * math.sqrt(n - 1)
