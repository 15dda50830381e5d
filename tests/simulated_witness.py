"""A witness on a socket, written from C2SP tlog-witness, that can be told to misbehave."""

import http.server
import threading
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contactsync.publication.log.checkpoint import Checkpoint
from contactsync.publication.log.merkle import verify_consistency
from contactsync.publication.log.notes import COSIGNATURE, NoteSigner
from contactsync.publication.log.witnessing import AddCheckpoint


@dataclass
class Witness:
    """It cosigns what continues the last checkpoint that it has seen of each log."""

    name: str
    answer: tuple[int, bytes] | None = None
    """What it answers whatever it is asked."""
    signer: NoteSigner | None = None
    seen: dict[str, Checkpoint] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)
    url: str = ""

    def __post_init__(self):
        self.signer = NoteSigner.of(self.name, COSIGNATURE, Ed25519PrivateKey.generate())
        self.server = None
        self.start()

    @property
    def verifier(self):
        return self.signer.verifier

    @property
    def vkey(self):
        return self.verifier.vkey()

    def respond(self, body):
        if self.answer is not None:
            return self.answer
        asked = AddCheckpoint.parse(body)
        self.asked.append(asked.old)
        text = asked.note.decode().partition("\n\n")[0] + "\n"
        new = Checkpoint.parse(text)
        old = self.seen.get(new.origin)
        size = old.size if old else 0
        if asked.old != size:
            return 409, b"%d\n" % size
        if old and not verify_consistency(size, old.root, new.size, new.root, asked.proof):
            return 422, b""
        self.seen[new.origin] = new
        return 200, self.signer.line(text).encode()

    def start(self):
        witness = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                status, said = witness.respond(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(status)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
