"""E-mail addresses in books of every format, beside numbers; what is said of those that cannot be read."""

# ruff: noqa: E501, ISC004 - data: the lines of address books

import base64
import io
import json
import time

import pytest
from cases import each

from contactsync.contacts.book import MAX_NUMBERS
from contactsync.contacts.headings import MAIL, OTHER, role_of
from contactsync.contacts.mails import address_in, read_mails
from contactsync.foundation.errors import BadInput
from contactsync.identifiers import Rejected
from contactsync.library.books import address_book
from contactsync.sources import read_address_books

BASE64 = base64.b64encode("ümit@example.org".encode()).decode()
UMIT = "%C3%BCmit@example.org"


def card(*lines, version="3.0"):
    return "\r\n".join(["BEGIN:VCARD", f"VERSION:{version}", "FN:Ann", *lines, "END:VCARD", ""])


BOOKS = {
    "vCard 3": (card("EMAIL;TYPE=INTERNET,HOME:Ann@Example.org", "item1.EMAIL:a@b.org"), ["ann@example.org", "a@b.org"]),
    "vCard 4": (card("EMAIL;PREF=1:ann@example.org", "EMAIL;VALUE=uri:mailto:b@x.org", version="4.0"), ["ann@example.org", "b@x.org"]),
    "vCard 2.1, quoted-printable": (
        card("EMAIL;INTERNET;ENCODING=QUOTED-PRINTABLE;CHARSET=UTF-8:=C3=BCmit=", "=40example.org", version="2.1"),
        [UMIT],
    ),
    "vCard 2.1, charset": (
        card("EMAIL;CHARSET=ISO-8859-1;ENCODING=QUOTED-PRINTABLE:=FCmit@example.org", version="2.1"),
        [UMIT],
    ),
    "vCard, base64": (card(f"EMAIL;ENCODING=b:{BASE64}"), [UMIT]),
    "vCard, folded": (card("EMAIL;TYPE=INTERNET:ann@exam", " ple.org"), ["ann@example.org"]),
    "vCard, with a name": (card("EMAIL:Ann Lee <ann@example.org>"), ["ann@example.org"]),
    "jCard": (
        json.dumps(["vcard", [["fn", {}, "text", "Ann"], ["email", {}, "text", "Ann@example.org"], ["email", {}, "uri", "mailto:b@x.org"]]]),
        ["ann@example.org", "b@x.org"],
    ),
    "xCard": (
        '<vcards xmlns="urn:ietf:params:xml:ns:vcard-4.0"><vcard><fn><text>Ann</text></fn>'
        "<email><parameters><type><text>home</text></type></parameters><text>ann@example.org</text></email>"
        "</vcard></vcards>",
        ["ann@example.org"],
    ),
    "FRITZ!Box": (
        '<phonebooks><phonebook><contact><person><realName>Ann</realName></person><telephony/><services>'
        '<email classifier="private">ann@example.org</email></services></contact></phonebook></phonebooks>',
        ["ann@example.org"],
    ),
    "Windows": (
        '<c:contact xmlns:c="x"><c:NameCollection><c:Name><c:FormattedName>Ann</c:FormattedName></c:Name>'
        "</c:NameCollection><c:EmailAddressCollection><c:EmailAddress><c:Type>SMTP</c:Type>"
        "<c:Address>ann@example.org</c:Address></c:EmailAddress></c:EmailAddressCollection></c:contact>",
        ["ann@example.org"],
    ),
    "LDIF": (
        f"dn: cn=Ann\ncn: Ann\nmail: Ann@example.org\nmozillaSecondEmail:: {BASE64}\n",
        ["ann@example.org", UMIT],
    ),
    "Google": (
        "First Name,Last Name,E-mail 1 - Label,E-mail 1 - Value,E-mail 2 - Value\nAnn,,* ,ann@example.org ::: b@x.org,c@x.org\n",
        ["ann@example.org", "b@x.org", "c@x.org"],
    ),
    "Outlook": (
        "First Name,Last Name,E-mail Address,E-mail Type,E-mail Display Name,E-mail 2 Address\n"
        "Ann,,ann@example.org,SMTP,Ann (ann@example.org),b@x.org\n",
        ["ann@example.org", "b@x.org"],
    ),
    "Outlook, German": (
        "Vorname;Nachname;E-Mail-Adresse;E-Mail-Typ;E-Mail 2: Adresse\nAnn;;ann@example.org;SMTP;b@x.org\n",
        ["ann@example.org", "b@x.org"],
    ),
    "Thunderbird": (
        "First Name,Last Name,Display Name,Primary Email,Secondary Email,Work Phone\n,,Ann,ann@example.org,b@x.org,\n",
        ["ann@example.org", "b@x.org"],
    ),
    "a table without a header": ("Ann;ann@example.org\nAnn;b@x.org\n", ["ann@example.org", "b@x.org"]),
    "a list": ("# friends\nann@example.org\nAnn <b@x.org>\n<mailto:c@x.org>\n", ["ann@example.org", "b@x.org", "c@x.org"]),
}  # fmt: skip


