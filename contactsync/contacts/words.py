"""The words around one number: which are only a remark, and which make the number doubtful.

A word behind a number costs nothing (`030 1234567 Büro`) unless it may be part of the number: a letter among
the digits, or a word that is dialled on the keypad (`1-800-FLOWERS`, North America alone).
"""

from __future__ import annotations

import itertools
import re

from contactsync.identifiers import Rejected

_SEPARATORS = " -./:([_~"

LEAST_DIGITS = 5
"""With fewer digits, text beside words is no number."""

NUMBER_DIGITS = 7
"""With as many digits, text behind a number may be a second one; with fewer it is a remark."""

_RUN = re.compile(r"[+(\[]*\s*\d(?:[\d\s()\[\]._~/-]|:(?=\d))*")
_LETTERS = re.compile(r"[^\W\d_]+")
_EXTENSION = re.compile(
    r"(?:\b(?:ext(?:n|ension)?|xtn?|durchwahl|dw|app(?:arat)?|nst|klappe|poste|int(?:erno)?|anexo|ramal|"
    r"toestel|wew|внутр|доб)|(?<![^\W\d_])x|#)[ .:=#-]*\d{1,9}[#*]?\s*$",
    re.IGNORECASE,
)
_PAUSE = re.compile(r"(?<=\d)\s*[pPwW](?=[\d\s*#,;pPwW]*$)")
_INDEX = re.compile(
    r"(?:[^\W\d_]\D{0,40})?\b\d{1,2}\s*[:.)=]\s+(?=[+(]|0)|[^\W\d_]\D{0,40}\d{1,2}\s*[:)=]\s*"
)
_DATE = re.compile(
    r"(?<![\d.+/-])(?:(?:0?[1-9]|[12]\d|3[01])[./-](?:0?[1-9]|1[0-2])[./-](?:19|20)\d\d|(?:19|20)\d\d-\d\d-\d\d)"
    r"(?!\d|[./-]\d)"
)
_STALE = re.compile(
    r"\b(?:alte?|veraltet|ungültig|falsch|früher|nicht mehr|old|former|invalid|wrong|disconnected|inactive|"
    r"ancien(?:ne)?|viej[oa]|antigu[oa]|vecchi[oa]|oud|старый|старая)\b",
    re.IGNORECASE,
)
_NUMBER_OF = re.compile(
    r"(?:\b(?:kunden?|kd|mitglieds?|vertrags?|rechnungs?|konto|steuer|versicherungs?|personal|ausweis|bestell|"
    r"auftrags?|member(?:ship)?|customer|client|account|acct|contract|invoice|policy|order|tax)"
    r"[ .-]*(?:nr|nummer|no|number|id|#)"
    r"|\b(?:n[o\u00b0\u00ba]|num[eé]ro|n[uú]mero) (?:de )?(?:client|contrat|cliente|socio))"
    r"(?![^\W\d_])",
    re.IGNORECASE,
)
_UP_TO = re.compile(r"\b(?:bis|to|bzw|through|thru|und|oder|or|and|à)\b[ .]*-?\s*$", re.IGNORECASE)
_LIKE_DIGITS = {"O", "o", "l", "I"}  # letters that are typed for 0 and 1
_LABELS = {
    *(
        "HOME",
        "WORK",
        "CELL",
        "FAX",
        "MOBILE",
        "MOB",
        "OFFICE",
        "MAIN",
        "MOM",
        "DAD",
        "DIRECT",
        "TEL",
        "PHONE",
    ),
    *("PRIVATE", "BUSINESS", "SCHOOL", "DESK", "SHOP", "STORE", "OLD", "NEW", "WIFE", "CAR", "VOICE", "TEXT"),
}
_FREE = re.compile(r"8(?:00|33|44|55|66|77|88)|900")  # prefixes whose numbers are often written in letters


def digits_in(text: str) -> int:
    """How many digits the text has."""
    return sum(map(str.isdigit, text))


def without_dates(text: str) -> str:
    """The text without dates, which have as many digits as a number."""
    return _DATE.sub(" ", text)


def is_stale(words: str) -> bool:
    """Whether words say that the number is no longer right."""
    return _STALE.search(words) is not None


def _doubted_in_front(text: str) -> Rejected | None:
    """What a label in front says against the number behind it: `alt: 0176 …`, `Kunden-Nr. 0471 …`."""
    first = re.search(r"[+(\d]", text)
    label = text[: first.start()] if first is not None else ""
    if is_stale(label) and (":" in label or _STALE.fullmatch(label.strip(_SEPARATORS))):
        return stale()
    if _NUMBER_OF.search(label):
        hint = "if it is a telephone number, write it without these words"
        return Rejected("a customer's or contract's number, not a phone number", hint)
    return None


