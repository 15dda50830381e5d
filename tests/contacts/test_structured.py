"""LDIF, jCard, and books in XML: what is read, and what a broken or hostile file costs."""

import base64
import json
import time

import pytest

from contactsync.contacts.book import Entry, Fault, Group
from contactsync.contacts.formats import entries_of


def read(data):
    found = list(entries_of(data if isinstance(data, bytes) else data.encode()))
    rows = [(e.name, [n.text for n in e.numbers]) for e in found if isinstance(e, Entry)]
    return rows, [f.reason for f in found if isinstance(f, Fault)]


def test_ldif_folded_and_base64():
    name = base64.b64encode("Jörg Ö".encode()).decode()
    text = (
        "version: 1\n\n# a comment\ndn: cn=Lena,mail=l@example.org\nobjectclass: person\ncn: Lena Leu\n"
        "telephoneNumber: 030 2312\n 5001\nhomePhone;lang-de: 030 2\nmobile: 3\nfacsimileTelephoneNumber: 4\n"
        "jpegPhoto:: " + "QUFB\n " * 50 + "\n\n"
        f"dn:: {name}\r\ncn:: {name}\r\nmobile:: MDE3Ng==\r\n\r\n\r\n"
        "dn: mail=x\nmail: x@example.org\nmobile:\n"
    )
    assert read(text) == (
        [("Lena Leu", ["030 23125001", "030 2", "3", "4"]), ("Jörg Ö", ["0176"]), ("x@example.org", [])],
        [],
    )


def test_ldif_without_a_version_and_with_parts_of_a_name():
    assert read("dn: uid=1\ngivenName: Ada\nsn: King\npager: 1\n")[0] == [("Ada King", ["1"])]


def test_an_ldif_group_is_no_contact():
    text = "dn: cn=Choir\nobjectclass: groupOfNames\ncn: Choir\nmember: cn=Ada,mail=a\n\n"
    text += "dn: cn=Ada,mail=a\ncn: Ada\nmobile: 1\n"
    group, ada = entries_of(text.encode())
    assert group == Group("Choir", ("cn=Ada,mail=a",))
    assert ada.uid == "cn=Ada,mail=a"


def test_broken_base64_costs_its_line():
    rows, faults = read("dn: x\ncn: Ada\nmobile:: *\nhomePhone: 1\n")
    assert rows == [("Ada", ["1"])] or faults == ["not the base64 that it should be"]


CARD = [
    "vcard",
    [["version", {}, "text", "4.0"], ["fn", {}, "text", "Jay"], ["tel", {}, "uri", "tel:+49-30-1"]],
]


def test_jcards():
    assert read(json.dumps(CARD)) == ([("Jay", ["tel:+49-30-1"])], [])
    assert read(json.dumps([CARD, CARD]))[0] == [("Jay", ["tel:+49-30-1"])] * 2
    parts = [
        "vcard",
        [["n", {}, "text", ["King", "Ada", "", "", ""]], ["tel", {"type": ["a"]}, "text", "1", "2"]],
    ]
    assert read(json.dumps(parts))[0] == [("Ada King", ["1", "2"])]
    group = [
        "vcard",
        [["kind", {}, "text", "group"], ["fn", {}, "text", "C"], ["member", {}, "uri", "urn:uuid:1"]],
    ]
    assert list(entries_of(json.dumps([group]).encode())) == [Group("C", ("urn:uuid:1",))]


@pytest.mark.parametrize(
    "text",
    [
        '["vcard",[["fn"',
        '["vcard",' + "[" * 100_000,
        '["vcard"]',
        '["vcard",[[1,2,3,4],"x",null,["tel",{},"text",{"a":1}]]]',
        '[["vcard",[]],1,"x"]',
        "[" * 20 + '"vcard"',
    ],
)
def test_a_broken_jcard_is_reported(text):
    rows, faults = read(text)
    assert rows == []
    assert faults


