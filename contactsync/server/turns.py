"""Whose turn it is: start-time fair queueing (P. Goyal, H. Vin and H. Cheng, SIGCOMM 1996).

What an account asks for begins where that which it asked for before ends, but not before now. So work of
one account that has much of it waiting stands behind the first work of any other, and whoever asks little
waits for at most one piece of each of the others.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

_FEW: Final = 256


class Turns:
    """The turns of one kind of work. What is asked for by nobody in particular (None) begins now."""

    def __init__(self) -> None:
        self.now = 0.0
        self._ends: dict[Hashable, float] = {}
        self._swept = _FEW

    def draw(self, account: Hashable, cost: float) -> float:
        """The turn at which work of so much cost begins."""
        if account is None:
            return self.now
        begin = max(self.now, self._ends.get(account, 0.0))
        self._ends[account] = begin + cost
        if len(self._ends) > self._swept:  # those who have nothing ahead need no entry
            self._ends = {one: end for one, end in self._ends.items() if end > self.now}
            self._swept = max(_FEW, 2 * len(self._ends))
        return begin

    def reach(self, turn: float) -> None:
        """Work of this turn begins. Time does not go back."""
        self.now = max(self.now, turn)
