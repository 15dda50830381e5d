"""`audit server` against a real server: all is proven, within the budget; what cannot be probed is said."""

import json
import socket
import threading
import time
from contextlib import closing
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner
from probed_site import MEMBERS, points_sent, unchecked, wrong
from server_tools import GERMAN, Operator, Process

from contactsync import __version__
from contactsync.audit.probe.budget import PointBudget
from contactsync.audit.probe.charges import check_out_of_quota
from contactsync.audit.probe.probed import Caller, Probed
from contactsync.audit.probe.server import RULES, ProbeOptions, audit_server
from contactsync.audit.probe.wire import MALFORMED_AGENT, RawReply, Wire, shown
from contactsync.audit.report import DISPROVEN, PROVEN, UNCHECKED, AuditReport
from contactsync.commands import main
from contactsync.foundation.errors import BadInput
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.publishing.rotation import Aim, Order


@pytest.mark.slow
def test_everything_about_a_real_server_is_proven(site, middleman, probe):
    accounts = [site.account(burst=820, per_day=10), site.account(), site.account("business")]
    report = probe(1100, accounts=accounts, members=MEMBERS, wait=40.0)
    # A busy machine may be too noisy for the times; nothing else may stay open.
    assert unchecked(report) <= {"timing"}, [one.message for one in report.findings]
    assert wrong(report) == set(), [one.message for one in report.findings]
    assert {rule for rule, count in report.proven.items() if count} >= set(RULES) - {"tls", "timing"}
    assert all(step["taken"] for step in report.facts["steps"])
    assert report.facts["timing"]["points"] >= 384
    described({"version": 1, **report.value()})
    # The figure that it reports is what went by, and no more was charged.
    assert points_sent(middleman.requests) == report.facts["points"]["sent"] <= 1100
    assert 780 < site.charged(accounts[0][0]) <= 820, "nothing but what is paid for was charged"
    assert site.charged(accounts[1][0]) == site.charged(accounts[2][0]) == 8
    said = [one.header("user-agent") for one in middleman.requests if one.path.startswith("/")]
    assert 60 < said.count(MALFORMED_AGENT) < len(said)
    assert all("contactsync" in one for one in said if one), "each request says who it is"
    before = middleman.requests[: said.index(MALFORMED_AGENT)]
    batches = [one for one in before if "/v1/evaluate/" in one.path]
    assert len(batches) > 60, "first what looks like a client"
    assert {one.header("user-agent") for one in batches} == {f"contactsync/{__version__}"}


@pytest.mark.slow
def test_a_small_budget_is_kept_and_what_is_left_out_is_said(site, middleman):
    for points in (8, 75, 140):
        middleman.requests.clear()
        name, credential = site.account()
        report = audit_server(middleman.url, [(name, credential)], points, ProbeOptions(pace=0, wait=0))
        assert wrong(report) == set()
        assert report.exit_code == UNCHECKED
        sent = points_sent(middleman.requests)
        assert sent == report.facts["points"]["sent"] <= points
        assert site.charged(name) <= sent
        left_out = {step["step"] for step in report.facts["steps"] if not step["taken"]}
        assert left_out
        assert all(any(one.place == step for one in report.findings) for step in left_out)
    assert "proof" not in unchecked(report) or "sizes" in left_out


@pytest.mark.slow
def test_an_account_that_has_nothing_left_is_said(site, probe):
    name, credential = site.account(burst=4, per_day=1)
    report = probe(170, accounts=[(name, credential)])
    assert wrong(report) == set()
    assert {"proof", "finalize", "nonce", "quota", "timing"} <= unchecked(report)
    assert "the account has 4 points left" in " ".join(one.message for one in report.findings)
    assert report.proven["refusal"] > 90, "what costs nothing is checked all the same"
    assert report.proven["out-of-quota"] == 1


