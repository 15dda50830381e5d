"""A small CardDAV server on a socket that counts requests and can be told to misbehave."""

import base64
import contextlib
import hashlib
import http.server
import re
import threading
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

import pytest

from contactsync.carddav.address import parse_address
from contactsync.carddav.connection import DavAccount
from contactsync.carddav.pull import pull

BOOK = "/dav/ada/book/"
USER, PASSWORD = "ada", "s3cret"
BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

PRINCIPAL = "<current-user-principal><href>/dav/ada/</href></current-user-principal>"
HOME = "<C:addressbook-home-set><href>/dav/ada/</href></C:addressbook-home-set>"
IS_BOOK = "<resourcetype><collection/><C:addressbook/></resourcetype><displayname>Book</displayname>"
REPORTS = (
    "<supported-report-set><supported-report><report><sync-collection/></report></supported-report>"
    "</supported-report-set>"
)


def card(name, number, extra=""):
    return f"BEGIN:VCARD\r\nVERSION:3.0\r\nUID:{name}\r\nFN:{name}\r\nTEL:{number}\r\n{extra}END:VCARD\r\n"


@dataclass
class DavRequest:
    method: str
    path: str
    headers: dict
    body: str


@dataclass
class DavReply:
    status: int = 207
    body: bytes | object = b""
    headers: dict = field(default_factory=dict)
    cut: int | None = None


def multistatus(*parts, status=207, token=None):
    text = "".join(parts) + (f"<sync-token>{token}</sync-token>" if token else "")
    spaces = 'xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:carddav"'
    body = f'<?xml version="1.0"?><multistatus {spaces}>{text}</multistatus>'
    return DavReply(status, body.encode(), {"Content-Type": "application/xml"})


def response(href, properties="", status=None):
    if status is not None:
        return f"<response><href>{escape(href)}</href><status>HTTP/1.1 {status} X</status></response>"
    return (
        f"<response><href>{escape(href)}</href><propstat><prop>{properties}</prop>"
        "<status>HTTP/1.1 200 OK</status></propstat></response>"
    )


class DavService:
    """Cards by name in one book, a history of changes, and hooks: `before(request)` may return a reply."""

    def __init__(self):
        self.cards = {}
        self.history = []  # names in the order in which they changed
        self.valid_from = 0  # tokens before this are not known any more
        self.page = None  # how many changes a page holds
        self.reports = True
        self.requests = []
        self.before = lambda request: None

    def put(self, name, text):
        self.cards[name] = text
        self.history.append(name)

    def delete(self, name):
        del self.cards[name]
        self.history.append(name)

    def etag(self, name):
        return '"' + hashlib.sha256(self.cards[name].encode()).hexdigest()[:12] + '"'

    def asked(self, kind):
        return [one for one in self.requests if kind in one.body or one.method == kind]

    def answer(self, request):  # noqa: PLR0911 - one for each kind of request
        if request.headers.get("authorization") != BASIC:
            return DavReply(401, b"", {"WWW-Authenticate": 'Basic realm="dav", charset="UTF-8"'})
        if request.path == "/.well-known/carddav":
            return DavReply(301, b"", {"Location": "/dav/"})
        if request.method == "PROPFIND":
            return self.propfind(request)
        if "sync-collection" in request.body:
            return self.changes(request)
        if "multiget" in request.body:
            return self.multiget(request)
        name = request.path.removeprefix(BOOK)
        if request.method == "GET":
            if name not in self.cards:
                return DavReply(404)
            return DavReply(200, self.cards[name].encode(), {"ETag": self.etag(name)})
        if request.method == "PUT":
            if name not in self.cards or request.headers.get("if-match") != self.etag(name):
                return DavReply(412)
            self.put(name, request.body)
            return DavReply(204, b"", {"ETag": self.etag(name)})
        return DavReply(405)

    def propfind(self, request):
        deep = request.headers.get("depth") == "1"
        if request.path == "/dav/":
            return multistatus(response("/dav/", PRINCIPAL))
        if request.path == "/dav/ada/" and not deep:
            return multistatus(response("/dav/ada/", HOME + "<resourcetype><collection/></resourcetype>"))
        own = response(BOOK, IS_BOOK + (REPORTS if self.reports else ""))
        if request.path == "/dav/ada/":
            return multistatus(response("/dav/ada/", "<resourcetype><collection/></resourcetype>"), own)
        if request.path != BOOK:
            return DavReply(404)
        if not deep:
            return multistatus(own)
        return multistatus(own, *(self.listed(name) for name in self.cards))

    def listed(self, name):
        return response(BOOK + name, f"<getetag>{escape(self.etag(name))}</getetag>")

    def changes(self, request):
        text = re.search(r"<sync-token>(.*?)</sync-token>", request.body)[1]
        since = int(text.rpartition("/")[2] or 0) if text else 0
        if text and since < self.valid_from:
            return DavReply(403, b'<error xmlns="DAV:"><valid-sync-token/></error>')
        new = self.history[since:][: self.page]
        until = since + len(new)
        parts = [
            self.listed(name) if name in self.cards else response(BOOK + name, status=404)
            for name in dict.fromkeys(new)
            if text or name in self.cards
        ]
        if until < len(self.history):
            parts.append(response(BOOK, status=507))
        return multistatus(*parts, token=f"http://dav/{until}")

    def multiget(self, request):
        parts = []
        for href in re.findall(r"<href>(.*?)</href>", request.body):
            name = href.removeprefix(BOOK)
            if name in self.cards:
                data = f"<C:address-data>{escape(self.cards[name])}</C:address-data>"
                parts.append(response(href, f"<getetag>{escape(self.etag(name))}</getetag>{data}"))
            else:
                parts.append(response(href, status=404))
        return multistatus(*parts)


def serve(service, context=None):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_all(self):
            length = int(self.headers.get("Content-Length", 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = DavRequest(self.command, self.path, headers, self.rfile.read(length).decode())
            service.requests.append(request)
            reply = service.before(request) or service.answer(request)
            self.send_response(reply.status)
            endless = not isinstance(reply.body, bytes)
            for name, value in reply.headers.items():
                for one in value if isinstance(value, list) else [value]:
                    self.send_header(name, one)
            self.send_header(
                *(("Connection", "close") if endless else ("Content-Length", str(len(reply.body))))
            )
            self.end_headers()
            if endless:
                for piece in reply.body:
                    self.wfile.write(piece)
            else:
                self.wfile.write(reply.body[: reply.cut])
            self.close_connection = self.close_connection or endless or reply.cut is not None

        do_GET = do_PUT = do_PROPFIND = do_REPORT = handle_all

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    service.origin = f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"
    service.address = service.origin.replace("://", f"://{USER}@")
    return server


@contextlib.contextmanager
def serving(context=None):
    service = DavService()
    server = serve(service, context)
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def dav():
    with serving() as service:
        yield service


@pytest.fixture
def other_dav():
    with serving() as service:
        yield service


@pytest.fixture
def fetch(dav, tmp_path):
    """Pull an address (by default that of the simulated server) into one state folder."""

    def run(address=None, *, password=PASSWORD, scheme="auto", **options):
        account = DavAccount(parse_address(address or dav.address), lambda: password, scheme)
        return pull(account, tmp_path / "state" / "books", **options)

    return run
