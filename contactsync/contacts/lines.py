"""The subscribers that the numbers of a contact reach: some have several forms (docs/identifiers.md)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from contactsync.identifiers import further_forms

Line = tuple[bytes, ...]
"""The identifiers that reach one subscriber: those that are written first, then their further forms."""


def all_forms(identifiers: Iterable[bytes]) -> set[bytes]:
    """Identifiers and their further forms."""
    return {form for one in identifiers for form in (one, *further_forms(one))}


def lines_of(identifiers: Sequence[bytes]) -> list[Line]:
    """The lines of a contact, in the order of its identifiers. Two that share a form are one line."""
    further = {one: further_forms(one) for one in identifiers}
    if not any(further.values()):
        return [(one,) for one in identifiers]
    line_of: dict[bytes, list[bytes]] = {}
    for one, forms in further.items():
        made = (one, *forms)
        joined = {id(line_of[form]): line_of[form] for form in made if form in line_of}
        line = [form for other in joined.values() for form in other]
        line += [form for form in made if form not in line_of]
        line_of.update(dict.fromkeys(line, line))
    place = {one: at for at, one in enumerate(identifiers)}
    lines = {id(line_of[one]): line_of[one] for one in identifiers}  # in the order of what is written first
    return [tuple(sorted(line, key=lambda form: place.get(form, len(place)))) for line in lines.values()]
