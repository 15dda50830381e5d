"""Who is a member of what, by person: a contact on two services is one line that names both."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from contactsync.commands import _json, _output
from contactsync.commands._output import Row
from contactsync.commands._vcards import PLAIN, LabelTemplate, vcards

if TYPE_CHECKING:
    from contactsync.commands._services import ServiceOutcome
    from contactsync.library.books import AddressBook
    from contactsync.library.found import FoundPerson
    from contactsync.library.marking import Marks


@dataclass(slots=True)
class FoundSomewhere:
    """A person, and by which identifiers each service knows them (by the service's name, in their order)."""

    name: str
    services: dict[str, list[str]] = field(default_factory=dict)
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    """By service: the labels of these identifiers."""

    @property
    def identifiers(self) -> list[str]:
        """All of them once."""
        return list(dict.fromkeys(one for found in self.services.values() for one in found))

    def names(self) -> list[str]:
        """Whatever this person is called."""
        return [self.name, *(label for found in self.labels.values() for label in found.values())]

    def as_json(self) -> dict[str, Any]:
        """The person as JSON."""
        services = [
            {"service": name, "identifiers": found, "labels": self.labels.get(name, {})}
            for name, found in self.services.items()
        ]
        return {"name": self.name, "services": services}

    def row(self) -> Row:
        """Name, numbers and addresses, services with the labels that they have there."""
        services = [
            f"{name} ({labels})" if (labels := self._labels(name)) else name for name in self.services
        ]
        return self.name, _output.shown_all(self.identifiers), ", ".join(services)

    def row_of_one(self) -> Row:
        """Name, numbers and addresses, labels: where there is one service only."""
        labels = ", ".join(filter(None, map(self._labels, self.services)))
        return self.name, _output.shown_all(self.identifiers), labels

    def _labels(self, service: str) -> str:
        return ", ".join(dict.fromkeys(map(_output.printable, self.labels.get(service, {}).values())))


def head(people: Iterable[FoundSomewhere]) -> Row:
    """The head of a table of such rows."""
    return "NAME", _output.found_by(one for person in people for one in person.identifiers), "SERVICES"


def of_outcomes(outcomes: Iterable[ServiceOutcome], book: AddressBook) -> list[FoundSomewhere]:
    """The members among the contacts of a book, in its order."""
    matched = {
        one.service.name: {match.identifier.encode(): match.label for match in one.report.matches}
        for one in outcomes
        if one.report is not None
    }
    people = []
    for contact in book.contacts:
        person = FoundSomewhere(contact.name)
        for service, members in matched.items():
            if found := [one.decode() for one in contact.found(members)]:
                person.services[service] = found
                labels = {one: members[one.encode()] for one in found}
                person.labels[service] = {one: label for one, label in labels.items() if label is not None}
        if person.services:
            people.append(person)
    return people


def of_results(results: Iterable[tuple[str, Sequence[FoundPerson]]]) -> list[FoundSomewhere]:
    """The people that are kept of each service, in the order in which they are met.

    Two with the same name are one person if they have a number in common, in any form of it.
    """
    people: list[FoundSomewhere] = []
    by_name: dict[str, list[FoundSomewhere]] = {}
    for service, kept in results:
        for one in kept:
            alike = by_name.setdefault(one.name, [])
            same = next((p for p in alike if _have_common(p.identifiers, one.identifiers)), None)
            if same is None:
                same = FoundSomewhere(one.name)
                alike.append(same)
                people.append(same)
            found = same.services.setdefault(service, [])
            found += [identifier for identifier in one.identifiers if identifier not in found]
            same.labels.setdefault(service, {}).update(one.labels)
    return people


def _have_common(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two people have a number in common, in any form of it."""
    if not set(one).isdisjoint(other):
        return True
    from contactsync.library.identifying import forms_of

    return not forms_of(one).isdisjoint(forms_of(other))


def as_json(outcomes: Sequence[ServiceOutcome], book: AddressBook, *, marks: Marks | None = None) -> str:
    """The object of `sync --json` with several servers. In `servers` is what one server alone would give."""
    servers: list[dict[str, Any]] = []
    for one in outcomes:
        value: dict[str, Any] = {"service": one.service.name, "url": one.url}
        if one.report is not None:
            value["result"] = _output.result(one.report, book, sent=one.sent, received=one.received)
        elif one.error is not None:
            value["error"] = _json.error_value(one.error)
        servers.append(value)
    return _json.text(
        {
            "people": [person.as_json() for person in of_outcomes(outcomes, book)],
            "contacts": len(book.contacts),
            "identifiers": len(book.identifiers),
            "further_forms": len(book.sought) - len(book.identifiers),
            "unreadable": _output.unreadable(book),
            "servers": servers,
            **_output.marked(marks),
        }
    )


def as_table(outcomes: Sequence[ServiceOutcome], book: AddressBook, *, plain: bool = False) -> str:
    """A line for each person, then the summaries."""
    people = of_outcomes(outcomes, book)
    table = _output.table(head(people), [person.row() for person in people], plain=plain)
    return table + summaries(outcomes, book) + "\n"


def summaries(outcomes: Sequence[ServiceOutcome], book: AddressBook) -> str:
    """What came of each service."""
    lines = []
    for one in outcomes:
        if one.report is not None:
            said = _output.summary(one.report, book).splitlines()
            lines += [f"{one.service.name}: {line}" for line in said]
        else:
            lines.append(f"{one.service.name}: not asked to the end; see the error")
    return "\n".join(lines)


def as_csv(outcomes: Sequence[ServiceOutcome], book: AddressBook) -> str:
    """A header, then a row for each number that matched; its services are separated by spaces.

    Then its label on each service has a column.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    services = [one.service.name for one in outcomes]
    writer.writerow(["name", "identifier", "services", *(f"label {name}" for name in services)])
    for person in of_outcomes(outcomes, book):
        for identifier in person.identifiers:
            where = (name for name, found in person.services.items() if identifier in found)
            labels = [person.labels.get(name, {}).get(identifier, "") for name in services]
            writer.writerow([person.name, identifier, " ".join(where), *labels])
    return text.getvalue()


def as_vcards(outcomes: Sequence[ServiceOutcome], book: AddressBook) -> str:
    """One vCard for each person; the services are its categories."""
    templates = {
        one.service.name: LabelTemplate.of(one.service.settings["label_template"] or PLAIN)
        for one in outcomes
    }
    return vcards(
        (
            one.name,
            one.identifiers,
            [templates[name].line(label) for name, of in one.labels.items() for label in of.values()],
            list(one.services),
        )
        for one in of_outcomes(outcomes, book)
    )


FORMATS = {"csv": as_csv, "vcf": as_vcards}


def called(people: Iterable[FoundSomewhere], text: str) -> list[FoundSomewhere]:
    """Those whose name or label has these words in it, whatever case and accents, or number these digits.

    What has an @ is part of an address.
    """
    words = _plain(text).split()
    digits = "".join(c for c in text if c.isdigit())
    is_number = bool(digits) and not any(c.isalpha() for c in text)
    return [
        one
        for one in people
        if (words and any(all(word in _plain(name) for word in words) for name in one.names()))
        or ("@" in text and any(text.strip().casefold() in _output.shown_all([i]) for i in one.identifiers))
        or (is_number and any(digits in identifier for identifier in one.identifiers))
    ]


def _plain(text: str) -> str:
    """Without case, and without the marks of letters."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in letters if not unicodedata.combining(c))
