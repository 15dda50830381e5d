"""`publish --expunge`: no file holds a token of who was removed, whatever it is packed in."""

import json
import os
from contextlib import closing

import numpy as np
import pytest
from click.testing import CliRunner
from server_tools import AMERICAN, GERMAN, numbers

from contactsync.commands import main
from contactsync.directory import bounds, match, open_directory
from contactsync.directory.delta import read_delta
from contactsync.directory.screen import open_screen
from contactsync.publication.manifest import Manifest
from contactsync.server.presence import presences
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.publishing.rotation import Aim, Order
from contactsync.server.storage.records import Origin
from contactsync.server.storage.sqlite.members import SqliteMembers
from contactsync.tokens import Tokens

WHO = numbers(GERMAN)
APP = Origin("app 3.1")
CROWD = range(GERMAN + 1, GERMAN + 400)


def described(operator):
    """Every data file that a manifest on the disk describes: its name, what it is, and how it is opened."""
    found = {}
    for path in (operator.folder.public / "targets").iterdir():
        manifest = Manifest.from_bytes(path.read_bytes())
        for partition in manifest.all_partitions():
            found[partition.base.sha256] = ("base", partition)
            for delta in partition.deltas:
                found[delta.file.sha256] = ("delta", partition)
            if partition.screen is not None:
                found[partition.screen.sha256] = ("screen", partition)
    return found


def files_with(operator, tokens):
    """The files of the data folder that hold one of these tokens; every file is read."""
    known, found = described(operator), set()
    for path in operator.folder.data.iterdir():
        what, partition = known[path.name]  # a file that nothing describes cannot be judged: KeyError
        if what == "base":
            with open_directory(path, expect=partition.directory) as directory:
                holds = match(tokens, directory).any()
        elif what == "delta":
            change = read_delta(path)
            gone = ~change.apply_to_mask(tokens, np.ones(len(tokens), bool))
            new = change.apply_to_mask(tokens, np.zeros(len(tokens), bool))
            holds = (gone | new).any()
        else:
            # It answers yes by chance, too; it was made of a base, which is read here if it is there still.
            open_screen(path, partition.directory, expect=partition.screen)
            holds = not (operator.folder.data / partition.base.sha256).exists()
        if holds:
            found.add(f"{what} {path.name}")
    return found


def tokens_of(operator, members=WHO):
    (record,) = operator.registry.show(members)
    rows = [np.frombuffer(token, np.uint8) for token in record.tokens.values()]
    return Tokens.from_bytes(np.stack(rows))


def raw(operator):
    return b"".join(path.read_bytes() for path in operator.folder.path.rglob("*") if path.is_file())


@pytest.fixture
def published(operator, monkeypatch):
    monkeypatch.setattr(bounds, "LEAST_SCREENED", 300)
    operator.add(GERMAN, *CROWD, AMERICAN)
    operator.registry.consent(WHO, "business", granted=True, origin=APP)
    operator.registry.add(numbers(*CROWD[:50]), "business")
    operator.publish()
    return operator


def expunge(operator, order=None):
    publisher = Publisher(operator.folder, operator.registry, operator.keyring)
    outcomes = publisher.publish(order=order, expunge=True)
    return publisher, outcomes


@pytest.mark.slow
@pytest.mark.parametrize("rotating", [False, True])
@pytest.mark.parametrize("between", [0, 1, 2])
def test_no_file_holds_who_was_removed(published, rotating, between):
    """`between`: so many plain publishes come between the removal and the one that expunges."""
    if rotating:
        Publisher(published.folder, published.registry, published.keyring).publish(
            order=Order(Aim.ROTATE, 999_999)
        )
    published.add(GERMAN + 1000)
    published.publish()  # deltas, in which they came before
    tokens = tokens_of(published)
    assert len(tokens) == (4 if rotating else 2)
    assert len(files_with(published, tokens)) >= 2
    assert published.manifest().partitions["49"].screen is not None
    published.registry.remove(WHO)
    for step in range(between):
        published.publish()
        published.add(GERMAN + 2000 + step)
        assert files_with(published, tokens), "a plain publish leaves it in older files"
    publisher, _ = expunge(published)
    assert publisher.taken_out
    assert files_with(published, tokens) == set()
    octets = raw(published)
    assert not [row for row in tokens.to_bytes() if row.tobytes() in octets]
    assert not [one for one in (str(GERMAN).encode(), GERMAN.to_bytes(6, "big")) if one in octets]
    # What is served is whole, and right.
    for audience in ("people", "business"):
        manifest = published.manifest(audience)
        assert set(manifest.files()) <= published.data_files()
    rest = tokens_of(published, numbers(CROWD[0]))
    assert files_with(published, rest)
    assert not published.registry.departures()


