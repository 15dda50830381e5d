"""Text to identifier: `"0151 2345678"` in DE becomes `b"tel:+491512345678"` (RFC 3966 global form).

Two sides meet only if both make the same bytes of the same number, so the way from text to bytes is a
numbered profile (`PROFILE`), written down in docs/identifiers.md and pinned by vectors in
`contactsync/vectors/normalisation-1.json`. A rule may change only together with the number.

The numbering plans are libphonenumber's, by `phonenumbers`. A number is taken when it *can* be one
(`is_possible`: its length exists in that plan), never when it *is allotted* (`is_valid`): that list changes
every week, and an old client must not lose the numbers of a new range.
"""

from __future__ import annotations

import functools
import os
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

import phonenumbers
from phonenumbers import PhoneMetadata

from contactsync.errors import BadInput

PROFILE = 1

SCHEME = b"tel:+"
MAX_TEXT = 256  # characters; nothing longer is a phone number
MAX_DIGITS = 15  # ITU-T E.164 §6: country code and national number together

# Calling codes in which a subscriber's number may begin with 0 (fixed lines, mobiles). Anywhere else such a
# zero is what is left of a prefix that was dialled: `0049 89 1234` in a US address book is no US number.
LEADING_ZERO = frozenset({"39", "225", "226", "229", "241", "242", "250", "378", "881", "992"})

# Open numbering plans in which `4915112345678`, written without + or trunk prefix, would pass for a national
# number that begins with 49. Everywhere else its length tells.
WITHOUT_PLUS = frozenset({"49", "62", "383"})


