"""Between a client and a real server: passes every octet on, and lets a test change any reply."""

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Passing:
    """A request as it went by: all octets since the reply before."""

    octets: bytes

    @property
    def head(self):
        return self.octets.partition(b"\r\n\r\n")[0].decode("latin-1")

    @property
    def body(self):
        return self.octets.partition(b"\r\n\r\n")[2]

    @property
    def method(self):
        return self.head.partition(" ")[0]

    @property
    def path(self):
        return [*self.head.split(" "), ""][1]

    def header(self, name):
        for line in self.head.split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.strip().lower() == name:
                return value.strip()
        return ""


@dataclass
class Returning:
    """A reply that a test may change."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def get(self, name):
        return next((value for key, value in self.headers if key.lower() == name), "")

    def set(self, name, value):
        self.headers = [(key, one) for key, one in self.headers if key.lower() != name]
        if value is not None:
            self.headers.append((name, value))


@dataclass
class Middleman:
    """Listens on a port of its own, and speaks to the server at `port`."""

    port: int
    tamper: Callable[[Passing, Returning], None] = lambda *_: None
    requests: list[Passing] = field(default_factory=list)

    def __post_init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        server = socket.create_connection(("127.0.0.1", self.port))
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sent = bytearray()
        up = threading.Thread(target=self._up, args=(client, server, sent), daemon=True)
        up.start()
        with client, server, contextlib.suppress(OSError):
            try:
                self._down(client, server, sent)
            finally:
                client.shutdown(socket.SHUT_RDWR)  # to close it is not enough while another thread reads
        if sent:  # it was never answered
            self.requests.append(Passing(bytes(sent)))

    def _up(self, client, server, sent):
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                sent += data
                server.sendall(data)
            server.shutdown(socket.SHUT_RDWR)

    def _down(self, client, server, sent):
        stream = server.makefile("rb")
        while line := stream.readline():
            head = [line]
            while (line := stream.readline()) not in {b"\r\n", b""}:
                head.append(line)
            first, *rest = b"".join(head).decode("latin-1").removesuffix("\r\n").split("\r\n")
            request = Passing(bytes(sent))
            sent.clear()
            pairs = [one.partition(":") for one in rest]
            reply = Returning(int(first.split(" ")[1]), [(k, v.strip()) for k, _, v in pairs], b"")
            length = int(reply.get("content-length") or 0)
            is_head = request.method == "HEAD"
            if not is_head:
                reply.body = stream.read(length)
            self.requests.append(request)
            self.tamper(request, reply)
            if not is_head and len(reply.body) != length:
                reply.set("content-length", str(len(reply.body)))
            lines = [f"HTTP/1.1 {reply.status} X", *(f"{key}: {value}" for key, value in reply.headers)]
            client.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + reply.body)
