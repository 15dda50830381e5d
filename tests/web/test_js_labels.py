"""Labels, addresses and further forms in `contactsync-js sync`: what it shows, and what a server sees."""

import json
from dataclasses import replace

import pytest
from javascript import Person, found, needs_node
from server_tools import Operator, Process, numbers
from simulated_service import CREDENTIAL, service

from contactsync.server.storage.ports import Members

__all__ = ["service"]
pytestmark = [needs_node, pytest.mark.slow]
ANNA, BEN, CARL, ABROAD = "+4915100000001", "+4915100000002", "+4915100000003", "+12125550123"
STRANGERS = ("+4915900000001", "+4915900000002", "+4915900000003")


@pytest.fixture
def labelled(service):
    service.labels = {ANNA: "@anna:chat", ABROAD: "Zoë 王"}
    service.crowd = {"49": 300}  # so that a delta is smaller than all labels
    service.publish(ANNA, BEN, ABROAD)
    return service


@pytest.fixture
def person(tmp_path, labelled):
    return Person(tmp_path / "person", labelled.url, labelled.repository.root_bytes(), CREDENTIAL)


@pytest.fixture
def other(tmp_path, labelled):
    return Person(tmp_path / "other", labelled.url, labelled.repository.root_bytes(), CREDENTIAL)


def labels(result):
    return {one["identifier"].removeprefix("tel:"): one["label"] for one in result["matches"]}


def shape(service):
    """What was asked since the last call. Files are fetched several at a time, in any order."""
    seen = sorted((one.method, one.path, len(one.body)) for one in service.requests)
    service.requests.clear()
    return seen


def audience_of(person):
    (folder,) = person.state.iterdir()
    return folder / "audience-people.json"


def test_labels_of_matches_are_shown_and_kept(person):
    first = person.sync(ANNA, BEN, STRANGERS[0])
    assert labels(first) == {ANNA: "@anna:chat", BEN: None}
    assert first["labels"] == {"unopened": 0, "unknown": 0}
    assert labels(person.sync(ANNA, BEN, ABROAD)) == {ANNA: "@anna:chat", BEN: None, ABROAD: "Zoë 王"}
    printed = person.run(ANNA, BEN).stdout
    assert printed.startswith(f"{ANNA}\t{ANNA}\t@anna:chat\n{BEN}\t{BEN}\n")


def test_a_changed_label_comes_by_a_delta_and_members_come_and_go(person, labelled):
    person.sync(ANNA, BEN, CARL)
    labelled.labels |= {ANNA: "@renamed:chat", CARL: "@carl:chat"}
    labelled.publish(ANNA, BEN, ABROAD)
    change = labelled.manifest.partitions["49"].labels.deltas[-1].file
    assert labels(person.sync(ANNA, BEN, CARL)) == {ANNA: "@renamed:chat", BEN: None}
    assert labelled.asked(change.sha256)
    labelled.publish(ANNA, CARL, ABROAD)  # tokens and labels change, each by a delta
    assert labels(person.sync(ANNA, BEN, CARL)) == {ANNA: "@renamed:chat", CARL: "@carl:chat"}
    rows = json.loads(audience_of(person).read_text())["epochs"]["1"]["tokens"]
    assert rows[f"tel:{BEN}"][4] is None


def test_what_is_asked_for_is_the_same_whoever_matches(person, other, labelled):
    labelled.requests.clear()
    seen = []
    for one, book in ((person, (ANNA, BEN, CARL)), (other, STRANGERS)):
        for more in ((), (ABROAD,)):
            one.sync(*book, *more)
            seen.append(shape(labelled))
    assert seen[0] == seen[2]
    assert seen[1] == seen[3]
    for partition in labelled.manifest.partitions.values():
        assert any(path.endswith(partition.labels.file.sha256) for _, path, _ in seen[2])
    labelled.labels[ANNA] = "@renamed:chat"
    labelled.publish(ANNA, BEN, ABROAD)
    person.sync(ANNA, BEN, CARL, ABROAD)
    news = shape(labelled)
    other.sync(*STRANGERS, ABROAD)
    assert shape(labelled) == news


def test_an_entry_that_does_not_open_costs_its_label_and_no_request(person, other, labelled):
    honestly = labelled.seal

    def spoil(*given):
        before, labelled.sealed = labelled.sealed, {}
        honestly(*given)
        labelled.sealed = before | {token: entry ^ 1 for token, entry in labelled.sealed.items()}

    labelled.seal = spoil
    labelled.publish(ANNA, BEN, ABROAD, CARL)
    labelled.requests.clear()
    seen = []
    for one, book in ((person, (ANNA, BEN)), (other, STRANGERS[:2])):
        result = one.sync(*book)
        assert set(labels(result).values()) <= {None}
        assert result["labels"] == {"unopened": len(result["matches"]), "unknown": 0}
        one.sync(*book)
        seen.append(shape(labelled))
    assert seen[0] == seen[1]
    assert "2 labels do not open" in person.run(ANNA, BEN).stderr


