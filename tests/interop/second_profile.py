"""docs/identifiers.md, normalisation profile 1, a second time; plans by libphonenumber."""

import re
import unicodedata
from urllib.parse import unquote

import phonenumbers
from phonenumbers import PhoneMetadata

LEADING_ZERO = {"39", "225", "226", "229", "241", "242", "250", "378", "881", "992"}
RENUMBERED = {
    "52": [(r"(?:1|01|044|045)([2-9]\d{9})", r"\1")],
    "54": [(r"15\d{8}", None)],
    "55": [(r"([1-9]{2})([689]\d{7})", r"\g<1>9\2"), (r"[2-9]\d{7}|9\d{8}", None)],
    "229": [(r"(\d{8})", r"01\1")],
}
KEYPAD = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "22233344455566677778889999")


class Rejected(Exception):
    pass


def demand(holds: object) -> None:
    if not holds:
        raise Rejected


def plain(character: str) -> str:
    """Step 2 for one character."""
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if "\uff01" <= character <= "\uff5e":
        return chr(ord(character) - 0xFEE0)
    if category == "Pd" or character in "\u2212\u30fc\u00b7\u2022\u2219\u2027":
        return "-"
    if category in ("Zs", "Zl", "Zp", "Cc"):
        return " "
    return "" if category == "Cf" else character


def number_of_uri(text: str) -> str:
    """Step 3."""
    text = re.sub(r"\\([;,])", r"\1", text)
    if scheme := re.match(r"(?i)(tel|callto):(//)?", text):
        text = unquote(text[scheme.end() :]).strip()
    number, *parameters = text.split(";")
    if not number.lstrip().startswith("+"):
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.lower() == "phone-context":
                demand(value.strip().startswith("+"))
                return f"{value} {number}"
    return number


def dialled(text: str) -> str:
    """Step 4."""
    demand("*" not in text)
    number = re.search(r"[+(\[ ]*[0-9].*", text, re.DOTALL)
    demand(number and "#" not in text[: number.start()])
    text = re.split(r",|(?<![A-Za-z])[PpWw](?![A-Za-z])", number[0])[0].strip()
    extension = r"(?i)(?<![^\W\d_])(ext|extn|extension|x|xt|xtn|anexo|доб|#)[ .:=#-]*[0-9]{1,9}#?\s*$"
    return re.sub(extension, "", text).strip()


def identifier(text: str, region: str | None) -> bytes:
    demand(len(text) <= 256)
    text = dialled(number_of_uri("".join(map(plain, text)).strip()))
    # Step 5
    demand(not re.fullmatch(r"[0-9](\.[0-9]+)?[Ee]\+?[0-9]+|[0-9]{7,}\.0", text))
    letters = sum(character.isalpha() for character in text)
    if letters:
        demand(letters >= 3 and text.isascii())
        text = text.upper().translate(KEYPAD)
    # Step 6
    demand(re.fullmatch(r"[ (\[]*\+?[0-9 ()\[\]./:_~-]+", text))
    digits = re.sub(r"[^0-9+]", "", text)
    # Step 7
    demand(digits[0] == "+" or region)
    code, national = country(digits, None if digits[0] == "+" else region.upper())
    demand(not letters or code == "1")
    return f"tel:+{code}{national}".encode()


def country(digits: str, region: str | None) -> tuple[str, str]:
    """Steps 7 to 11."""
    code, national = parse(digits, region)
    if region is not None:
        demand(not (code in ("49", "62", "383") and national == digits and len(digits) >= 10
                    and digits.startswith(code)))  # fmt: skip
        demand(len(digits) > 6 or not is_short(digits, region))
    for pattern, replacement in RENUMBERED.get(code, []):
        if match := re.fullmatch(pattern, national):
            demand(replacement)
            national = match.expand(replacement)
            break
    demand(national[0] != "0" or code in LEADING_ZERO)
    main_region = phonenumbers.COUNTRY_CODE_TO_REGION_CODE[int(code)][0]
    plan = PhoneMetadata.metadata_for_region_or_calling_code(int(code), main_region)
    demand(len(national) in plan.general_desc.possible_length and len(code + national) <= 15)
    demand((code, national) == parse(f"+{code}{national}", None))
    return code, national


def parse(digits: str, region: str | None) -> tuple[str, str]:
    try:
        number = phonenumbers.parse(digits, region)
    except phonenumbers.NumberParseException as error:
        raise Rejected from error
    return str(number.country_code), phonenumbers.national_significant_number(number)


def is_short(digits: str, region: str) -> bool:
    if phonenumbers.is_emergency_number(digits, region):
        return True
    number = phonenumbers.parse(digits, region)
    whole = phonenumbers.national_significant_number(number) == digits
    return whole and phonenumbers.is_valid_short_number_for_region(number, region)
