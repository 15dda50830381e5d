"""The documents are enough to look up privately: a second client finds whom `--privacy two-server` finds."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from second_client import Disbelieved, Problem, Service
from second_labels import Sidecar
from second_rows import (
    Table,
    ask,
    batches,
    common,
    expand,
    look_up,
    make_keys,
    place,
    plan,
    position_bits,
    read_answers,
    row_asked,
)
from test_second_client import contactsync, found_by, identifiers, load, voprf

from contactsync.lookup import dpf

sys.path.append(str(Path(__file__).parents[1]))

from test_two_servers import Running

__all__ = ["voprf"]

# 2^10 rows and some: a batch of 8 has keys with a level above the leaves.
GERMANS = [f"+49151{20000000 + 600 * i}" for i in range(40_000)]
ITALIANS = [f"+3932012{i:05d}" for i in range(30)]
STRANGERS = ["+4915112345678", "+393201299999", "+33612345678"]
BOOK = [*GERMANS[::3_000], *ITALIANS[:3], *STRANGERS]
MEMBERS = {*GERMANS, *ITALIANS}
ROW = 77
RANDOM = bytes(range(1, 33))


def test_the_places_of_the_document():
    table = {(6, 0): (27, 27, 11), (14, 1): (11586, 5965, 9660), (21, 10**6): (844413, 1020810, 1142516)}
    table |= {(26, 67108863): (43984881, 28905817, 4370087)}
    for (b, i), numbers in table.items():
        assert tuple(place(b, 0, g, i) for g in range(3)) == numbers


@pytest.mark.parametrize("bits", [0, 1, 3, 6, 7, 8, 10])
def test_two_keys_differ_at_the_index_alone(bits):
    for index in {0, 1, (1 << bits) // 3, (1 << bits) - 1} & set(range(1 << bits)):
        one, other = make_keys(bits, index, RANDOM)
        assert one[16:] == other[16:]
        assert expand(bits, one) ^ expand(bits, other) == 1 << index


@pytest.mark.parametrize("bits", [3, 7, 8, 10, 13])
def test_keys_of_the_product_expand_to_one_position(bits):
    """They are of the same trees, bit for bit: else nearly half of all positions would differ."""
    indices = np.array([0, 1, (1 << bits) // 3, (1 << bits) - 1], np.uint32)
    pairs = zip(*dpf.generate(indices, bits), strict=True)
    for index, (one, other) in zip(indices.tolist(), pairs, strict=True):
        assert expand(bits, one.tobytes()) ^ expand(bits, other.tobytes()) == 1 << index


def test_what_is_wanted_stands_where_it_is_asked_for():
    wanted = [5, 900, 5, 17, 1023]
    positions, placed = plan(10, 2, 8, wanted)
    asked = {row_asked(10, 2, 8, sub, one) for sub, one in enumerate(positions)}
    assert len(positions) == 12
    assert placed == set(wanted) <= asked
    assert [batches(n, 10) for n in (0, 8, 9, 64, 65, 129)] == [[8], [8], [64], [64], [64] * 2, [64] * 4]


class Site:
    """A server that answers look-ups, its account, and the truth."""

    def __init__(self, folder, *options, table, blocks_bits=None):
        """`blocks_bits`: rows are put into blocks if these are at least 2^blocks_bits, and not 2^14."""
        self.folder, self.data, self.state = folder, folder / "server", folder / "state"
        said = self.run("init")
        self.fingerprint = re.search(r"^fingerprint (.+)$", said, re.MULTILINE)[1].replace(" ", "")
        members = folder / "members.csv"
        members.write_text(table)
        self.run("members", "import", members, *options)
        words = ("server", "publish", "--private-lookup", "yes", "--data", self.data)
        if blocks_bits is None:
            contactsync(*words)
        else:
            in_blocks(blocks_bits, *words)
        self.credential = folder / "credential"
        self.credential.touch(0o600)
        self.credential.write_text(self.run("accounts", "add", "second client").strip())
        self.server = Running(folder / "log", "serve", "--data", self.data, "--private-lookup")
        self.first = Service(self.server.url, self.credential.read_text())

    def run(self, *words):
        return contactsync("server", *words, "--data", self.data)

    def manifest(self, name="second"):
        return self.first.manifest("people", self.first.root(self.fingerprint), self.folder / name)

    def close(self):
        self.first.http.clear()
        self.server.stop()


def in_blocks(bits, *words):
    """Run a command that puts smaller tables into blocks, as it does with large ones."""
    program = (
        "import runpy, sys; from contactsync.lookup import table; table._BLOCKS_BITS = int(sys.argv.pop(1));"
        " runpy.run_module('contactsync', run_name='__main__', alter_sys=True)"
    )
    command = [sys.executable, "-c", program, str(bits), *map(str, words)]
    subprocess.run(command, check=True, capture_output=True, timeout=300, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("plain"), table="\n".join(["phone", *GERMANS, *ITALIANS]))
    yield site
    site.close()


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    rows = [f"{one},@{one[1:]}:example.org" for one in GERMANS[:900]] + [f"{one}," for one in ITALIANS]
    table = "\n".join(["phone,handle", *rows])
    site = Site(tmp_path_factory.mktemp("labelled"), "--label-column", "handle", table=table)
    yield site
    site.close()


@pytest.fixture(scope="module")
def folded(tmp_path_factory):
    """2^12 rows and 64, which are in blocks of two: half of the path of each is in the block."""
    labels = [f"{one},@{one[-4:]}" for one in ITALIANS]
    rows = [f"+49151{20000000 + 30 * i}," for i in range(200_000)] + labels
    table = "\n".join(["phone,handle", *rows])
    folder = tmp_path_factory.mktemp("folded")
    site = Site(folder, "--label-column", "handle", table=table, blocks_bits=11)
    yield site
    site.close()


def made_again(site, manifest):
    """The table that the bases and sidecars of a manifest give."""
    partitions = manifest["partitions"]
    directories = {name: load(site.first, one) for name, one in partitions.items()}
    sidecars = {
        name: Sidecar(one, site.first.data(one["labels"]["file"]))
        for name, one in partitions.items()
        if "labels" in one
    }
    return Table(manifest).make(directories, sidecars)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "labelled", "folded"])
def test_the_level_follows_from_bases_and_sidecars(kind, request):
    site = request.getfixturevalue(kind)
    manifest = site.manifest()
    table = Table(manifest)
    assert table.labelled == (kind != "plain")
    assert (table.fold, table.depth) == ((1, 1) if kind == "folded" else (0, 0))
    file = site.first.data(table.file)
    assert made_again(site, manifest) == (table.most, file)
    with pytest.raises(Disbelieved):
        table.level(file[:-1] + bytes([file[-1] ^ 1]))


@pytest.mark.slow
def test_labels_come_with_the_rows_of_both_halves(labelled, voprf):
    """One server is asked for both: any root is one that it answers, and it makes no difference to it."""
    book = [*GERMANS[:40:10], *ITALIANS[:2], *STRANGERS]
    manifest = labelled.manifest()
    outputs = voprf.outputs(labelled.first, manifest, identifiers(book))
    found, waiting = look_up(labelled.first, labelled.first, manifest, outputs)
    expected = {f"tel:{one}".encode(): f"@{one[1:]}:example.org" for one in GERMANS[:40:10]}
    expected |= {f"tel:{one}".encode(): None for one in ITALIANS[:2]}
    assert {one: label for one, label in expected.items() if one not in waiting} == found
    assert len(waiting) <= 2
    everywhere = json.loads(contactsync_sync(labelled, book))
    assert {m["identifier"].encode(): m["label"] or None for m in everywhere["matches"]} == expected


def contactsync_sync(site, book, *options):
    path = site.folder / "book.txt"
    path.write_text("\n".join(book))
    if not site.state.exists():
        contactsync("trust", site.server.url, "--fingerprint", site.fingerprint, "--state", site.state)
    words = ("--credential-file", site.credential, "--state", site.state, "--json")
    return contactsync("sync", path, *words, *options)


@pytest.mark.slow
def test_the_second_client_finds_whom_the_product_finds(plain, voprf, tmp_path):
    words = ("mirror", plain.server.url, "--data", tmp_path / "mirror", "--yes", "--every", "1h")
    mirror = Running(tmp_path / "log", *words, "--credential-file", plain.credential)
    second = Service(mirror.url)
    try:
        manifest = common(plain.first, second, plain.manifest())
        for book in (BOOK, BOOK[-6:]):  # a batch of 64, and one of 8, whose keys have a level
            outputs = voprf.outputs(plain.first, manifest, identifiers(book))
            found, waiting = look_up(plain.first, second, manifest, outputs)
            truth = identifiers(MEMBERS & set(book))
            assert truth - waiting <= set(found) <= truth
            assert len(waiting) <= 2
        state = ("--fingerprint", plain.fingerprint, "--state", plain.state)
        contactsync("trust", plain.server.url, "--second", mirror.url, *state)
        stock = json.loads(contactsync_sync(plain, BOOK, "--privacy", "two-server"))
        assert found_by(stock) == identifiers(MEMBERS & set(BOOK))
        # The mirror has not looked again: both are asked about the edition that it has.
        late = "+4915198765432"
        plain.run("members", "add", late)
        plain.run("publish")
        newest = plain.manifest()
        older = common(plain.first, second, newest)
        assert (older["edition"], newest["edition"]) == (manifest["edition"], manifest["edition"] + 1)
        outputs = voprf.outputs(plain.first, newest, identifiers([*BOOK[:4], late]))
        found, waiting = look_up(plain.first, second, older, outputs)
        assert identifiers(BOOK[:4]) - waiting <= set(found) <= identifiers(BOOK[:4])
        with pytest.raises(Problem) as caught:
            look_up(plain.first, second, newest, outputs)
        assert (caught.value.status, caught.value.slug) == (404, "unknown-rows")
        # The mirror refuses whoever tells it a credential.
        told = Service(mirror.url, plain.credential.read_text())
        keys = [make_keys(position_bits(Table(manifest).b, 8), 0, RANDOM)[0]] * 12
        assert refused(told, manifest, keys) == (400, "bad-request")
        told.http.clear()
    finally:
        second.http.clear()
        mirror.stop()


def refused(service, manifest, keys, *, root=None):
    table = Table(manifest)
    table.root = root or table.root
    with pytest.raises(Problem) as caught:
        ask(service, manifest, table, keys)
    return caught.value.status, caught.value.slug


@pytest.mark.slow
def test_malformed_questions_get_the_documented_errors(plain):
    manifest = plain.manifest()
    bits = position_bits(Table(manifest).b, 8)
    key = make_keys(bits, ROW, RANDOM)[0]
    assert len(key) > 32, "a key with a level"
    good = [key] * 12
    answer = ask(plain.first, manifest, Table(manifest), good)
    assert len(answer) == 12 * Table(manifest).width

    def changed(at, octet):
        return [*good[:-1], key[:at] + bytes([octet]) + key[at + 1 :]]

    assert refused(plain.first, manifest, [*good[:-1], key[:-1]]) == (400, "bad-batch")
    assert refused(plain.first, manifest, good[:-1]) == (400, "bad-batch")
    assert refused(plain.first, manifest, []) == (400, "bad-batch")
    assert refused(plain.first, manifest, [key] * 24) == (400, "bad-batch")  # k = 16 is none
    assert refused(plain.first, manifest, changed(16, key[16] | 1)) == (400, "bad-batch")
    assert refused(plain.first, manifest, changed(32, key[32] + 4)) == (400, "bad-batch")
    assert refused(plain.first, manifest, good, root="ab" * 32) == (404, "unknown-rows")
    assert refused(plain.first, manifest, good, root="AB" * 32) == (404, "not-found")
    assert refused(Service(plain.server.url), manifest, good) == (401, "bad-credential")
    # There are too few rows for k = 512: these are longer than the keys of the largest batch there is.
    assert refused(plain.first, manifest, [bytes(32)] * 768) == (413, "body-too-large")
    # Any root is one that a server answers, whichever control bit.
    assert len(ask(plain.first, manifest, Table(manifest), changed(0, key[0] ^ 1))) == len(answer)


@pytest.mark.slow
def test_one_octet_of_any_record_discards_the_answer(plain):
    manifest = plain.manifest()
    table = Table(manifest)
    level = table.level(plain.first.data(table.file))
    positions, _ = plan(table.b, table.fold, 8, [ROW])
    pairs = [make_keys(position_bits(table.b, 8), one, RANDOM) for one in positions]
    rows = [row_asked(table.b, table.fold, 8, sub, one) for sub, one in enumerate(positions)]
    zero, one = (ask(plain.first, manifest, table, keys) for keys in zip(*pairs, strict=True))
    records = read_answers(table, level, [rows], [(zero, one)])
    assert ROW in records
    for record in range(12):
        at = record * table.width + 3
        wrong = zero[:at] + bytes([zero[at] ^ 1]) + zero[at + 1 :]
        with pytest.raises(Disbelieved, match="discarded"):
            read_answers(table, level, [rows], [(wrong, one)])
    malformed = bytes([table.most + 1]) + records[ROW][1:]
    assert table.read(ROW, malformed) == []
    assert table.read(ROW, records[ROW])


@pytest.mark.slow
def test_rows_in_blocks_are_asked_for_where_they_stand(folded, voprf, tmp_path):
    """By real processes: an operator, a mirror that makes the blocks itself, and both clients."""
    words = ("mirror", folded.server.url, "--data", tmp_path / "mirror", "--yes", "--every", "1h")
    mirror = Running(tmp_path / "log", *words, "--credential-file", folded.credential)
    second = Service(mirror.url)
    members = [f"+49151{20000000 + 30 * i}" for i in range(0, 200_000, 9_000)] + ITALIANS
    book = [*members, *STRANGERS]
    try:
        manifest = common(folded.first, second, folded.manifest())
        assert manifest["folded_rows"]["fold"] == 1
        outputs = voprf.outputs(folded.first, manifest, identifiers(book))
        found, waiting = look_up(folded.first, second, manifest, outputs)
        assert identifiers(members) - waiting == set(found)
        assert len(waiting) <= 2, "though all Italians are in 64 rows"
        assert all(label == f"@{one[-4:].decode()}" for one, label in found.items() if one[4:7] == b"+39")
        state = ("--fingerprint", folded.fingerprint, "--state", folded.state)
        contactsync("trust", folded.server.url, "--second", mirror.url, *state)
        stock = json.loads(contactsync_sync(folded, book, "--privacy", "two-server"))
        assert found_by(stock) == identifiers(members)
        labels = {match["identifier"].encode(): match["label"] or None for match in stock["matches"]}
        assert {one: labels[one] for one in found} == found
    finally:
        second.http.clear()
        mirror.stop()


def test_the_places_of_the_document_in_blocks():
    table = {(15, 1, 1): (6153, 4281, 7299), (17, 3, 9): (92689, 47721, 77281)}
    table |= {(21, 6, 10**6): (1987456, 536128, 930176), (26, 6, 67108863): (25091007, 25858047, 51626367)}
    for (b, f, row), places in table.items():
        assert tuple(place(b, f, g, row) for g in range(3)) == places


@pytest.mark.parametrize(
    "changed",
    [
        {"fold": 0}, {"fold": 7}, {"fold": True}, {"fold": 3}, {"fold": None}, {"labels": 1},
        {"labels": "no"}, {"more": 1}, {"most": 256},
    ],
)  # fmt: skip
@pytest.mark.slow
def test_the_second_client_refuses_blocks_that_there_are_not(folded, changed):
    manifest = folded.manifest()
    assert Table(manifest).fold == 1
    with pytest.raises(Disbelieved):
        Table(manifest | {"folded_rows": manifest["folded_rows"] | changed})
    for other in ("rows", "labelled_rows"):
        with pytest.raises(Disbelieved):
            Table(manifest | {other: {name: manifest["folded_rows"][name] for name in ("level", "most")}})
