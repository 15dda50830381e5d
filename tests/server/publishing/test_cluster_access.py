"""How a cluster is reached: by TLS, and with an error that says what is missing where it cannot be."""

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from dask_cluster import DaskCluster, Relay
from ports import free_port
from publishing_tools import published
from server_tools import GERMAN, Operator, command

from contactsync.foundation.errors import BadInput, ContactSyncError, OurError
from contactsync.server.publishing.remote.cluster import Cluster
from contactsync.server.publishing.remote.worker_key import NotSealedByUs, WorkerKey

MEMORY = 64 << 20


def certificates(folder):
    """A CA of its own, and a certificate of it for all machines of a cluster."""
    folder.mkdir()
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name, name = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in ("ca", "cluster"))
    now = datetime.now(UTC)

    def signed(subject, public, *, is_ca):
        built = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )
        if not is_ca:
            names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
            built = built.add_extension(names, critical=False)
        return built.sign(ca_key, SHA256()).public_bytes(Encoding.PEM)

    (folder / "ca.pem").write_bytes(signed(ca_name, ca_key.public_key(), is_ca=True))
    (folder / "cert.pem").write_bytes(signed(name, key.public_key(), is_ca=False))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "key.pem").chmod(0o600)
    return folder


@pytest.fixture
def operator(tmp_path):
    made = Operator(tmp_path / "data")
    made.add(*range(GERMAN, GERMAN + 100))
    yield made
    made.close()


@pytest.fixture
def key_file(tmp_path):
    WorkerKey.create(tmp_path / "worker.key")
    return tmp_path / "worker.key"


def publish(operator, cluster):
    return operator.publish(machines=cluster.machines(MEMORY))


@pytest.mark.slow
def test_a_cluster_is_reached_by_tls_alone(operator, tmp_path):
    pytest.importorskip("distributed")
    tls, others = certificates(tmp_path / "tls"), certificates(tmp_path / "others")
    with DaskCluster(tmp_path / "dask", tls) as running, Relay(running.port) as relay:
        running.start_worker()
        for without in (
            Cluster.of(f"dask://127.0.0.1:{running.port}", running.key_file, None),
            Cluster.of(running.url, running.key_file, others),
        ):
            begun = time.monotonic()
            with pytest.raises(OurError, match="no Dask scheduler answers that we can talk to") as raised:
                publish(operator, without)
            assert "ca.pem" in raised.value.hint
            assert time.monotonic() - begun < 30
        assert operator.manifest() is None
        publish(operator, Cluster.of(f"tls://127.0.0.1:{relay.port}", running.key_file, tls))
        assert operator.manifest().partitions["49"].count == 100
        assert len(relay.heard) > 5000
        assert b"contactsync" not in relay.heard, "not even that it is us"
    assert published(operator)


@pytest.mark.parametrize(
    "url", ["ray://host", "dask://", "dask://h:99999", "dask://h/path", "host:8786", "tls:/h", "dask://[::"]
)
def test_what_names_no_executor(key_file, url):
    with pytest.raises(BadInput, match="names no executor") as raised:
        Cluster.of(url, key_file, None)
    assert "dask://" in raised.value.hint


@pytest.mark.parametrize(
    "url", ["dask://scheduler.example", "dask://10.0.0.1:8786", "tls://127.0.0.1", "dask://[2001:db8::1]"]
)
def test_what_leaves_this_machine_needs_tls(key_file, url):
    with pytest.raises(BadInput, match="by TLS only") as raised:
        Cluster.of(url, key_file, None)
    assert "--executor-tls" in raised.value.hint


@pytest.mark.parametrize("name", ["ca.pem", "cert.pem", "key.pem"])
def test_files_for_tls_are_all_there(key_file, tmp_path, name):
    tls = certificates(tmp_path / "tls")
    (tls / name).unlink()
    with pytest.raises(BadInput, match=f"there is no {name} in"):
        Cluster.of("tls://127.0.0.1", key_file, tls)


