"""`contactsync-js sync` against a real server: what it finds, sends, refuses and keeps."""

import json
import os
import stat

import pytest
from javascript import CLI, Person, found, needs_node, node
from server_tools import Operator, Process, numbers

pytestmark = [needs_node, pytest.mark.slow]
ANNA, BEN, NEW = "+4915100000001", "+4915100000002", "+4915100000077"
STRANGER = "+4915900000009"


def manifest_of(operator):
    return operator.manifest("people")


def test_first_sync_then_one_without_news(person):
    first = person.sync(ANNA, STRANGER, BEN)
    assert found(first) == [ANNA, BEN]
    assert (first["contacts"], first["identifiers"], first["evaluated"]) == (3, 3, 8)
    assert (first["joined"], first["left"], first["epoch"], first["edition"]) == ([], [], 1, 1)
    assert first["bytes_sent"] == 8 * 32
    assert first["quota"]["left"] == first["quota"]["burst"] - 8
    second = person.sync(ANNA, STRANGER, BEN)
    assert found(second) == [ANNA, BEN]
    assert (second["evaluated"], second["bytes_sent"]) == (8, 256)  # a cover round looks the same
    assert second["bytes_received"] < 4000
    third = person.sync(ANNA, STRANGER, BEN, more=["--no-cover"])
    assert (third["evaluated"], third["bytes_sent"]) == (0, 0)


def test_what_is_written_for_people(person):
    done = person.run(ANNA, STRANGER, "12")
    assert done.stdout.startswith(f"{ANNA}\t{ANNA}\n1 matches among 2 numbers")
    assert "the server could learn that this account looked up 0 to 8 new numbers" in done.stdout
    assert "skipped: " in done.stderr
    assert "12" not in done.stderr.replace(str(person.folder), "")


def test_a_new_edition_comes_by_a_delta(person, operator):
    assert found(person.sync(ANNA, BEN, NEW)) == [ANNA, BEN]
    before = manifest_of(operator).partitions["49"].base.length
    operator.add(int(NEW))
    operator.registry.remove(numbers(int(BEN)), "people")
    operator.publish()
    partition = manifest_of(operator).partitions["49"]
    assert partition.deltas[-1].file.length < before
    news = person.sync(ANNA, BEN, NEW)
    assert found(news) == [ANNA, NEW]
    assert [one["name"] for one in news["joined"]] == [NEW]
    assert [one["name"] for one in news["left"]] == [BEN]
    names = person.kept()
    assert f"data-{partition.deltas[-1].file.sha256}" in names
    assert f"data-{partition.base.sha256}" not in names  # the delta was enough
    assert found(person.sync(ANNA, BEN, NEW, STRANGER)) == [ANNA, NEW]


def test_rows_for_private_lookup_are_ignored(person, operator):
    """It does not know them: it reads and walks such a history as any other."""
    assert found(person.sync(ANNA, BEN, NEW)) == [ANNA, BEN]
    operator.folder.switch_private_lookup(on=True)
    operator.publish()
    operator.add(int(NEW))
    operator.publish()
    manifest = manifest_of(operator)
    assert (manifest.edition, manifest.rows is None) == (3, False)
    news = person.sync(ANNA, BEN, NEW, STRANGER)
    assert (found(news), news["edition"]) == ([ANNA, BEN, NEW], 3)
    assert f"data-{manifest.rows.level.sha256}" not in person.kept()


def test_a_new_epoch_makes_all_tokens_anew(person, operator):
    assert found(person.sync(ANNA, STRANGER)) == [ANNA]
    operator.publish(new_epoch=True)
    again = person.sync(ANNA, STRANGER)
    assert (found(again), again["epoch"], again["new_identifiers"]) == ([ANNA], 2, 2)
    assert again["joined"] == again["left"] == []
    (name,) = (one for one in person.kept() if one.startswith("audience"))
    assert list(json.loads(person.kept()[name])["epochs"]) == ["2"]


