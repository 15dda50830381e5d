"""From what people write to the two parts of an address: the steps of docs/identifiers.md.

No step knows a provider: dots and `+tag` in front of the @ stay, because only the provider knows what they
mean.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from contactsync.identifiers.steps import Record, Rejected

MAX_TEXT: Final = 1000
"""Characters of a text with an address: its name, escapes and a URI's parameters included."""

MAX_LOCAL: Final = 64
MAX_DOMAIN: Final = 253
MAX_ADDRESS: Final = 254
"""Octets (RFC 5321 §4.5.3.1; a path of 256 has two brackets; RFC 1035 §2.3.4 without the root's octet)."""

_MAX_LABEL: Final = 63
_FULL_WIDTH: Final = {wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F)}
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_SCHEME: Final = re.compile(r"mailto:", re.IGNORECASE)
_SIGMA: Final = "\N{GREEK SMALL LETTER SIGMA}"
_ESCAPES: Final = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_ATEXT: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-/=?^_`{|}~")
"""RFC 5322 §3.2.3, in lower case."""

_QUICK: Final = re.compile(
    r"(?=.{3,254}\Z)(?=[^@]{1,64}@)[A-Za-z0-9!$'*+_~-]+(?:\.[A-Za-z0-9!$'*+_~-]+)*"
    r"@(?:(?![Xx][Nn]--)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z](?:[A-Za-z0-9]{0,62})"
)


def quick(text: str) -> str | None:
    """`local@domain` of an ASCII address without anything around it; None: it takes all steps."""
    return text.lower() if text.isascii() and _QUICK.fullmatch(text) else None


def read_address(text: str, record: Record) -> tuple[str, str]:
    """The local part, as Unicode, and the domain, as A-labels. Raises Rejected."""
    if len(text) > MAX_TEXT:
        raise Rejected("too long for an e-mail address", "write one address alone")
    written = _characters(text)
    if written != text:
        record("characters", written, "full-width forms to ASCII, spaces to one form and off the ends")
    bare = _without_name(written)
    if bare != written:
        record("brackets", bare, "what stands between < and >")
    plain = _without_scheme(bare)
    if plain != bare:
        record("uri", plain, "without mailto: and parameters, escapes decoded")
    local, domain = _halves(plain)
    local, before = _local(local), local
    record("local part", local, "in lower case, in the form NFC" if local != before else "as it is")
    domain, before = _domain(domain), domain
    record("domain", domain, "in lower case, in A-labels (IDNA 2008)" if domain != before else "as it is")
    if len(local.encode()) + 1 + len(domain) > MAX_ADDRESS:
        raise Rejected("too long for an e-mail address", "check the domain")
    return local, domain


def _characters(text: str) -> str:
    """Step 2."""
    text = "".join(" " if c.isspace() else c for c in text.translate(_FULL_WIDTH))
    first, end = 0, len(text)
    while first < end and _is_around(text[first]):
        first += 1
    while end > first and _is_around(text[end - 1]):
        end -= 1
    if any(unicodedata.category(c) in {"Cc", "Cs"} for c in text[first:end]):
        raise Rejected("a control character in the address", "write the address again, by hand")
    return text[first:end]


def _is_around(character: str) -> bool:
    return character == " " or unicodedata.category(character) == "Cf"


def _without_name(text: str) -> str:
    """Step 3: `Ann <ann@example.org>`."""
    if "<" not in text:
        return text
    name, _, rest = text.rpartition("<")
    name = _QUOTED.sub("", name)
    if "<" in name or ("@" in name and ("," in name or ";" in name)):
        raise _several()
    if not rest.endswith(">"):
        raise Rejected("not an e-mail address", "write it as name@example.org")
    return rest[:-1].strip(" ")


def _without_scheme(text: str) -> str:
    """Step 4: RFC 6068 §2."""
    scheme = _SCHEME.match(text)
    if scheme is None:
        return text
    path = re.split(r"[?#]", text[scheme.end() :], maxsplit=1)[0]
    if "%" in _ESCAPES.sub("", path):
        raise Rejected("a % without two hexadecimal digits after it", "write the address without mailto:")
    try:
        return _ESCAPES.sub(lambda found: bytes.fromhex(found[0].replace("%", "")).decode(), path).strip(" ")
    except UnicodeDecodeError:
        raise Rejected("escapes that are not UTF-8", "write the address without mailto:") from None


def _halves(text: str) -> tuple[str, str]:
    """Step 5."""
    if text.startswith('"') or '"@' in text:
        raise Rejected("a quoted local part", "this profile has none: nobody can be found by it")
    if "(" in text or ")" in text:
        raise Rejected("a comment in the address", "write it without what is in parentheses")
    if "@[" in text:
        raise Rejected("an address literal instead of a domain", "write the name of the domain")
    if "," in text or ";" in text or text.count("@") > 1:
        raise _several()
    local, at, domain = text.partition("@")
    if not at:
        raise Rejected("no @ in it", "write it as name@example.org")
    if not local or not domain:
        raise Rejected("nothing before or after the @", "write it as name@example.org")
    if " " in text:
        raise Rejected("a space in the address", "write it without spaces")
    return local, domain


def _local(text: str) -> str:
    """Step 6."""
    reason, hint = "a character that no local part has", "check the part before the @"
    local = _mapped(text, reason, hint).replace("ς", _SIGMA)
    runs = local.split(".")
    if not all(runs):
        raise Rejected("a dot where none may be", "no dot at the ends of the local part, and no two together")
    if not all(map(_is_run, runs)):
        raise Rejected(reason, hint)
    if len(local.encode()) > MAX_LOCAL:
        raise Rejected("a local part of more than 64 octets", hint)
    return local


def _is_run(run: str) -> bool:
    """Whether a local part may have it between its dots: ASCII atoms, and beyond ASCII what IDNA permits."""
    if run.isascii():
        return all(c in _ATEXT for c in run)
    import idna  # noqa: PLC0415 - most addresses are `quick`

    def is_of(character: str, name: str) -> bool:
        return idna.intranges_contain(ord(character), idna.idnadata.codepoint_classes[name])

    def is_permitted(place: int, c: str) -> bool:
        if c.isascii():
            return c in _ATEXT
        if is_of(c, "CONTEXTJ"):
            return idna.valid_contextj(run, place)
        if is_of(c, "CONTEXTO"):
            return idna.valid_contexto(run, place)
        return is_of(c, "PVALID")

    try:
        return not unicodedata.category(run[0]).startswith("M") and all(
            is_permitted(place, c) for place, c in enumerate(run)
        )
    except ValueError:  # of valid_contextj: a character without a name is beside it
        return False


def _domain(text: str) -> str:
    """Step 7."""
    reason, hint = "a domain that IDNA 2008 does not allow", "check the part after the @"
    labels = _mapped(text, reason, hint).removesuffix(".").split(".")
    if len(labels) < 2:
        raise Rejected("a domain without a dot", "write the whole domain, like example.org")
    domain = ".".join(map(_label, labels))
    if labels[-1].isdecimal():
        raise Rejected("an address literal instead of a domain", "write the name of the domain")
    if len(domain) > MAX_DOMAIN:
        raise Rejected("a domain of more than 253 octets", hint)
    return domain


def _label(label: str) -> str:
    """The A-label, or a label of ASCII letters, digits and hyphens as it is."""
    import idna  # noqa: PLC0415 - most addresses are `quick`

    if not label.isascii() or label.startswith("xn--"):
        try:
            encoded = idna.alabel(label).decode("ascii")
            if encoded != idna.alabel(idna.ulabel(encoded)).decode("ascii"):
                raise idna.IDNAError
        except UnicodeError:  # IDNAError is one
            raise Rejected("a domain that IDNA 2008 does not allow", "check the part after the @") from None
        return encoded
    if not _LABEL.fullmatch(label) or len(label) > _MAX_LABEL:
        raise Rejected("a domain that DNS does not allow", "check the part after the @")
    return label


def _mapped(text: str, reason: str, hint: str) -> str:
    """The mapping of UTS #46 (Table 2, non-transitional), which ends in NFC. ASCII changes its case only."""
    if text.isascii():
        return text.lower()
    import idna  # noqa: PLC0415 - most addresses are `quick`

    try:
        return idna.uts46_remap(text, std3_rules=False)
    except UnicodeError:
        raise Rejected(reason, hint) from None


def _several() -> Rejected:
    return Rejected("several addresses in one field", "write one address in each field")
