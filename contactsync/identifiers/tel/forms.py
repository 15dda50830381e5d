"""Further forms of a number: other identifiers that reach the same subscriber.

Some subscribers have two numbers that no numbering plan unites: Argentina's mobile lines with and without a
9, Palestine's mobiles under two country codes. Others are written in books under a number that was abolished
years ago. A client looks all forms up, and reports the contact once. Identifiers stay what `normalise` makes;
the forms are a rule of the client alone, with a version of its own (`FORMS`), specified in
docs/identifiers.md and pinned by `contactsync/vectors/forms-1.json`.

A rule is here only if it cannot lead to a stranger. Either the plan says that both forms are one
subscriber's, or nobody can have the number as it is written and it has one successor. Nor may a rule fit a
local number that lacks its area code. Tests count the numbers in use that each rule meets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from contactsync.identifiers.tel import SCHEME

FORMS: Final = 1
"""The version of the table. A change of a rule changes it."""

MOST_FORMS: Final = 3
"""How many identifiers one number is looked up as, at most: itself, and two more."""


@dataclass(frozen=True, slots=True)
class FormRule:
    """A national number that `pattern` matches fully has the form `replacement` in calling code `code`.

    In a replacement {0} is all of the number, {1} what the first group matched.
    """

    pattern: re.Pattern[str]
    code: str
    replacement: str
    why: str


@dataclass(frozen=True, slots=True)
class FurtherForm:
    """Another identifier of the same subscriber, and why."""

    identifier: bytes
    why: str


def _rules(code: str, why: str, *pairs: tuple[str, str]) -> tuple[FormRule, ...]:
    """Rules for numbers that keep their calling code."""
    return tuple(FormRule(re.compile(pattern), code, replacement, why) for pattern, replacement in pairs)


_OVERSEAS: Final = "dialled in France, it belongs to an overseas department with a country code of its own"
_VIETNAM: Final = {
    **{f"16{digit}": f"3{digit}" for digit in "23456789"},
    "120": "70",
    "121": "79",
    "122": "77",
    "126": "76",
    "128": "78",
    "123": "83",
    "124": "84",
    "125": "85",
    "127": "81",
    "129": "82",
    "186": "56",
    "188": "58",
    "199": "59",
}
_SAN_MARINO: Final = "San Marino is reached under +39 0549 and +378 0549"
_BOTH: Final = "Palestinian mobiles are reached under +970 and +972"
_PALESTINIAN: Final = r"(?:56\d|59[2-9])\d{6}"

FORM_RULES: Final[Mapping[str, tuple[FormRule, ...]]] = {
    "20": _rules(
        "20",
        "Egypt put the digit of the operator into every mobile number in 2011",
        (r"1([069]\d{7})", "10{1}"),
        (r"1([14]\d{7})", "11{1}"),
        (r"1([278]\d{7})", "12{1}"),
    ),
    "33": (
        FormRule(re.compile(r"(?:590|69[01])\d{6}"), "590", "{0}", _OVERSEAS),
        FormRule(re.compile(r"(?:594|694)\d{6}"), "594", "{0}", _OVERSEAS),
        FormRule(re.compile(r"(?:596|69[67])\d{6}"), "596", "{0}", _OVERSEAS),
        FormRule(re.compile(r"(?:26[29]|639|69[23])\d{6}"), "262", "{0}", _OVERSEAS),
    ),
    "39": (
        FormRule(re.compile(r"0549[89]\d{5}"), "378", "{0}", _SAN_MARINO),
        *_rules(
            "39",
            "no Italian number begins so without the zero of its area code",
            (r"(?:[269]\d|4[0-24-9]|5[0-46-9]|7[1-9])\d{7,8}", "0{0}"),
        ),
        *_rules(
            "39",
            "Italian mobile numbers have had no zero since 2001, and no area code is like it",
            (r"0(3(?:2[05-9]|3[03-9]|4[07-9]|6[016-8]|7[089]|8[07-9])\d{6,7})", "{1}"),
        ),
    ),
    "54": (
        *_rules(
            "54",
            "an Argentine mobile number is written without the 9, too, for messages and in local books",
            (r"9((?:11|[23]\d)\d{8})", "{1}"),
        ),
        *_rules(
            "54",
            "if it is a mobile line, it is called from abroad with a 9; no other line has the rest",
            (r"(?:11|[23]\d)\d{8}", "9{0}"),
        ),
    ),
    "57": _rules(
        "57",
        "Colombia put 60 before every area code in 2021",
        (r"(?:[18][1-9]|[2567][2-9]|4[2-57-9])\d{6}", "60{0}"),
    ),
    "60": (
        FormRule(
            re.compile(r"2([3689]\d{7})"), "65", "{1}", "02 was dialled in Malaysia for Singapore until 2017"
        ),
    ),
    "84": _rules(
        "84",
        "Vietnam shortened the mobile numbers of eleven digits in 2018",
        *((rf"{old}(\d{{7}})", f"{new}{{1}}") for old, new in _VIETNAM.items()),
    ),
    "230": _rules("230", "Mauritius put a 5 before every mobile number in 2013", (r"[79]\d{6}", "5{0}")),
    "237": _rules("237", "Cameroon put a 6 before every mobile number in 2014", (r"[79]\d{7}", "6{0}")),
    "241": _rules(
        "241",
        "Gabon put the digit of the operator in the place of the zero in 2019",
        (r"0([256]\d{6})", "6{1}"),
        (r"0([47]\d{6})", "7{1}"),
        (r"0(1\d{6})", "1{1}"),
    ),
    "353": (
        FormRule(re.compile(r"48(\d{8})"), "44", "28{1}", "048 is dialled in Ireland for Northern Ireland"),
    ),
    "378": (FormRule(re.compile(r"0549[89]\d{5}"), "39", "{0}", _SAN_MARINO),),
    "593": _rules("593", "Ecuador put a 9 before every mobile number in 2012", (r"[89]\d{7}", "9{0}")),
    "970": (FormRule(re.compile(_PALESTINIAN), "972", "{0}", _BOTH),),
    "972": (FormRule(re.compile(_PALESTINIAN), "970", "{0}", _BOTH),),
    "974": _rules("974", "Qatar doubled every first digit in 2010", (r"([3-7])(\d{6})", "{1}{1}{2}")),
}
"""By calling code. The patterns apply to national significant numbers, as in an identifier."""

_BY_CODE: Final = {SCHEME + code.encode(): rules for code, rules in FORM_RULES.items()}
_LENGTHS: Final = sorted({len(begin) for begin in _BY_CODE})
_ALTERNATIVES: Final = "|".join(
    f"{code}(?:{rule.pattern.pattern})" for code, rules in FORM_RULES.items() for rule in rules
)
_ANY: Final = re.compile(SCHEME.replace(b"+", rb"\+") + b"(?:" + _ALTERNATIVES.encode("ascii") + b")")


def explain_forms(identifier: bytes) -> list[FurtherForm]:
    """The further forms of a number, at most MOST_FORMS - 1, nearest first. None for what is no number.

    A further form may have one itself: `+39 549 882 345` is `+39 0549 882 345`, and that `+378 0549 882 345`.
    """
    found = {identifier: ""}
    waiting = [identifier]
    while waiting:
        for form in _next(waiting.pop(0)):
            if len(found) < MOST_FORMS and form.identifier not in found:
                found[form.identifier] = form.why
                waiting.append(form.identifier)
    del found[identifier]
    return [FurtherForm(one, why) for one, why in found.items()]


def further_forms(identifier: bytes) -> tuple[bytes, ...]:
    """The identifiers of `explain_forms`. Most numbers have none, and one look at them tells."""
    if _ANY.fullmatch(identifier) is None:
        return ()
    return tuple(one.identifier for one in explain_forms(identifier))


def _next(identifier: bytes) -> Iterator[FurtherForm]:
    """What the rules of its calling code make of an identifier. No code is the beginning of another."""
    for length in _LENGTHS:
        for rule in _BY_CODE.get(identifier[:length], ()):
            match = rule.pattern.fullmatch(identifier[length:].decode("ascii"))
            if match is not None:
                national = rule.replacement.format(match[0], *match.groups())
                yield FurtherForm(SCHEME + (rule.code + national).encode("ascii"), rule.why)
