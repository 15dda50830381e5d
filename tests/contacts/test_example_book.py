"""The shipped example: ordinary to look at, many countries, and nobody's number in it."""

from importlib.resources import files

import phonenumbers
import pytest

from contactsync.identifiers import partition_of
from contactsync.sources import read_address_books

# Ranges that regulators keep for stories (Ofcom, NANPA, Bundesnetzagentur, Arcep, PTS, ComReg, ACMA).
RESERVED = (
    *("+4477009", "+44207946", "+441314960", "+441614960"),
    *("+49176040690", "+491729925904", "+491729968532", "+491729973185", "+491749091317"),
    *("+493023125", "+494066969", "+496990009", "+492214710", "+498999998"),
    *("+33639980", "+33639981", "+33199000", "+33465710"),
    *("+467017406", "+468465004", "+46313900", "+35320910", "+35320911"),
    *("+61491570", "+6125550"),
)


@pytest.fixture(scope="module")
def book():
    return read_address_books([str(files("contactsync.commands") / "example" / "contacts.vcf")], region="DE")


def test_what_is_in_it(book):
    assert len(book.contacts) == 51
    assert (book.count("tel"), book.count("mailto")) == (61, 3)
    assert len({partition_of(identifier) for identifier in book.identifiers}) >= 13
    names = [contact.name for contact in book.contacts]
    assert {"Jörg Krüger", "Renée Müller", "Milan Novak", "Taxi Nord", "Tobias Falk", "佐藤 健"} <= set(names)
    assert len(names) == len(set(names))


def test_what_cannot_be_read_costs_itself(book):
    assert [unreadable.reason for unreadable in book.unreadable] == [
        "the card is cut off: it has no END:VCARD",
        "not a phone number",
        "a short code or an emergency number",
        "the card is empty",
    ]
    (home,) = [contact for contact in book.contacts if contact.name == "Ferienhaus"]
    assert len(home.identifiers) == 1


def test_every_number_is_kept_for_stories_or_allotted_to_nobody(book):
    for identifier in book.identifiers:
        e164 = identifier.decode().removeprefix("tel:")
        if identifier.startswith(b"mailto:"):
            assert e164.rpartition("@")[2] in {"example.org", "example.net"}  # RFC 2606
            continue
        fictitious = e164.startswith("+1") and e164[5:10] == "55501"
        allotted = phonenumbers.is_valid_number(phonenumbers.parse(e164))
        assert fictitious or e164.startswith(RESERVED) or not allotted, e164