class Rejected(BadInput):
    """A text is not a phone number that can be looked up.

    `reason` and `hint` are short and hold no digit of the number: they may be logged.
    """

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason, hint=hint)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Step:
    """One step on the way of a text, for people: what was done, what it made, and why."""

    name: str
    result: str
    why: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A national number that `pattern` matches whole is rewritten, or refused if there is no replacement."""

    pattern: re.Pattern[str]
    replacement: str | None
    why: str


# Old and new forms of one number, per calling code. The patterns are for national significant numbers.
RULES: Mapping[str, tuple[Rule, ...]] = {
    "52": (
        Rule(
            re.compile(r"(?:1|01|04[45])([2-9]\d{9})"),
            r"\1",
            "Mexico dropped the mobile 1 and the prefixes 01, 044 and 045 in 2019",
        ),
    ),
    "54": (Rule(re.compile(r"15\d{8}"), None, "an Argentine mobile number without its area code"),),
    "55": (
        Rule(
            re.compile(r"([1-9][1-9])([689]\d{7})"),
            r"\g<1>9\2",
            "Brazil put a 9 before every mobile number by 2016",
        ),
        Rule(re.compile(r"[2-9]\d{7}|9\d{8}"), None, "a Brazilian number without its area code"),
    ),
    "229": (Rule(re.compile(r"\d{8}"), r"01\g<0>", "Benin put 01 before every number in 2024"),),
}


@dataclass(frozen=True, slots=True)
class NumberingPlan:
    """What profile 1 needs of one calling code.

    `lengths` are those of complete national numbers (area code included); `prefix` matches what is dialled
    before a national number and is no part of it.
    """

    calling_code: str
    lengths: frozenset[int]
    prefix: re.Pattern[str] | None
    leading_zero: bool
    rules: tuple[Rule, ...]

    def is_plain(self, national: str) -> bool:
        """Whether `national`, written after `+` and the calling code, stays as it is.

        True only where the whole way by the library would change nothing (tests hold this over all plans).
        """
        return (
            len(national) in self.lengths
            and len(national) + len(self.calling_code) <= MAX_DIGITS
            and (self.leading_zero or national[0] != "0")
            and (self.prefix is None or self.prefix.match(national) is None)
            and not any(rule.pattern.fullmatch(national) for rule in self.rules)
        )


@functools.cache
def numbering_plan(calling_code: str) -> NumberingPlan | None:
    """The plan of a calling code (`"49"`), None if nobody has that code.

    Keeps its compiled patterns: `re`'s own cache of 512 thrashes over all countries.
    """
    code = int(calling_code)
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(code)
    if regions is None:
        return None
    data = PhoneMetadata.metadata_for_region_or_calling_code(code, regions[0])
    assert data is not None, "libphonenumber describes every code that it lists"
    assert data.general_desc is not None, "libphonenumber describes every code that it lists"
    prefix = data.national_prefix_for_parsing
    return NumberingPlan(
        calling_code,
        frozenset(data.general_desc.possible_length),
        re.compile(prefix) if prefix else None,
        calling_code in LEADING_ZERO,
        RULES.get(calling_code, ()),
    )


@functools.cache
def calling_codes() -> frozenset[str]:
    """Every calling code that has a numbering plan, shared services (`800`, `881`, …) included."""
    return frozenset(str(code) for code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE)


def normalise(text: str, region: str | None) -> bytes:
    """The identifier of a phone number as people write it.

    `region` (`"DE"`) is where a number without a country code belongs; None: such numbers are rejected.
    Raises Rejected if the text cannot be looked up, BadInput if there is no such region.
    """
    return _identifier(text, region, _no_record)


def explain(text: str, region: str | None) -> list[Step]:
    """The same way as `normalise`, step by step; the last step is named `identifier` or `rejected`."""
    steps = [Step("text", text, f"region {region}" if region else "no region")]

    def record(name: str, result: str, why: str) -> None:
        steps.append(Step(name, result, why))

    try:
        identifier = _identifier(text, region, record)
    except Rejected as rejected:
        record("rejected", rejected.reason, rejected.hint)
    else:
        record("identifier", identifier.decode("ascii"), f"normalisation profile {PROFILE}")
    return steps


def calling_code(identifier: bytes) -> str:
    """`"49"` of `b"tel:+491512345678"`. Raises BadInput if it is no identifier."""
    if identifier.startswith(SCHEME):
        digits = identifier[len(SCHEME) : len(SCHEME) + 3].decode("ascii", "replace")
        found = _split_code(digits)
        if found is not None:
            return found
    raise BadInput("not an identifier of this normalisation profile")


def check_region(region: str) -> str:
    """The region in capitals. Raises BadInput if libphonenumber has none of that name."""
    upper = region.strip().upper()
    if upper in phonenumbers.SUPPORTED_REGIONS:
        return str(upper)
    raise BadInput(
        f"unknown region {region!r}",
        hint="give the two letters of ISO 3166, like DE or US (the United Kingdom is GB)",
    )


def default_region(environment: Mapping[str, str] = os.environ) -> str | None:
    """The region of the locale, by POSIX order: LC_ALL, LC_TELEPHONE, LANG. None if it names no country."""
    for variable in ("LC_ALL", "LC_TELEPHONE", "LANG"):
        value = environment.get(variable, "")
        if value:
            found = re.match(r"[a-z]{2,3}(?:[_-][A-Z][a-z]{3})?[_-]([A-Z]{2})(?![A-Za-z0-9])", value)
            region = found.group(1) if found else None
            return region if region in phonenumbers.SUPPORTED_REGIONS else None
    return None


# ---------------------------------------------------------------------------------------------------------
# The profile, in order. Each step takes text and gives text, tells `record` what it changed, or rejects.

_Record = Callable[[str, str, str], None]


def _no_record(_name: str, _result: str, _why: str) -> None:
    """What `normalise` does with the steps."""


def _identifier(text: str, region: str | None, record: _Record) -> bytes:
    if len(text) > MAX_TEXT:
        raise Rejected("too long for a phone number")
    text = _plain_characters(text, record)
    text = _without_parameters(text, record)
    text = _dialled_part(text, record)
    text, keypad = _without_letters(text, record)
    if not _LAYOUT.fullmatch(text):
        raise Rejected("not a phone number", "digits, with + ( ) - . / and spaces between, make one")
    international = text.lstrip(" ([").startswith("+")
    digits = _NOT_DIGITS.sub("", text)
    record("digits", ("+" if international else "") + digits, "what is dialled")
    try:
        if international:
            code, national = _international(digits, record)
        else:
            code, national = _national(digits, region, record)
    except Rejected:
        if keypad:  # what is wrong are the letters, not what the keypad makes of them
            raise _letters() from None
        raise
    if keypad and code != "1":
        raise _letters()
    return SCHEME + (code + national).encode("ascii")


def _plain_characters(text: str, record: _Record) -> str:
    """ASCII digits and signs in place of their Unicode relatives; marks that cannot be seen go."""
    if text.isascii() and text.isprintable():
        return text.strip()
    plain = "".join(map(_plain_character, text)).strip()
    record("characters", plain, "digits and signs of other scripts as ASCII; invisible marks removed")
    return plain


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


def _without_parameters(text: str, record: _Record) -> str:
    """The number of a `tel:` URI (RFC 3966), its context put in front."""
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
    record("parameters", number, "the number alone; what follows ; is an extension, a pause or its context")
    return number


_DIGIT = re.compile(r"[0-9]")
_PAUSE = re.compile(r",|(?<![A-Za-z])[pPwW](?![A-Za-z])")
_EXTENSION = re.compile(
    r"(?<![^\W\d_])(?:ext(?:n|ension)?|xtn?|x|anexo|доб|#)[ .:=#-]*[0-9]{1,9}#?\s*", re.IGNORECASE
)


def _dialled_part(text: str, record: _Record) -> str:
    """The part that reaches the line: no label before it, no pause and no extension after it."""
    if "*" in text:
        raise Rejected("a service code", "write the phone number alone")
    first = _DIGIT.search(text)
    if first is None:
        raise Rejected("not a phone number", "there is no digit in it")
    start = first.start()
    while start and text[start - 1] in "+([ ":
        start -= 1
    if "#" in text[:start]:
        raise Rejected("a service code", "write the phone number alone")
    if text[:start].strip(" -./:"):
        record("label", text[start:].strip(), "the words before the number dropped")
    text = text[start:]
    pause = _PAUSE.search(text, first.start() - start)
    if pause is not None:
        text = text[: pause.start()].strip()
        record("pause", text, "what is dialled after a pause dropped")
    for extension in _EXTENSION.finditer(text):
        if extension.end() == len(text) and extension.start():
            text = text[: extension.start()].strip()
            record("extension", text, "the extension dropped: the line is looked up, not the desk")
    return text.strip()


_EXPONENT = re.compile(r"[0-9](?:[.][0-9]+)?E[+]?[0-9]+", re.IGNORECASE)
_KEYPAD = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "22233344455566677778889999")  # ITU-T E.161
_VANITY_LETTERS = 3


def _without_letters(text: str, record: _Record) -> tuple[str, bool]:
    """Letters by the keypad; and whether there were any: only calling code 1 dials them."""
    if _EXPONENT.fullmatch(text) or re.fullmatch(r"[0-9]{7,}[.]0", text):
        raise Rejected("a spreadsheet made a decimal number of it", "format the column as text")
    letters = sum(map(str.isalpha, text))
    if not letters:
        return text, False
    if letters < _VANITY_LETTERS or not text.isascii():
        raise _letters()
    text = text.upper().translate(_KEYPAD)
    record("letters", text, "letters by the keypad (North America)")
    return text, True


def _letters() -> Rejected:
    return Rejected("letters in the number", "write it in digits")


_NOT_DIGITS = re.compile(r"[^0-9]+")
# At most one plus, before every digit; then digits and separators.
_LAYOUT = re.compile(r"[ (\[]*[+]?[ ()\[\]0-9./:_~-]+")


def _split_code(digits: str) -> str | None:
    """The calling code that these digits begin with: codes are prefix-free and have one to three digits."""
    for length in (1, 2, 3):
        if digits[:length] in calling_codes():
            return digits[:length]
    return None


def _international(digits: str, record: _Record) -> tuple[str, str]:
    """Digits that were written after a plus: calling code and national number."""
    code = _split_code(digits)
    if code is None:
        raise Rejected("no such country code", "check the digits after +")
    national = digits[len(code) :]
    plan = numbering_plan(code)
    assert plan is not None, "calling_codes() are those that have a plan"
    if national and plan.is_plain(national):
        record("country", f"+{code} {national}", "complete")
        return code, national
    return _by_library("+" + digits, None, record)


def _national(digits: str, region: str | None, record: _Record) -> tuple[str, str]:
    """Digits as they are dialled in a region."""
    if region is None:
        raise Rejected("no country code", "give --region, or write the number with + and its country code")
    region = check_region(region)
    # The list of short numbers changes, but no subscriber has one: sides may differ here without harm.
    if len(digits) <= _SHORT_DIGITS and _is_short(digits, region):
        raise Rejected("a short code or an emergency number", "only subscribers can be looked up")
    code, national = _by_library(digits, region, record)
    plain = national == digits  # no trunk or international prefix was dialled
    if plain and code in WITHOUT_PLUS and digits.startswith(code) and len(digits) >= _WITHOUT_PLUS_DIGITS:
        raise Rejected("its own country code without +", "write + before it, or 0 and the area code")
    return code, national


_WITHOUT_PLUS_DIGITS = 10
_SHORT_DIGITS = 6


def _is_short(digits: str, region: str) -> bool:
    try:
        number = phonenumbers.parse(digits, region)
    except phonenumbers.NumberParseException:
        return False
    return phonenumbers.is_emergency_number(digits, region) or (
        phonenumbers.is_valid_short_number_for_region(number, region)
    )


def _by_library(text: str, region: str | None, record: _Record) -> tuple[str, str]:
    """Calling code and national number by libphonenumber's parse and is_possible, and the profile's rules."""
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException as error:
        kind = error.error_type
        if kind == phonenumbers.NumberParseException.INVALID_COUNTRY_CODE:
            raise Rejected("no such country code", "check what follows the international prefix") from None
        if kind == phonenumbers.NumberParseException.TOO_LONG:
            raise Rejected("too long for a phone number", "is it two numbers?") from None
        raise Rejected("too short for its country", "add the area code, and check the region") from None
    code = str(number.country_code)
    national = str(phonenumbers.national_significant_number(number))
    record("country", f"+{code} {national}", "prefixes that are only dialled inside a country dropped")
    plan = numbering_plan(code)
    assert plan is not None, "the library parses to codes that it has a plan for"
    for rule in plan.rules:
        if rule.pattern.fullmatch(national):
            if rule.replacement is None:
                raise Rejected(rule.why, "write it with country code and area code")
            national = rule.pattern.sub(rule.replacement, national)
            record("renumbered", f"+{code} {national}", rule.why)
            break
    if national.startswith("0") and not plan.leading_zero:
        raise Rejected("a prefix that is not dialled there", "write the number with + and its country code")
    _check_length(code, national, plan)
    return code, national


def _check_length(code: str, national: str, plan: NumberingPlan) -> None:
    """Raises Rejected unless a complete number of this plan may have that length."""
    length = len(national)
    if length > max(plan.lengths) or length + len(code) > MAX_DIGITS:
        raise Rejected("too long for its country", "is it two numbers, or is the region wrong?")
    if length < min(plan.lengths):
        raise Rejected("too short for its country", "add the area code, and check the region")
    if length not in plan.lengths:
        raise Rejected("no number of its country has this length", "check the digits and the region")
