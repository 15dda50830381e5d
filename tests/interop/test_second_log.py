"""A log of ours, with a cosignature, read by others: Go's sumdb, and a reader from the texts alone."""

import base64
import os
import shutil
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from second_log import Disproven, read

from contactsync.publication.log.checkpoint import Checkpoint
from contactsync.publication.log.entries import LoggedManifest, LoggedRoot
from contactsync.publication.log.merkle import EMPTY
from contactsync.publication.log.notes import ED25519, NoteSigner, sign_note, signature_lines, with_lines
from contactsync.publication.log.tiles import HashReader, appended, tiles_of
from contactsync.publication.log.witnessing import AddCheckpoint
from contactsync.witness.cosigning import Witness
from contactsync.witness.folder import WitnessFolder

GO = shutil.which("go")
SOURCES = Path("/usr/share/gocode")  # where Debian's golang-golang-x-mod-dev puts them
needs_go = pytest.mark.skipif(
    GO is None or not (SOURCES / "src/golang.org/x/mod/sumdb/tlog").is_dir(),
    reason="Go or golang-golang-x-mod-dev is not installed; .ci/run installs them",
)
OLD = 300


class Published:
    """The files of a log of roots and manifests that grew in steps, and was cosigned after each."""

    def __init__(self, folder, size):
        self.folder = folder
        signer = NoteSigner.of("contacts.example.org/v1/log", ED25519, Ed25519PrivateKey.generate())
        self.log = signer.verifier.vkey()
        checkpoint = Checkpoint(signer.verifier.name, 0, EMPTY)
        self.entries = [LoggedRoot(1, "11" * 32).to_bytes()]
        self.entries += [
            LoggedManifest("people", 1, edition, f"{edition:064x}").to_bytes() for edition in range(1, size)
        ]
        with closing(WitnessFolder.create(folder / "witness", "witness.example.net/w1")) as state:
            self.witness = state.verifier.vkey()
            witness = Witness(state, [signer.verifier])
            for old, new in ((0, 1), (1, 256), (256, OLD), (OLD, size)):
                before = checkpoint
                checkpoint, files = appended(self.octets, before, self.entries[old:new])
                for path, octets in files.items():
                    (folder / path).parent.mkdir(parents=True, exist_ok=True)
                    (folder / path).write_bytes(octets)
                if new == OLD:
                    self.old_root = checkpoint.root
                proof = HashReader(self.octets, checkpoint).consistency(old)
                note = sign_note(checkpoint.text(), [signer])
                answer = witness.add_checkpoint(AddCheckpoint(old, proof, note).to_bytes())
                assert answer.status == 200
                note = with_lines(note, signature_lines(answer.body))
                (folder / "checkpoint").write_bytes(note)

    def octets(self, path):
        return (self.folder / path).read_bytes()


@pytest.fixture(scope="module", params=[700, 1 << 9])
def published(request, tmp_path_factory):
    return Published(tmp_path_factory.mktemp("log"), request.param)


def test_a_reader_of_the_texts_alone_finds_every_entry(published):
    assert read(published.folder, published.log, [published.witness]) == published.entries


def test_a_reader_of_the_texts_alone_refuses_what_changed(published):
    for path in ["checkpoint", *(tile.path for tile in tiles_of(len(published.entries)))]:
        good = published.octets(path)
        at = len(good) // 2
        (published.folder / path).write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises((Disproven, ValueError)):
            read(published.folder, published.log, [published.witness])
        (published.folder / path).write_bytes(good)


@pytest.fixture(scope="module")
def verifier(tmp_path_factory):
    """The Go program, compiled."""
    program = tmp_path_factory.mktemp("go") / "verify"
    source = Path(__file__).parent / "tlog" / "verify.go"
    environment = os.environ | {
        "GO111MODULE": "off", "GOPATH": str(SOURCES), "GOFLAGS": "", "GOPROXY": "off", "CGO_ENABLED": "0",
        "GOCACHE": str(program.parent / "cache"),
    }  # fmt: skip
    subprocess.run([GO, "build", "-o", program, source], env=environment, check=True, timeout=170)
    return program


def by_go(verifier, published, **changed):
    given = {
        "log": published.log, "witness": published.witness, "old": str(OLD),
        "root": base64.b64encode(published.old_root).decode(),
    } | changed  # fmt: skip
    command = [verifier, published.folder, given["log"], given["witness"], given["old"], given["root"]]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@needs_go
@pytest.mark.slow
def test_go_opens_the_note_and_proves_every_entry_and_the_growth(verifier, published):
    done = by_go(verifier, published)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{len(published.entries)}\n", "")


@needs_go
@pytest.mark.slow
def test_go_refuses_what_we_refuse(verifier, published):
    other = NoteSigner.of("contacts.example.org/v1/log", ED25519, Ed25519PrivateKey.generate())
    assert by_go(verifier, published, log=other.verifier.vkey()).returncode == 1
    assert by_go(verifier, published, old=str(OLD + 1)).returncode == 1
    assert by_go(verifier, published, root=base64.b64encode(EMPTY).decode()).returncode == 1
    for path in ("checkpoint", "tile/0/000", "tile/entries/001"):
        good = (published.folder / path).read_bytes()
        (published.folder / path).write_bytes(good[:-40] + bytes([good[-40] ^ 1]) + good[-39:])
        assert by_go(verifier, published).returncode == 1, path
        (published.folder / path).write_bytes(good)
    assert by_go(verifier, published).returncode == 0
