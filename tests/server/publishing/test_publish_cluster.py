"""A publish on a real Dask cluster: the bytes of one on threads, and what scheduler and workers may know."""

import pickle
import stat

import pytest
from click.testing import CliRunner
from dask_cluster import DaskCluster, Relay, wait_for
from publishing_tools import InLine, copy_of, published
from server_tools import AMERICAN, GERMAN, Operator, numbers, run

from contactsync.commands import main
from contactsync.server.publishing import job as jobs
from contactsync.server.publishing.job import BuildJob, EvaluateJob
from contactsync.server.publishing.publisher import WORK
from contactsync.server.publishing.remote.cluster import MUSTER, Cluster
from contactsync.server.publishing.remote.executor import ClusterExecutor

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.slow

MEMORY = 64 << 20


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with DaskCluster(tmp_path_factory.mktemp("cluster") / "dask") as running:
        for worker in [running.start_worker(wait=False) for _ in range(2)]:
            wait_for(lambda log=worker.log: "Registered to:" in log.read_text(), "the worker")
        yield running


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder that has published once and has changes in some of its partitions, and who made it."""
    operator = Operator(tmp_path_factory.mktemp("publishing") / "original")
    operator.add(*range(GERMAN, GERMAN + 9000), *range(AMERICAN, AMERICAN + 50))
    operator.add(*range(GERMAN + 500, GERMAN + 600), audience="business")
    operator.publish(executor=InLine())
    operator.add(*range(GERMAN + 10_000, GERMAN + 19_000), AMERICAN + 60, 33612345678)
    operator.close()
    return operator


@pytest.fixture
def twin(original, tmp_path):
    """What threads of one process publish of the same folder."""
    operator = copy_of(original, tmp_path / "twin")
    outcomes = operator.publish()
    yield published(operator), outcomes
    operator.close()


def machines(running, port=None):
    url = running.url if port is None else f"dask://127.0.0.1:{port}"
    return Cluster.of(url, running.key_file, running.tls).machines(MEMORY)


def test_a_cluster_publishes_what_threads_publish(cluster, prepared, twin):
    files, outcomes = twin
    assert prepared.publish(machines=machines(cluster)) == outcomes
    assert published(prepared) == files
    assert {WORK, MUSTER}.isdisjoint(prepared.data_files())


def test_the_command_does(cluster, prepared, twin):
    prepared.close()
    key = cluster.key_file
    told = run("publish", "--executor", cluster.url, "--executor-key", str(key), data=prepared.folder.path)
    assert "people: epoch 1, edition 2: 18,052 members" in told.replace("\n", " "), told
    assert published(prepared) == twin[0]


def test_who_has_nothing_to_do_asks_no_scheduler(prepared, tmp_path):
    cluster = DaskCluster(tmp_path / "never-started")
    prepared.publish()
    outcomes = prepared.publish(machines=machines(cluster))
    assert [one.changed for one in outcomes] == [None, None]


def test_a_scheduler_hears_no_key_no_identifier_and_no_token(cluster, prepared, twin, tmp_path):
    secret = prepared.keyring.key_pair("people", 1).secret
    identifiers = numbers(*range(GERMAN + 10_000, GERMAN + 19_000), AMERICAN + 60).identifiers()
    with DaskCluster(tmp_path / "heard") as heard, Relay(heard.port) as relay:
        heard.start_worker(port=relay.port)
        prepared.publish(machines=machines(heard, relay.port))
        passed = relay.heard
        assert published(prepared) == twin[0]
        assert passed.count(b"contactsync-job-1 ") > 6, "the relay hears the jobs"
        assert passed.count(b"contactsync-result-1\n") > 6
        tokens = {
            tokens.to_bytes()[i].tobytes()
            for tokens in prepared.registry.tokens("people", 1, "49")
            for i in range(0, len(tokens), 97)
        }
        assert len(tokens) > 150
        searched = [
            secret, secret.hex().encode(), str(prepared.folder.path).encode() + b"/public/data/.work",
            *identifiers, *(one[-13:] for one in identifiers), *tokens,
        ]  # fmt: skip
        assert [one for one in searched if one in passed] == []
        # And it would have heard them, had they passed: the same job as any other executor gets it.
        job = EvaluateJob("people", secret, bytes(32), tuple(identifiers[-9:]))
        with distributed.Client(f"tcp://127.0.0.1:{relay.port}", set_as_default=False) as client:
            client.submit(len, pickle.dumps(job)).result()
        assert secret in relay.heard
        assert identifiers[-1] in relay.heard


def test_each_job_of_a_cluster_is_sealed_anew_and_opened_by_its_kind(cluster, tmp_path, monkeypatch):
    """The executor is one like any other, and what a job raises comes back as it was raised."""
    sealed = []
    original = ClusterExecutor._hand_in
    monkeypatch.setattr(
        ClusterExecutor, "_hand_in", lambda self, one: (sealed.append(one.sealed), original(self, one))
    )
    job = BuildJob("people", 1, 1, "49", 5, 32, MEMORY, "/no/spool", "/no/report", "/no", "/no", None)
    with machines(cluster)(tmp_path) as pool:
        assert (pool.at_once, pool.memory, pool.most) == (2, 2 * MEMORY, MEMORY)
        futures = [pool.executor.submit(jobs.run_build, job) for _ in range(2)]
        for future in futures:
            with pytest.raises(jobs.OurError, match=r"^building people 49: publishing stopped: No such file"):
                future.result(30)
    assert len(sealed) == 2
    assert sealed[0] != sealed[1]
    assert list(tmp_path.iterdir()) == []


def test_a_worker_key_is_private_and_never_replaced(tmp_path):
    path = tmp_path / "worker.key"

    def made():
        return CliRunner().invoke(main, ["server", "worker-key", str(path)])

    assert made().exit_code == 0
    octets = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = made()
    assert (again.exit_code, path.read_bytes()) == (3, octets)
    assert list(tmp_path.iterdir()) == [path]