def test_the_key_for_tls_is_private(key_file, tmp_path):
    tls = certificates(tmp_path / "tls")
    (tls / "key.pem").chmod(0o644)
    with pytest.raises(OurError, match=r"key.pem can be read by other users"):
        Cluster.of("tls://127.0.0.1", key_file, tls)


@pytest.mark.parametrize("address", ["dask://127.0.0.1", "dask://localhost:8786", "dask://[::1]:8786"])
def test_a_scheduler_of_this_machine_needs_none(key_file, address):
    pytest.importorskip("distributed")
    cluster = Cluster.of(address, key_file, None)
    assert cluster.address.startswith("tcp://")
    assert cluster.address.endswith(":8786")


def test_without_dask_it_says_what_to_install(key_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(BadInput, match="Dask, which is not installed") as raised:
        Cluster.of("dask://127.0.0.1", key_file, None)
    assert raised.value.hint == "pip install 'contactsync[dask]'"


def test_a_key_file_of_ours_is_needed(tmp_path, key_file):
    pytest.importorskip("distributed")
    bad = tmp_path / "bad.key"
    cases = {
        b"": "is no worker key",
        b"[]": "is no worker key",
        b'{"format": "contactsync-worker-key-1"}': "is no worker key",
        b'{"format": "contactsync-worker-key-1", "secret": "00"}': "of this version",
        key_file.read_bytes().replace(b"key-1", b"key-2"): "of this version",
    }
    for content, reason in cases.items():
        bad.write_bytes(content)
        bad.chmod(0o600)
        with pytest.raises(BadInput, match=reason) as raised:
            Cluster.of("dask://127.0.0.1", bad, None)
        assert "worker-key FILE" in raised.value.hint
    for path in (None, tmp_path / "none"):
        with pytest.raises(BadInput) as raised:
            Cluster.of("dask://127.0.0.1", path, None)
        assert "worker-key FILE" in raised.value.hint
    key_file.chmod(0o640)
    with pytest.raises(ContactSyncError, match="can be read by other users"):
        Cluster.of("dask://127.0.0.1", key_file, None)


def test_what_is_sealed_opens_with_its_key_and_label_alone():
    key, other = WorkerKey(bytes(range(32))), WorkerKey(bytes(32))
    sealed = key.seal(b"job", b"message")
    assert key.open(b"job", sealed) == b"message"
    assert key.seal(b"job", b"message") != sealed
    assert "000102" not in repr(key)
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(NotSealedByUs):
            key.open(b"job", bytes(changed))
    for who, label, octets in [
        (other, b"job", sealed),
        (key, b"result", sealed),
        (key, b"job", sealed[:-1]),
        (key, b"job", sealed[:40]),
        (key, b"job", b""),
    ]:
        with pytest.raises(NotSealedByUs):
            who.open(label, octets)


@pytest.mark.slow
def test_the_command_says_what_is_missing_and_shows_no_traceback(operator, key_file, tmp_path):
    pytest.importorskip("distributed")

    def told(*options):
        publish = command("publish", *options, data=operator.folder.path)
        done = subprocess.run(publish, capture_output=True, text=True, check=False, timeout=120)
        assert done.stdout == ""
        lines = [line for line in done.stderr.splitlines() if line]
        assert len(lines) == 2, done.stderr
        assert lines[0].startswith("error: ")
        assert lines[1].startswith("hint: ")
        return done.returncode, *lines

    code, error, hint = told("--executor", f"dask://127.0.0.1:{free_port()}", "--executor-key", str(key_file))
    assert code == 1
    assert "cannot be reached: Connection refused" in error
    assert "dask scheduler" in hint
    with DaskCluster(tmp_path / "dask") as running:
        url = ["--executor", running.url]
        code, error, hint = told(*url, "--executor-key", str(key_file))
        assert (code, error) == (
            1,
            f"error: the scheduler {running.url.replace('dask', 'tcp')} has no workers",
        )
        assert "dask worker" in hint
    code, error, hint = told(*url)
    assert code == 3
    assert "worker-key" in hint
    assert operator.manifest() is None
