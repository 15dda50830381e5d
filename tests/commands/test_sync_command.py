"""sync, trust, status, forget as somebody at a terminal or a script meets them."""

import csv
import io
import json
import os
from dataclasses import replace

import pytest
import vobject
from click.testing import CliRunner

from contactsync.client.state import State
from contactsync.commands import main
from contactsync.foundation.errors import ContactSyncError
from contactsync.publication.history import MANIFESTS_KEPT
from contactsync.publication.tuf.follower import grouped, root_fingerprint

ANNA, BODO, CARL = "+491512345671", "+491512345672", "+447911123456"
CREDENTIAL = "cs_an-account"

BOOK = f"""BEGIN:VCARD
VERSION:3.0
FN:Anna Müller\\, jr.
TEL:{ANNA}
TEL:01512345671
END:VCARD
BEGIN:VCARD
VERSION:3.0
FN:Bodo
TEL:{BODO}
TEL:not a number
END:VCARD
BEGIN:VCARD
VERSION:3.0
FN:陳大文
TEL:{CARL}
END:VCARD
"""


@pytest.fixture
def desk(tmp_path, service):
    """A folder with an address book and a credential, and a way to run commands."""

    class Desk:
        book = tmp_path / "book.vcf"
        credential = tmp_path / "credential"
        state = tmp_path / "state"
        url = service.url

        def run(self, *arguments, **options):
            result = CliRunner().invoke(main, [str(a) for a in arguments], **options)
            assert "Traceback" not in result.output
            return result

        def sync(self, *arguments, book=None):
            return self.run(
                "sync", book or self.book, "--region", "DE", "--state", self.state,
                "--credential-file", self.credential, *arguments,
            )  # fmt: skip

        def trust(self, *arguments, **options):
            return self.run("trust", self.url, "--state", self.state, *arguments, **options)

    desk = Desk()
    desk.book.write_text(BOOK, encoding="utf-8")
    desk.credential.write_text(CREDENTIAL + "\n")
    desk.credential.chmod(0o600)
    service.publish(ANNA, CARL)
    return desk


@pytest.mark.slow
def test_a_sync_prints_one_json_object_with_the_promised_keys(desk):
    assert desk.trust("--yes").exit_code == 0
    result = desk.sync("--server", desk.url, "--json")
    assert result.exit_code == 0
    value = json.loads(result.stdout)
    assert value["matches"] == [
        {"name": "Anna Müller, jr.", "identifier": f"tel:{ANNA}", "written": f"tel:{ANNA}", "label": None},
        {"name": "陳大文", "identifier": f"tel:{CARL}", "written": f"tel:{CARL}", "label": None},
    ]
    assert (value["contacts"], value["identifiers"], value["evaluated"], value["new_identifiers"]) == (
        3,
        3,
        8,
        3,
    )
    assert [entry["file"] for entry in value["unreadable"]] == [desk.book.name] or len(
        value["unreadable"]
    ) == 1
    assert set(value["unreadable"][0]) == {"file", "place", "reason"}
    assert value["bytes_sent"] > 8 * 32
    assert value["bytes_received"] > 8 * 32 + 64
    assert (value["audience"], value["epoch"], value["edition"]) == ("people", 1, 1)
    assert value["unchecked_history"] is None
    assert "could learn" in value["leak"]
    assert "not a number" not in result.stderr
    assert result.stderr.count("skipped:") == 1


@pytest.mark.slow
def test_a_history_that_could_not_be_checked_is_said_once(desk, service):
    desk.trust("--yes")
    assert "warning" not in desk.sync().stderr

    def much_is_published():
        edition = service.manifest.edition + MANIFESTS_KEPT
        service.manifest = replace(service.manifest, edition=edition, previous="ab" * 32)
        service.publish(ANNA)

    much_is_published()
    assert (
        "warning: too much was published since the last sync (epoch 1 edition 1 to epoch 1 edition 35)"
        in (desk.sync().stderr)
    )
    assert "warning" not in desk.sync().stderr
    much_is_published()
    result = desk.sync("--json")
    assert result.stderr.count("warning: too much was published") == 1
    assert json.loads(result.stdout)["unchecked_history"] == {
        "since": {"epoch": 1, "edition": 35},
        "until": {"epoch": 1, "edition": 69},
    }


