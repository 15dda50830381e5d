"""Cards of those who matched get a category, in folders and on servers. What changed meanwhile is spared."""

import io
import json
import os

import pytest
from real_carddav import PASSWORD as REAL_PASSWORD
from real_carddav import STARTERS
from simulated_carddav import PASSWORD, DavReply, card

from contactsync.carddav.address import parse_address
from contactsync.carddav.connection import DavAccount
from contactsync.carddav.pull import pull
from contactsync.foundation.errors import BadInput, BadReply, NetworkError, OurError
from contactsync.marking import places
from contactsync.marking.marks import Marking, unmark
from contactsync.marking.undo import UndoList
from contactsync.sources import read_address_books

ANNA, BODO, CARL = "+491512345671", "+491512345672", "+491512345673"
PHOTO = "PHOTO;ENCODING=b:" + "QUJD" * 20 + "\r\n " + "QUJD" * 10 + "\r\nX-ODD:\tkept \\ as it is\r\n"


def identifiers_of(data):
    return read_address_books(["-"], region="DE", stdin=io.BytesIO(data)).identifiers


@pytest.fixture
def mark(tmp_path):
    def mark(*sources, pulled=(), matched=(ANNA, CARL), category="On it"):
        identifiers = frozenset(f"tel:{number}".encode() for number in matched)
        plan = Marking(
            [str(one) for one in sources],
            pulled,
            identifiers=identifiers,
            identifiers_of=identifiers_of,
            category=category,
        )
        return plan.run(tmp_path / "marks")

    return mark


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "book"
    (folder / "deep").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / "anna.vcf").write_bytes(card("Anna", ANNA, PHOTO).encode())
    (folder / "bodo.vcf").write_bytes(card("Bodo", BODO).encode())
    (folder / "deep" / "many.vcf").write_bytes((card("Bodo", BODO) + card("Carl", CARL)).encode())
    (folder / ".hidden" / "anna.vcf").write_bytes(card("Anna", ANNA).encode())
    return folder


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def nobody(origin, user):
    raise AssertionError("no account is needed")


def test_a_folder_is_marked_and_unmarked(folder, mark):
    before = contents(folder)
    (folder / "anna.vcf").chmod(0o640)
    marks = mark(folder)
    assert (marks.changed, marks.already, marks.left_alone) == (2, 0, [])
    changed = {path: data for path, data in contents(folder).items() if data != before[path]}
    assert set(changed) == {folder / "anna.vcf", folder / "deep" / "many.vcf"}
    for path, data in changed.items():
        line = b"CATEGORIES:On it\r\n"
        assert data.count(line) == 1
        assert data.replace(line, b"") == before[path]
    assert changed[folder / "deep" / "many.vcf"].endswith(
        b"CATEGORIES:On it\r\nEND:VCARD\r\n"
    )  # Carl's, not Bodo's
    assert (folder / "anna.vcf").stat().st_mode & 0o777 == 0o640
    assert marks.undo.stat().st_mode & 0o777 == 0o600
    again = mark(folder)
    assert (again.changed, again.already, again.undo) == (0, 2, None)
    undone = unmark(UndoList.read(marks.undo), nobody)
    assert (undone.changed, undone.left_alone) == (2, [])
    assert contents(folder) == before
    twice = unmark(UndoList.read(marks.undo), nobody)
    assert (twice.changed, twice.already) == (0, 2)


def test_a_file_and_a_link_to_it(folder, mark, tmp_path):
    link = tmp_path / "link.vcf"
    link.symlink_to(folder / "anna.vcf")
    assert mark(link).changed == 1
    assert link.is_symlink()
    assert b"CATEGORIES" in (folder / "anna.vcf").read_bytes()


def test_only_a_category_that_was_there_before_stays(folder, mark):
    """Who had the category already is not in the list, and keeps it."""
    had = folder / "bodo.vcf"
    had.write_bytes(card("Bodo", ANNA, "CATEGORIES:on it\r\n").encode())
    before = had.read_bytes()
    marks = mark(folder)
    assert (marks.changed, marks.already) == (2, 1)
    unmark(UndoList.read(marks.undo), nobody)
    assert had.read_bytes() == before


def test_undo_keeps_what_was_changed_since(folder, mark):
    marks = mark(folder)
    path = folder / "anna.vcf"
    path.write_bytes(path.read_bytes().replace(b"FN:Anna", b"FN:Anna M"))
    assert unmark(UndoList.read(marks.undo), nobody).changed == 2  # by its UID
    assert path.read_bytes() == card("Anna", ANNA, PHOTO).replace("FN:Anna", "FN:Anna M").encode()
    (folder / "deep" / "many.vcf").unlink()
    undone = unmark(UndoList.read(marks.undo), nobody)
    assert [(one.place, one.reason) for one in undone.left_alone] == [
        (str(folder / "deep" / "many.vcf"), "No such file or directory")
    ]


