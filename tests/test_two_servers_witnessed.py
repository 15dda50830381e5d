"""Private look-up at two servers, of a publication that a witness watches: each a process of its own."""

import json
import time
import urllib.request

import pytest
from running_witness import NAME, RunningWitness
from test_two_servers import BOOK, WANTED, Running, Service, contactsync, found

NEW = "+491719999999"


class Witnessed(Service):
    """Its root requires no witness: client and mirror do, and so see an operator who publishes without it."""

    def __init__(self, folder):
        self.witness = None
        super().__init__(folder)

    def publish(self, *options):
        """The first publication comes when the witness is known; later ones come as they are."""
        if self.witness is None:
            shown = self.admin("log", "show").stdout.splitlines()
            self.vkey = next(line.split()[1] for line in shown if line.startswith("log "))
            self.watch()
        super().publish(*options)

    def watch(self):
        self.witness = RunningWitness(self.folder / "witness", self.vkey)
        vkey = self.witness.verifier.vkey()
        self.admin("log", "add-witness", vkey, "--url", self.witness.url, "--quorum", "0")

    def required(self):
        return ("--witness", self.witness.verifier.vkey(), "--quorum", "1")

    def start_mirror(self, *, every="1s"):
        state = self.folder / "mirror" / "state"
        if not state.exists():
            Running(
                self.folder / "mirror.log", "mirror", self.first.url, "--data", self.folder / "mirror",
                "--yes", "--credential-file", self.credential,
            ).stop()  # fmt: skip
        said = contactsync("trust", self.first.url, "--yes", "--state", state, *self.required())
        assert f"1 of 1 must cosign: {NAME}" in said.stdout
        return super().start_mirror(every=every)

    def health(self):
        with urllib.request.urlopen(f"{self.mirror.url}/v1/health", timeout=30) as reply:
            return json.loads(reply.read())

    def until(self, holds):
        end = time.monotonic() + 60
        while not holds(health := self.health()):
            assert time.monotonic() < end, health
            time.sleep(0.2)
        return health

    def close(self):
        super().close()
        if self.witness.process.poll() is None:
            self.witness.kill()


@pytest.mark.slow
def test_what_the_witness_did_not_cosign_is_taken_by_neither(tmp_path):
    service = Witnessed(tmp_path)
    try:
        words = ("--second", service.mirror.url, "--yes", "--state", service.state)
        said = contactsync("trust", service.first.url, *words, *service.required())
        assert f"1 of 1 must cosign: {NAME}" in said.stdout
        before = service.two()
        assert found(before) == WANTED

        # The operator publishes while the witness is away: its own root does not require one.
        service.witness.stop()
        service.admin("members", "add", NEW)
        service.publish()
        newer = service.folder / "newer.txt"
        newer.write_text("\n".join([*BOOK, NEW]))
        health = service.until(lambda health: health["problem"])
        failed = service.two(book=newer, code=5)
        said = failed.stdout + failed.stderr
        assert "cosign" in said
        assert NEW not in said
        assert service.health()["rows"] == health["rows"]
        assert len(health["rows"]) == 1, "the edition before alone"

        # Another client, who requires nothing, sees that it is there; the mirror has the edition before.
        other = service.folder / "other"
        service.trust(service.mirror.url, state=other)
        assert found(service.sync("--json", book=newer, state=other)) == WANTED | {f"tel:{NEW}"}

        # The witness comes back and cosigns: client and mirror go on.
        service.watch()
        service.admin("log", "ask")
        service.until(lambda health: len(health["rows"]) == 2 and not health["problem"])
        after = service.two(book=newer)
        assert after["edition"] == before["edition"] + 1
        assert found(after) == WANTED | {f"tel:{NEW}"}
    finally:
        service.close()
