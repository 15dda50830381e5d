"""A mirror, as its own process: it follows, verifies, keeps and serves, and nothing but what was signed."""

import numpy as np
import pytest
from mirror_tools import FirstServer, RunningMirror, refused, rows_kept, trusting

pytestmark = pytest.mark.slow  # processes

FIRST = ("+4915100000001", "+12125550100", "+447700900123")
SECOND = (*FIRST, "+4915100000002")
THIRD = (*SECOND, "+4915100000003")


def test_it_serves_rows_that_are_those_of_the_manifest(publisher, tmp_path):
    publisher.publish(*FIRST)
    first = FirstServer(publisher, tmp_path / "first")
    with RunningMirror(publisher, tmp_path / "mirror") as mirror:
        status, health = mirror.health()
        assert (status, health["epoch"], health["edition"], health["problem"]) == (200, 1, 1, None)
        assert health["rows"] == [first.root]
        wanted = [0, 5, first.table.total - 1]
        found = first.look_up(mirror, wanted)
        assert set(wanted) <= set(found.number.tolist())
        # Signed files and levels are as the operator has them.
        for path in ("tuf/metadata/timestamp.json", "tuf/metadata/root.json", f"data/{first.root}"):
            theirs = publisher.folder / path.removeprefix("tuf/")
            if path.endswith("root.json"):
                theirs = publisher.folder / "metadata" / "1.root.json"
            assert mirror.ask(f"/v1/{path}") == (200, theirs.read_bytes())
        name = f"{publisher.manifest.sha256()}.people.json"
        assert mirror.ask(f"/v1/tuf/targets/{name}") == (200, publisher.manifest.to_bytes())
        # Bases are for accounts.
        assert mirror.ask(f"/v1/data/{publisher.manifest.partitions['49'].base.sha256}")[0] == 404
        mirror.stop()


def test_the_next_edition_comes_by_deltas_and_two_are_kept(publisher, tmp_path):
    publisher.publish(*FIRST)
    first = FirstServer(publisher, tmp_path / "first")
    with RunningMirror(publisher, tmp_path / "mirror") as mirror:
        publisher.requests.clear()
        publisher.publish(*SECOND)
        second = FirstServer(publisher, tmp_path / "second")
        mirror.reaches(2)
        base, deltas = (publisher.manifest.partitions["49"].base, publisher.manifest.partitions["49"].deltas)
        assert publisher.asked(deltas[0].file.sha256)
        assert not publisher.asked(base.sha256)
        for one in (first, second):
            one.look_up(mirror, [1, 2])
        publisher.publish(*THIRD)
        third = FirstServer(publisher, tmp_path / "third")
        mirror.reaches(3)
        assert mirror.health()[1]["rows"] == [third.root, second.root]
        third.look_up(mirror, [1, 2])
        second.look_up(mirror, [1, 2])
        keys = bytes(first.rows.key_bytes(8))
        status, said = mirror.ask(
            f"/v1/lookup/people/{first.root}", "POST", keys, **{"Content-Type": "application/octet-stream"}
        )
        assert (status, b"unknown-rows" in said) == (404, True)
        mirror.stop()
    assert rows_kept(tmp_path / "mirror") == {third.root, second.root}


def test_what_the_operator_takes_out_of_service_is_removed(publisher, tmp_path):
    """`publish --expunge`: somebody has left who is in the rows of the edition before."""
    publisher.publish(*SECOND)
    old, base = publisher.manifest.rows.level.sha256, publisher.manifest.partitions["49"].base.sha256
    with RunningMirror(publisher, tmp_path / "mirror") as mirror:
        publisher.publish(*FIRST)
        new = publisher.manifest.rows.level.sha256
        mirror.until(lambda _, body: body["rows"] == [new, old])
        (publisher.folder / "data" / old).unlink()
        mirror.until(lambda _, body: body["rows"] == [new])
        FirstServer(publisher, tmp_path / "first").look_up(mirror, [1, 2])
        mirror.stop()
    names = {path.name for path in (tmp_path / "mirror").rglob("*") if path.is_file()}
    assert new in names
    assert not {old, base} & names


def test_the_next_epoch_is_followed(publisher, tmp_path):
    publisher.publish(*FIRST)
    with RunningMirror(publisher, tmp_path / "mirror") as mirror:
        publisher.rotate(*FIRST)
        mirror.reaches(1, epoch=2)
        FirstServer(publisher, tmp_path / "first").look_up(mirror, [1, 2])