def test_another_root_is_refused_before_anything_is_sent(tmp_path, person, served):
    other = Operator(tmp_path / "other")
    other.publish()
    other.close()
    root = (other.folder.public / "metadata" / "1.root.json").read_bytes()
    stranger = Person(tmp_path / "stranger", served.url, root)
    error = stranger.sync(ANNA, code=5)
    assert (error["kind"], error["refusal"]) == ("bad-signature", "bad-signature")
    assert person.sync(ANNA)["evaluated"] == 8
    person.root.write_bytes(root)
    error = person.sync(ANNA, code=1)
    assert "another root is pinned" in error["message"]


def test_a_root_that_its_own_keys_did_not_sign_is_refused(person):
    value = json.loads(person.root.read_bytes())
    value["signed"]["expires"] = "2099-01-01T00:00:00Z"
    person.root.write_text(json.dumps(value))
    error = person.sync(ANNA, code=5)
    assert error["refusal"] == "bad-signature"


@pytest.mark.parametrize("place", [10, 40, 300, -1])
def test_a_tampered_file_is_refused_and_no_point_is_sent(person, operator, place):
    base = manifest_of(operator).partitions["49"].base
    path = operator.folder.data / base.sha256
    good = path.read_bytes()
    octets = bytearray(good)
    octets[place] ^= 1
    path.chmod(0o600)
    path.write_bytes(octets)
    error = person.sync(ANNA, code=5)
    assert (error["kind"], error["refusal"]) == ("bad-directory", "bad-hash")
    path.write_bytes(good)
    done = person.sync(ANNA)
    assert (found(done), done["quota"]["left"]) == ([ANNA], done["quota"]["burst"] - 8)


def test_a_stored_file_that_was_damaged_is_fetched_again(person, operator):
    assert found(person.sync(ANNA)) == [ANNA]
    (folder,) = person.state.iterdir()
    path = folder / f"data-{manifest_of(operator).partitions['49'].base.sha256}"
    octets = bytearray(path.read_bytes())
    octets[-100] ^= 255
    path.write_bytes(octets)
    assert found(person.sync(ANNA, BEN)) == [ANNA, BEN]


def test_metadata_that_goes_back_is_refused(person, operator):
    assert found(person.sync(ANNA)) == [ANNA]
    folder = operator.folder.public / "metadata"
    old = {path: path.read_bytes() for path in folder.iterdir()}
    operator.add(int(NEW))
    operator.publish()
    assert found(person.sync(ANNA, NEW)) == [ANNA, NEW]
    for path, octets in old.items():
        path.write_bytes(octets)
    error = person.sync(ANNA, NEW, code=5)
    assert (error["kind"], error["refusal"]) == ("bad-signature", "rolled-back")


def test_the_quota_is_used_up_and_the_round_goes_on_later(tmp_path, operator):
    settings = operator.folder.settings_file
    settings.write_text(settings.read_text().replace("burst = 16384", "burst = 16"))
    root = (operator.folder.public / "metadata" / "1.root.json").read_bytes()
    book = [f"+49151000000{i:02d}" for i in range(24)]  # 32 points: two batches of 16, of which one passes
    with Process(operator.folder.path) as process:
        person = Person(tmp_path / "person", process.url, root)
        assert person.sync(ANNA)["quota"] == {"left": 8, "burst": 16, "per_day": 256}
        error = person.sync(*book, code=8)
        assert (error["kind"], error["problem"], error["burst"]) == ("quota", "out-of-quota", 16)
        assert error["retry_after"] > 0
    settings.write_text(settings.read_text().replace("burst = 16", "burst = 1024"))
    kept = json.loads(person.kept()["audience-people.json"])["epochs"]["1"]
    waiting = kept["unfinished"]
    assert sum(batch["points"] for batch in waiting) == 32
    names = {one for batch in waiting for one in batch["identifiers"]}
    assert names == {f"tel:{one}" for one in book} - {f"tel:{ANNA}"}
    with Process(operator.folder.path) as process:
        person.url = process.url
        (folder,) = person.state.iterdir()
        folder.rename(person.state / f"http_127.0.0.1_{process.port}")
        done = person.sync(*book)
    assert (found(done), done["evaluated"]) == (book, 40)  # and a cover round, as nothing else is new


