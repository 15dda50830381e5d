"""Files to start from: each is valid for what reads it, and asks for nothing that is not there."""

import http.client
import json
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from ports import free_port
from server_tools import GERMAN, Operator, Process, numbers, run

from contactsync.commands import main
from contactsync.library.books import book_of_numbers
from contactsync.library.client import Client

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


def invoke(*words):
    return CliRunner().invoke(main, ["server", "files", *words])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deploy")
    done = invoke("--output", str(folder))
    assert done.exit_code == 0, done.stderr
    return folder


def test_they_are_listed_printed_and_written(written, tmp_path):
    listed = [line.split()[0] for line in invoke().stdout.splitlines()]
    there = {str(path.relative_to(written)) for path in written.rglob("*") if path.is_file()}
    assert set(listed) == there
    assert len(listed) >= 10
    for name in listed:
        assert invoke(name).stdout == (written / name).read_text()
    again = invoke("--output", str(written))
    assert again.exit_code == 3
    assert "not replaced" in again.stderr
    assert invoke("nothing.conf").exit_code == 3
    one = invoke("caddy/Caddyfile", "--output", str(tmp_path))
    assert one.stdout.strip() == str(tmp_path / "caddy" / "Caddyfile")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["Caddyfile"]


def commands_of(text):
    """Each call of this program in a unit or a container file, as words after its name."""
    for line in re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE):
        words = shlex.split(line)
        yield words[words.index("server") :]
    found = re.search(r"^ENTRYPOINT (\[.*\])$", text, re.MULTILINE)
    if found:
        yield json.loads(found[1])[1:] + json.loads(re.search(r"^CMD (\[.*\])$", text, re.MULTILINE)[1])


def options_of(words):
    """The options that the command of these words has."""
    command, words = main, list(words)
    context = click.Context(main)
    while isinstance(command, click.Group):
        command = command.get_command(context, words.pop(0))
        assert command is not None
    return {name for one in command.params for name in one.opts}


def test_every_option_that_they_give_is_there(written):
    calls = [
        words for path in written.rglob("*") if path.is_file() for words in commands_of(path.read_text())
    ]
    assert len(calls) >= 4
    for words in calls:
        given = {word for word in words if word.startswith("--")}
        assert given <= options_of(words), words


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_the_units(written, tmp_path):
    units = []
    for path in (written / "systemd").iterdir():
        text = re.sub(
            r"^(ExecStart=)\S+( -m contactsync)?", r"\1/bin/true", path.read_text(), flags=re.MULTILINE
        )
        (tmp_path / path.name).write_text(text)
        units.append(str(tmp_path / path.name))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def metrics_in(text):
    """Names of figures in expressions; what Prometheus adds to a histogram is left out."""
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"contactsync_[a-z_]+", text)}


def test_every_figure_is_one_that_is_served(written):
    served = metrics_in("".join(re.findall(r"^\| `contactsync_.*$", OPERATIONS, re.MULTILINE)))
    rules = yaml.safe_load((written / "prometheus" / "contactsync-rules.yml").read_text())
    board = json.loads((written / "grafana" / "contactsync.json").read_text())
    alarms = [rule for group in rules["groups"] for rule in group["rules"]]
    targets = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert len(alarms) >= 8
    for expression in [*(alarm["expr"] for alarm in alarms), *targets]:
        assert metrics_in(expression) <= served, expression
        assert expression.count("(") == expression.count(")")
    for alarm in alarms:
        assert alarm["annotations"]["summary"]
        assert alarm["annotations"]["action"]
        assert alarm["labels"]["severity"] in {"page", "ticket"}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    scrape = yaml.safe_load((written / "prometheus" / "scrape.yml").read_text())
    assert scrape["rule_files"] == ["contactsync-rules.yml"]


def test_the_containers_run_as_nobody_and_keep_passwords_in_files(written):
    compose = yaml.safe_load((written / "container" / "compose.yml").read_text())
    service, database = compose["services"]["contactsync"], compose["services"]["database"]
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True
    assert "/v1/health" in service["healthcheck"]["test"][-1], "an OCI image has no HEALTHCHECK"
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    names = {*service["environment"], *database["environment"]}
    assert "POSTGRES_PASSWORD" not in names
    text = (written / "container" / "Containerfile").read_text()
    stages = text.split("\nFROM ")
    assert len(stages) == 3  # head, build, and what is shipped
    assert re.search(r"^USER 4400", stages[-1], re.MULTILINE)
    assert "contactsync warmup" in stages[1]


# nginx and Caddy, for real


