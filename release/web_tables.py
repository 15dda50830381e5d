"""Write the tables of src/ that come from Python: short codes, headings, further forms, characters.

libphonenumber-js has no short codes, and JavaScript neither IDNA 2008 nor bidi classes. Run it after
an update of `phonenumberslite`, `idna`, headings.toml or the table of forms:
`.venv/bin/python release/web_tables.py`. A test compares what is there with what it would write.
"""

from __future__ import annotations

import itertools
import json
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import idna
import phonenumbers
from idna.uts46data import uts46_replacements, uts46_starts, uts46_statuses
from phonenumbers import PhoneMetadata

from contactsync.contacts import headings as words
from contactsync.contacts.headings import ROLES, sources
from contactsync.identifiers.tel.forms import FORM_RULES, FORMS

SOURCES = Path(__file__).parents[1] / "contactsync" / "web" / "src"


def short_codes() -> str:
    """short.js: by region, the patterns of short codes and of emergency numbers."""
    found = {}
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        data = PhoneMetadata.short_metadata_for_region(region)
        if data is not None:
            patterns = (data.short_code, data.emergency)
            found[region] = [(one and one.national_number_pattern) or "" for one in patterns]
    about = (
        "Short codes and emergency numbers by region, from libphonenumber's ShortNumberMetadata (Apache-2.0)."
    )
    return _module(about, found)


def headings() -> str:
    """headings.js: the headings of each role. Where programs differ, the first table of the list decides."""
    role_of: dict[str, str] = {}
    for table in sources().values():
        for role in ROLES:
            for heading in table.get(role, ()):
                role_of.setdefault(heading, role)
    by_role = {role: [one for one, of in role_of.items() if of == role] for role in ROLES}
    return _module(
        "What columns of tables hold, by their headings: contactsync/contacts/headings.toml.", by_role
    )


def heading_words() -> str:
    """heading-words.js: patterns of words in headings that are not known, as Python writes them."""
    patterns = {
        "mail": words.MAIL_WORDS, "notMail": words.NOT_MAIL, "phone": words.PHONE_WORDS,
        "notPhone": words.NOT_PHONE, "ofElse": words.OF_ELSE,
    }  # fmt: skip
    return _module(
        "Words of many languages in headings, patterns of Python: contactsync/contacts/headings.py.",
        {name: pattern.pattern for name, pattern in patterns.items()},
    )


def form_rules() -> str:
    """form-rules.js: by calling code, the pattern of a national number, the code and template of its form."""
    about = f"Further forms of numbers, version {FORMS}: contactsync/identifiers/tel/forms.py."
    return _module(
        about,
        {
            code: [[rule.pattern.pattern, rule.code, rule.replacement] for rule in rules]
            for code, rules in FORM_RULES.items()
        },
    )


def idna_tables() -> str:
    """idna-table.js: the mapping of UTS #46, and the classes of RFC 5892, as `idna` has them.

    A table of ranges is their lengths in base 36: not in it, in it, not in it, … `mapping` has a letter for
    each range (V: stays, M: mapped, I: removed, X: disallowed) and its length; `mapped` has what each mapped
    character becomes, in order.
    """
    kinds, mapped = list[str](), list[str]()
    ends = (*uts46_starts[1:], sys.maxunicode + 1)
    for start, end, status, text in zip(uts46_starts, ends, uts46_statuses, uts46_replacements, strict=True):
        kind = {"D": "V", "V": "V", "M": "M", "I": "I"}.get(chr(status), "X")  # D: a deviation, kept
        kinds += kind * (end - start)
        mapped += [text or ""] * (end - start) * (kind == "M")
    runs = ((kind, len(list(group))) for kind, group in itertools.groupby(kinds))
    data = idna.idnadata
    value = {
        "mapping": "".join(kind + _base36(length) for kind, length in runs),
        "mapped": "\n".join(mapped),
        **{name.lower(): _ranges(_pairs(data.codepoint_classes[name])) for name in data.codepoint_classes},
        **{name.lower(): _ranges(_pairs(ranges)) for name, ranges in data.scripts.items()},
        **{f"joining{name}": _ranges(_pairs(data.joining_types[name])) for name in "LDRT"},
    }
    about = f"Characters of addresses (UTS #46, RFC 5892), Unicode {data.__version__}, from the package idna."
    return _module(about, value)


def unicode_tables() -> str:
    """bidi-table.js: classes of the bidi rule (RFC 5893), and viramas, of the characters that IDNA permits.

    They are those of this Python's Unicode, which the file names.
    """
    of_class: dict[str, list[tuple[int, int]]] = {}
    viramas = list[tuple[int, int]]()
    for start, end in sorted(
        pair
        for name in idna.idnadata.codepoint_classes
        for pair in _pairs(idna.idnadata.codepoint_classes[name])
    ):
        for code in range(start, end):
            if name := unicodedata.bidirectional(chr(code)):
                of_class.setdefault(name, []).append((code, code + 1))
            if unicodedata.combining(chr(code)) == VIRAMA:
                viramas.append((code, code + 1))
    value = {name: _ranges(_joined(pairs)) for name, pairs in sorted(of_class.items())}
    about = f"Classes of the bidi rule and viramas, of Unicode {unicodedata.unidata_version}."
    return _module(about, {**value, "virama": _ranges(_joined(viramas))})


VIRAMA = 9


def _pairs(ranges: Iterable[int]) -> list[tuple[int, int]]:
    """The ranges of `idna` (start << 32 | end), as pairs."""
    return [(one >> 32, one & 0xFFFF_FFFF) for one in ranges]


def _joined(pairs: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Ascending ranges, those that touch as one."""
    last: tuple[int, int] | None = None
    for start, end in pairs:
        if last and last[1] == start:
            last = (last[0], end)
            continue
        if last:
            yield last
        last = (start, end)
    if last:
        yield last


def _ranges(pairs: Iterable[tuple[int, int]]) -> str:
    edges = [0, *(edge for pair in pairs for edge in pair)]
    return " ".join(_base36(after - before) for before, after in itertools.pairwise(edges))


def _base36(number: int) -> str:
    digits = ""
    while number or not digits:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits


def _module(about: str, value: Mapping[str, Sequence[object]]) -> str:
    lines = ",\n".join(f"  {name}: {json.dumps(one, ensure_ascii=False)}" for name, one in value.items())
    return f"// {about}\n// Written by release/web_tables.py.\nexport default {{\n{lines},\n}};\n"


FILES = {
    "short.js": short_codes,
    "headings.js": headings,
    "heading-words.js": heading_words,
    "form-rules.js": form_rules,
    "idna-table.js": idna_tables,
    "bidi-table.js": unicode_tables,
}

if __name__ == "__main__":
    for name, write in FILES.items():
        (SOURCES / name).write_text(write(), encoding="utf-8")
