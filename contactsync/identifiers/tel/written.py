"""Text to dialled digits: handles characters, URIs, labels, pauses, extensions and letters."""

from __future__ import annotations

import functools
import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import unquote

from contactsync.identifiers.steps import Record, Rejected

MAX_TEXT = 256  # characters; nothing longer is a phone number


@dataclass(frozen=True, slots=True)
class Dialled:
    """Digits; whether a plus preceded them; whether some of them were letters on a keypad."""

    digits: str
    international: bool
    keypad: bool


def read_written(text: str, record: Record) -> Dialled:
    """Steps 1 to 6 of the profile. Raises Rejected."""
    if len(text) > MAX_TEXT:
        raise Rejected("too long for a phone number")
    text = _plain_characters(text, record)
    text = _without_parameters(text, record)
    text = _dialled_part(text, record)
    text, keypad = _without_letters(text, record)
    if not _LAYOUT.fullmatch(text):
        raise Rejected("not a phone number", "write digits; + ( ) - . / and spaces may stand between them")
    international = text.lstrip(" ([").startswith("+")
    digits = _NOT_DIGITS.sub("", text)
    record("digits", ("+" if international else "") + digits, "what is dialled")
    return Dialled(digits, international, keypad)


_NOT_DIGITS = re.compile(r"[^0-9]+")
# At most one plus, before every digit; then digits and separators.
_LAYOUT = re.compile(r"[ (\[]*[+]?[ ()\[\]0-9./:_~-]+")


def _plain_characters(text: str, record: Record) -> str:
    """Replace Unicode digits and signs by ASCII, and remove invisible marks."""
    plain = plain_characters(text)
    if not (text.isascii() and text.isprintable()):
        record("characters", plain, "digits and signs of other scripts to ASCII; removed invisible marks")
    return plain


def plain_characters(text: str) -> str:
    """Step 2 of the profile: digits and signs of all scripts as ASCII, without invisible marks."""
    if text.isascii() and text.isprintable():
        return text.strip()
    return "".join(map(_plain_character, text)).strip()


@functools.lru_cache(maxsize=1024)
def _plain_character(character: str) -> str:
    if "\uff01" <= character <= "\uff5e":  # full-width forms of ASCII
        return chr(ord(character) - 0xFEE0)
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category == "Cf":  # bidi marks, zero-width spaces, soft hyphen, byte order mark
        return ""
    if category in {"Zs", "Zl", "Zp", "Cc"}:
        return " "
    if category == "Pd" or character in "\u2212\u30fc\u00b7\u2022\u2219\u2027":
        return "-"
    return character


_URI = re.compile(r"(?:tel|callto):(?://)?", re.IGNORECASE)
_CONTEXT = re.compile(r";phone-context=([^;]*)", re.IGNORECASE)


def _without_parameters(text: str, record: Record) -> str:
    """The number of a `tel:` URI (RFC 3966), with its context in front."""
    scheme = _URI.match(text)
    if scheme is None and "\\" not in text and ";" not in text:
        return text
    text = text.replace("\\;", ";").replace("\\,", ",")
    if scheme is not None:
        text = unquote(text[scheme.end() :]).strip()
    number = text.partition(";")[0]
    context = _CONTEXT.search(text)
    if context is not None and not number.lstrip().startswith("+"):
        place = context.group(1).strip()
        if not place.startswith("+"):
            raise Rejected("a number inside one organisation", "write it with its country code")
        number = place + " " + number
    record("parameters", number, "only the number; what follows ; is an extension, a pause or its context")
    return number


_ANOTHER = re.compile(r"[,;](?:\s*\+|\s+0)[\d\s()/.-]{6,}\s*$")


def holds_another(text: str) -> bool:
    """Whether a comma or semicolon is followed by a second number, not by a pause or an extension."""
    return _ANOTHER.search(text) is not None


_DIGIT = re.compile(r"[0-9]")
_PAUSE = re.compile(r",|(?<![A-Za-z])[pPwW](?![A-Za-z])")
_EXTENSION = re.compile(
    r"(?<![^\W\d_])(?:ext(?:n|ension)?|xtn?|x|anexo|доб|#)[ .:=#-]*[0-9]{1,9}#?\s*", re.IGNORECASE
)


def _dialled_part(text: str, record: Record) -> str:
    """The part that is dialled to reach the line, without label, pause and extension."""
    if "*" in text:
        raise Rejected("a service code", "write only the phone number")
    first = _DIGIT.search(text)
    if first is None:
        raise Rejected("not a phone number", "it contains no digit")
    start = first.start()
    while start and text[start - 1] in "+([ ":
        start -= 1
    if "#" in text[:start]:
        raise Rejected("a service code", "write only the phone number")
    if text[:start].strip(" -./:"):
        record("label", text[start:].strip(), "removed the words before the number")
    text = text[start:]
    pause = _PAUSE.search(text, first.start() - start)
    if pause is not None:
        text = text[: pause.start()].strip()
        record("pause", text, "removed what is dialled after a pause")
    for extension in _EXTENSION.finditer(text):
        if extension.end() == len(text) and extension.start():
            text = text[: extension.start()].strip()
            record("extension", text, "removed the extension: the main number is looked up")
    return text.strip()


_EXPONENT = re.compile(r"[0-9](?:[.][0-9]+)?E[+]?[0-9]+", re.IGNORECASE)
_KEYPAD = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "22233344455566677778889999")  # ITU-T E.161
_VANITY_LETTERS = 3


def _without_letters(text: str, record: Record) -> tuple[str, bool]:
    """Replace letters by keypad digits; also whether there were any. Only calling code 1 dials letters."""
    if _EXPONENT.fullmatch(text) or re.fullmatch(r"[0-9]{7,}[.]0", text):
        raise Rejected("a spreadsheet made a decimal number of it", "format the column as text")
    letters = sum(map(str.isalpha, text))
    if not letters:
        return text, False
    if letters < _VANITY_LETTERS or not text.isascii():
        raise letters_rejected()
    text = text.upper().translate(_KEYPAD)
    record("letters", text, "letters as digits on the keypad (North America)")
    return text, True


def letters_rejected() -> Rejected:
    """The rejection of letters in a number."""
    return Rejected("letters in the number", "write it in digits")