@pytest.mark.slow
def test_another_history_has_exit_code_5_and_a_hint_that_keeps_the_evidence(desk, service):
    desk.trust("--yes")
    desk.sync()
    service.manifest = replace(service.manifest, normalisation=2)
    service.publish(ANNA)
    result = desk.sync()
    assert result.exit_code == 5
    assert "this server shows another history" in result.stderr
    assert "keep the state" in result.stderr
    assert "forget" not in result.stderr


def test_the_table_ends_with_what_the_server_could_learn(desk):
    desk.trust("--yes")
    lines = desk.sync().stdout.splitlines()
    assert lines[0].split() == ["NAME", "NUMBER"]
    assert lines[1].startswith("Anna Müller, jr.  +49")
    assert lines[2].startswith("陳大文            +44"), "wide characters take two columns"
    assert lines[4].startswith(
        "2 matches among 3 numbers of 3 contacts (people, epoch 1, edition 1, 2 members)"
    )
    assert lines[-1].startswith("the server could learn")


@pytest.mark.slow
def test_csv_and_vcards_are_what_others_read(desk):
    desk.trust("--yes")
    result = desk.sync("--format", "csv")
    assert list(csv.reader(io.StringIO(result.stdout))) == [
        ["name", "identifier", "label"],
        ["Anna Müller, jr.", f"tel:{ANNA}", ""],
        ["陳大文", f"tel:{CARL}", ""],
    ]
    assert "could learn" in result.stderr
    cards = list(vobject.readComponents(desk.sync("--format", "vcf").stdout))
    assert [(card.fn.value, card.tel.value) for card in cards] == [
        ("Anna Müller, jr.", f"tel:{ANNA}"),
        ("陳大文", f"tel:{CARL}"),
    ]
    assert desk.sync("--format", "csv", "--json").exit_code == 2


@pytest.mark.slow
def test_output_is_private_and_only_there_on_success(desk, tmp_path, service):
    desk.trust("--yes")
    out = tmp_path / "matches.csv"
    service.tamper = lambda request, reply: setattr(reply, "body", b"") if request.method == "POST" else None
    assert desk.sync("--format", "csv", "--output", out).exit_code == 5
    assert not out.exists()
    service.tamper = lambda *_: None
    result = desk.sync("--format", "csv", "--output", out)
    assert (result.exit_code, result.stdout) == (0, "")
    assert out.read_text().startswith("name,identifier")
    assert out.stat().st_mode & 0o777 == 0o600
    assert desk.sync("--output", tmp_path / "missing" / "file").exit_code == 3
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert desk.sync("--format", "csv", "--output", pipe).exit_code == 0
    assert os.read(reader, 1000).decode() == out.read_text()
    os.close(reader)
    assert pipe.is_fifo()