@pytest.mark.slow
def test_an_account_with_more_than_a_batch_is_used_up_before_the_last_refusal(site):
    account, wire = site.account(burst=4120, per_day=1), Wire(site.process.url, pace=0)
    for points, outcome in ((4120, "unchecked"), (4121, "proven")):
        report = AuditReport("a server", {"out-of-quota": RULES["out-of-quota"]})
        probed = Probed(wire, report, PointBudget(points), [Caller(*account)])
        probed.manifests = {"people": site.operator.manifest()}
        probed.callers = [probed.introduce(one) for one in probed.callers]
        check_out_of_quota(probed)
        assert (report.outcome, probed.budget.sent <= points) == (outcome, True), report.findings
        name = account[0]
        if outcome == "unchecked":
            assert site.charged(name) < 4120
            account = site.account(burst=4120, per_day=1)
    assert probed.budget.sent == 4121
    assert site.charged(name) == 25, "as much as makes the rest fit into a batch"


@pytest.mark.slow
def test_the_epoch_that_is_announced_is_proven_by_its_own_key(tmp_path):
    operator = Operator(tmp_path / "server")
    operator.add(GERMAN, GERMAN + 1)
    operator.publish()
    operator.accounts.add("a", "people", "cs_a")
    publisher = Publisher(operator.folder, operator.registry, operator.keyring)
    publisher.publish(order=Order(Aim.ROTATE, 7 * 86_400))
    with closing(operator), Process(operator.folder.path) as process:
        report = audit_server(process.url, [("a", "cs_a")], 170, ProbeOptions(pace=0, wait=0))
        assert wrong(report) == set(), [one.message for one in report.findings]
        assert "next" in {step["step"] for step in report.facts["steps"] if step["taken"]}
        assert operator.accounts.uses("a")[0].points_total > 0


@pytest.mark.slow
def test_requests_are_spaced(site):
    credentials = [site.account()]
    begun = time.monotonic()
    report = audit_server(site.process.url, credentials, 8, ProbeOptions(pace=0.02, wait=0))
    assert time.monotonic() - begun > 0.02 * (report.facts["requests"] - 1)


@pytest.mark.slow
def test_the_command(site, tmp_path, monkeypatch):
    monkeypatch.setattr("contactsync.audit.probe.server.PACE", 0.0)
    monkeypatch.setattr("contactsync.audit.probe.server.ProbeOptions", hurried(ProbeOptions))
    files = []
    for index in range(2):
        files.append(tmp_path / f"credential-{index}")
        files[-1].write_text(site.account()[1] + "\n")
    members = tmp_path / "members.txt"
    members.write_text("\n".join(f"+{one[5:].decode()}" for one in MEMBERS[:20]) + "\n\n")
    command = ["audit", "server", site.process.url, "--budget", "180", "--wait", "0"]
    command += [word for file in files for word in ("--credential-file", str(file))]
    sarif = tmp_path / "found.sarif"
    done = CliRunner().invoke(main, [*command, "--members", str(members), "--sarif", str(sarif)])
    assert done.exit_code == UNCHECKED, done.output
    assert "proven" in done.stdout
    assert "the budget is too small" in done.stdout
    assert not any(file.read_text().strip() in done.stdout + sarif.read_text() for file in files)
    log = json.loads(sarif.read_text())
    assert {one["level"] for one in log["runs"][0]["results"]} == {"note", "warning"}
    value = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
    assert (value["outcome"], value["points"]["budget"]) == ("unchecked", 180)
    described(value)


def described(value):
    """What is printed is in docs/json-schema.json, all of it."""
    schema = json.loads((Path(__file__).parents[3] / "docs" / "json-schema.json").read_text())
    part = {"$ref": "#/$defs/audit-server", "$defs": schema["$defs"]}
    jsonschema.Draft202012Validator(part, format_checker=jsonschema.FormatChecker()).validate(value)
    assert set(value) <= set(schema["$defs"]["audit-server"]["properties"])


