"""docs/identifiers.md, e-mail profile 1, a second time; tables of Unicode and IDNA by the package idna."""

import re
import unicodedata

import idna
from second_profile import Rejected, demand

ATEXT = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]")
LITERAL = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!$'*+-._~"


def normalise_mail(text: str) -> bytes:
    demand(len(text) <= 1000)
    local, domain = halves(uri(named("".join(map(plain, text)))))
    local, domain = local_part(local), domain_part(domain)
    # Step 8
    demand(len(local.encode()) + 1 + len(domain) <= 254)
    # Step 9
    escaped = "".join(chr(octet) if octet in LITERAL else f"%{octet:02X}" for octet in local.encode())
    return f"mailto:{escaped}@{domain}".encode("ascii")


def plain(character: str) -> str:
    """Step 2 for one character."""
    if "\uff01" <= character <= "\uff5e":
        return chr(ord(character) - 0xFEE0)
    if character.isspace():
        return " "
    demand(unicodedata.category(character) not in ("Cc", "Cs"))
    return character


def trimmed(text: str) -> str:
    """Step 2: no spaces or format characters at the ends."""
    kept = [i for i, one in enumerate(text) if one != " " and unicodedata.category(one) != "Cf"]
    demand(kept)
    return text[kept[0] : kept[-1] + 1]


def named(text: str) -> str:
    """Step 3."""
    text = trimmed(text)
    if "<" not in text:
        return text
    demand(text.endswith(">"))
    name, _, address = text[:-1].rpartition("<")
    unquoted = re.sub(r'"[^"]*"', "", name)
    demand("<" not in unquoted)
    demand(not ("@" in unquoted and ("," in unquoted or ";" in unquoted)))
    return address.strip(" ")


def uri(text: str) -> str:
    """Step 4."""
    if text[:7].lower() != "mailto:":
        return text
    text = re.split("[?#]", text[7:], maxsplit=1)[0]
    demand(not re.search("%(?![0-9A-Fa-f]{2})", text))
    octets = re.sub(
        rb"%([0-9A-Fa-f]{2})", lambda found: bytes([int(found[1], 16)]), text.encode("utf-8", "replace")
    )
    try:
        return octets.decode("utf-8").strip(" ")
    except UnicodeDecodeError as error:
        raise Rejected from error


def halves(text: str) -> tuple[str, str]:
    """Step 5."""
    demand(text.count("@") == 1 and " " not in text)
    local, _, domain = text.partition("@")
    demand(local and domain)
    return local, domain


def mapped(text: str) -> str:
    """UTS #46, non-transitional, without UseSTD3ASCIIRules."""
    try:
        return idna.uts46_remap(text, std3_rules=False, transitional=False)
    except idna.IDNAError as error:
        raise Rejected from error


def local_part(text: str) -> str:
    """Step 6."""
    text = mapped(text).replace("\u03c2", "\u03c3")
    for word in text.split("."):
        demand(word and unicodedata.category(word[0])[0] != "M")
        demand(all(allowed(word, place) for place in range(len(word))))
    demand(len(text.encode()) <= 64)
    return text


def allowed(label: str, place: int) -> bool:
    """May this character be in a label, or in what stands between dots of a local part? RFC 5892."""
    character = label[place]
    if character.isascii():
        return bool(ATEXT.fullmatch(character))
    classes = idna.idnadata.codepoint_classes
    if idna.core.intranges_contain(ord(character), classes["PVALID"]):
        return True
    try:
        if idna.core.intranges_contain(ord(character), classes["CONTEXTJ"]):
            return idna.valid_contextj(label, place)
        if idna.core.intranges_contain(ord(character), classes["CONTEXTO"]):
            return idna.valid_contexto(label, place)
    except (ValueError, idna.IDNAError):
        return False
    return False


def domain_part(text: str) -> str:
    """Step 7."""
    text = mapped(text).removesuffix(".")
    labels = [a_label(label) for label in text.split(".")]
    demand(len(labels) >= 2 and not re.fullmatch("[0-9]+", labels[-1]))
    domain = ".".join(labels)
    demand(len(domain) <= 253)
    return domain


def a_label(label: str) -> str:
    try:
        if not label.isascii():
            label = idna.alabel(label).decode()
        if label.startswith("xn--"):
            demand(idna.alabel(idna.ulabel(label)).decode() == label)
            demand(not idna.ulabel(label).isascii())
    except (UnicodeError, ValueError) as error:
        raise Rejected from error
    demand(re.fullmatch("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", label))
    return label
