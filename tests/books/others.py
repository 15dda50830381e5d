"""Lists, other formats, and what is no address book."""

import gzip
import io
import json
import sqlite3
import zipfile

from books.case import Case, card, of, people, read


def database(script: str) -> bytes:
    """The bytes of a database."""
    connection = sqlite3.connect(":memory:")
    connection.executescript(script)
    data = connection.serialize()
    connection.close()
    return data


def archive(members: dict[str, str | bytes]) -> bytes:
    """The bytes of a zip file."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return data.getvalue()


TIA = card("FN:Tilda Zip", "TEL:0176 04069011")

OTHERS = [
    Case(
        "names-and-numbers.txt", "DE", "notes: a name and a number in each line", "was refused as no address book",
        "Paula Probe 0176 04069001\nPeter Probe: 030 23125002\nPia Probe - +49 30 23125003\n",
        read("(no name)", "+4917604069001", "(no name)", "+493023125002", "(no name)", "+493023125003"),
    ),
    Case(
        "numbers-in-one-line.txt", "DE", "numbers pasted from a chat group", "commas between numbers",
        "+49 176 04069004, +49 176 04069005, +44 7700 900105, +33 6 39 98 01 01\n",
        of("(no name)", "+4917604069004", "+4917604069005", "+447700900105", "+33639980101"),
    ),
    Case(
        "list-in-utf16.txt", "DE", "Notepad's Unicode", "a list in UTF-16", "0176 04069006\r\n030 23125006 # Papa\r\n".encode("utf-16"),
        read("(no name)", "+4917604069006", "(no name)", "+493023125006"),
    ),
    Case(
        "thunderbird.ldif", "DE", "nextcloud/contacts#1134, #1387; Coffey-Labs/ihasmail#174; tine20/tine20#1180; kparal/esmska#162",
        "the folded number was cut, and named a stranger",
        "version: 1\n\ndn: cn=Lore Lind,mail=l@example.org\nobjectclass: person\nobjectclass: mozillaAbPersonAlpha\ngivenName: Lore\nsn: Lind\n"
        "cn: Lore Lind\ntelephoneNumber: 030 23125001\nhomePhone: +49 30 23125002\nmobile: 0176 04069001\n\n"
        "dn:: Y249QsO2cmUgw5Y=\nobjectclass: person\ncn:: QsO2cmUgw5Y=\nmobile: 0176 04069\n 002\n",
        of("Lore Lind", "+493023125001", "+493023125002", "+4917604069001") + read("Böre Ö", "+4917604069002"),
    ),
    Case(
        "fritzbox.xml", "DE", "jfritz-org/jfritz#29; berkholz/vcard2fritzXML#31; carlos22/carddav2fb#19", "the telephone book of many a household",
        '<?xml version="1.0" encoding="utf-8"?>\n<phonebooks><phonebook name="Telefonbuch"><contact><category>0</category><person><realName>'
        'Frida Fritz</realName></person><telephony nid="1"><number type="mobile" prio="1" id="0">017604069008</number></telephony></contact>'
        "</phonebook></phonebooks>\n",
        read("Frida Fritz", "+4917604069008"),
        note="one reader expected a refusal by name, as it was; the book is read now",
    ),
    Case(
        "card.json", "DE", "nextcloud/contacts#3956; FossifyOrg/Contacts#513", "jCard",
        json.dumps(["vcard", [["version", {}, "text", "4.0"], ["fn", {}, "text", "Jana Json"], ["tel", {"type": "cell"}, "uri", "tel:+4917604069009"]]]),
        read("Jana Json", "+4917604069009"),
    ),
    Case(
        "takeout.zip", "DE", "owncloud/contacts#246; immich-app/CLI#54; FossifyOrg/Contacts#434", "Google Takeout comes as zip",
        archive({"Takeout/Contacts/All Contacts/All Contacts.vcf": TIA, "Takeout/Contacts/My Contacts/My Contacts.vcf": TIA,
                 "Takeout/Contacts/All Contacts/Tilda.jpg": b"\xff\xd8"}),
        read("Tilda Zip", "+4917604069011"), 1,
        note="one reader expected a refusal by name, as it was; the cards are read now, and the picture is said",
    ),
    Case(
        "archive.abbu", "DE", "nextcloud/contacts#2119; nbramia/LifeOS#514", "macOS: Export Contacts Archive",
        {"AddressBook-v22.abcddb": database(
            "CREATE TABLE ZABCDRECORD(Z_PK integer, ZFIRSTNAME text, ZLASTNAME text); INSERT INTO ZABCDRECORD VALUES (1,'Mac','Buch');"
            "CREATE TABLE ZABCDPHONENUMBER(ZOWNER integer, ZFULLNUMBER text); INSERT INTO ZABCDPHONENUMBER VALUES (1,'0176 04069013');")},
        read("Mac Buch", "+4917604069013"),
    ),
    Case(
        "part-of-contacts2.db", "DE", "vgmoose/OpenBackupExtractor#7", "Android's database without the table of kinds",
        database("CREATE TABLE data(raw_contact_id integer, mimetype_id integer, data1 text); INSERT INTO data VALUES (1,5,'0176 04069014');"),
        (), 1,
    ),
    Case("mail.pst", "DE", "libyal/libpff#161; Dijji/XstReader#5", "Outlook's own file", b"!BDN" + bytes(600), (), 1),
    Case("book.xlsx", "DE", "stacks-task-manager/stacks2#79", "a workbook", archive({"[Content_Types].xml": "x", "xl/workbook.xml": "x"}), (), 1),
    Case(
        "mixed-folder", "DE", "cozy/cozy-contacts-v2#76", "a folder stands for its cards; the rest is said",
        {"a.vcf": card("FN:Ea", "TEL:0176 04069016"), "B.VCF": card("FN:Eb", "TEL:0176 04069017"), "d.vcard": card("FN:Ed", "TEL:0176 04069020"),
         "google.csv": "Name,Phone\nEc,0176 04069018\n", "notes.txt": "hello", "x.ldif": "dn: x\ncn: Ex\nmobile: 0176 04069021\n",
         "sub/c.vcf.gz": gzip.compress(card("FN:Eg", "TEL:0176 04069019").encode()), ".hidden.vcf": card("FN:Eh", "TEL:0176 04069022")},
        read("Ea", "+4917604069016", "Eb", "+4917604069017", "Ed", "+4917604069020"), 1,
    ),
    Case("login-page.vcf", "DE", "a download that was a login page", "HTML instead of cards", "<!DOCTYPE html><html><title>Log in</title></html>", (), 1),
    Case(
        "friends.json", "DE", "Facebook's and Signal's exports; FossifyOrg/Contacts#513", "JSON of another kind",
        '{"friends":[{"name":"K","details":[{"contact_point":"+4917604069023"}]}]}', (), 1,
    ),
    Case("cards.vcf.gz", "DE", "FossifyOrg/Contacts#434", "a compressed backup", gzip.compress(people({"Gitta Zip": "0176 04069019"}).encode()),
         read("Gitta Zip", "+4917604069019")),
]  # fmt: skip
