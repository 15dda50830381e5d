"""The way to a server: real proxies, real certificates, and nothing that goes past a proxy."""

import http.server
import ipaddress
import socket
import threading

import pytest
from authority import Authority

from contactsync.client.patience import Patience
from contactsync.client.transport import Transport
from contactsync.foundation.errors import BadInput, NetworkError
from contactsync.foundation.route import Route

NOBODY = "http://contacts.invalid"
"""A name that no resolver knows: who reaches it went through a proxy that resolves names."""


def read(url, route, **options):
    transport = Transport(url, route=route, patience=Patience(0), **options)
    with transport.get("/hello") as reply:
        return b"".join(transport.chunks(reply, 100))


def pump(source, target):
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
    except OSError:
        pass
    finally:
        target.close()


class Listener:
    """Accepts connections and hands each to `speak` in a thread."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.asked = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                peer, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.speak, args=(peer,), daemon=True).start()

    def join(self, peer, port):
        target = socket.create_connection(("127.0.0.1", port))
        threading.Thread(target=pump, args=(target, peer), daemon=True).start()
        pump(peer, target)


class HttpProxy(Listener):
    """CONNECT, and requests with an absolute URI; every name is this machine."""

    def __init__(self, port, authorization=None):
        self.target, self.authorization = port, authorization
        super().__init__()

    def speak(self, peer):
        head = b""
        while b"\r\n\r\n" not in head:
            head += peer.recv(1 << 16)
        self.asked.append(head.decode().replace("Proxy-A", "proxy-a"))
        if self.authorization and f"proxy-authorization: {self.authorization}" not in self.asked[-1]:
            peer.sendall(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
            peer.close()
            return
        if head.startswith(b"CONNECT"):
            peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            self.join(peer, self.target)
            return
        with socket.create_connection(("127.0.0.1", self.target)) as target:
            target.sendall(head.replace(b"GET http://contacts.invalid", b"GET ", 1))
            pump(target, peer)


class SocksProxy(Listener):
    """SOCKS 5 (RFC 1928), CONNECT alone."""

    def __init__(self, port):
        self.target = port
        super().__init__()

    def speak(self, peer):
        stream = peer.makefile("rb")
        methods = stream.read(2)[1]
        stream.read(methods)
        peer.sendall(b"\5\0")
        kind = stream.read(4)[3]
        name = (
            stream.read(stream.read(1)[0]).decode()
            if kind == 3
            else str(ipaddress.ip_address(stream.read(4)))
        )
        stream.read(2)
        self.asked.append(name)
        peer.sendall(b"\5\0\0\1\0\0\0\0\0\0")
        self.join(peer, self.target)


class Hello(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def do_GET(self):
        self.server.heads.append(dict(self.headers))
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_):
        pass


def listening(context=None):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello)
    server.heads = []
    server.handle_error = lambda *_: None
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


@pytest.fixture
def plain():
    server = listening()
    yield server
    server.shutdown()
    server.server_close()


def test_a_proxy_of_the_environment_is_used(plain):
    proxy = HttpProxy(plain.server_port)
    route = Route.to(NOBODY, environment={"HTTP_PROXY": f"http://127.0.0.1:{proxy.port}"})
    assert read(NOBODY, route) == b"hello"
    assert proxy.asked[0].startswith("GET http://contacts.invalid/hello")


def test_a_password_goes_to_the_proxy_alone(plain):
    proxy = HttpProxy(plain.server_port, authorization="Basic bWU6c2VjcmV0")
    route = Route.to(NOBODY, proxy=f"http://me:secret@127.0.0.1:{proxy.port}")
    assert "secret" not in repr(route)
    assert read(NOBODY, route) == b"hello"
    refused = Route.to(NOBODY, proxy=f"http://me:wrong@127.0.0.1:{proxy.port}")
    with pytest.raises(NetworkError, match="user name and a password") as raised:
        read(NOBODY, refused)
    assert "wrong" not in str(raised.value)


@pytest.mark.parametrize("password", ["日本", "%E6%97%A5%E6%9C%AC"])
def test_a_password_in_any_script_goes_to_the_proxy_as_utf_8(plain, password):
    proxy = HttpProxy(plain.server_port, authorization="Basic bWU65pel5pys")
    assert read(NOBODY, Route.to(NOBODY, proxy=f"http://me:{password}@127.0.0.1:{proxy.port}")) == b"hello"


def test_authorities_that_are_not_ascii_are_refused(tmp_path):
    (tmp_path / "ca.pem").write_bytes(
        b"-----BEGIN CERTIFICATE-----\n\xff\xe4AAAA\n-----END CERTIFICATE-----\n"
    )
    with pytest.raises(BadInput, match="not a PEM file"):
        Route.to(NOBODY, ca_file=tmp_path / "ca.pem")


@pytest.mark.parametrize("variable", ["ALL_PROXY", "all_proxy"])
def test_socks5h_resolves_no_name_on_this_machine(plain, variable, monkeypatch):
    looked_up = []
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *more, **opts: looked_up.append(host) or resolve(host, *more, **opts),
    )
    proxy = SocksProxy(plain.server_port)
    route = Route.to(NOBODY, environment={variable: f"socks5h://127.0.0.1:{proxy.port}"})
    assert read(NOBODY, route) == b"hello"
    assert proxy.asked == ["contacts.invalid"]
    assert "contacts.invalid" not in looked_up


def test_tls_goes_through_either_kind_to_the_end(secure, authority):
    url = f"https://contacts.invalid:{secure.server_port}"
    for proxy in (HttpProxy(secure.server_port), SocksProxy(secure.server_port)):
        scheme = "http" if isinstance(proxy, HttpProxy) else "socks5h"
        route = Route.to(url, proxy=f"{scheme}://127.0.0.1:{proxy.port}", ca_file=authority)
        assert read(url, route) == b"hello"
        assert "contacts.invalid" in proxy.asked[0]


def test_nothing_goes_past_a_proxy_that_does_not_answer(plain):
    url = f"http://127.0.0.1:{plain.server_port}"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for scheme in ("http", "socks5", "socks5h"):
        with pytest.raises(NetworkError):
            read(url, Route.to(url, proxy=f"{scheme}://127.0.0.1:{port}"))
    assert plain.heads == []


@pytest.mark.parametrize(
    "proxy", ["ftp://p:1", "p.example:3128", "http://", "socks9://p:1", "http://[::1", "x y"]
)
def test_a_proxy_that_cannot_be_used_is_refused_and_not_shown(proxy):
    for words in ({"proxy": proxy}, {"environment": {"all_proxy": proxy}}):
        with pytest.raises(BadInput) as refused:
            Route.to("https://contacts.example", **words)
        assert proxy not in str(refused.value)
        assert "--proxy none" in refused.value.hint


P = "http://proxy.example:1"


@pytest.mark.parametrize(
    ("url", "environment", "proxied"),
    [
        ("https://a.example", {"HTTPS_PROXY": P}, True),
        ("https://a.example", {"HTTP_PROXY": P}, False),
        ("https://a.example", {"ALL_PROXY": P}, True),
        ("https://a.example", {"ALL_PROXY": P, "NO_PROXY": "b.example, a.example"}, False),
        ("https://a.example", {"ALL_PROXY": P, "no_proxy": ".example"}, False),
        ("https://a.example", {"ALL_PROXY": P, "NO_PROXY": "*"}, False),
        ("https://a.example", {"ALL_PROXY": P, "NO_PROXY": "a.example:443"}, False),
        ("https://a.example:444", {"ALL_PROXY": P, "NO_PROXY": "a.example:80"}, True),
        ("https://aa.example", {"ALL_PROXY": P, "NO_PROXY": "a.example"}, True),
        ("http://127.0.0.1:8440", {"ALL_PROXY": P}, False),
        ("http://localhost:8440", {"HTTP_PROXY": P}, False),
        ("http://a.example", {"HTTP_PROXY": P, "REQUEST_METHOD": "GET"}, False),
        ("https://a.example", {"HTTPS_PROXY": ""}, False),
        ("https://a.example", {}, False),
    ],
)
def test_which_variable_counts(url, environment, proxied):
    assert (Route.to(url, environment=environment).proxy == P) is proxied


def test_lower_case_wins_and_none_goes_without():
    both = {"HTTPS_PROXY": "http://upper:1", "https_proxy": P}
    assert Route.to("https://a.example", environment=both).proxy == P
    assert Route.to("https://a.example", proxy="none", environment=both).proxy is None


@pytest.fixture(scope="module")
def issuer():
    return Authority()


@pytest.fixture
def authority(issuer, tmp_path):
    return issuer.write(tmp_path / "ca.pem")


@pytest.fixture
def secure(issuer, tmp_path):
    server = listening(issuer.context(tmp_path, ("contacts.invalid", "127.0.0.1")))
    yield server
    server.shutdown()
    server.server_close()


def test_an_authority_of_ones_own(secure, authority):
    url = f"https://127.0.0.1:{secure.server_port}"
    assert read(url, Route.to(url, ca_file=authority)) == b"hello"
    with pytest.raises(NetworkError, match="not signed by an authority") as unknown:
        read(url, Route())
    assert "--ca-file" in unknown.value.hint


@pytest.mark.parametrize(
    ("names", "days", "said"),
    [(("127.0.0.1",), -1, "has expired"), (("other.example",), 1, "another (name|address)")],
)
def test_which_check_of_a_certificate_failed(issuer, authority, names, days, said):
    server = listening(issuer.context(authority.parent, names, days))
    url = f"https://127.0.0.1:{server.server_port}"
    with pytest.raises(NetworkError, match=said) as raised:
        read(url, Route.to(url, ca_file=authority))
    assert raised.value.hint
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("content", [None, "", "-----BEGIN CERTIFICATE-----\nnonsense\n", "\xff"])
def test_a_file_that_holds_no_authority(tmp_path, content):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content, "latin-1")
    with pytest.raises(BadInput) as refused:
        Route.to("https://a.example", ca_file=path)
    assert str(path) in str(refused.value)
