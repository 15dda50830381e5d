"""300 single changes over a good transcript, its private file and its book: none passes by default."""

import base64
import json
import random

import pytest
from recorded_syncs import ANNA, BODO, SOME, Edited

from contactsync.audit.report import PROVEN, UNCHECKED
from contactsync.client.transcript import private_path

CHANCE = random.Random(20)


def refused(audit):
    """Whether an audit does not pass, with a place and a reason. It may not raise."""
    report = audit()
    found = [one for one in report.findings if one.severity != "note"]
    return report.exit_code != PROVEN and all(one.place and one.message for one in found)


def damaged(octets):
    """One change at a random place: a bit, an octet more or less, a piece twice, or all after it gone."""
    at = CHANCE.randrange(len(octets))
    return CHANCE.choice(
        [
            octets[:at] + bytes([octets[at] ^ 1 << CHANCE.randrange(8)]) + octets[at + 1 :],
            octets[:at] + octets[at + 1 :],
            octets[:at] + bytes([CHANCE.randrange(256)]) + octets[at:],
            octets[:at] + octets[at : at + 50] + octets[at:],
            octets[:at],
        ]
    )


@pytest.mark.slow
def test_100_changes_of_the_octets_of_either_file(edited):
    edited.write()
    assert edited.recorded.audit(file=edited.file).exit_code == PROVEN
    for path in (edited.file, private_path(edited.file)):
        octets = path.read_bytes()
        for _ in range(50):
            path.write_bytes(damaged(octets))
            assert refused(lambda: edited.recorded.audit(file=edited.file)), path.name
        path.write_bytes(octets)


@pytest.mark.slow
def test_a_cut_at_the_end_of_any_line_shows(edited):
    edited.write()
    lines = edited.file.read_bytes().splitlines(keepends=True)
    for count in CHANCE.sample(range(len(lines)), 10):
        edited.file.write_bytes(b"".join(lines[:count]))
        report = edited.recorded.audit(file=edited.file)
        assert report.exit_code == UNCHECKED
        (found,) = [one for one in report.findings if one.rule == "record"]
        assert found.place == f"{edited.file}, line {count + 1}"
        assert found.message == "the end is missing: the transcript was cut"


