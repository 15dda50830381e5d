"""`contactsync contacts`: what is read, what would be looked up, what is not and why. Sends nothing."""

import json
import socket

import pytest
from click.testing import CliRunner

from contactsync.commands import main

BOOK = """BEGIN:VCARD
VERSION:3.0
UID:a
FN:Anna
CATEGORIES:Family,Choir
TEL:0176 04069001
TEL:030 231250-01/02
END:VCARD
BEGIN:VCARD
VERSION:3.0
UID:b
FN:Bert
TEL:23125003
TEL:+44 7700 900104
END:VCARD
BEGIN:VCARD
VERSION:3.0
FN:Ohne
END:VCARD
BEGIN:VCARD
VERSION:3.0
KIND:group
FN:Rowing
MEMBER:urn:uuid:b
END:VCARD
"""


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    for variable in ("LC_ALL", "LC_TELEPHONE", "LANG", "CONTACTSYNC_CONFIG"):
        monkeypatch.delenv(variable, raising=False)

    def refused(*_arguments, **_named):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refused)
    monkeypatch.setattr(socket, "create_connection", refused)


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "book.vcf"
    path.write_text(BOOK)
    return str(path)


def run(*arguments, stdin=None):
    return CliRunner().invoke(main, ["contacts", *arguments], input=stdin)


def names(result):
    return [contact["name"] for contact in json.loads(result.stdout)["contacts"]]


def test_json_has_these_keys_and_no_others(book):
    result = run(book, "--region", "DE", "--json")
    assert result.exit_code == 0
    value = json.loads(result.stdout)
    assert value == {
        "version": 1,
        "contacts": [
            {"name": "Anna", "identifiers": ["tel:+4917604069001"], "further_forms": []},
            {"name": "Bert", "identifiers": ["tel:+447700900104"], "further_forms": []},
            {"name": "Ohne", "identifiers": [], "further_forms": []},
        ],
        "unreadable": [
            {
                "file": book,
                "place": "card 1, line 7",
                "reason": "a second number in one field, or an extension",
                "hint": "write each number in a field of its own",
            },
            {
                "file": book,
                "place": "card 2, line 13",
                "reason": "a local number without its area code",
                "hint": "write its area code, or give --area-code for numbers without one",
            },
        ],
    }


def test_for_people(book):
    result = run(book, "--region", "DE")
    assert result.stdout.splitlines()[:4] == [
        "NAME  NUMBER",
        "Anna  +4917604069001",
        "Bert  +447700900104",
        "Ohne  -",
    ]
    assert result.stdout.splitlines()[-3:] == [
        "2 numbers of 3 contacts would be looked up; nothing was sent",
        "contacts without a number or an address: 1",
        "not read: 2",
    ]
    assert "not read: " + book + ", card 1, line 7: a second number" in result.stdout


def test_an_area_code(book):
    value = json.loads(run(book, "--region", "DE", "--area-code", "030", "--json").stdout)
    assert value["contacts"][1]["identifiers"] == ["tel:+493023125003", "tel:+447700900104"]
    assert run(book, "--area-code", "030").exit_code == 3
    assert run(book, "--region", "DE", "--area-code", "x").exit_code == 3


@pytest.mark.parametrize(
    ("options", "who"),
    [
        (["--group", "Choir"], ["Anna"]),
        (["--category", "family"], ["Anna"]),
        (["--group", "rowing"], ["Bert"]),
        (["--group", "Choir", "--group", "Rowing"], ["Anna", "Bert"]),
    ],
)
def test_groups_categories_and_lists(book, options, who):
    assert names(run(book, "--region", "DE", "--json", *options)) == who


def test_a_group_that_is_not_there(book):
    result = run(book, "--region", "DE", "--group", "Chess")
    assert result.exit_code == 3
    assert "Chess" in result.stderr
    assert "Choir, Family, Rowing" in result.stderr


