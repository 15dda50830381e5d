"""trust: a server behind TLS of an authority of its own, and what is remembered of it."""

import pytest
from authority import Authority
from click.testing import CliRunner
from simulated_service import CREDENTIAL, Service, listen

from contactsync.commands import main

ANNA = "+491512345671"


def run(*arguments):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert "Traceback" not in result.output
    return result


@pytest.fixture
def secure(tmp_path):
    (tmp_path / "service").mkdir()
    service = Service(tmp_path / "service")
    service.publish(ANNA)
    issuer = Authority()
    server = listen(service, issuer.context(tmp_path, ("127.0.0.1",)))
    service.ca = issuer.write(tmp_path / "ca.pem")
    yield service
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_the_authority_is_remembered(secure, tmp_path):
    state, book, credential = tmp_path / "state", tmp_path / "book.txt", tmp_path / "credential"
    book.write_text(ANNA + "\n")
    credential.write_text(CREDENTIAL)
    credential.chmod(0o600)
    assert secure.url.startswith("https://")
    refused = run("trust", secure.url, "--yes", "--state", state)
    assert refused.exit_code == 4
    assert "not signed by an authority" in refused.output
    assert "--ca-file" in refused.output
    assert run("trust", secure.url, "--yes", "--state", state, "--ca-file", secure.ca).exit_code == 0
    secure.ca.unlink()  # a copy was made
    synced = run("sync", book, "--state", state, "--credential-file", credential)
    assert synced.exit_code == 0, synced.output
    assert "1 match" in synced.output
    (kept,) = state.rglob("ca.pem")
    assert kept.stat().st_mode & 0o777 == 0o600
    # Gone, it is not replaced by the system's unnoticed; a server that is trusted anew keeps it.
    pem = kept.read_bytes()
    kept.unlink()
    missing = run("sync", book, "--state", state, "--credential-file", credential)
    assert missing.exit_code == 1
    assert "--ca-file" in missing.output
    again = tmp_path / "again.pem"
    again.write_bytes(b"# \xc3\xbcber alles\n" + pem)
    assert run("trust", secure.url, "--state", state, "--ca-file", again).exit_code == 0
    assert run("trust", secure.url, "--yes", "--replace", "--state", state).exit_code == 0
    assert run("sync", book, "--state", state, "--credential-file", credential).exit_code == 0
    # Another authority takes its place, and the server is not believed any more.
    other = Authority().write(tmp_path / "other.pem")
    assert run("trust", secure.url, "--yes", "--state", state, "--ca-file", other).exit_code == 4
    assert run("sync", book, "--state", state, "--credential-file", credential).exit_code == 0


def test_a_proxy_that_cannot_be_used_stops_everything(secure, tmp_path):
    refused = run("trust", secure.url, "--yes", "--state", tmp_path / "state", "--proxy", "ftp://x")
    assert refused.exit_code == 3
    assert "--proxy" in refused.output
    assert secure.requests == []