def test_a_tampered_sidecar_is_refused_before_a_point_is_sent(person, labelled):
    sidecar = labelled.manifest.partitions["1"].labels.file.sha256

    def tamper(request, reply):
        if request.path.endswith(sidecar):
            reply.body = bytes([*reply.body[:-1], reply.body[-1] ^ 1])

    labelled.tamper = tamper
    labelled.requests.clear()
    error = person.sync(ANNA, code=5)
    assert (error["kind"], error["refusal"]) == ("bad-directory", "bad-hash")
    assert "POST" not in {method for method, _, _ in shape(labelled)}


def test_no_labels_are_fetched_if_none_are_wanted_and_those_that_are_kept_go(person, labelled):
    person.sync(ANNA)
    labelled.requests.clear()
    result = person.sync(ANNA, more=["--labels", "no"])
    assert (labels(result), result["labels"]) == ({ANNA: None}, None)
    assert "@anna" not in audience_of(person).read_text()
    labelled.labels[ANNA] = "@renamed:chat"
    labelled.publish(ANNA, BEN, ABROAD)
    person.sync(ANNA, more=["--labels", "no"])
    assert not [path for _, path, _ in shape(labelled) if "/data/" in path]
    assert labels(person.sync(ANNA)) == {ANNA: "@renamed:chat"}


def test_tokens_of_an_earlier_version_are_looked_up_once_more_all_of_them(person, labelled):
    person.sync(ANNA, *STRANGERS)
    path = audience_of(person)
    state = json.loads(path.read_text())
    rows = state["epochs"]["1"]["tokens"]
    state["epochs"]["1"]["tokens"] = {one: row[:3] for one, row in rows.items()}
    del state["epochs"]["1"]["sidecars"], state["seen"]
    path.write_text(json.dumps(state))
    again = person.sync(ANNA, *STRANGERS)
    assert (again["new_identifiers"], labels(again), again["joined"]) == (4, {ANNA: "@anna:chat"}, [])
    assert person.sync(ANNA, *STRANGERS)["new_identifiers"] == 0


def test_what_no_book_has_had_for_a_year_is_forgotten(person):
    person.sync(ANNA, BEN)
    path = audience_of(person)
    state = json.loads(path.read_text())
    this_month = state["seen"][f"tel:{ANNA}"]
    assert state["seen"][f"tel:{BEN}"] == this_month
    for months, known in ((12, True), (13, False)):
        state["seen"] |= {f"tel:{one}": this_month - months for one in (ANNA, BEN)}
        path.write_text(json.dumps(state))
        person.sync(ANNA)
        kept = path.read_text()
        assert f"tel:{ANNA}" in kept
        assert (f"tel:{BEN}" in kept) is known


@pytest.fixture
def operator(tmp_path):
    operator = Operator(tmp_path / "server")
    operator.accounts.add("javascript", "people", "cs_javascript")
    operator.registry.add(numbers(5491123456789, 4915100000001), "people")
    operator.publish()
    yield operator
    operator.close()


@pytest.fixture
def somebody(tmp_path, operator):
    with Process(operator.folder.path) as process:
        root = (operator.folder.public / "metadata" / "1.root.json").read_bytes()
        yield Person(tmp_path / "somebody", process.url, root, "cs_javascript")


def test_a_contact_is_found_by_a_further_form_once(somebody):
    result = somebody.sync("+541123456789", ANNA)
    assert (result["identifiers"], result["further_forms"], result["new_identifiers"]) == (2, 1, 3)
    match, _ = result["matches"]
    assert (match["identifier"], match["written"]) == ("tel:+5491123456789", "tel:+541123456789")
    assert len(somebody.sync("+541123456789", "+5491123456789")["matches"]) == 2  # two contacts, one each


def test_addresses_are_sent_once_somebody_has_one(somebody, operator):
    book = somebody.folder / "book.csv"
    book.write_text(f"Name,Phone,E-mail\nAnna,{ANNA},Anna@Example.org\nBob,,bob@example.org\n")

    def sync(*more):
        return json.loads(somebody.run_book(book, "--json", *more).stdout)

    first = sync()
    assert (found(first), first["identifiers"], first["unserved"]) == ([ANNA], 1, 2)
    operator.registry.add(Members.of([b"mailto:anna@example.org"]), "people")
    operator.publish()
    second = sync()
    assert (second["identifiers"], second["unserved"], second["new_identifiers"]) == (3, 0, 2)
    assert found(second) == [ANNA, "mailto:anna@example.org"]
    assert sync("--only", "tel")["matches"] == first["matches"]
    lines = somebody.run_book(book).stdout.splitlines()
    assert lines[0] == f"Anna\t{ANNA}, anna@example.org"  # one member, one line
    assert lines[1].startswith("2 matches among 3 numbers and addresses of 2 contacts")


def test_a_partition_that_needs_more_than_is_known_here_is_said_to_be_unusable(person, labelled):
    honestly = labelled.partitions

    def partitions(*given):
        found = honestly(*given)
        return found | {"1": replace(found["1"], extra={"critical": ["stamps"], "stamps": 1})}

    labelled.partitions = partitions
    labelled.publish(ANNA, BEN, ABROAD)
    result = person.sync(ANNA, ABROAD)
    assert labels(result) == {ANNA: "@anna:chat"}
    reason = "needs something that this program does not support"
    assert result["unusable"] == [{"partition": "1", "reason": reason, "identifiers": 1}]
    assert f"partition 1 {reason}" in person.run(ANNA, ABROAD).stderr
