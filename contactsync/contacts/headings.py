"""What a column of a table holds, by its heading: the headings of programs, then words of many languages."""

from __future__ import annotations

import functools
import re
import tomllib
from importlib.resources import files

FULL, GIVEN, MIDDLE, FAMILY, INSTEAD = "full", "given", "middle", "family", "instead"
PHONE, MAYBE, NUMBER, GROUPS, MAIL = "phone", "maybe", "number", "groups", "mail"
OTHER, UNKNOWN = "other", "unknown"
ROLES = (FULL, GIVEN, MIDDLE, FAMILY, INSTEAD, PHONE, MAYBE, NUMBER, MAIL, GROUPS, OTHER)
NAMES = {FULL, GIVEN, MIDDLE, FAMILY, INSTEAD, MAIL}
"""Roles of which one is enough to name a person; an address does if nothing else is there."""

# Words for a telephone number in small letters. Those that stand in longer words first.
PHONE_WORDS = re.compile(
    r"telefo|teleph|t[ée]l[ée]phon|telefón|телефон|τηλέφων|τηλεφων|טלפון|هاتف|تلفن|تلفون|電話|电话|전화|โทร|"
    r"điện thoại|puhelin|κινητ|мобильн|мобільн|мобилен|сотов|נייד|جوال|محمول|موبایل|手机|手機|携帯|휴대|"
    r"핸드폰|มือถือ|di động|komórk|cep tel|факс|φαξ|פקס|فاکس|فاكس|传真|傳真|팩스|ファックス|ファクス|rufnummer|"
    r"télécopie|sími\b|símanúmer|"
    r"mobilnummer|mobilnr|handynummer|handynr|(?<![^\W_])(?:"
    r"(?:i|mobile|home|work|cell|business|office|other|tele)?phones?(?:number|numbers|no|nr)?|tel|mobile|"
    r"cell(?:ular)?|handys?|mobil|mobiel|fon|tél|portable|m[óo]vil|celulare?|cellulare|fax(?:nummer|nr)?|faks|"
    r"whats ?app|i phone|pager|gsm|tlf|mob|telemóvel|ponsel|viber"
    r")(?![^\W_])"
)
# Words for an e-mail address in small letters, and words that make a column with them hold something else.
MAIL_WORDS = re.compile(
    r"e-?mail|(?<![^\W_])mails?(?![^\W_])|mailadress|courriel|messagerie|"
    r"correo elec|(?<![^\W_])correo(?![^\W_])|posta elettronica|e-post(?!al|nummer)|sähköposti|e-?posta(?!l)|"
    r"эл\w*\.? ?почт|электронн\w+ (?:почт|адрес)|електронн\w+ (?:пошт|адрес)|"
    r"ηλεκτρονικ\w+ (?:ταχυδρομ|διεύθ)|"
    r"דוא[\"״']?ל|בריד|البريد|بريد إلكتروني|ایمیل|رایانامه|"
    r"メール|邮箱|邮件|電子郵件|电子邮件|電郵|信箱|이메일|메일|"
    r"อีเมล|thư điện tử|surel|e-mel"
)
NOT_MAIL = re.compile(
    r"\blabel\b|\btype?\b|вид|typ\b|display|anzeige|format|opt|subscri|newsletter|consent|assistan|password|"
    r"server|verif|status|count|\bdate\b|signatur|notif|subject|body|bounce|\bid\b|emergency|notfall"
)
# Words that make it somebody else's number, or no number.
NOT_PHONE = re.compile(
    r"\blabel\b|\btype?\b|phonetic|\bcountry|\bextension|\bcarrier|assistan|assistent|asystent|помощник|секретар|"
    r"asistente|ayudante|asistan|provider|anbieter|вид тел|emergency|notfall|urgence|e-?mail|\bpin\b|\bpuk\b|"
    r"\bimei\b|serial|フリガナ|よみ"
)
# Words that make it a number of something else.
OF_ELSE = re.compile(
    r"(?:mitglied|kunden|personal|konto|vertrag|rechnung|steuer|haus|ausweis|matrikel|artikel|bestell|lauf|member|"
    r"customer|account|invoice|order|passport|student|employee|client|roll|seat|policy|licen[cs]e)\w*[ -]*"
    r"(?:nummern?|nr|no|number|id)\b\.?|\bid\b|\biban\b|\bzip\b|post(?:al)?[ -]?code|postleitzahl|"
    r"birth|geburt"
)


def role_of(heading: str) -> str:
    """What the column with this heading holds: one of ROLES, or UNKNOWN."""
    text = plain_heading(heading)
    known = _roles()
    role = known.get(text) or known.get(re.sub(r"[ _]*\(?\d{1,2}\)?$", "", text))
    if role is not None:
        return role
    if MAIL_WORDS.search(text):
        return OTHER if NOT_MAIL.search(text) else MAIL
    if not text or NOT_PHONE.search(text) or OF_ELSE.search(text):
        return OTHER if text else UNKNOWN
    return PHONE if PHONE_WORDS.search(text) else UNKNOWN


def plain_heading(heading: str) -> str:
    """A heading as the list has it: `mobilePhone_2` is `mobile phone 2`."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", heading)
    text = re.sub(r"[\s_]+", " ", text).strip(" '\"*:").lower().replace("i\u0307", "i")
    return re.sub(r"(?<=[^\W\d_])(?=\d{1,2}$)", " ", text)


@functools.cache
def _roles() -> dict[str, str]:
    """Heading → role. Where programs differ, the first table of the list decides."""
    found: dict[str, str] = {}
    for table in sources().values():
        for role in ROLES:
            for heading in table.get(role, ()):
                found.setdefault(heading, role)
    return found


def sources() -> dict[str, dict[str, list[str] | str]]:
    """The tables of headings.toml, by program."""
    text = (files("contactsync.contacts") / "headings.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
