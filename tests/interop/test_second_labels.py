"""The documents are enough to read labels: a second client reads those that `contactsync sync` shows."""

import json
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from second_client import Disbelieved, Service
from second_labels import Sidecar, label_of, open_entry, through
from test_second_client import contactsync, found_by, identifiers, load, voprf

sys.path.append(str(Path(__file__).parents[1] / "server"))

from server_tools import Process

__all__ = ["voprf"]

ANNA, BERT, CARA = "+4915112345601", "+4915112345602", "+4915112345603"
OTHERS = [f"+49151{22000000 + i}" for i in range(200)]


def test_what_openssl_seals_is_opened_and_nothing_else():
    key, context, label = bytes(range(32)), bytes(range(16)), b"@anna:example.org".ljust(32, b"\0")
    entry = AESSIV(key).encrypt(label, [context])
    assert open_entry(key, entry, context) == "@anna:example.org"
    assert open_entry(key, entry[:-1] + b"\0", context) is None
    assert open_entry(bytes(32), entry, context) is None


@pytest.mark.slow
def test_labels_are_read_from_the_documents_alone(tmp_path, voprf):
    data = tmp_path / "server"

    def server(*words):
        return contactsync("server", *words, "--data", data)

    fingerprint = next(
        line.split(" ", 1)[1].replace(" ", "")
        for line in server("init").splitlines()
        if line.startswith("fingerprint ")
    )
    table = tmp_path / "members.csv"
    rows = [f"{ANNA},@anna:example.org", f"{BERT},ベルト", f"{CARA},"]
    table.write_text("\n".join(["phone,handle", *rows, *(f"{one},u" for one in OTHERS)]) + "\n")
    server("members", "import", table, "--label-column", "handle")
    credential = tmp_path / "credential"
    credential.touch(0o600)
    credential.write_text(server("accounts", "add", "second client").strip())
    server("publish")
    book = tmp_path / "book.txt"
    book.write_text(f"{ANNA}\n{BERT}\n{CARA}\n+4915199999999\n")
    with Process(data) as process:
        contactsync("trust", process.url, "--fingerprint", fingerprint, "--state", tmp_path / "state")
        service = Service(process.url, credential.read_text())

        def read(manifest, outputs, entries=None):
            partition = manifest["partitions"]["49"]
            sidecar = Sidecar(partition, service.data(partition["labels"]["file"]))
            directory = load(service, partition)
            return sidecar, {
                one: label_of(output, manifest, directory, entries or sidecar.entry)
                for one, output in outputs.items()
            }

        def shown():
            options = ("--credential-file", credential, "--state", tmp_path / "state", "--json")
            stock = json.loads(contactsync("sync", book, *options))
            assert found_by(stock) == identifiers([ANNA, BERT, CARA])
            return {one["identifier"].encode(): one["label"] or "" for one in stock["matches"]}

        manifest = service.manifest("people", service.root(fingerprint), tmp_path / "second")
        outputs = voprf.outputs(service, manifest, identifiers([ANNA, BERT, CARA]))
        sidecar, labels = read(manifest, outputs)
        assert labels == shown()
        assert sorted(labels.values()) == ["", "@anna:example.org", "ベルト"]
        octets = bytearray(sidecar.bytes)
        octets[-1] ^= 1
        with pytest.raises(Disbelieved):
            Sidecar(manifest["partitions"]["49"], bytes(octets))

        server("members", "label", ANNA, "@anna.new:example.org")
        server("members", "remove", OTHERS[0], OTHERS[1])
        server("publish")
        newer = service.manifest("people", service.root(fingerprint), tmp_path / "second")
        deltas = [service.data(one["file"]) for one in newer["partitions"]["49"]["labels"]["deltas"]]
        assert len(deltas) == 1
        _, fresh = read(newer, outputs)
        _, chained = read(newer, outputs, lambda place: through(sidecar, deltas, place))
        assert fresh == chained == shown()
        assert "@anna.new:example.org" in fresh.values()
        service.http.clear()
