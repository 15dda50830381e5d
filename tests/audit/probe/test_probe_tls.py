"""TLS as the probe sees it: good, expired, of a stranger, old, and the API without it."""

import contextlib
import re
import socket
import ssl
import subprocess
import threading
import warnings
from contextlib import closing

import pytest
from authority import Authority
from click.testing import CliRunner
from probed_site import wrong
from server_tools import GERMAN, Operator, command

from contactsync.audit.probe import tls
from contactsync.audit.probe.server import RULES, ProbeOptions, audit_server
from contactsync.audit.probe.wire import Wire
from contactsync.audit.report import DISPROVEN, UNCHECKED, AuditReport
from contactsync.commands import main


@pytest.fixture(scope="module")
def authority():
    return Authority()


@contextlib.contextmanager
def answering(context):
    """A listener that shakes hands, and no more."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(OSError):
            while True:
                raw, _ = listener.accept()
                with raw, contextlib.suppress(OSError), context.wrap_socket(raw, server_side=True) as secured:
                    secured.recv(100)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def checked(port, ca, monkeypatch, *, plain=1):
    """The report on the TLS of a port. `plain` stands for port 80, where nobody listens."""
    monkeypatch.setattr(tls, "_PLAIN_PORT", plain)
    report = AuditReport("a server", {"tls": RULES["tls"]})
    context = tls.context_of(ca)
    usable = tls.check_tls(report, Wire(f"https://127.0.0.1:{port}", context=context, pace=0), context)
    return usable, report


@pytest.mark.slow
def test_a_whole_probe_over_tls(authority, tmp_path, monkeypatch):
    operator = Operator(tmp_path / "server")
    operator.add(GERMAN)
    operator.publish()
    operator.accounts.add("a", "people", "cs_a")
    authority.context(tmp_path, ("127.0.0.1",), 30)
    pem = tmp_path / "server.pem"
    pem.chmod(0o600)
    ca = authority.write(tmp_path / "ca.pem")
    monkeypatch.setattr(tls, "_PLAIN_PORT", 1)
    line = command(
        "serve", "--port", "0", "--tls-cert", str(pem), "--tls-key", str(pem), data=operator.folder.path
    )
    with closing(operator), subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        url = re.fullmatch(r"listening on (https://\S+)\n", process.stdout.readline())[1]
        options = ProbeOptions(pace=0, wait=0, ca_file=ca)
        report = audit_server(url, [("a", "cs_a")], 8, options)
        stranger = audit_server(url, [("a", "cs_a")], 8, ProbeOptions(pace=0, wait=0))
        process.kill()
    assert wrong(report) == set(), [one.message for one in report.findings]
    assert report.proven["tls"] >= 3
    assert report.facts["tls"]["version"] == "TLSv1.3"
    assert wrong(stranger) == {"tls"}
    assert stranger.facts["points"]["sent"] == 0, "no credential goes to who cannot be verified"


def test_over_loopback_tls_is_not_applicable(site):
    report = audit_server(site.process.url, [site.account()], 8, ProbeOptions(pace=0, wait=0))
    assert report.state("tls") == "not applicable"
    (line,) = [one for one in report.lines() if RULES["tls"] in one]
    assert re.match(r"n/a +0  TLS is 1\.2 or newer", line), line
    (rule,) = [one for one in report.value()["rules"] if one["rule"] == "tls"]
    assert (rule["state"], rule["proven"]) == ("not-applicable", 0)


@pytest.fixture
def named(monkeypatch):
    """A name that leads to this machine, and is not known to do so."""
    usual = socket.getaddrinfo
    name = "contacts.example.org"

    def found(host, *more, **named):
        return usual("127.0.0.1" if host == name else host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", found)
    return name


def test_an_api_without_tls_is_disproven_and_gets_no_credential(middleman, named):
    url = f"http://{named}:{middleman.url.rpartition(':')[2]}"
    report = audit_server(url, [("a", "cs_secret")], 8, ProbeOptions(pace=0, wait=0))
    assert report.exit_code == DISPROVEN
    assert wrong(report) == {"tls"}
    (found,) = [one for one in report.findings if one.severity == "error"]
    assert found.place == url
    assert "the API is served without TLS" in found.message
    assert middleman.requests
    assert not any(b"cs_secret" in one.octets for one in middleman.requests)


def test_an_address_without_tls_that_serves_nothing_is_unchecked(named, tmp_path):
    """By the command: a proxy that redirects, say. The credential is not sent there."""
    credential = tmp_path / "credential"
    credential.write_text("cs_secret\n")
    got = []
    answer = b"HTTP/1.1 301 Moved\r\nLocation: https://contacts.example.org/\r\nContent-Length: 0\r\n\r\n"
    words = ["--budget", "8", "--credential-file", str(credential), "--direct"]
    with closing(plainly(answer, got)) as there:
        url = f"http://{named}:{there.getsockname()[1]}"
        done = CliRunner().invoke(main, ["audit", "server", url, *words])
    assert done.exit_code == UNCHECKED, done.output
    assert "has no TLS, and gave 301" in done.stdout
    assert "https://" in done.stdout
    assert got
    assert b"cs_secret" not in b"".join(got)


def test_a_certificate_that_ends_soon_is_noted(authority, tmp_path, monkeypatch):
    ca = authority.write(tmp_path / "ca.pem")
    with answering(authority.context(tmp_path, ("127.0.0.1",), 1)) as port:
        usable, report = checked(port, ca, monkeypatch)
    assert (usable, wrong(report)) == (True, set())
    assert any("ends in" in one.message for one in report.findings)


@pytest.mark.parametrize(
    "case",
    [(("127.0.0.1",), -1, "expired"), (("127.0.0.9",), 1, "IP address mismatch")],
    ids=["old", "other"],
)
def test_a_certificate_that_clients_refuse(authority, tmp_path, monkeypatch, case):
    names, days, said = case
    ca = authority.write(tmp_path / "ca.pem")
    with answering(authority.context(tmp_path, names, days)) as port:
        usable, report = checked(port, ca, monkeypatch)
    assert (usable, wrong(report)) == (False, {"tls"})
    assert said in report.findings[0].message


def test_a_server_that_speaks_tls_1_1(authority, tmp_path, monkeypatch):
    context = authority.context(tmp_path, ("127.0.0.1",))
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
    with answering(context) as port:
        usable, report = checked(port, authority.write(tmp_path / "ca.pem"), monkeypatch)
    assert usable
    assert wrong(report) == {"tls"}
    assert "RFC 8996" in report.findings[-1].message


def test_no_tls_at_all_where_it_should_be(monkeypatch):
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(OSError):
            while True:
                raw, _ = listener.accept()
                with raw:
                    raw.recv(100)
                    raw.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    threading.Thread(target=serve, daemon=True).start()
    usable, report = checked(listener.getsockname()[1], None, monkeypatch)
    assert (usable, wrong(report)) == (False, {"tls"})
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def plainly(answer, got=None):
    """A plain HTTP server for one answer, listening. `got` takes what it is sent."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(OSError):
            raw, _ = listener.accept()
            with raw:
                octets = raw.recv(1000)
                if got is not None:
                    got.append(octets)
                raw.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return listener


@pytest.mark.parametrize(
    "case",
    [
        ("200 OK", '{"status": "ok"}', {"tls"}),
        ("401 No", '{"type": "urn:contactsync:problem:bad-credential"}', {"tls"}),
        ("301 Gone\r\nLocation: http://127.0.0.1/other", "", {"tls"}),
        ("301 Gone\r\nLocation: https://127.0.0.1/v1/health", "", set()),
        ("404 No", "<html>", set()),
    ],
)
def test_plain_http_beside_it(authority, tmp_path, monkeypatch, case):
    head, body, broken = case
    answer = f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    ca = authority.write(tmp_path / "ca.pem")
    with closing(plainly(answer)) as beside, answering(authority.context(tmp_path, ("127.0.0.1",))) as port:
        usable, report = checked(port, ca, monkeypatch, plain=beside.getsockname()[1])
    assert (usable, wrong(report)) == (True, broken)


def test_plain_http_to_this_machine_is_said_and_not_failed(site):
    report = AuditReport("a server", {"tls": RULES["tls"]})
    assert tls.check_tls(report, Wire(site.process.url), tls.context_of(None))
    assert report.outcome == "proven"
    assert "no TLS" in report.findings[0].message
