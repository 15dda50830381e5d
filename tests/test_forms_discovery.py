"""Further forms all the way: a member in one form is found once by books that write any other."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

TESTS = Path(__file__).parent
sys.path += [str(TESTS / "server")]

from server_tools import Operator, Process  # noqa: E402

from contactsync.commands import main  # noqa: E402
from contactsync.identifiers import normalise  # noqa: E402
from contactsync.library.client import Client  # noqa: E402
from contactsync.library.state import State  # noqa: E402
from contactsync.server.storage.ports import Members  # noqa: E402

CREDENTIAL = "cs_of-an-account"
MOBILE = "+54 9 11 2345-6789"
MEMBERS = [
    MOBILE,
    "+54 223 456 7890",  # registered without the 9, as messages are sent
    "+39 06 69812345",
    "+39 347 1234567",
    "+378 0549 882345",
    "+590 690 001234",
    "+972 59 912 3456",
    "+84 38 123 4567",
    "+65 6123 4567",
    "+52 55 1234 5678",
    "+55 11 98765-4321",
]
# How people write them, where they live; each line is one contact.
WRITTEN = [
    ("AR", "011 15-2345-6789", MOBILE),
    ("AR", "(011) 2345-6789", MOBILE),
    ("DE", "+54 11 2345 6789", MOBILE),
    ("AR", "0223 15 456-7890", "+54 223 456 7890"),
    ("IT", "06 69812345", "+39 06 69812345"),
    ("DE", "+39 6 69812345", "+39 06 69812345"),
    ("DE", "+39 (0)6 69812345", "+39 06 69812345"),
    ("IT", "0347 1234567", "+39 347 1234567"),
    ("IT", "0549 882345", "+378 0549 882345"),
    ("DE", "+39 549 882345", "+378 0549 882345"),
    ("FR", "06 90 00 12 34", "+590 690 001234"),
    ("PS", "059 912 3456", "+972 59 912 3456"),
    ("VN", "0168 123 4567", "+84 38 123 4567"),
    ("MY", "02-6123 4567", "+65 6123 4567"),
    ("MX", "+52 1 55 1234 5678", "+52 55 1234 5678"),
    ("BR", "(11) 8765-4321", "+55 11 98765-4321"),
]
STRANGERS = ["+54 11 2345 6780", "+39 612345678", "+39 0331 123456", "+33 6 12 34 56 78", "+972 50 912 3456"]


def identifier(text):
    return normalise(text, None).decode()


class Desk:
    def __init__(self, folder):
        self.folder = folder
        self.operator = Operator(folder / "server")
        self.operator.registry.add(Members.of([normalise(text, None) for text in MEMBERS]), "people")
        self.operator.accounts.add("me", "people", CREDENTIAL)
        self.operator.publish()
        self.process = Process(folder / "server")
        State(folder / "state").pin(self.process.url, self.operator.repository.root_bytes())
        (folder / "credential").write_text(CREDENTIAL)

    def book(self, name, *numbers):
        path = self.folder / name
        path.write_text("".join(f"{person},{number}\n" for person, number in [("name", "phone"), *numbers]))
        return path

    def run(self, command, *arguments):
        options = ["--state", str(self.folder / "state")]
        if command == "sync":
            options += ["--credential-file", str(self.folder / "credential")]
        result = CliRunner().invoke(main, [command, *map(str, arguments), *options])
        assert result.exit_code == 0, result.output
        return result

    def sync(self, path, region, *arguments):
        return json.loads(self.run("sync", path, "--region", region, "--json", *arguments).stdout)


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    found = Desk(tmp_path_factory.mktemp("forms"))
    with found.process:
        yield found
    found.operator.close()


@pytest.mark.slow
@pytest.mark.parametrize("region", sorted({region for region, _, _ in WRITTEN}))
def test_a_member_is_found_once_by_every_form_that_people_write(desk, region):
    lines = [(text, member) for where, text, member in WRITTEN if where == region]
    book = desk.book(f"{region}.csv", *((f"Person {at}", text) for at, (text, _) in enumerate(lines)))
    value = desk.sync(book, region)
    found = {one["name"]: one["identifier"] for one in value["matches"]}
    assert len(value["matches"]) == len(lines), "each once"
    for at, (text, member) in enumerate(lines):
        assert found[f"Person {at}"] == identifier(member)
        (match,) = [one for one in value["matches"] if one["name"] == f"Person {at}"]
        assert match["written"] == normalise(text, region).decode()
    assert value["identifiers"] + value["further_forms"] >= value["new_identifiers"]


@pytest.mark.slow
def test_strangers_are_no_members(desk):
    book = desk.book("strangers.csv", *((f"Person {at}", text) for at, text in enumerate(STRANGERS)))
    assert desk.sync(book, "DE")["matches"] == []


@pytest.mark.slow
def test_a_contact_who_has_all_forms_is_reported_once_and_so_is_a_member_under_two(desk):
    """In every output: JSON, table, CSV, vCards, what is kept, the marked card."""
    two = [normalise(text, None) for text in ("+54 261 400 1234", "+54 9 261 400 1234")]
    desk.operator.registry.add(Members.of(two), "people")
    desk.operator.publish()
    cards = desk.folder / "marked.vcf"
    cards.write_text(
        "BEGIN:VCARD\nVERSION:3.0\nFN:Eva\nTEL:+54 9 11 2345 6789\nTEL:011 2345-6789\nEND:VCARD\n"
        "BEGIN:VCARD\nVERSION:3.0\nFN:Gil\nTEL:0261 15 400-1234\nEND:VCARD\n"
        "BEGIN:VCARD\nVERSION:3.0\nFN:Nobody\nTEL:011 4000-1234\nEND:VCARD\n"
    )
    value = desk.sync(cards, "AR", "--mark", "member")
    assert [(one["name"], one["identifier"]) for one in value["matches"]] == [
        ("Eva", identifier(MOBILE)),
        ("Gil", two[1].decode()),
    ]
    assert (value["identifiers"], value["further_forms"]) == (4, 2)
    assert cards.read_text().count("member") == value["marked"]["changed"] == 2
    text = desk.run("sync", cards, "--region", "AR").stdout
    assert text.count("Eva") == text.count("Gil") == 1
    assert "2 matches among 4 numbers (2 further forms) of 3 contacts" in text
    for form in ("csv", "vcf"):
        text = desk.run("sync", cards, "--region", "AR", "--format", form).stdout
        assert text.count("+54") == 2
        assert text.count("Eva") == text.count("Gil") == 1
    kept = json.loads(desk.run("matches", "--json").stdout)["people"]
    assert {one["name"]: len(one["services"][0]["identifiers"]) for one in kept} == {"Eva": 1, "Gil": 1}
    again = desk.sync(cards, "AR")
    assert (again["joined"], again["left"], again["new_identifiers"]) == ([], [], 0)


@pytest.mark.slow
def test_what_would_be_sent_is_said_before_and_what_was_sent_is_accounted_for(desk):
    book = desk.book("ten.csv", *((f"Person {at}", f"011 4100-00{at:02}") for at in range(10)))
    before = json.loads(desk.run("sync", book, "--region", "AR", "--json", "--dry-run").stdout)
    assert (before["identifiers"], before["further_forms"]) == (10, 10)
    assert (before["new_identifiers"], before["would_evaluate"]) == (20, 32)
    text = desk.run("sync", book, "--region", "AR", "--dry-run").stdout
    assert "numbers      10 and 10 further forms, 20 of them new" in text
    transcript = desk.folder / "transcript"
    value = desk.sync(book, "AR", "--transcript", transcript)
    assert (value["new_identifiers"], value["evaluated"]) == (20, 32)
    assert "17 to 32 new numbers" in value["leak"]
    audit = ["audit", "transcript", str(transcript), "--private", f"{transcript}.private"]
    explained = ["--contacts", str(book), "--region", "AR", "--by-contact", "--json"]
    result = CliRunner().invoke(main, [*audit, *explained])
    report = json.loads(result.stdout)
    assert report["outcome"] == "proven", report["findings"]
    assert report["further_forms"] == 10
    sent = [one for one in report["by_contact"] if len(one["points"]) == 1]
    assert len(sent) == 20, "each form is a point of its own"
    assert len({one["identifier"] for one in sent}) == 20


@pytest.mark.slow
def test_lists_of_people_mean_the_subscriber_in_whatever_form(desk):
    book = desk.book("whole.csv", ("Ana", "+54 9 11 2345 6789"), ("Bea", "+39 6 69812345"))
    only = desk.book("only.csv", ("x", "+54 11 2345 6789"))
    assert [one["name"] for one in desk.sync(book, "AR", "--only", only)["matches"]] == ["Ana"]
    assert [one["name"] for one in desk.sync(book, "AR", "--exclude", only)["matches"]] == ["Bea"]


@pytest.mark.slow
def test_who_registers_again_under_the_other_form_has_neither_left_nor_joined(desk):
    old, new = (normalise(text, None) for text in ("+54 351 400 0001", "+54 9 351 400 0001"))
    book = desk.book("again.csv", ("Ira", "0351 15 400-0001"))
    assert desk.sync(book, "AR")["matches"] == []
    desk.operator.registry.add(Members.of([old]), "people")
    desk.operator.publish()
    (joined,) = desk.sync(book, "AR")["joined"]
    assert (joined["name"], joined["identifier"], joined["written"]) == ("Ira", old.decode(), new.decode())
    desk.operator.registry.remove(Members.of([old]))
    desk.operator.registry.add(Members.of([new]), "people")
    desk.operator.publish()
    value = desk.sync(book, "AR")
    assert [one["identifier"] for one in value["matches"]] == [new.decode()]
    assert (value["joined"], value["left"]) == ([], [])
    desk.operator.registry.remove(Members.of([new]))
    desk.operator.publish()
    (left,) = desk.sync(book, "AR")["left"]
    assert (left["name"], left["identifier"]) == ("Ira", new.decode())


@pytest.mark.slow
def test_in_bulk_the_number_that_was_given_is_the_one_that_is_a_member(desk, tmp_path):
    client = Client(tmp_path)
    client.state.pin(desk.process.url, desk.operator.repository.root_bytes())
    given = [541123456789, 541123456780, 39669812345, 841681234567, 390669812345]
    found = client.are_members(np.array(given, np.uint64), credential=CREDENTIAL)
    assert found.tolist() == [True, False, True, True, True]
