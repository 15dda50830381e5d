"""Conditions on the figures of an audit, as an operator's scripts state them: `months<12`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from contactsync.foundation.errors import BadInput

_RELATIONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_GATE: Final = re.compile(
    r"\s*([a-z][a-z0-9_]*)\s*(<=|>=|<|>)\s*([0-9][0-9_,]*(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)\s*"
)


@dataclass(frozen=True, slots=True)
class Gate:
    """A figure, a relation and a limit."""

    figure: str
    relation: str
    limit: float

    @classmethod
    def read(cls, text: str, figures: Mapping[str, object]) -> Gate:
        """Raises BadInput if it is none, or names a figure that this audit does not have."""
        found = _GATE.fullmatch(text)
        if found is None:
            raise BadInput(f"{text!r} is no condition", hint="write FIGURE<NUMBER, <=, > or >=: months<12")
        name, relation, limit = found.groups()
        if name not in figures:
            raise BadInput(f"there is no figure {name!r}", hint=f"the figures are {', '.join(figures)}")
        return cls(name, relation, float(limit.replace(",", "").replace("_", "")))

    def holds(self, figures: Mapping[str, float | None]) -> bool:
        """Whether the condition is met. A figure that is None has no bound: it is larger than any limit."""
        value = figures[self.figure]
        return _RELATIONS[self.relation](float("inf") if value is None else value, self.limit)

    def __str__(self) -> str:
        return f"{self.figure}{self.relation}{self.limit:g}"