def hurried(options):
    """The same options, with requests that follow at once: the machine is our own."""
    return lambda **given: options(**{**given, "pace": 0.0})


def test_a_dry_run_contacts_nobody(monkeypatch):
    def connect(*_arguments, **_options):
        raise AssertionError("a connection was made")

    monkeypatch.setattr(socket, "create_connection", connect)
    command = ["audit", "server", "https://contacts.invalid", "--budget", "300", "--dry-run"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == PROVEN
    assert "malformed on purpose" in done.stdout
    value = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
    assert sum(one["points"] for one in value["steps"] if one["taken"]) <= 300
    assert len(value["malformed"]) > 60


# What cannot be probed


def test_bad_input_is_said_before_anything_is_sent(tmp_path, monkeypatch):
    credential = tmp_path / "credential"
    credential.write_text("cs_x\n")

    def run(*words, url="http://127.0.0.1:1"):
        done = CliRunner().invoke(main, ["audit", "server", url, *words])
        assert "Traceback" not in done.output
        assert "cs_x" not in done.output
        return done.exit_code, done.stderr

    given = ("--credential-file", str(credential))
    assert run("--budget", "-1", *given)[0] == 3
    code, said = run("--budget", "7", *given)
    assert (code, "too small" in said, "the least that proves anything is 8" in said) == (3, True, True)
    code, said = run("--budget", "100")
    assert (code, "--credential-file" in said) == (3, True)
    assert run("--budget", "100", *given, url="ftp://x")[0] == 3
    assert run("--budget", "many", *given)[0] == 2
    assert run(*given)[0] == 2
    numbers = tmp_path / "members"
    for text, expected in (
        ("+4915112345678\nAda\n", "line 2"),
        ("\n", "no number"),
        ("0151 1234567\n", "line 1"),
    ):
        numbers.write_text(text)
        code, said = run("--budget", "100", *given, "--members", str(numbers))
        assert (code, expected in said, "Ada" in said) == (3, True, False), said
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    code, said = run("--budget", "100", *given, url="https://contacts.invalid")
    assert (code, "--direct" in said) == (3, True)


def test_a_refused_credential_is_named_and_not_shown(site):
    accounts = [site.account(), ("the second one", "cs_nobody")]
    report = audit_server(site.process.url, accounts, 100, ProbeOptions(pace=0, wait=0))
    assert report.exit_code == UNCHECKED
    (found,) = [one for one in report.findings if one.rule == "credential" and one.hint]
    assert (found.place, found.message) == ("the second one", "the server refused this credential")
    assert "operator" in found.hint
    assert report.facts["points"]["sent"] == 0, "before anything is spent"
    assert "cs_nobody" not in json.dumps(report.value())


REPLIES = {
    "a page": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
    "no HTTP": b"220 mail.example.org ESMTP\r\n",
    "no end": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000,
    "a body without end": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
    "a length that is none": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    "a chunk that is none": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "cut": b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{",
    "nothing": b"",
}


@pytest.mark.parametrize("octets", REPLIES.values(), ids=REPLIES)
def test_what_is_no_contactsync_server_is_said(octets):
    listener = socket.create_server(("127.0.0.1", 0))

    def answer():
        try:
            while True:
                client, _ = listener.accept()
                with client:
                    client.settimeout(5)
                    client.recv(4096)
                    client.sendall(octets)
        except OSError:
            pass

    threading.Thread(target=answer, daemon=True).start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    report = audit_server(url, [("an account", "cs_x")], 100, ProbeOptions(pace=0, wait=0))
    assert report.exit_code == UNCHECKED
    (found,) = [one for one in report.findings if one.rule == "health"]
    assert found.place == f"{url}/v1/health"
    assert found.hint
    assert not any(report.proven.values()), "nothing is proven of it"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_a_probe_needs_an_account():
    with pytest.raises(BadInput, match="needs a credential"):
        audit_server("http://127.0.0.1:1", [], 100)


@pytest.mark.parametrize(
    "changed",
    [
        {"quota": {"left": 1, "burst": 0, "per_day": 1}},
        {"quota": {"left": 1, "burst": float("inf"), "per_day": 1}},
        {"quota": 7},
        {"audience": "\x1b[2J"},
    ],
)
def test_an_account_page_that_makes_no_sense(middleman, probe, changed):
    def tamper(request, reply):
        if request.path == "/v1/account" and reply.status == 200:
            reply.body = json.dumps({**json.loads(reply.body), **changed}).encode()

    middleman.tamper = tamper
    report = probe(8)
    assert report.exit_code == DISPROVEN
    (found,) = [one for one in report.findings if one.severity == "error"]
    assert (found.rule, found.place) == ("headers", "GET /v1/account")
    assert "another form than documented" in found.message


def test_nobody_there_is_unchecked_in_every_form(tmp_path):
    credential, sarif = tmp_path / "credential", tmp_path / "found.sarif"
    credential.write_text("cs_x\n")
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    for scheme in ("http", "https"):
        url = f"{scheme}://127.0.0.1:{port}"
        command = ["audit", "server", url, "--budget", "100", "--credential-file", str(credential)]
        done = CliRunner().invoke(main, [*command, "--sarif", str(sarif)])
        assert done.exit_code == UNCHECKED, done.output
        assert f"warning: {url}" in done.stdout
        assert f"cannot connect to 127.0.0.1:{port}: " in done.stdout
        assert "not proven, something could not be checked" in done.stdout
        results = json.loads(sarif.read_text())["runs"][0]["results"]
        (found,) = [one for one in results if "cannot connect" in one["message"]["text"]]
        assert found["level"] == "warning"
        done = CliRunner().invoke(main, [*command, "--json"])
        value = json.loads(done.stdout)
        described(value)
        assert (done.exit_code, value["outcome"]) == (UNCHECKED, "unchecked")
        here = {"tls"} if scheme == "http" else set()  # over loopback it does not apply
        warned = {one["rule"] for one in value["findings"] if one["severity"] == "warning"}
        assert warned == RULES.keys() - here
        assert "cs_x" not in done.output


@pytest.mark.slow
def test_a_server_that_goes_away_leaves_a_report(middleman, probe):
    """What was found before counts; the rest is unchecked."""

    asked = []

    def tamper(request, _reply):
        asked.extend([request] if request.path == "/v1/account" else [])
        if len(asked) > 2:  # both accounts were introduced
            raise ConnectionResetError

    middleman.tamper = tamper
    report = probe()
    assert report.exit_code == UNCHECKED, list(report.lines())
    assert report.proven["metadata"] == 3
    (found,) = [one for one in report.findings if one.place == "the rest of the probe"]
    assert found.rule == "health"
    assert "without a reply" in found.message


@pytest.mark.slow
def test_an_audience_without_a_publication(tmp_path):
    operator = Operator(tmp_path / "server")
    operator.accounts.add("a", "people", "cs_a")
    with closing(operator), Process(operator.folder.path) as process:
        report = audit_server(process.url, [("a", "cs_a")], 170, ProbeOptions(pace=0, wait=0))
    assert report.exit_code == UNCHECKED, list(report.lines())
    assert report.facts["points"]["sent"] == 0


def test_the_same_account_twice_compares_nothing():
    with pytest.raises(BadInput, match="given twice"):
        audit_server("http://127.0.0.1:1", [("a", "cs_x"), ("b", "cs_x")], 100)


def test_what_a_server_says_cannot_act_on_a_terminal():
    assert shown("\x1b[2J\n" + "x" * 500) == r"'\x1b[2J\n" + "x" * 75 + r"\u2026'"
    body = b'{"type": "urn:contactsync:problem:\\u001b[2J"}'
    assert str(RawReply(404, (), body, 0.0)) == "404"


def test_an_account_is_never_shown():
    assert "secret" not in repr(Caller("a", "cs_secret"))
