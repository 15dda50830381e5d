"""An operator's server, a witness and a mirror, each its own process, and a client who asks both servers."""

import contextlib
import time

import numpy as np
import pytest
from mirror_tools import RunningMirror
from running_witness import RunningWitness
from server_tools import GERMAN, Process, ask, run

from contactsync.labels import context, unseal
from contactsync.lookup import dpf
from contactsync.lookup.batch import Sharing, plan_batch
from contactsync.lookup.rows import Places
from contactsync.lookup.table import check_level, read_records
from contactsync.publication.tuf.repository import Repository
from contactsync.server.keyring import Keyring
from contactsync.server.settings import DataFolder
from contactsync.tokens import Tokens
from contactsync.voprf.server import evaluate

MEMBERS = range(GERMAN, GERMAN + 20_000)
STRANGERS = range(GERMAN + 900_000, GERMAN + 900_030)


def label(number):
    """Every third member has none."""
    return f"@{number}:a.example" if number % 3 else ""


class Pair:
    """The two servers as a client has them: it sends its credential to the first one alone."""

    def __init__(self, data, server, mirror, credential):
        self.data, self.server, self.mirror, self.credential = data, server, mirror, credential

    def manifest(self):
        return Repository(self.data / "public").current("people")

    def look_up(self, manifest, numbers):
        """The labels of these German numbers by the rows of a manifest; None: no member."""
        table, root = manifest.rows.table(manifest.partitions), manifest.rows.root
        path = f"/v1/data/{root.hex()}"
        reply, octets = ask(self.server.port, "GET", path, Authorization=f"Bearer {self.credential}")
        assert reply.status == 200
        assert self.mirror.ask(path) == (200, octets)
        key = Keyring.open(DataFolder(self.data).keys, None).key_pair("people", manifest.epoch)
        outputs = evaluate(key, [b"tel:+%d" % number for number in numbers])
        tokens = Tokens.from_outputs(outputs)
        places = Places.concatenate([table.places("49", tokens)])
        sharing = Sharing(64, table.row_bits)
        plan = plan_batch(places.row, sharing)
        first, second = dpf.generate(plan.position.ravel(), sharing.position_bits)
        path, kind = f"/v1/lookup/people/{root.hex()}", {"Content-Type": "application/octet-stream"}
        fields = {"Content_Type": kind["Content-Type"], "Authorization": f"Bearer {self.credential}"}
        until = time.monotonic() + 60
        while True:  # it looks for editions by itself, and verifies their rows, as the mirror does
            reply, mine = ask(self.server.port, "POST", path, first.tobytes(), **fields)
            if reply.status != 404 or time.monotonic() > until:
                break
            time.sleep(0.1)
        assert reply.status == 200, mine
        status, theirs = self.mirror.ask(path, "POST", second.tobytes(), **kind)
        assert status == 200, theirs
        records = (np.frombuffer(mine, np.uint8) ^ np.frombuffer(theirs, np.uint8)).reshape(-1, table.width)
        rows = read_records(records, plan.row.ravel(), check_level(octets, table, root), table)
        found, asked = rows.take(plan.answer), places.take(plan.query)
        keys = np.ascontiguousarray(outputs[plan.query, 10:42])
        texts = unseal(keys, found.entries(asked), context("people", manifest.epoch))
        said = zip(plan.query.tolist(), found.contains(asked).tolist(), texts, strict=True)
        labels = {numbers[i]: text for i, is_member, text in said if is_member}
        return [labels.get(number) for number in numbers]


@pytest.fixture
def pair(tmp_path):
    data, book = tmp_path / "server", tmp_path / "members.csv"
    run("init", data=data)
    vkey = next(one for one in run("log", "show", data=data).splitlines() if one.startswith("log ")).split()[
        1
    ]
    with contextlib.ExitStack() as stack:
        witness = RunningWitness(tmp_path / "witness", vkey)
        stack.callback(witness.kill)
        run("log", "add-witness", witness.verifier.vkey(), "--quorum", "1", "--url", witness.url, data=data)
        book.write_text("phone,handle\n" + "".join(f"+{number},{label(number)}\n" for number in MEMBERS))
        run("members", "import", str(book), "--label-column", "handle", data=data)
        run("publish", "--private-lookup", "yes", data=data)
        least = ("--burst", "1", "--per-day", "1")  # a mirror evaluates nothing
        own = run("accounts", "add", "mirror", *least, data=data).split()[-1]
        anna = run("accounts", "add", "anna", data=data).split()[-1]
        server = stack.enter_context(Process(data, "--private-lookup"))
        server.repository = Repository(data / "public")
        mirror = stack.enter_context(RunningMirror(server, tmp_path / "mirror", credential=own))
        yield Pair(data, server, mirror, anna)
        mirror.stop()


@pytest.mark.slow
def test_members_are_found_at_two_servers_as_editions_come_and_people_go(pair):
    numbers = [*MEMBERS[::800], *STRANGERS]
    truth = [label(number).encode() for number in MEMBERS[::800]] + [None] * len(STRANGERS)
    first = pair.manifest()
    assert first.rows.labelled
    assert pair.look_up(first, numbers) == truth
    run("members", "add", f"+{STRANGERS[0]}", "--label", "@new:a.example", data=pair.data)
    run("members", "label", f"+{MEMBERS[800]}", "@renamed:a.example", data=pair.data)
    run("publish", data=pair.data)
    second = pair.manifest()
    pair.mirror.reaches(second.edition)
    # Both answer about both editions: what a client asks that knows the older one only.
    assert pair.look_up(first, numbers) == truth
    truth[len(MEMBERS[::800])], truth[1] = b"@new:a.example", b"@renamed:a.example"
    assert pair.look_up(second, numbers) == truth
    # Whoever is taken out of service is so at the mirror, too.
    run("members", "remove", f"+{MEMBERS[0]}", data=pair.data)
    run("publish", "--expunge", data=pair.data)
    third = pair.manifest()
    root = third.rows.level.sha256
    pair.mirror.until(lambda _, body: body["rows"] == [root])
    truth[0] = None
    assert pair.look_up(third, numbers) == truth