XCARD = """<?xml version="1.0" encoding="UTF-8"?>
<vcards xmlns="urn:ietf:params:xml:ns:vcard-4.0"><vcard><fn><text>Simon &amp; Söhne</text></fn>
<tel><parameters><type><text>work</text></type></parameters><uri>tel:+49-30-1;ext=2</uri></tel>
<tel><text>030 2</text></tel><uid><uri>urn:uuid:1</uri></uid></vcard></vcards>"""
FRITZ = """<?xml version="1.0" encoding="iso-8859-1"?>
<phonebooks><phonebook name="Telefonbuch"><contact><category>0</category><person>
<realName>Jörg</realName></person><telephony nid="2"><number type="mobile" prio="1">0176 1</number>
<number type="home">030 1</number></telephony>
<services><email>a@b</email></services></contact><contact><person><realName>Leer</realName></person></contact>
</phonebook></phonebooks>"""
WINDOWS = """<c:contact xmlns:c="http://schemas.microsoft.com/Contact"><c:NameCollection><c:Name>
<c:FormattedName>Ada King</c:FormattedName><c:GivenName>Ada</c:GivenName></c:Name></c:NameCollection>
<c:PhoneNumberCollection><c:PhoneNumber><c:Number>030 1</c:Number></c:PhoneNumber></c:PhoneNumberCollection>
</c:contact>"""
DESK = """<YealinkIPPhoneDirectory><DirectoryEntry><Name>Ada</Name><Telephone>1</Telephone>
<Telephone>2</Telephone>
</DirectoryEntry></YealinkIPPhoneDirectory>"""
GRANDSTREAM = """<AddressBook><Contact><LastName>King</LastName><FirstName>Ada</FirstName><Phone>
<phonenumber>1</phonenumber></Phone></Contact></AddressBook>"""


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (XCARD.encode(), [("Simon & Söhne", ["tel:+49-30-1;ext=2", "030 2"])]),
        (
            XCARD.replace("UTF-8", "UTF-16").encode("utf-16"),
            [("Simon & Söhne", ["tel:+49-30-1;ext=2", "030 2"])],
        ),
        (FRITZ.encode("iso-8859-1"), [("Jörg", ["0176 1", "030 1"]), ("Leer", [])]),
        (FRITZ.replace("iso-8859-1", "utf-8").encode(), [("Jörg", ["0176 1", "030 1"]), ("Leer", [])]),
        (WINDOWS.encode(), [("Ada King", ["030 1"])]),
        (DESK.encode(), [("Ada", ["1", "2"])]),
        (GRANDSTREAM.encode(), [("Ada King", ["1"])]),
    ],
)
def test_books_in_xml(data, rows):
    assert read(data) == (rows, [])


BOMB = (
    "<!DOCTYPE vcards [<!ENTITY a 'x'>"
    + "".join(f"<!ENTITY {chr(98 + i)} '{'&' + chr(97 + i) + ';'}'>" for i in range(9))
    + "]>"
)


@pytest.mark.parametrize(
    "document_type", [BOMB, '<!DOCTYPE vcards SYSTEM "file:///etc/passwd">', "<!DOCTYPE vcards>"]
)
def test_a_document_type_is_refused(document_type):
    text = XCARD.replace("<vcards", document_type + "<vcards")
    assert read(text) == ([], ["a document type is not read"])


def test_broken_xml_keeps_what_came_before():
    rows, faults = read(FRITZ.encode("iso-8859-1")[:-60])
    assert rows[0] == ("Jörg", ["0176 1", "030 1"])
    assert faults == ["the XML is broken"]
    assert read("<vcards><x></x></vcards>")[1] == ["no contact in it"]
    assert read("<vcards>" + "<a>" * 100_000)[1] == ["more than 40 elements deep"]


NASTY = {
    "ldif folds": b"dn: x\ncn: a" + b"\n b" * 500_000,
    "ldif attributes": b"dn: x\n" + b"mobile: 1\n" * 200_000,
    "ldif comments": b"# c\n" * 300_000 + b"dn: x\n",
    "ldif empty lines": b"version: 1\n" + b"\n" * 1_000_000,
    "xml text": b"<vcards><vcard><fn><text>" + b"x" * 5_000_000,
    "xml numbers": b"<phonebooks><contact>" + b"<number>1</number>" * 200_000 + b"</contact></phonebooks>",
    "xml attributes": b"<vcards><vcard " + b"a" * 3_000_000 + b"='1'></vcard></vcards>",
    "jcard": b'["vcard",[' + b'["tel",{},"text","1"],' * 100_000 + b'["fn",{},"text","x"]]]',
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NASTY)
def test_nothing_takes_more_than_linear_time(name):
    started = time.process_time()
    for _ in entries_of(NASTY[name]):
        pass
    assert time.process_time() - started < 5