def certificate(folder):
    """A certificate for 127.0.0.1, its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "cert.pem", folder / "key.pem"


class Proxy:
    """A proxy with the shipped file, of which the addresses and the certificate are changed."""

    program: str
    file: str

    def __init__(self, folder, text, behind):
        self.folder, self.port = folder, free_port()
        self.cert, self.key = certificate(folder)
        self.command, self.check = self.prepare(folder, text, behind)

    def __enter__(self):
        checked = subprocess.run(self.check, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
        with (self.folder / "stderr.log").open("wb") as log:
            self.popen = subprocess.Popen(self.command, stderr=log, stdin=subprocess.DEVNULL)
        end = time.monotonic() + 30
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            assert time.monotonic() < end, [one.read_text() for one in self.folder.glob("*.log")]
            time.sleep(0.05)

    def __exit__(self, *_):
        self.popen.terminate()
        self.popen.wait(20)


class Nginx(Proxy):
    program = "nginx"
    file = "nginx/contactsync.conf"

    def prepare(self, folder, text, behind):
        text = text.replace("127.0.0.1:8440", f"127.0.0.1:{behind}").replace(
            " [::]:443 ssl;", f" {free_port()};"
        )
        text = text.replace("listen 443 ssl;", f"listen 127.0.0.1:{self.port} ssl;")
        text = text.replace("contacts.example.org", "localhost").replace(
            "/etc/ssl/contactsync/fullchain.pem", str(self.cert)
        )
        text = text.replace("/etc/ssl/contactsync/privkey.pem", str(self.key))
        text = text.replace("/var/log/nginx/contactsync.log", str(folder / "error.log"))
        (folder / "contactsync.conf").write_text(text)
        temporary = "".join(
            f"{name}_temp_path {folder}/{name};"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(
            f"daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;"
            f" user root; events {{}}"
            f" http {{ access_log off; {temporary} include {folder}/contactsync.conf; }}"
        )
        command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]
        return command, [*command, "-t"]


class Caddy(Proxy):
    program = "caddy"
    file = "caddy/Caddyfile"

    def prepare(self, folder, text, behind):
        text = text.replace("127.0.0.1:8440", f"127.0.0.1:{behind}")
        text = text.replace(
            "contacts.example.org {", f"localhost:{self.port} {{\n\ttls {self.cert} {self.key}"
        )
        own = f"admin off\n\tauto_https disable_redirects\n\tstorage file_system {folder}/storage"
        text = text.replace("{\n\tservers {", f"{{\n\t{own}\n\tservers {{", 1)
        assert text.count("localhost:") == text.count("admin off") == 1
        (folder / "Caddyfile.conf").write_text(text)
        words = ["--config", str(folder / "Caddyfile.conf"), "--adapter", "caddyfile"]
        # Its state is in the folder of who runs it.
        command = ["env", f"XDG_CONFIG_HOME={folder}", f"XDG_DATA_HOME={folder}", "caddy"]
        return [*command, "run", *words], [*command, "validate", *words]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Nginx, Caddy])
def test_clients_sync_through_a_proxy(written, tmp_path, kind):
    if shutil.which(kind.program) is None:
        pytest.skip(f"{kind.program} is not installed")
    operator = Operator(tmp_path / "server")
    operator.add(*range(GERMAN, GERMAN + 5000))
    operator.publish()
    data = operator.folder.path
    credential = run("accounts", "add", "me", data=data).strip()
    (tmp_path / "proxy").mkdir()
    text = (written / kind.file).read_text()
    with (
        Process(data, "--trusted-proxy", "127.0.0.1") as process,
        kind(tmp_path / "proxy", text, process.port) as proxy,
    ):
        url = f"https://localhost:{proxy.port}"
        client = Client(tmp_path / "state")
        client.introduce(url, ca_file=proxy.cert).accept()
        people = [GERMAN + 1, GERMAN + 2, GERMAN + 900_000]
        result = client.sync(book_of_numbers(_array(people)), credential=credential)
        assert result.numbers.tolist() == people[:2]
        assert _status(proxy, "/v1/health") == 200
        assert _status(proxy, "/") == 404
        file = next(iter(operator.manifest().files()))
        assert _status(proxy, f"/v1/data/{file}") == 401  # nothing is cached for whoever has no credential
        assert _status(proxy, f"/v1/data/{file}", Authorization=f"Bearer {credential}") == 200
        operator.registry.remove(numbers(GERMAN + 1))
        run("publish", "--expunge", data=data)
        assert _status(proxy, f"/v1/data/{file}", Authorization=f"Bearer {credential}") == 404
        assert client.sync(book_of_numbers(_array(people)), credential=credential).numbers.tolist() == [
            GERMAN + 2
        ]
    logged = b"".join(path.read_bytes() for path in (tmp_path / "proxy").glob("*.log"))
    assert b"127.0.0.1" not in logged
    left = [path for path in (tmp_path / "proxy").rglob("*") if path.is_file()]
    assert {path.suffix for path in left} <= {".conf", ".pem", ".log", ".json", ""}
    operator.close()


def _array(people):
    return np.array(people, np.uint64)


def _status(proxy, path, **headers):
    context = ssl.create_default_context(cafile=str(proxy.cert))
    connection = http.client.HTTPSConnection("localhost", proxy.port, context=context, timeout=20)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_this_program_is_named_by_its_path(written):
    unit = (written / "systemd" / "contactsync.service").read_text()
    line = re.search(r"^ExecStart=(\S+)", unit, re.MULTILINE)[1]
    assert Path(line).is_absolute()
    assert sys.executable in unit or "contactsync" in line