def read(text, **more):
    return address_book("-", region="DE", stdin=io.BytesIO(text.encode()), **more)


def test_every_format():
    each([(name, *of) for name, of in BOOKS.items()], has)


def has(text, expected):
    book = read(text)
    found = [i.decode() for contact in book.contacts for i in contact.identifiers]
    assert found == [f"mailto:{one}" for one in expected]
    assert book.unreadable == []
    assert {contact.name for contact in book.contacts} <= {"Ann", "(no name)"}


def test_a_contact_has_identifiers_of_both_kinds_numbers_first():
    book = read(
        card("EMAIL:ann@example.org", "TEL:0151 2345678") + card("TEL:0151 2345678", "EMAIL:ANN@example.org")
    )
    (ann,) = book.contacts  # the same name and identifiers twice
    assert ann.identifiers == (b"tel:+491512345678", b"mailto:ann@example.org")
    assert (book.count("tel"), book.count("mailto"), book.without_identifier) == (1, 1, 0)


def test_what_cannot_be_read_is_reported_and_costs_itself():
    text = card(
        "EMAIL:/o=Exchange/ou=x/cn=ann",
        "EMAIL:ann@localhost",
        'EMAIL:"a b"@x.org',
        "EMAIL:b@x.org",
        "TEL:+4915112345678",
    )
    book = read(text)
    (ann,) = book.contacts
    assert ann.identifiers == (b"tel:+4915112345678", b"mailto:b@x.org")
    assert [(one.place, one.reason, one.kind) for one in book.unreadable] == [
        ("card 1, line 4", "no @ in it", "mailto"),
        ("card 1, line 5", "a domain without a dot", "mailto"),
        ("card 1, line 6", "a quoted local part", "mailto"),
    ]


def test_too_many_addresses_are_said():
    book = read(card(*(f"EMAIL:n{i}@x.org" for i in range(MAX_NUMBERS + 1))))
    assert len(book.identifiers) == MAX_NUMBERS
    assert [one.reason for one in book.unreadable] == ["too many e-mail addresses"]


def test_only_one_kind():
    text = card("EMAIL:ann@example.org", "EMAIL:ann@localhost", "TEL:0151 2345678", "TEL:110") + card(
        "TEL:0151 2345679"
    )
    book = read(text, kinds=["mailto"])
    assert [one.identifiers for one in book.contacts] == [(b"mailto:ann@example.org",), ()]
    assert [one.reason for one in book.unreadable] == ["a domain without a dot"]
    assert book.without_identifier == 1
    book = read(text, kinds=["tel"])
    assert book.count("mailto") == 0
    assert [one.reason for one in book.unreadable] == ["a short code or an emergency number"]
    with pytest.raises(BadInput, match="no kind 'fax'"):
        read(text, kinds=["fax"])