@pytest.mark.slow
@pytest.mark.parametrize("form", [(), ("--json",), ("--format", "csv")])
def test_with_an_output_file_the_terminal_still_says_what_came_of_it(desk, tmp_path, form):
    desk.trust("--yes")
    result = desk.sync(*form, "--output", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "2 matches among 3 numbers" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("the server could learn")


def test_an_input_is_never_overwritten(desk, tmp_path):
    desk.trust("--yes")
    book = desk.book.read_bytes()
    link = tmp_path / "link.csv"
    link.symlink_to(desk.book)
    for output in (desk.book, link, desk.credential):
        result = desk.sync("--format", "vcf", "--output", output)
        assert (result.exit_code, "would be overwritten" in result.stderr) == (3, True)
    assert desk.book.read_bytes() == book
    assert desk.credential.read_text() == CREDENTIAL + "\n"


@pytest.mark.slow
def test_a_credential_that_others_can_read_is_said(desk):
    desk.trust("--yes")
    desk.credential.chmod(0o644)
    assert f"other users can read {desk.credential}; run chmod 600 on it" in desk.sync().stderr


@pytest.mark.slow
def test_a_sync_looks_up_whom_was_chosen_and_counts_the_others(desk, tmp_path):
    assert desk.trust("--yes").exit_code == 0
    (tmp_path / "not.txt").write_text(f"{CARL}\n")
    (tmp_path / "only.txt").write_text("bodo\nCarl\n")
    desk.book.write_text(BOOK + "BEGIN:VCARD\nVERSION:3.0\nFN:Nobody\nEND:VCARD\n", encoding="utf-8")
    result = desk.sync("--json", "--exclude", tmp_path / "not.txt")
    assert [match["name"] for match in json.loads(result.stdout)["matches"]] == ["Anna Müller, jr."]
    assert "left out: 1 contact that you did not choose" in result.stderr
    assert "contacts without a number or an address: 1" in result.stderr
    counts = json.loads(desk.sync("--dry-run", "--json", "--only", tmp_path / "only.txt").stdout)
    assert (counts["contacts"], counts["identifiers"]) == (1, 1)
    nobody = desk.sync("--only", tmp_path / "only.txt", "--exclude", tmp_path / "only.txt")
    assert nobody.exit_code == 3
    assert "left everybody out" in nobody.stderr


def test_a_sync_completes_local_numbers(desk, service):
    service.publish(ANNA, "+493012345678")
    assert desk.trust("--yes").exit_code == 0
    desk.book.write_text("name,phone\nLocal,12345678\n")
    assert json.loads(desk.sync("--json", "--area-code", "030").stdout)["matches"] == [
        {
            "name": "Local",
            "identifier": "tel:+493012345678",
            "written": "tel:+493012345678",
            "label": None,
        }
    ]
    assert "give --area-code" in desk.sync("--dry-run").stderr


@pytest.mark.slow
def test_a_dry_run_asks_nobody(desk, service):
    counts = json.loads(desk.sync("--dry-run", "--json").stdout)
    assert (counts["contacts"], counts["identifiers"], counts["new_identifiers"]) == (3, 3, 3)
    assert (counts["would_evaluate"], counts["would_send_bytes"]) == (8, 256)
    desk.trust("--yes")
    desk.sync()
    service.requests.clear()
    text = desk.sync("--dry-run").stdout
    assert "3, 0 of them new" in text
    assert "if the server has changed its key since the last sync, 3 numbers would be new" in text
    assert "nothing was sent" in text
    assert ANNA not in text
    assert service.requests == []


def test_verbose_says_how_it_went(desk):
    desk.trust("--yes")
    stderr = desk.sync("--verbose").stderr
    assert "false positives" in stderr
    assert "evaluated 8 points for 3 new numbers" in stderr
    assert "match: 2 tokens against 1: lookups by NumPy" in stderr


def test_a_book_from_standard_input(desk):
    desk.trust("--yes")
    result = desk.run(
        "sync",
        "-",
        "--state",
        desk.state,
        "--credential-file",
        desk.credential,
        "--json",
        input=BOOK.encode(),
    )
    assert len(json.loads(result.stdout)["matches"]) == 2


def test_trust_asks_shows_and_checks(desk, service, tmp_path):
    print_ = root_fingerprint(service.repository.root_bytes())
    result = desk.trust()
    assert (result.exit_code, "--fingerprint" in result.stderr) == (3, True)
    result = desk.trust("--fingerprint", "0" * 64)
    assert result.exit_code == 5
    assert grouped(print_) in result.stderr
    assert State(desk.state).folders() == []
    result = desk.trust("--fingerprint", grouped(print_).upper())
    assert result.exit_code == 0
    assert grouped(print_) in result.stdout
    assert "already trusted" in desk.trust("--yes").stdout
    (tmp_path / "b").mkdir()
    service.repository = type(service)(tmp_path / "b").repository
    result = desk.trust("--yes")
    assert result.exit_code == 5
    assert "--replace" in result.stderr
    assert State(desk.state).server(desk.url).fingerprint == print_
    assert desk.trust("--yes", "--replace").exit_code == 0
    assert State(desk.state).server(desk.url).fingerprint != print_


def test_trust_believes_nobody_but_the_one_at_the_terminal(desk, monkeypatch):
    monkeypatch.setattr("contactsync.commands._confirming._somebody_is_there", lambda: True)
    result = desk.trust(input="n\n")
    assert (result.exit_code, "not trusted" in result.stderr) == (3, True)
    assert State(desk.state).folders() == []
    result = desk.trust(input="")
    assert (result.exit_code, "interrupted" in result.stderr) == (130, True)
    assert desk.trust(input="y\n").exit_code == 0
    assert State(desk.state).server(desk.url).url == desk.url


def test_plain_http_to_another_machine_needs_a_word(desk):
    result = desk.run("trust", "http://192.0.2.1", "--yes", "--state", desk.state)
    assert (result.exit_code, "https" in result.stderr) == (3, True)


def test_status_and_forget(desk):
    assert "no server is trusted" in desk.run("status", "--state", desk.state).stdout
    desk.trust("--yes")
    desk.sync()
    (one,) = json.loads(desk.run("status", "--json", "--state", desk.state).stdout)["servers"]
    assert one["url"] == desk.url
    assert one["audiences"] == [{"audience": "people", "epoch": 1, "edition": 1, "members": 2}]
    assert one["cached"] == {"identifiers": 3, "matches": 2, "tokens": 3}
    text = desk.run("status", "--state", desk.state).stdout
    assert "epoch 1 edition 1, 2 members" in text
    assert "3 identifiers, 2 of them members" in text
    (desk.state / "servers").joinpath(
        next((desk.state / "servers").iterdir()).name, "server.json"
    ).write_text("{")
    assert desk.run("status", "--state", desk.state).exit_code == 1
    assert "overwritten and removed" in desk.run("forget", "--state", desk.state).stdout
    assert desk.run("forget", "--state", desk.state).stdout == "nothing was stored\n"


def flipped(request, reply):
    if "/data/" in request.path:
        reply.body = reply.body[:-1] + bytes([reply.body[-1] ^ 1])


def gone(request, reply):
    if "/data/" in request.path:
        reply.cut = 0


def truncated(request, reply):
    if "/data/" in request.path:
        reply.body = reply.body[:-8]


def wrong_proof(request, reply):
    if request.method == "POST":
        reply.body = reply.body[:-64] + bytes(64)


def forged(request, reply):
    if "/targets/" in request.path:
        reply.body = reply.body.replace(b'"epoch":1', b'"epoch":2')


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tamper", "code", "word"),
    [
        (flipped, 5, "does not match the signed manifest"),
        (truncated, 5, "the length of the server's data file is not the one"),
        (gone, 4, "in the middle"),
        (wrong_proof, 5, "proof"),
        (forged, 5, "signed"),
    ],
)
def test_every_bad_answer_is_one_error_with_a_hint_and_its_code(desk, service, tamper, code, word):
    desk.trust("--yes")
    service.tamper = tamper
    result = desk.sync("--json")
    assert result.exit_code == code
    said = json.loads(result.stdout)["error"]
    assert (said["exit_code"], word in said["message"]) == (code, True)
    errors = [line for line in result.stderr.splitlines() if not line.startswith("skipped:")]
    assert errors[0].startswith("error: ")
    assert word in errors[0]
    assert errors[1].startswith("hint: ")
    assert len(errors) == 2
    service.tamper = lambda *_: None
    assert desk.sync().exit_code == 0