def test_a_file_that_changes_meanwhile_is_left_alone(folder, mark, monkeypatch):
    path = folder / "anna.vcf"
    real = places.durable.replacing

    def slow(target, **options):
        if target == path.resolve():
            path.write_bytes(card("Anna", ANNA, "NOTE:somebody else was here\r\n").encode())
        return real(target, **options)

    monkeypatch.setattr(places.durable, "replacing", slow)
    marks = mark(folder)
    assert (marks.changed, [one.reason for one in marks.left_alone]) == (1, ["it was changed meanwhile"])
    assert b"somebody else" in path.read_bytes()
    assert b"CATEGORIES" not in path.read_bytes()
    assert [one.place for one in UndoList.read(marks.undo).cards] == [str(folder / "deep" / "many.vcf")]
    assert not list(folder.rglob("*.part"))


def test_what_cannot_be_changed_says_why(folder, mark, tmp_path, monkeypatch):
    os.link(folder / "anna.vcf", tmp_path / "other name.vcf")
    (tmp_path / "table.csv").write_text(f"name,phone\nAnna,{ANNA}\n")
    os.mkfifo(tmp_path / "pipe")
    utf16 = tmp_path / "utf16.vcf"
    utf16.write_bytes(card("Anna", ANNA).encode("utf-16"))
    marks = mark(folder, tmp_path / "table.csv", tmp_path / "pipe", utf16, "-")
    assert {one.place.rpartition("/")[2]: one.reason for one in marks.left_alone} == {
        "anna.vcf": "it has another name (a hard link), which would keep the old card",
        "table.csv": "it is not a vCard file: only cards can be marked",
        "pipe": "it is not a vCard file: only cards can be marked",
        "utf16.vcf": "its cards are in an encoding that is not changed: save it as UTF-8",
        "standard input": "only files and servers can be changed",
    }
    assert marks.changed == 1
    monkeypatch.setattr(places.os, "geteuid", lambda: 12345)
    assert "you may not change it" in {one.reason for one in mark(folder, category="Other").left_alone}


def test_nothing_matched(folder, mark, tmp_path):
    marks = mark(folder, matched=())
    assert (marks.changed, marks.undo) == (0, None)
    assert not (tmp_path / "marks").exists()


def test_a_server_is_marked_and_unmarked(dav, fetch, mark):
    dav.put("anna.vcf", card("Anna", ANNA, PHOTO))
    dav.put("bodo.vcf", card("Bodo", BODO))
    before = dict(dav.cards)
    pulled = fetch()
    marks = mark(pulled=[pulled])
    assert (marks.changed, marks.left_alone) == (1, [])
    assert dav.cards["anna.vcf"] == before["anna.vcf"].replace(
        "END:", "CATEGORIES:On it\r\nEND:"
    )  # photo, too
    assert dav.cards["bodo.vcf"] == before["bodo.vcf"]
    (put,) = dav.asked("PUT")
    assert put.headers["if-match"].startswith('"')
    text = marks.undo.read_text()
    assert ANNA not in text
    assert "Anna" not in text.replace('"uid": "Anna"', "")
    assert PASSWORD not in text
    again = fetch()
    assert again.books[0].fetched == 1
    assert mark(pulled=[again]).already == 1
    undone = unmark(UndoList.read(marks.undo), lambda origin, user: pulled.account)
    assert (undone.changed, undone.left_alone) == (1, [])
    assert dav.cards == before


@pytest.mark.parametrize("when", ["before it is read", "before it is written"])
def test_a_card_that_was_changed_meanwhile_is_left_alone(dav, fetch, mark, when):
    dav.put("anna.vcf", card("Anna", ANNA))
    dav.put("carl.vcf", card("Carl", CARL))
    pulled = fetch()
    new = card("Anna", ANNA, "NOTE:new\r\n")

    def before(request):
        if request.method == ("GET" if when == "before it is read" else "PUT") and "anna" in request.path:
            dav.cards["anna.vcf"] = new

    dav.before = before
    marks = mark(pulled=[pulled])
    assert marks.changed == 1
    assert [(one.place, one.reason) for one in marks.left_alone] == [
        (f"{dav.origin}/dav/ada/book/anna.vcf", "it was changed meanwhile")
    ]
    assert dav.cards["anna.vcf"] == new
    assert [one.path for one in UndoList.read(marks.undo).cards] == ["/dav/ada/book/carl.vcf"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "reply", "reason"),
    [
        ("GET", DavReply(404), "it is no longer there"),
        (
            "GET",
            DavReply(200, card("Anna", ANNA).encode(), {"ETag": 'W/"ETAG"'}),
            "the server states no ETag",
        ),
        ("GET", DavReply(200, card("Anna", ANNA).encode(), {}), "it was changed meanwhile"),
        ("PUT", DavReply(403), "the server refused it: status 403"),
        ("PUT", DavReply(507), "the server refused it: status 507"),
    ],
)
def test_what_a_server_does_not_allow(dav, fetch, mark, method, reply, reason):  # noqa: PLR0917 - a table
    dav.put("anna.vcf", card("Anna", ANNA))
    pulled = fetch()
    etag = dav.etag("anna.vcf").strip('"')
    reply.headers = {key: value.replace("ETAG", etag) for key, value in reply.headers.items()}
    dav.before = lambda request: reply if request.method == method else None
    marks = mark(pulled=[pulled])
    assert marks.changed == 0
    assert marks.undo is None
    assert reason in marks.left_alone[0].reason
    assert "CATEGORIES" not in dav.cards["anna.vcf"]