@pytest.mark.slow
def test_only_partitions_that_somebody_left_begin_anew(published):
    published.add(GERMAN + 1000, AMERICAN + 1)
    published.publish()
    before = published.manifest()
    published.registry.remove(WHO)
    expunge(published)
    after = published.manifest()
    assert after.partitions["1"] == before.partitions["1"]
    assert (after.partitions["49"].deltas, before.partitions["49"].deltas != ()) == ((), True)
    assert {file.sha256 for file in before.partitions["1"].files()} <= published.data_files()
    # From here on there are deltas again.
    published.add(GERMAN + 1001)
    published.publish()
    (delta,) = published.manifest().partitions["49"].deltas
    assert delta.from_edition == after.edition
    publisher, outcomes = expunge(published)
    assert (publisher.taken_out, outcomes[0].changed) == (0, None), "nobody has left since"


def test_the_last_of_a_partition(published):
    tokens = tokens_of(published, numbers(AMERICAN))
    published.registry.remove(numbers(AMERICAN))
    expunge(published)
    assert files_with(published, tokens) == set()
    assert list(published.manifest().partitions) == ["49"]


@pytest.mark.slow
def test_a_killed_one_is_done_again(published, monkeypatch):
    tokens = tokens_of(published)
    published.registry.remove(WHO)
    for owner, name in ((SqliteMembers, "expunged"), (os, "unlink")):

        def killed(*_args, **_options):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, killed)
            with pytest.raises(KeyboardInterrupt):
                expunge(published)
        assert published.registry.departures()
        published.add(GERMAN + 3000)
    expunge(published)
    assert files_with(published, tokens) == set()


@pytest.mark.slow
def test_who_left_before_that_was_recorded_counts(published):
    """As in a registry of version 3, or of another installation."""
    tokens = tokens_of(published)
    published.registry.remove(WHO)
    published.publish()
    published.registry._database.change("DELETE FROM departures")
    published.registry.depart()
    expunge(published)
    assert files_with(published, tokens) == set()


@pytest.mark.slow
def test_show_says_so_at_once(published):
    published.registry.consent(WHO, "people", granted=False, origin=APP)
    published.publish()

    def said():
        (record,) = published.registry.show(WHO)
        found = presences(published.registry, published.repository, record)
        return {one.audience: str(one) for one in found}["people"]

    assert "in older files" in said()
    expunge(published)
    assert said() == f"in no served file since edition {published.manifest().edition} of epoch 1"


def receipt_of(operator, *words, stdin=f"+{GERMAN}\n"):
    return CliRunner().invoke(
        main, ["server", *words, "--data", str(operator.folder.path)], input=stdin, catch_exceptions=False
    )


@pytest.mark.slow
def test_the_receipts(published, tmp_path):
    words = ("--reference", "case 17", "--receipt", str(tmp_path / "r.json"))
    done = receipt_of(published, "members", "remove", "-", "--json", *words)
    receipt = json.loads(done.stdout)
    assert json.loads((tmp_path / "r.json").read_text()) == receipt
    assert (tmp_path / "r.json").stat().st_mode & 0o777 == 0o600
    assert str(GERMAN) not in done.stdout + done.stderr
    assert (receipt["reference"], receipt["removed"], receipt["audience"]) == ("case 17", 1, None)
    assert receipt["registry"] == {
        "members": 1,
        "consents": 1,
        "labels": 0,
        "tokens": [
            {"audience": "business", "epoch": 1, "count": 1},
            {"audience": "people", "epoch": 1, "count": 1},
        ],
        "erased": True,
    }
    editions = receipt["remains"][0]["editions"]
    assert editions == [{"audience": who, "epoch": 1, "edition": 1} for who in ("business", "people")]
    assert "publish --expunge" in receipt["remains"][0]["until"]
    done = receipt_of(published, "publish", "--expunge", "--json")
    published_now = json.loads(done.stdout)
    assert (published_now["expunged"], published_now["registry_erased"]) == (True, True)
    assert published_now["files_taken_out"] >= 2
    assert [one["edition"] for one in published_now["audiences"]] == [2, 2]