def places(value, path=()):
    """Where there is something in a value that can be changed: (path of keys, what is there)."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in items:
        yield from places(one, (*path, key))
    if not isinstance(value, dict | list):
        yield path, value


def changed(value):
    """Another value of the same kind."""
    if value is None:
        return "x"
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + CHANCE.choice([-1, 1])
    if not value:
        return "0"
    at = CHANCE.randrange(len(value))
    digits = "0123456789abcdef" if set(value) <= set("0123456789abcdef") else "AaQq07"
    new = CHANCE.choice([one for one in digits if one != value[at]])
    return value[:at] + new + value[at + 1 :]


def put(root, path, new):
    for key in path[:-1]:
        root = root[key]
    root[path[-1]] = new


# What is said in a transcript and proven by nothing in it. No rule tells anybody anything about it.
# docs/transcript.md lists it ("What is not covered").
OUTSIDE_OF_LINES = {
    ("began",),  # a moment at which the metadata is valid as well
    ("options", "max_download"),
    ("options", "leak_budget"),
    ("options", "buckets"),  # in download mode
    ("options", "most"),
    ("options", "labels"),  # where none are published
}
OUTSIDE_OF_PRIVATE = {
    ("rounds", 0, "cover"),  # in a round of more than eight points
}


@pytest.mark.slow
def test_100_lies_of_a_client_that_computes_all_sums_again(edited):
    """Whoever makes a transcript can make its sums; what left and what came explain each other."""
    passed = []
    spots = [(number, path, one) for number, line in enumerate(edited.lines) for path, one in places(line)]
    sums = {"sha256", "pieces", "private"}  # `write` makes them anew
    spots = [
        one
        for one in spots
        if not (one[0] == len(edited.lines) - 1 and one[1][0] in {*sums, "sent", "received"})
    ]
    opening = [one for one in spots if one[0] == 0]
    for number, path, one in [*opening, *CHANCE.sample(spots, 100 - len(opening))]:
        put(edited.lines[number], path, changed(one))
        if refused(edited.audit):
            put(edited.lines[number], path, one)
            continue
        passed.append((number, path, octets_of(edited.lines[number]), octets_of_value(one)))
        put(edited.lines[number], path, one)
    for number, path, new, old in passed:
        if number == 0:
            assert path in OUTSIDE_OF_LINES, path
            continue
        # Of what came, only a head can change without a word (the Date, say), and why something was refused.
        assert path == ("received",), (number, path)
        same_body = new.partition(b"\r\n\r\n")[2] == old.partition(b"\r\n\r\n")[2]
        assert b"problem:" in old or (old.startswith(b"HTTP/1.1 ") and same_body), (old, new)


def octets_of(line):
    return octets_of_value(line.get("received", ""))


def octets_of_value(text):
    try:
        return base64.b64decode(text)
    except (ValueError, TypeError):
        return b""


@pytest.mark.slow
def test_60_lies_in_the_private_file(edited):
    spots = list(places(edited.private))
    named = [one for one in spots if one[0][0] != "batches"]
    for path, one in [*named, *CHANCE.choices(spots, k=60 - len(named))]:
        put(edited.private, path, changed(one))
        assert refused(edited.audit) or path in OUTSIDE_OF_PRIVATE, path
        put(edited.private, path, one)
    for path in (("batches",), ("rounds",), ("plans",)):
        whole = edited.private[path[0]]
        edited.private[path[0]] = whole[1:]
        assert refused(edited.audit), path
        edited.private[path[0]] = whole
    assert edited.audit().exit_code == PROVEN


@pytest.mark.slow
def test_30_changes_of_the_address_book(good):
    book = [ANNA, BODO, *SOME]
    for number in range(30):
        other = list(book)
        at = CHANCE.randrange(len(book))
        kind = number % 3
        if kind == 0:
            digit = CHANCE.choice("123456789")
            place = CHANCE.randrange(6, len(other[at]))
            other[at] = other[at][:place] + digit + other[at][place + 1 :]
            if other[at] == book[at]:
                continue
        elif kind == 1:
            del other[at]
        else:
            other.append(f"+49160{CHANCE.randrange(10**7):07}")
        assert refused(lambda other=other: good.audit(*other))


@pytest.mark.slow
def test_names_and_order_of_the_book_are_not_covered(good):
    book = [ANNA, BODO, *SOME]
    CHANCE.shuffle(book)
    assert good.audit(*book, ANNA).exit_code == PROVEN, "names, order, and a number that is there twice"


@pytest.mark.slow
def test_files_of_another_sync_are_refused(good, tmp_path):
    private = json.loads(private_path(good.file).read_bytes())
    other = tmp_path / "other.private"
    other.write_text(json.dumps(private))
    report = good.audit(explained=False, private=other)
    assert report.exit_code == UNCHECKED
    (found,) = [one for one in report.findings if one.rule == "record"]
    assert found.place == str(other)
    assert "not the private file that was written with this transcript" in found.message


@pytest.mark.slow
def test_40_lies_about_bucket_lists(service, recorded):
    service.crowd = {"49": 400_000}
    service.publish(ANNA, "+491512345673")
    assert recorded.sync(ANNA, BODO, *SOME, privacy="screen") is not None, recorded.error
    edited = Edited.of(recorded, recorded.file)
    assert edited.audit().exit_code == PROVEN
    spots = [one for one in places(edited.private) if one[0][0] in {"lists", "decoy_secret", "plans"}]
    few = [one for one in spots if "numbers" not in one[0]]
    for path, one in [*few, *CHANCE.choices(spots, k=40 - len(few))]:
        put(edited.private, path, changed(one))
        assert refused(edited.audit), path
        put(edited.private, path, one)
    listed = edited.private["lists"][0]
    for name, new in (
        ("candidates", ""), ("tested", ""), ("partition", "1"), ("numbers", []), ("numbers", [10**9]),
    ):  # fmt: skip
        of = listed["asked"] if name == "numbers" else listed
        of[name], old = new, of[name]
        assert refused(edited.audit), name
        of[name] = old
    listed["before"] = listed["asked"] | {"slot_bits": 0}
    assert refused(edited.audit), "a base that has grown beyond all measure"
