"""A mirror as its own process, and a client of two servers, of which the mirror is one."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
from simulated_service import CREDENTIAL

from contactsync.directory.files import write_file
from contactsync.labels import context, unseal
from contactsync.lookup.batch import Sharing, plan_batch
from contactsync.lookup.dpf import generate
from contactsync.lookup.table import check_level, read_records
from contactsync.lookup.table_file import open_table
from contactsync.publication.row_building import build_rows
from contactsync.publication.rows import PublishedRows
from contactsync.publication.tuf.follower import root_fingerprint
from contactsync.server.lookups import OpenRows
from contactsync.tokens import Tokens
from contactsync.voprf.server import evaluate


def command(service, data, *options, credential=CREDENTIAL):
    file = data.parent / "credential"
    file.write_text(credential + "\n")
    words = ["server", "mirror", service.url, "--data", str(data), "--credential-file", str(file)]
    return [sys.executable, "-m", "contactsync", *words, "--port", "0", *options]


def trusting(service):
    """The options of somebody whom the operator told the fingerprint."""
    return "--root-fingerprint", root_fingerprint(service.repository.root_bytes())


def refused(service, data, *options):
    """Run a mirror that is to end by itself: its exit code, and what it said."""
    done = subprocess.run(
        command(service, data, *options),
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def state_rows(service, *, with_labels):
    """Have a simulated service whose members have labels state rows, with these or without."""

    def rows_of(partitions):
        data = service.folder / "data"
        built = build_rows(
            service.folder / "rows", partitions, data.joinpath, labelled=with_labels, fold_bits=0
        )
        level = write_file(data / built.root.hex(), [built.level])
        return PublishedRows(level, built.table.shape.most, with_labels)

    service.rows_of = rows_of


def rows_kept(data):
    """The roots of the files of rows in the folder of a mirror; nothing else is there."""
    found = {path.name for path in (data / "rows" / "people").iterdir()}
    assert all(name.endswith(".rows") for name in found)
    return {name.removesuffix(".rows") for name in found}


class RunningMirror:
    """`contactsync server mirror` on a free port; its log is a file."""

    def __init__(self, service, data, *options, every="1s", credential=CREDENTIAL):
        self.log = data.parent / f"{data.name}.log"
        given = (*trusting(service), "--every", every, *options)
        words = command(service, data, *given, credential=credential)
        with self.log.open("ab") as stderr:
            self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=stderr, text=True)
        line = self.process.stdout.readline()
        found = re.fullmatch(r"listening on http://127\.0\.0\.1:(\d+)\n", line)
        assert found, (line, self.said())
        self.port = int(found[1])

    def said(self):
        return self.log.read_text()

    def ask(self, path, method="GET", body=None, **headers):
        reply, octets = self._asked(path, method, body, headers)
        return reply.status, octets

    def fields(self, path, **headers):
        return self._asked(path, "GET", None, headers)[0].headers

    def _asked(self, path, method, body, headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body, headers)
        reply = connection.getresponse()
        octets = reply.read()
        connection.close()
        return reply, octets

    def health(self):
        status, octets = self.ask("/v1/health")
        return status, json.loads(octets)

    def until(self, holds, seconds=60):
        """Wait until something holds of (status, health)."""
        end = time.monotonic() + seconds
        while not holds(*self.health()):
            assert time.monotonic() < end, (self.health(), self.said())
            time.sleep(0.05)

    def reaches(self, edition, epoch=1):
        self.until(lambda _, body: (body.get("epoch"), body.get("edition")) == (epoch, edition))

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def stop(self):
        self.process.terminate()
        self.process.communicate(timeout=30)
        assert self.process.returncode == 0, self.said()
        assert "Traceback" not in self.said()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()


class FirstServer:
    """The operator's side of a look-up, by the published files, and what a client knows of the rows."""

    def __init__(self, service, folder):
        manifest, data = service.manifest, service.folder / "data"
        folder.mkdir(exist_ok=True)
        labelled = manifest.rows.labelled
        self.table = build_rows(
            folder / "rows",
            manifest.partitions,
            data.joinpath,
            labelled=labelled,
            fold_bits=manifest.rows.fold_bits,
        ).table
        self.root = manifest.rows.level.sha256
        self.level = check_level((data / self.root).read_bytes(), self.table, manifest.rows.root)
        self.rows = OpenRows(open_table(folder / "rows", self.table, manifest.rows.root), self.table.layout)

    def look_up(self, mirror, rows, size=8):
        """The records of these rows by both servers, verified against the level."""
        return self._answer(mirror, rows, size)[0]

    def labels(self, mirror, service, *numbers):
        """The labels of German members, by both servers; None: no member, or none that opens."""
        outputs = evaluate(service.key, [b"tel:" + number.encode() for number in numbers])
        places = self.table.places("49", Tokens.from_outputs(outputs))
        rows, plan = self._answer(mirror, places.row, 8)
        found, asked = rows.take(plan.answer), places.take(plan.query)
        keys = np.ascontiguousarray(outputs[plan.query, 10:42])
        texts = unseal(keys, found.entries(asked)[:, : 16 + service.size], context("people", service.epoch))
        said = zip(plan.query.tolist(), found.contains(asked).tolist(), texts, strict=True)
        labels = {numbers[i]: text for i, is_member, text in said if is_member}
        return [labels.get(number) for number in numbers]

    def _answer(self, mirror, rows, size):
        sharing = Sharing(size, self.table.row_bits, self.table.fold_bits)
        plan = plan_batch(np.asarray(rows, np.uint32), sharing)
        assert plan.query.size == len(rows)
        here, there = generate(plan.position.ravel(), sharing.position_bits)
        status, octets = mirror.ask(
            f"/v1/lookup/people/{self.root}",
            "POST",
            there.tobytes(),
            **{"Content-Type": "application/octet-stream"},
        )
        assert status == 200, octets
        answer = np.frombuffer(octets, np.uint8).reshape(-1, self.table.width)
        mine = self.rows.answer([self.rows.read_keys(here.tobytes())])[0]
        return read_records(mine ^ answer, plan.row.ravel(), self.level, self.table), plan
