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
    lines: list[dict[bytes, None]] = []
    for one, forms in further.items():
        made = dict.fromkeys((one, *forms))
        same = [line for line in lines if not made.keys().isdisjoint(line)]
        lines = [line for line in lines if not any(line is other for other in same)]
        lines.append({form: None for line in [*same, made] for form in line})
    place = {one: at for at, one in enumerate(identifiers)}
    written_first = [tuple(sorted(line, key=lambda form: place.get(form, len(place)))) for line in lines]
    return sorted(written_first, key=lambda line: place[line[0]])