def test_a_connection_that_breaks_while_it_marks(dav, fetch, mark, tmp_path):
    """The list names the card that may have been changed, and unmark takes care of it."""
    for name, number in (("anna", ANNA), ("carl", CARL)):
        dav.put(f"{name}.vcf", card(name, number))
    before = dict(dav.cards)
    pulled = fetch()

    def breaks(request):
        if request.method == "PUT" and "carl" in request.path:
            reply = dav.answer(request)
            reply.headers["Content-Length"] = "10"
            reply.status, reply.body, reply.cut = 200, b"0123456789", 5
            return reply
        return None

    dav.before = breaks
    with pytest.raises(NetworkError):
        mark(pulled=[pulled])
    dav.before = lambda request: None
    (undo,) = (tmp_path / "marks").iterdir()
    assert "CATEGORIES" in dav.cards["carl.vcf"]
    assert unmark(UndoList.read(undo), lambda origin, user: pulled.account).changed == 2
    assert dav.cards == before


def test_a_redirected_change_goes_nowhere(dav, other_dav, fetch, mark):
    dav.put("anna.vcf", card("Anna", ANNA))
    pulled = fetch()
    dav.before = lambda request: (
        DavReply(307, b"", {"Location": other_dav.origin + request.path}) if request.method == "PUT" else None
    )
    with pytest.raises(BadReply, match="must not go elsewhere"):
        mark(pulled=[pulled])
    assert other_dav.requests == []


@pytest.mark.slow
@pytest.mark.parametrize("name", STARTERS)
def test_real_servers(name, mark, tmp_path):
    with STARTERS[name](tmp_path) as server:
        server.put("anna.vcf", card("Anna", ANNA, "CATEGORIES:Work\r\n"))
        server.put("bodo.vcf", card("Bodo", BODO))
        before = {one: server.get(one) for one in ("anna.vcf", "bodo.vcf")}
        account = DavAccount(parse_address(server.address), lambda: REAL_PASSWORD)
        pulled = pull(account, tmp_path / "books")
        server.put("bodo.vcf", card("Bodo", BODO, "NOTE:new\r\n"))
        marks = mark(pulled=[pulled], matched=(ANNA, BODO))
        assert marks.changed == 1
        assert [one.reason for one in marks.left_alone] == ["it was changed meanwhile"]
        assert server.get("anna.vcf") == before["anna.vcf"].replace(
            b"CATEGORIES:Work", b"CATEGORIES:Work,On it"
        )
        assert b"CATEGORIES" not in server.get("bodo.vcf")
        undone = unmark(UndoList.read(marks.undo), lambda origin, user: account)
        assert (undone.changed, undone.left_alone) == (1, [])
        assert server.get("anna.vcf") == before["anna.vcf"]


def test_a_list_that_others_may_have_written_is_refused(folder, mark):
    marks = mark(folder)
    marks.undo.chmod(0o644)
    with pytest.raises(BadInput, match="others may have changed") as caught:
        UndoList.read(marks.undo)
    assert "chmod 600" in caught.value.hint


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"\xff", b'{"format": 1}', b'{"format": 1, "category": "x", "cards": [{"file": 1}]}',
     b'{"format": 1, "category": "x", "cards": [{"else": "x"}]}', b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_undo_list(tmp_path, data):
    path = tmp_path / "list"
    path.touch(0o600)
    path.write_bytes(data)
    with pytest.raises((BadInput, OurError)):
        UndoList.read(path)


def test_a_list_of_a_newer_version(folder, mark):
    undo = mark(folder).undo
    value = json.loads(undo.read_text())
    assert value["format"] == 1
    undo.write_text(json.dumps(value | {"format": 99}))
    with pytest.raises(OurError, match="version 99"):
        UndoList.read(undo)
