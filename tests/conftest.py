"""What every test shares.

Sub-processes find the checkout, and not what slows each of them down; the engine can be had at either width,
and folders of earlier versions too; slow tests may take longer before they count as hanging; a run that
leaves tests out says which.
"""

import os
import tarfile
from collections import Counter
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parents[1]
HIDDEN = ROOT / "tests" / "not_installed"
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(HIDDEN), str(ROOT), os.environ.get("PYTHONPATH", "")])
)

os.environ["XDG_CONFIG_HOME"] = "/nonexistent"  # whoever runs the tests may have a configuration
os.environ.pop("CONTACTSYNC_CONFIG", None)

SLOW_SECONDS = 600

left_out = Counter()


def is_fast(config):
    """Whether this run leaves out what is slow."""
    return "not slow" in config.option.markexpr


def pytest_configure(config):
    if is_fast(config):
        # Where a test does not say how many examples it needs. `make test` takes hypothesis's own 100.
        hypothesis.settings.register_profile("fast", max_examples=25)
        hypothesis.settings.load_profile("fast")


def pytest_ignore_collect(collection_path, config):
    """A fast run does not even import a file named `test_…_slow.py`: its tests take long to be collected."""
    if is_fast(config) and collection_path.match("test_*_slow.py"):
        left_out[f"{collection_path.relative_to(ROOT)}, all of it"] += 1
        return True
    return None


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS))


def pytest_deselected(items):
    left_out.update(f"{item.path.relative_to(ROOT)}::{item.originalname}" for item in items)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """The end of a worker of pytest-xdist: only workers collect, and each collects everything."""
    left_out.update(getattr(node, "workeroutput", {}).get("left_out", {}) if not left_out else {})


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = dict(left_out)


def pytest_terminal_summary(terminalreporter):
    if left_out and is_fast(terminalreporter.config):
        terminalreporter.section("left out as slow (`make test` runs all)")
        for name, cases in sorted(left_out.items()):
            terminalreporter.write_line(name + (f" ({cases} cases)" if cases > 1 else ""))


@pytest.fixture(params=[8, 1], ids=["8-lanes", "1-lane"])
def lanes(request, monkeypatch):
    """The test runs twice, with an engine of 8 lanes (skipped without AVX-512 IFMA) and of 1."""
    from contactsync.kernels import policy
    from contactsync.ristretto255 import start

    if request.param == 8 and not policy.has_ifma():
        pytest.skip("this CPU has no AVX-512 IFMA")
    monkeypatch.setenv(policy.LANES, str(request.param))
    policy.lanes.cache_clear()
    start.default_engine.cache_clear()
    yield request.param
    policy.lanes.cache_clear()
    start.default_engine.cache_clear()


@pytest.fixture
def cheap_passphrases(monkeypatch):
    """New passphrases cost no time: files state what theirs costs. test_sealing.py holds the real cost."""
    from contactsync.server import sealing

    monkeypatch.setattr(sealing, "_ARGON2", {**sealing._ARGON2, "iterations": 1, "lanes": 1, "memory_kib": 8})


@pytest.fixture
def version_1(tmp_path):
    """The folders `server` and `state`, and more, as version 1 left them: see tests/fixtures/README.md."""
    with tarfile.open(ROOT / "tests" / "fixtures" / "version-1.tar.xz") as archive:
        archive.extractall(tmp_path, filter="tar")  # that of "data" forgets the modes of folders
    assert (tmp_path / "v1" / "state").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "v1" / "server" / "keys" / "keyring.json").stat().st_mode & 0o777 == 0o600
    return tmp_path / "v1"


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server of this worker, started by the first test that asks for it."""
    import postgres_server

    server = postgres_server.any_server()
    yield server
    server.close()


@pytest.fixture(scope="session")
def _database(request):
    """The URL of this worker's database, by a function: who does not call it starts no server."""
    import postgres_server

    name, made = f"contactsync_test_{postgres_server.worker()}", []

    def url():
        if not made:
            server = request.getfixturevalue("postgres")
            made.extend((postgres_server.create_database(server, name), server))
        return made[0]

    yield url
    if made and not made[1].ended:
        postgres_server.drop_database(made[1], name)


@pytest.fixture
def database(_database):
    """A function: the URL of a database that has nothing in it. It is the same one all through a test."""
    import postgres_server

    urls = []

    def url():
        if not urls:
            urls.append(_database())
            postgres_server.clear(urls[0])
        return urls[0]

    return url