@pytest.mark.slow
def test_what_the_caller_got_wrong(desk, tmp_path):
    assert desk.sync().exit_code == 3  # not trusted
    desk.trust("--yes")
    assert desk.sync(book=tmp_path / "missing.vcf").exit_code == 3
    for content in ("", "two words", "\x00", "x" * 5000):
        desk.credential.write_text(content)
        result = desk.sync()
        assert result.exit_code == 3
        assert "accounts add" in result.stderr
    desk.credential.write_text("cs_of-somebody-else")
    assert desk.sync().exit_code == 6
    desk.credential.unlink()
    assert desk.sync().exit_code == 3
    desk.credential.write_text(CREDENTIAL)
    result = desk.sync("--max-download", "100")
    assert result.exit_code == 7
    assert "more than --max-download 100;" in result.stderr
    assert "tells the server nothing more" in result.stderr
    assert desk.sync("--max-download", "much").exit_code == 2


def test_the_credential_may_come_from_the_environment(desk, monkeypatch):
    desk.trust("--yes")
    arguments = ("sync", desk.book, "--state", desk.state, "--region", "DE")
    result = desk.run(*arguments)
    assert (result.exit_code, "CONTACTSYNC_CREDENTIAL_FILE" in result.stderr) == (3, True)
    monkeypatch.setenv("CONTACTSYNC_CREDENTIAL_FILE", str(desk.credential))
    assert desk.run(*arguments).exit_code == 0