def test_people_are_chosen_by_an_address_too_whatever_kind_is_looked_up(tmp_path):
    (tmp_path / "friends.txt").write_text("ann@example.org\n")
    text = card("EMAIL:Ann@example.org", "TEL:0151 2345678") + card("TEL:0151 2345679").replace("Ann", "Bob")
    book = read(text, only=[tmp_path / "friends.txt"], kinds=["tel"])
    assert [one.identifiers for one in book.contacts] == [(b"tel:+491512345678",)]
    assert book.left_out == 1
    book = read(text, exclude=[tmp_path / "friends.txt"])
    assert [one.name for one in book.contacts] == ["Bob"]


def test_a_folder_and_a_book_of_cards_are_read_alike(tmp_path):
    (tmp_path / "a.vcf").write_text(card("EMAIL:ann@example.org"))
    (tmp_path / "b.csv").write_text("name,email\nBob,bob@example.org\n")
    assert read_address_books([tmp_path, tmp_path / "b.csv"], region="DE").count("mailto") == 2


def test_one_field_with_several():
    for text, expected in {
        "a@x.org, b@x.org": [b"mailto:a@x.org", b"mailto:b@x.org"],
        '"Lee, Ann" <a@x.org>; Bob <b@x.org>': [b"mailto:a@x.org", b"mailto:b@x.org"],
        "a@x.org\nb@x.org": [b"mailto:a@x.org", b"mailto:b@x.org"],
        "a@x.org b@x.org": ["several addresses in one field"],
        "a@x.org, none": [b"mailto:a@x.org", "no @ in it"],
        "": ["no @ in it"],
        "x" * 70_000: ["too long for an e-mail address"],
    }.items():
        found = [one.reason if isinstance(one, Rejected) else one for one in read_mails(text)]
        assert found == expected, text[:40]


@pytest.mark.parametrize("unit", ["<", '"', '"<', ",", "a@"])
def test_a_hostile_field_takes_no_more_than_its_length(unit):
    def seconds(length):
        start = time.process_time()
        list(read_mails(unit * (length // len(unit)) + ","))
        return time.process_time() - start

    once = min(seconds(15_000) for _ in range(3))
    assert min(seconds(60_000) for _ in range(3)) < 8 * once + 0.1  # what is quadratic takes 16 times as long


def test_a_line_with_more_than_an_address():
    assert address_in("Ann Lee <ann@example.org>") == ("Ann Lee", "Ann Lee <ann@example.org>", "")
    assert address_in("Ann: ann@example.org 0151 2345678") == ("", "ann@example.org", "Ann:   0151 2345678")
    assert address_in("a@x.org b@x.org") is None
    book = read("Ann ann@example.org 0151 2345678\nBob b@x.org c@x.org\nEve e@x.org\n")
    both = (b"tel:+491512345678", b"mailto:ann@example.org")
    assert [one.identifiers for one in book.contacts] == [both, (b"mailto:e@x.org",)]
    assert [one.reason for one in book.unreadable] == ["several addresses in one field"]


def test_headings():
    for text in (
        "E-mail 3 - Value",
        "Work E-Mail",
        "Email",
        "E-mailadres",
        "Courriel",
        "Correo",
        "メールアドレス",
        "邮箱",
        "Эл. почта",
    ):
        assert role_of(text) == MAIL, text
    for text in (
        "E-mail 1 - Label",
        "E-mail 2 Display Name",
        "E-mail Type",
        "Email opt-in",
        "Assistant's e-mail",
    ):
        assert role_of(text) == OTHER, text


@pytest.mark.parametrize(
    "text",
    [
        "ann@mail.org\nbob@x.org\n",
        "Ann <ann@mail.org>\nBob <bob@x.org>\n",
        "ann@mail.org;Ann\nbob@x.org;Bob\n",
    ],
)
def test_an_address_is_no_heading_whatever_its_words(tmp_path, text):
    (tmp_path / "list.txt").write_text(text)
    book = address_book(str(tmp_path / "list.txt"))
    assert (book.identifiers, book.unreadable) == ([b"mailto:ann@mail.org", b"mailto:bob@x.org"], [])


def test_a_letter_with_an_address_in_it_is_no_book():
    text = "Dear Ann,\nplease write to bob@example.org.\nHe waits.\nYours\nCarl\n"
    book = read(text)
    assert book.contacts == []
    assert [one.reason for one in book.unreadable] == ["not an address book"]