def without_words(text: str) -> list[str | Rejected]:
    """The numbers in a text in plain characters, without the words behind them. Labels in front stay."""
    if doubted := _doubted_in_front(text):
        return [doubted]
    index = _INDEX.match(text)  # `Mobil 2: 0176 …`
    if index is not None and digits_in(text[index.end() :]) >= NUMBER_DIGITS:
        text = text[index.end() :]
    first = re.search(r"\d", text)
    if first is None or _LETTERS.search(text, first.start()) is None:
        return [text]
    pause = _PAUSE.search(text)
    if pause is not None:
        more = text[pause.end() :]
        doubt = [second()] if digits_in(more) >= NUMBER_DIGITS and more.lstrip(" ").startswith("0") else []
        return [text[: pause.start()], *doubt]
    extension = _EXTENSION.search(text)
    if extension is not None and digits_in(text[: extension.start()]) >= LEAST_DIGITS:
        return without_words(text[: extension.start()])
    return [text] if is_vanity(text) else _numbers_among_words(text)


def is_vanity(text: str) -> bool:
    """Whether letters are part of a number of ten places, as North America writes and dials them."""
    text = text.strip()
    if not re.fullmatch(r"\+?[0-9A-Za-z ().-]+", text):
        return False
    places = re.sub(r"[^0-9A-Za-z]", "", text)
    if len(places) == 11 and places[0] == "1":
        places = places[1:]
    leading = re.match(r"[0-9]*", places)
    assert leading is not None, "the pattern matches an empty string"
    words = _LETTERS.findall(text.upper())
    if len(places) != 10 or sum(map(str.isalpha, places)) < 3 or leading.end() < 3:
        return False
    # `555-0166 fax` has ten places too: a local number and a word.
    return _FREE.match(places) is not None or (leading.end() <= 6 and not _LABELS.intersection(words))


def _numbers_among_words(text: str) -> list[str | Rejected]:
    runs = list(_RUN.finditer(text))
    if any(_glued(text, one.end(), next_one.start()) for one, next_one in itertools.pairwise(runs)):
        return [_letters()]
    sizes = [digits_in(run.group()) for run in runs]
    main = next((i for i, size in enumerate(sizes) if size >= LEAST_DIGITS), None)
    # Figures in front must be part of a label: in `0176 mobil 4069001` they are part of the number.
    labelled = _LETTERS.search(text[: runs[0].start()]) is not None
    if main is None or any(size > (3 if labelled else 2) for size in sizes[:main]):
        return [_letters()]
    end = runs[main].end()
    if _ends_in_letter(text, end):
        return [_letters()]
    if is_stale(text[end:]):
        return [stale()]
    start = runs[main - 1].end() if main else 0
    found: list[str | Rejected] = [text[start:end].rstrip(_SEPARATORS)]
    for run, size in zip(runs[main + 1 :], sizes[main + 1 :], strict=True):
        if size >= NUMBER_DIGITS and run.group().lstrip("([ ")[:1] in {"+", "0"}:
            found.append(run.group().rstrip(_SEPARATORS))
        elif size >= LEAST_DIGITS:
            return [second()]
        elif run is runs[-1] and not text[run.end() :].strip() and _UP_TO.search(text[end : run.start()]):
            found.append(second())  # `030 231250-01 bis 05`
    return found


def _ends_in_letter(text: str, end: int) -> bool:
    """Whether the letters behind a run of digits may be digits: `0176 0406900l`, `0176 O`, `555 CALL2`."""
    attached = _LETTERS.match(text, end)
    if attached is None or not text[end - 1].isdigit():
        return text[end:].strip() in _LIKE_DIGITS
    return len(attached.group()) < 3 or text[attached.end() :][:1].isdigit()


def _glued(text: str, end: int, start: int) -> bool:
    """Whether what stands between two runs of digits may itself be a digit: a letter without a space."""
    between = text[end:start]
    words = _LETTERS.findall(between)
    if not words:
        return False
    touching = between[:1].isalpha() and text[end - 1].isdigit()
    return between.strip() in _LIKE_DIGITS or (touching and len(words[0]) < 3) or len(between.strip()) == 1


def stale() -> Rejected:
    """The rejection of a number that is marked as no longer right."""
    return Rejected("marked as no longer valid", "remove the remark if the number is right")


def _letters() -> Rejected:
    return Rejected("letters in the number", "write it in digits")


def second() -> Rejected:
    """The rejection of digits that may be a second number, an extension, or dialled after a pause."""
    return Rejected(
        "a second number in one field, or an extension", "write each number in a field of its own"
    )