def test_a_sync_that_leaves_padding_out_says_so(tmp_path, operator):
    settings = operator.folder.settings_file
    settings.write_text(settings.read_text().replace("burst = 16384", "burst = 32"))
    root = (operator.folder.public / "metadata" / "1.root.json").read_bytes()
    with Process(operator.folder.path) as process:
        person = Person(tmp_path / "person", process.url, root)
        for _ in range(3):
            done = person.sync(ANNA)
            assert (done["evaluated"], done["uncovered"]) == (8, False)
        done = person.sync(ANNA)  # three quarters of the budget are used up
        assert (done["evaluated"], done["uncovered"]) == (0, True)
        assert "has nothing new to look up" in done["leak"]
        assert "no padding points were sent" in person.run(ANNA).stderr
        assert person.sync(ANNA, more=["--no-cover"])["uncovered"] is False


def test_a_refused_credential(person):
    person.credential.write_text("cs_wrong\n")
    error = person.sync(ANNA, code=6)
    assert (error["status"], error["problem"]) == (401, "bad-credential")
    assert "cs_wrong" not in json.dumps(error)


def test_no_server_is_a_network_error(person, served):
    served.stop()
    error = person.sync(ANNA, code=4)
    assert error["kind"] == "network"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], 2),
        (["sync"], 2),
        (
            ["sync", "/nonexistent", "--url", "https://x.example", "--credential-file", "/c", "--root", "/r"],
            3,
        ),
        (["sync", "-", "--url", "http://x.example", "--credential-file", "/c", "--root", "/r"], 3),
        (["sync", "-", "--url", "https://u:p@x.example", "--credential-file", "/c", "--root", "/r"], 3),
        (["--nonsense"], 2),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(arguments, code):
    done = node(CLI, *arguments, code=code)
    assert "error: " in done.stderr
    assert "    at " not in done.stderr


def test_the_state_is_for_its_owner_alone(person):
    person.sync(ANNA)
    for path in [*person.state.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert not [path for path in person.state.rglob("*") if path.name.endswith((".new", "lock"))]


def test_one_sync_at_a_time_and_a_lock_that_was_left_behind(person):
    person.sync(ANNA)
    (folder,) = person.state.iterdir()
    (folder / "lock").write_text(str(os.getpid()))
    assert "another sync" in person.sync(ANNA, code=1)["message"]
    (folder / "lock").write_text("999999999")
    assert found(person.sync(ANNA)) == [ANNA]


@pytest.mark.parametrize("octets", [b"", b"{", b'{"version":2}', b"[]", b"\xff"])
@pytest.mark.parametrize("name", ["trust.json", "audience-people.json"])
def test_a_damaged_state_is_refused_with_a_way_out(person, name, octets):
    person.sync(ANNA)
    (folder,) = person.state.iterdir()
    (folder / name).write_bytes(octets)
    error = person.sync(ANNA, code=1)
    assert name in error["message"]
    assert error["hint"]


@pytest.mark.parametrize("member", ["root", "manifests"])
def test_a_damaged_part_of_what_was_verified_is_refused(person, member):
    person.sync(ANNA)
    (folder,) = person.state.iterdir()
    state = json.loads((folder / "trust.json").read_text())
    state[member] = {"people": "{"} if member == "manifests" else "{"
    (folder / "trust.json").write_text(json.dumps(state))
    error = person.sync(ANNA, code=5)
    assert error["refusal"] == "malformed"


def test_a_download_that_is_too_large_is_not_begun(person):
    error = person.sync(ANNA, more=["--max-download", "100"], code=7)
    assert "no file was fetched" in error["message"]