def test_only_and_exclude_take_any_book_or_names(book, tmp_path):
    numbers = tmp_path / "numbers.txt"
    numbers.write_text("0176/04069001\n")
    people = tmp_path / "names.txt"
    people.write_text("# whom I know\nOHNE\nNobody\n")
    options = ["--region", "DE", "--json"]
    assert names(run(book, *options, "--only", str(numbers))) == ["Anna"]
    assert names(run(book, *options, "--exclude", str(numbers))) == ["Bert", "Ohne"]
    assert names(run(book, *options, "--only", str(people))) == ["Ohne"]
    assert names(run(book, *options, "--only", str(numbers), "--only", str(people))) == ["Anna", "Ohne"]
    assert names(run(book, *options, "--exclude", str(numbers), "--exclude", str(people))) == ["Bert"]
    said = run(book, "--region", "DE", "--exclude", str(numbers)).stdout
    assert "left out, not chosen: 1" in said


def test_a_list_that_holds_nobody(book, tmp_path):
    nothing = tmp_path / "nothing"
    nothing.write_bytes(b"\x00\x01")
    result = run(book, "--region", "DE", "--only", str(nothing))
    assert result.exit_code == 3
    assert "holds no people" in result.stderr
    assert run(book, "--region", "DE", "--only", str(tmp_path / "nowhere")).exit_code == 3


def test_a_file_that_is_no_book_and_one_that_is_not_there(tmp_path):
    page = tmp_path / "page.vcf"
    page.write_text("<!DOCTYPE html><html></html>")
    result = run(str(page))
    assert result.exit_code == 3
    assert "XML or a web page is not an address book" in result.stdout
    assert "Traceback" not in result.output
    assert run(str(tmp_path / "nowhere.vcf")).exit_code == 3
    as_json = run(str(page), "--json")
    assert as_json.exit_code == 0
    assert json.loads(as_json.stdout)["contacts"] == []


def test_the_region_of_the_configuration(book, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text('region = "DE"\n')
    assert "+4917604069001" in run(book, "--config", str(config)).stdout
    assert run(book, "--config", str(tmp_path / "nowhere.toml")).exit_code == 3


def test_standard_input():
    assert names(run("-", "--region", "DE", "--json", stdin="name,phone\nEva,0176 04069005\n")) == ["Eva"]


def test_addresses_beside_numbers_and_only_one_kind(tmp_path):
    book = tmp_path / "book.vcf"
    book.write_text(
        "BEGIN:VCARD\nVERSION:3.0\nFN:Ann\nTEL:+4915112345678\nEMAIL:Ümit@Example.org\nEMAIL:x\nEND:VCARD\n"
        "BEGIN:VCARD\nVERSION:3.0\nFN:Bob\nEMAIL:bob@example.org\nEND:VCARD\n"
    )
    state = ["--state", str(tmp_path / "state")]
    shown = CliRunner().invoke(main, ["contacts", str(book), *state])
    assert shown.stdout.splitlines()[:4] == [
        "NAME  NUMBER OR ADDRESS",
        "Ann   +4915112345678",
        "      ümit@example.org",
        "Bob   bob@example.org",
    ]
    assert "3 numbers and addresses of 2 contacts would be looked up" in shown.stdout
    assert "card 1, line 6: no @ in it" in shown.stdout
    shown = CliRunner().invoke(main, ["contacts", str(book), "--only", "tel", *state])
    assert "1 number of 2 contacts would be looked up" in shown.stdout
    assert "contacts without a number or an address: 1\n" in shown.stdout
    assert "not read: 0" in shown.stdout, "what is said of addresses is nobody's matter then"
    shown = CliRunner().invoke(main, ["contacts", str(book), "--only", "mailto", "--json", *state])
    found = json.loads(shown.stdout)
    assert [one["identifiers"] for one in found["contacts"]] == [
        ["mailto:%C3%BCmit@example.org"],
        ["mailto:bob@example.org"],
    ]
    (tmp_path / "config.toml").write_text(f'only = "mailto"\n[source.mine]\npath = "{book}"\n')
    shown = CliRunner().invoke(main, ["contacts", "--config", str(tmp_path / "config.toml"), *state])
    assert "2 addresses of 2 contacts would be looked up" in shown.stdout, shown.stderr