@pytest.mark.slow
def test_errors_of_the_tree_hold_no_numbers(desk, service):
    """Whatever goes wrong with a book, its digits do not reach an error."""
    desk.trust("--yes")
    for tamper in (flipped, wrong_proof, forged):
        service.tamper = tamper
        error = desk.sync().stderr
        assert all(number[1:] not in error for number in (ANNA, BODO, CARL))
    assert issubclass(ContactSyncError, Exception)


def test_what_nothing_can_be_read_of_is_an_error_before_anything_is_sent(desk, tmp_path):
    desk.trust("--yes")
    empty = tmp_path / "empty.vcf"
    empty.touch()
    kept = tmp_path / "kept.json"
    kept.write_text("of the last sync")
    result = desk.sync("--json", "--output", kept, book=empty)
    assert (result.exit_code, json.loads(result.stdout)["error"]["kind"]) == (3, "bad-input")
    assert "the file is empty" in result.stderr
    assert "no contact" in result.stderr
    assert kept.read_text() == "of the last sync"
    assert desk.run("sync", "", "--state", desk.state).exit_code == 3, "not the folder one is in"


@pytest.mark.slow
def test_a_link_to_the_output_stays_a_link(desk, tmp_path):
    desk.trust("--yes")
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    link.symlink_to(real)
    assert desk.sync("--json", "--output", link).exit_code == 0
    assert link.is_symlink()
    assert json.loads(real.read_bytes())["matches"]


@pytest.mark.slow
def test_an_output_that_cannot_be_written_is_found_out_before_the_sync(desk, tmp_path):
    desk.trust("--yes")
    result = desk.sync("--output", tmp_path / "missing" / "file")
    assert result.exit_code == 3
    assert "no such folder" in result.stderr
    assert json.loads(desk.sync("--json").stdout)["new_identifiers"] == 3, "nothing was asked"


@pytest.mark.slow
def test_a_credential_file_may_begin_with_a_byte_order_mark(desk):
    desk.trust("--yes")
    desk.credential.write_bytes(b"\xef\xbb\xbf" + CREDENTIAL.encode() + b"\r\n")
    assert desk.sync().exit_code == 0
    desk.credential.unlink()
    desk.credential.mkdir()
    assert desk.sync().exit_code == 3


@pytest.mark.slow
def test_the_fingerprint_of_an_earlier_root_still_serves(desk, service):
    told = root_fingerprint(service.repository.root_bytes())
    for _ in range(2):
        root = service.repository.root()
        root.version += 1
        service.repository.write_root(root, service.signers["root"])
    newest = root_fingerprint(service.repository.root_bytes())
    assert newest != told
    result = desk.trust("--fingerprint", told)
    assert result.exit_code == 0, result.stderr
    assert grouped(told) in result.stdout
    assert desk.sync("--json").exit_code == 0
    assert desk.trust("--fingerprint", newest).stdout.endswith("already trusted\n")
    assert desk.trust("--fingerprint", told).stdout.endswith("already trusted\n")
    assert desk.trust("--fingerprint", "0" * 64).exit_code == 5


def test_a_server_that_has_published_nothing_is_tried_again_later(desk, service):
    desk.trust("--yes")

    def unpublished(request, reply):
        if request.path.endswith("timestamp.json"):
            reply.status = 503
            reply.headers = {"Content-Type": "application/problem+json"}
            reply.body = b'{"type": "urn:contactsync:problem:not-published", "detail": "not yet"}'

    service.tamper = unpublished
    result = desk.sync()
    assert result.exit_code == 4
    assert "published nothing" in result.stderr