def test_a_credential_is_refused_and_not_kept(publisher, tmp_path):
    publisher.publish(*FIRST)
    with RunningMirror(publisher, tmp_path / "mirror") as mirror:
        for path in (
            "/v1/health",
            f"/v1/lookup/people/{publisher.manifest.rows.level.sha256}",
            "/v1/nothing",
        ):
            method = "POST" if "lookup" in path else "GET"
            status, said = mirror.ask(path, method, b"keys", Authorization="Bearer cs_of-somebody")
            assert status == 400
            assert b"asks for no credential" in said
            assert b"cs_of-somebody" not in said
        mirror.stop()
        assert "cs_of-somebody" not in mirror.said()
    assert not any(
        b"cs_of-somebody" in path.read_bytes() for path in (tmp_path / "mirror").rglob("*") if path.is_file()
    )


def test_pages_of_an_origin_that_was_named_may_read_replies(publisher, tmp_path):
    publisher.publish(*FIRST)
    page = "https://app.example"
    with RunningMirror(publisher, tmp_path / "mirror", "--web-origin", page) as mirror:
        allowed = {
            origin: mirror.fields("/v1/health", Origin=origin).get("access-control-allow-origin")
            for origin in (page, "https://other.example")
        }
        assert allowed == {page: page, "https://other.example": None}
        mirror.stop()
    code, said = refused(publisher, tmp_path / "mirror", "--web-origin", "*")
    assert (code, "is not the origin of a page" in said) == (3, True)


def test_the_root_must_be_confirmed(publisher, tmp_path):
    publisher.publish(*FIRST)
    data = tmp_path / "mirror"
    code, said = refused(publisher, data)
    assert (code, "give --root-fingerprint HEX" in said) == (3, True)
    code, said = refused(publisher, data, "--root-fingerprint", "ab" * 32)
    assert (code, "not the one you gave" in said) == (5, True)
    assert not publisher.asked("/v1/data/")
    wrong = tmp_path / "root.json"
    wrong.write_bytes(b"{}")
    assert refused(publisher, data, "--root", str(wrong))[0] == 5
    right = publisher.folder / "metadata" / "1.root.json"
    with RunningMirror(publisher, data, "--every", "1h") as mirror:
        mirror.stop()
    # It is pinned now: the fingerprint may be left out, but not be another.
    code, said = refused(publisher, data, "--root-fingerprint", "ab" * 32)
    assert (code, "begun with another root" in said) == (3, True)
    assert right.exists()


def test_a_folder_of_something_else_is_refused(publisher, tmp_path):
    publisher.publish(*FIRST)
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("to somebody")
    code, said = refused(publisher, other, *trusting(publisher))
    assert (code, "not the folder of a mirror" in said) == (3, True)
    assert [path.name for path in other.iterdir()] == ["letter.txt"]
    data = tmp_path / "mirror"
    with RunningMirror(publisher, data) as mirror:
        code, said = refused(publisher, data, *trusting(publisher))
        assert (code, "another contactsync process" in said) == (1, True)
        mirror.stop()
    publisher.url = "http://127.0.0.1:1"
    code, said = refused(publisher, data, *trusting(publisher))
    assert (code, "is a mirror of http://127.0.0.1" in said) == (3, True)


def test_a_publication_without_rows_is_not_mirrored(publisher, tmp_path):
    publisher.has_rows = False
    publisher.publish(*FIRST)
    code, said = refused(publisher, tmp_path / "mirror", *trusting(publisher))
    assert code == 3
    assert "this publication has no rows" in said
    assert "publish --private-lookup yes" in said


def test_rows_that_the_directories_do_not_give_are_not_served(publisher, tmp_path):
    """The operator states the root of other rows, and serves their level: a mirror never takes them."""
    honest = publisher.rows_of
    publisher.publish(*FIRST)
    earlier = publisher.manifest.rows
    with RunningMirror(publisher, tmp_path / "mirror") as mirror:
        publisher.rows_of = lambda _: earlier
        publisher.publish(*SECOND)
        mirror.until(lambda _, body: body["problem"])
        status, health = mirror.health()
        assert (status, health["edition"]) == (200, 1)
        assert "give other rows than its manifest states" in health["problem"]
        assert "ERROR" in mirror.said()
        publisher.rows_of = honest
        publisher.publish(*THIRD)
        mirror.reaches(3)
        FirstServer(publisher, tmp_path / "third").look_up(mirror, np.arange(3))
        mirror.stop()
