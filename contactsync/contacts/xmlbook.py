"""Address books in XML: xCard (RFC 6351), FRITZ!Box, Windows Contacts, and the phone books of desk phones.

expat reads them piece by piece. A document type is refused, so there are no entities to expand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.parsers import expat

from contactsync.contacts.book import MAX_LINE, MAX_NUMBERS, Entry, Fault, Group, Number
from contactsync.contacts.charsets import codec_of
from contactsync.contacts.text import Decoder

_MAX_DEPTH = 40
_FED_AT_ONCE = 1 << 16
_ROOT = re.compile(
    rb"\s*(?:<\?xml[^>]{0,200}\?>\s*)?(?:<!--[^>]{0,2000}-->\s*)*(?:<\?[^>]{0,500}\?>\s*)*"
    rb"<(?:!doctype\s+|[a-z]\w*:)?(vcards?|phonebooks?|contacts?|addressbook|\w+ipphonedirectory|ipphonedirectory)[\s>/]",
    re.IGNORECASE,
)
_DECLARED = re.compile(
    rb"<\?xml[^>]{0,100}encoding\s*=\s*[\"']([\w.:-]{1,40})[\"'][^>]{0,100}\?>", re.IGNORECASE
)
# Elements that hold one contact, and elements inside that hold a part of it; names in small letters.
_RECORDS = {"vcard", "contact", "directoryentry", "entry"}
_NAMES = {"fn", "realname", "formattedname", "name", "displayname"}
_GIVEN, _FAMILY = {"given", "firstname", "givenname"}, {"surname", "lastname", "familyname"}
_NUMBERS = {"tel", "number", "phonenumber", "telephone", "phone", "mobile", "mobilenumber"}
_MAILS = {"email", "mail", "emailaddress"}
_INSTEAD = {"nickname", "org", "company"}
_TEXTS = {"text", "uri", "address"}  # the values of xCard, and addresses of Windows, are one element deeper
_REST = {"uid", "kind", "member", "categories", "uniqueid"}
_PARTS = _NAMES | _GIVEN | _FAMILY | _NUMBERS | _MAILS | _INSTEAD | _REST


def is_xml_book(data: bytes) -> bool:
    """Whether the outermost element is one of an address book."""
    return _ROOT.match(data[:4000]) is not None


def read_xml(data: bytes, decoder: Decoder) -> Iterator[Entry | Group | Fault]:
    """The contacts of a file. If it is broken in the middle, those before are kept."""
    reader = _Reader()
    try:
        data = _in_utf8(data, decoder)
        for start in range(0, len(data), _FED_AT_ONCE):
            reader.parser.Parse(data[start : start + _FED_AT_ONCE], start + _FED_AT_ONCE >= len(data))
            yield from reader.take()
    except expat.ExpatError as error:
        yield from reader.take()
        yield Fault(f"line {error.lineno}", "the XML is broken", "export or download it again")
    except _Refused as refused:
        yield from reader.take()
        yield Fault(f"line {reader.parser.CurrentLineNumber}", str(refused), "export it as vCard")
    else:
        if not reader.count:
            yield Fault("file", "no contact in it", "export the contacts as vCard or CSV")


def _in_utf8(data: bytes, decoder: Decoder) -> bytes:
    declared = _DECLARED.match(data[:300].lstrip())
    codec = codec_of(declared.group(1).decode("ascii")) if declared is not None else None
    if codec is not None and not codec.startswith("utf_"):
        return data.decode(codec, "replace").encode()
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return decoder.decode(data).encode()
    return data


class _Refused(Exception):
    """Something that no address book needs and that could be an attack."""


class _Reader:
    """Collects the contacts that a parser has seen."""

    def __init__(self) -> None:
        self.count = 0
        self.parser = expat.ParserCreate("utf-8")
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self._stack: list[str] = []
        self._ignored = 0  # open elements of xCard's parameters
        self._record = 0  # depth of the open contact
        self._part = ""
        self._pieces: list[str] = []
        self._size = 0
        self._line = 0
        self._values: dict[str, list[str]] = {}
        self._numbers: list[Number] = []
        self._mails: list[Number] = []
        self._found: list[Entry | Group | Fault] = []

    def take(self) -> list[Entry | Group | Fault]:
        """What was found since the last call."""
        found, self._found = self._found, []
        return found

    def _refuse(self, *_: object) -> None:
        raise _Refused("a document type is not read")

    def _start(self, tag: str, _attributes: dict[str, str]) -> None:
        name = tag.rpartition(":")[2].lower()
        self._stack.append(name)
        self._ignored += name == "parameters"
        if len(self._stack) > _MAX_DEPTH:
            raise _Refused(f"more than {_MAX_DEPTH} elements deep")
        if not self._record:
            if name in _RECORDS:
                self._record = len(self._stack)
                self._line = self.parser.CurrentLineNumber
                self._values, self._numbers, self._mails = {}, [], []
        elif self._ignored:
            return
        elif name in _PARTS and not (self._part and name == "name"):
            self._part, self._pieces, self._size = name, [], 0
        elif self._part and name in _TEXTS:
            self._pieces, self._size = [], 0

    def _text(self, text: str) -> None:
        if self._part and self._stack[-1] in _PARTS | _TEXTS and self._size <= MAX_LINE and not self._ignored:
            self._pieces.append(text)
            self._size += len(text)

    def _end(self, _tag: str) -> None:
        name = self._stack.pop()
        if self._ignored:
            self._ignored -= name == "parameters"
            return
        if self._record and len(self._stack) < self._record:
            self._record = 0
            self._finish()
        elif self._part and name in _PARTS | _TEXTS:
            self._keep("".join(self._pieces).strip())
            self._pieces, self._size = [], 0
            self._part = "" if name == self._part else self._part

    def _keep(self, text: str) -> None:
        if not text:
            return
        if self._part not in _NUMBERS | _MAILS:
            values = self._values.setdefault(self._part, [])
            if len(values) < MAX_NUMBERS:
                values.append(text[:MAX_LINE])
            return
        kept = self._numbers if self._part in _NUMBERS else self._mails
        if len(kept) <= MAX_NUMBERS:
            kept.append(Number(text, f"contact {self.count + 1}, line {self.parser.CurrentLineNumber}"))

    def _finish(self) -> None:
        self.count += 1
        place = f"contact {self.count}, line {self._line}"

        def first(*names: str) -> str:
            return next((text for name in names for text in self._values.get(name, ())), "")

        parts = " ".join(part for part in (first(*sorted(_GIVEN)), first(*sorted(_FAMILY))) if part)
        name = first("fn", "realname", "formattedname", "displayname", "name") or parts
        name = name or first("nickname", "org", "company")
        name = name or next((one.text for one in self._mails), "")
        if first("kind").lower() == "group":
            self._found.append(Group(name, tuple(self._values.get("member", ()))))
        elif name or self._numbers:
            categories = tuple(self._values.get("categories", ()))
            uid = first("uid", "uniqueid")
            found = Entry(name, tuple(self._numbers), place, categories, uid, tuple(self._mails))
            self._found.append(found)
        else:
            self._found.append(Fault(place, "the contact is empty"))
