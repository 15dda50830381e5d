"""vCards of matches, and how a label becomes a property of one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import click

PLACE: Final = "{label}"
LABEL_PROPERTY: Final = "X-CONTACTSYNC-LABEL"

_OWN_PROPERTY: Final = re.compile(r"X-[A-Z0-9-]{1,60}", re.IGNORECASE | re.ASCII)
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]{0,30}", re.IGNORECASE | re.ASCII)
_URI: Final = re.compile(r"[!#-;=?-Z\[\]_a-z~]*", re.ASCII)  # what RFC 3986 allows, and % for what is encoded
_KEPT: Final = "@:+"
"""Of a label, beside letters, digits and -._~; all else would end or change the URI around it."""


@dataclass(frozen=True, slots=True)
class LabelTemplate:
    """A property with a place for a label: `X-NAME:…` for text, else a URI, which becomes an IMPP."""

    name: str
    value: str

    @classmethod
    def of(cls, text: str) -> LabelTemplate:
        """It from what a user wrote. Raises ValueError, which says why it is none."""
        head, colon, rest = text.partition(":")
        if text.count(PLACE) != 1 or PLACE in head or not colon:
            raise ValueError(f"it needs {PLACE} once, behind a scheme (xmpp:{PLACE}) or X-NAME:")
        if _OWN_PROPERTY.fullmatch(head):
            if not rest.isprintable():
                raise ValueError("it contains a character that cannot be printed")
            return cls(head.upper(), rest)
        is_own = head[:2].upper() == "X-"
        if is_own or not _SCHEME.fullmatch(head) or not _URI.fullmatch(rest.replace(PLACE, "")):
            raise ValueError("it is neither a URI nor X-NAME:TEXT")
        return cls("IMPP", text)

    def line(self, label: str) -> str:
        """The property of a label, whatever is in it."""
        if self.name == "IMPP":
            return f"IMPP:{self.value.replace(PLACE, quote(label, safe=_KEPT))}"
        return f"{self.name}:{escaped(self.value.replace(PLACE, label))}"


PLAIN: Final = f"{LABEL_PROPERTY}:{PLACE}"
"""Without a template: the label as it is."""


class TemplateText(click.ParamType[str]):
    """The type of `--label-template`: the text of a template."""

    name = "template"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text, or an error that says why it is none."""
        try:
            LabelTemplate.of(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


def vcards(people: Iterable[tuple[str, Sequence[str], Sequence[str], Sequence[str]]]) -> str:
    """One vCard 4.0 (RFC 6350) for each: name, identifiers, lines of labels, categories."""
    lines = []
    for name, identifiers, labels, categories in people:
        lines += ["BEGIN:VCARD", "VERSION:4.0", f"FN:{escaped(name)}"]
        lines += map(_property, identifiers)
        lines += dict.fromkeys(labels)
        if categories:
            lines.append(f"CATEGORIES:{','.join(map(escaped, categories))}")
        lines += ["END:VCARD"]
    return "".join(f"{_folded(line)}\r\n" for line in lines)


def _property(identifier: str) -> str:
    if not identifier.startswith("mailto:"):
        return f"TEL;VALUE=uri:{identifier}"
    from contactsync.library.identifying import shown

    return f"EMAIL:{escaped(shown(identifier))}"


def escaped(text: str) -> str:
    """Text as a value (RFC 6350 §3.4)."""
    for char in "\\,;":
        text = text.replace(char, "\\" + char)
    return text.replace("\r\n", "\\n").replace("\n", "\\n").replace("\r", "\\n")


def _folded(line: str) -> str:
    """RFC 6350 §3.2: at most 75 octets a line, never within a character."""
    pieces, piece, size = [], "", 0
    for char in line:
        octets = len(char.encode())
        if size + octets > 75:
            pieces.append(piece)
            piece, size = " ", 1
        piece += char
        size += octets
    return "\r\n".join([*pieces, piece])