def token_counts(receipt):
    return [(one["audience"], one["count"]) for one in receipt["registry"]["tokens"]]


def test_receipts_of_other_removals(published, tmp_path):
    """An objection, an expiry and an import that replaces: each says what went, and what did not."""
    file = tmp_path / "r.json"
    words = ("--reference", "case 18", "--receipt", str(file))
    done = receipt_of(published, "members", "consent", "-", "--off", "--source", "letter", "--json", *words)
    told = json.loads(done.stdout)
    receipt = told["receipt"]
    assert (told["changed"], json.loads(file.read_text())) == (1, {"version": 1, **receipt})
    assert (receipt["reference"], receipt["removed"], receipt["audience"]) == ("case 18", 1, None)
    assert (receipt["registry"]["members"], receipt["registry"]["consents"]) == (0, 0)
    assert token_counts(receipt) == [("business", 1), ("people", 1)]
    assert receipt["remains"][-1]["where"].startswith("the registry: the entry of who objected")
    again = receipt_of(published, "members", "consent", "-", "--off", "--source", "letter", "--json")
    assert json.loads(again.stdout)["receipt"]["removed"] == 0
    # Who objected is forgotten by the expiry, without a token that could go.
    people = CROWD[:3]
    published.registry._database.change(
        f"UPDATE members_tel SET verified = 9 WHERE key IN ({GERMAN}, {people[0]}, {people[1]})"
    )
    expire = ("members", "expire", "--before", "2001-01-01")
    assert json.loads(receipt_of(published, *expire, "--dry-run", "--json").stdout)["removed"] == 3
    done = receipt_of(published, *expire, *words)
    assert done.stdout == "3 removed\n"
    receipt = json.loads(file.read_text())
    assert (receipt["removed"], receipt["registry"]["members"], receipt["registry"]["erased"]) == (3, 3, True)
    assert token_counts(receipt) == [("business", 2), ("people", 2)]
    # A file that replaces the audience, without two who are in it.
    rest = "".join(f"+{number}\n" for number in CROWD[4:])
    plain = receipt_of(published, "members", "import", "-", "--receipt", str(file), stdin=rest)
    assert plain.exit_code == 2
    done = receipt_of(published, "members", "import", "-", "--replace", "--json", *words, stdin=rest)
    told = json.loads(done.stdout)
    assert told["removed"] == told["receipt"]["removed"] == 3  # CROWD[2], CROWD[3], AMERICAN
    assert token_counts(told["receipt"]) == [("business", 2), ("people", 3)]
    assert {one["audience"] for one in told["receipt"]["remains"][0]["editions"]} == {"business", "people"}
    business = receipt_of(
        published, "members", "import", "-", "--audience", "business", "--replace", "--max-removed", "100%",
        "--receipt", str(file), stdin=f"+{CROWD[9]}\n",
    )  # fmt: skip
    assert business.exit_code == 0, business.stderr
    receipt = json.loads(file.read_text())
    assert (receipt["audience"], receipt["removed"]) == ("business", 45)
    assert token_counts(receipt) == [("business", 45)]
    assert not published.registry.unerased()


@pytest.mark.slow
def test_the_receipt_says_what_an_idle_reader_keeps(published, monkeypatch):
    monkeypatch.setattr("contactsync.server.storage.sqlite.erasing.SqliteErasing.erase.__defaults__", (0.1,))
    with closing(SqliteMembers(published.folder.registry)) as reader:
        with reader.snapshot():
            done = receipt_of(published, "members", "remove", "-", "--json")
            assert done.exit_code == 1
            assert "removed, but not yet erased" in done.stderr
            receipt = json.loads(done.stdout)
            assert (receipt["removed"], receipt["registry"]["erased"]) == (1, False)
            assert "write-ahead log" in receipt["remains"][1]["where"]
        done = receipt_of(published, "status")
        assert "may still hold what was removed" in done.stderr
    receipt_of(published, "publish")
    assert "may still hold" not in receipt_of(published, "status").stderr


@pytest.mark.slow
@pytest.mark.parametrize("words", [("--offline-targets", "x"), ("--every", "10m")])
def test_it_is_one_publish_here(published, words):
    done = receipt_of(published, "publish", "--expunge", *words)
    assert done.exit_code == 2
