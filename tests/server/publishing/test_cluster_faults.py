"""Faults of a cluster: whatever dies or is lost, the edition is that of threads, or the old one."""

import contextlib
import dataclasses
import threading
from concurrent.futures import Executor, Future
from pathlib import Path

import pytest
from dask_cluster import DaskCluster, Hook, Relay, wait_for
from publishing_tools import InLine, copy_of, published
from server_tools import AMERICAN, GERMAN, Operator

import contactsync
from contactsync.foundation.errors import OurError
from contactsync.server.publishing.publisher import WORK
from contactsync.server.publishing.remote import cluster as clusters
from contactsync.server.publishing.remote.cluster import MUSTER, Cluster
from contactsync.server.publishing.remote.executor import ClusterExecutor
from contactsync.server.publishing.remote.worker_key import WorkerKey

pytest.importorskip("distributed")
pytestmark = pytest.mark.slow

MEMORY = 64 << 20


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder that has published once and has changes in some of its partitions, and who made it."""
    operator = Operator(tmp_path_factory.mktemp("publishing") / "original")
    operator.add(*range(GERMAN, GERMAN + 9000), *range(AMERICAN, AMERICAN + 50))
    operator.publish(executor=InLine())
    operator.add(*range(GERMAN + 10_000, GERMAN + 19_000), AMERICAN + 60, 33612345678)
    operator.close()
    return operator


@pytest.fixture(scope="module")
def expected(original, tmp_path_factory):
    """What threads of one process publish of it."""
    operator = copy_of(original, tmp_path_factory.mktemp("expected") / "twin")
    operator.publish()
    operator.close()
    return published(operator)


@pytest.fixture
def cluster(tmp_path):
    with DaskCluster(tmp_path / "dask") as running:
        yield running


def machines(running, patience=60.0, port=None):
    found = Cluster.of(f"dask://127.0.0.1:{port or running.port}", running.key_file, None)
    return dataclasses.replace(found, patience=patience).machines(MEMORY)


class Publishing(threading.Thread):
    """A publish in a thread of its own, which a test waits for."""

    def __init__(self, operator, pools):
        super().__init__(daemon=True)
        self.operator, self.pools, self.error = operator, pools, None
        self.start()

    def run(self):
        registry = type(self.operator.registry)(self.operator.folder.registry)
        try:
            with contextlib.closing(registry):
                other = Operator.__new__(Operator)
                other.__dict__ |= self.operator.__dict__ | {"registry": registry}
                other.publish(machines=self.pools)
        except OurError as error:
            self.error = error

    def ended(self):
        self.join(120)
        assert not self.is_alive()
        return self.error


def is_as_before(operator, original):
    before = published(original)
    after = published(operator)
    return {name: after.get(name) for name in before} == before and WORK not in operator.data_files()


@pytest.mark.parametrize("kind", ["run_evaluate", "run_build", "run_muster"])
def test_a_worker_is_killed_in_a_job(cluster, prepared, expected, tmp_path, kind):
    hook = Hook(tmp_path / "hook", kind, "hold")
    workers = {process.pid: process for process in (cluster.start_worker(hook=hook) for _ in range(2))}
    publishing = Publishing(prepared, machines(cluster))
    wait_for(hook.begun, "a job")
    cluster.kill(workers[hook.begun()[0]])
    hook.go()
    assert publishing.ended() is None
    assert published(prepared) == expected
    assert {WORK, MUSTER}.isdisjoint(prepared.data_files())


@pytest.mark.parametrize("kind", ["run_evaluate", "run_build"])
def test_a_job_whose_workers_die_ends_the_publish(original, prepared, expected, tmp_path, kind):
    with DaskCluster(tmp_path / "dask", deaths=0) as running:
        running.start_worker(hook=Hook(tmp_path / "hook", kind, "die"))
        error = Publishing(prepared, machines(running)).ended()
    what = "evaluating people" if kind == "run_evaluate" else r"building people (1|33|49)"
    with pytest.raises(OurError, match=rf"^{what}: every worker that ran it has died$"):
        raise error
    assert "memory" in error.hint
    assert "previous edition is still served" in error.hint
    assert is_as_before(prepared, original)
    prepared.publish()
    assert published(prepared) == expected


@pytest.mark.parametrize("kind", ["run_evaluate", "run_build"])
def test_an_error_that_nobody_expected_passes_the_scheduler_sealed(original, prepared, tmp_path, kind):
    with DaskCluster(tmp_path / "dask") as running, Relay(running.port) as relay:
        worker = running.start_worker(hook=Hook(tmp_path / "hook", kind, "fail"), port=relay.port)
        error = Publishing(prepared, machines(running, port=relay.port)).ended()
        what = "evaluating people" if kind == "run_evaluate" else r"building people (1|33|49)"
        with pytest.raises(OurError, match=rf"^{what}: the worker on \S+ has failed \(ValueError\)$"):
            raise error
        assert b"contactsync-result-1" in relay.heard
        assert b"text-of-the-error" not in relay.heard
        assert "text-of-the-error" in worker.log.read_text()
    assert is_as_before(prepared, original)


class Doubled(Executor):
    """Hands every job to a cluster twice; what comes of both has to be the same."""

    def __init__(self, executor):
        self.executor = executor
        self.jobs = 0

    def submit(self, function, /, *arguments, **options):
        both = [self.executor.submit(function, *arguments) for _ in range(2)]
        outer, lock = Future(), threading.Lock()
        self.jobs += 1

        def ended(_):
            with lock:
                if all(one.done() for one in both) and not outer.done():
                    first, second = (one.result() for one in both)
                    if first == second:
                        outer.set_result(first)
                    else:
                        outer.set_exception(AssertionError(f"{arguments} gave two results"))

        for one in both:
            one.add_done_callback(ended)
        return outer


@pytest.mark.parametrize("kind", ["run_evaluate", "run_build"])
def test_every_job_runs_twice_at_once(cluster, prepared, expected, tmp_path, kind):
    hook, made = Hook(tmp_path / "hook", kind, "hold"), []
    for _ in range(2):
        cluster.start_worker(hook=hook)

    @contextlib.contextmanager
    def doubled(data):
        with machines(cluster)(data) as pool:
            made.append(Doubled(pool.executor))
            yield dataclasses.replace(pool, executor=made[0])

    publishing = Publishing(prepared, doubled)
    wait_for(lambda: len(hook.begun()) == 2, "two at once")
    hook.go()
    assert publishing.ended() is None
    assert made[0].jobs > 5
    assert published(prepared) == expected


@pytest.mark.parametrize("kind", ["run_evaluate", "run_build"])
def test_a_scheduler_restarts(cluster, prepared, expected, tmp_path, kind):
    hook = Hook(tmp_path / "hook", kind, "hold")
    worker = cluster.start_worker(hook=hook)
    publishing = Publishing(prepared, machines(cluster))
    wait_for(hook.begun, "a job")
    cluster.kill(cluster.scheduler)
    cluster.kill(worker)  # it would end by itself, when its job has
    hook.go()
    cluster.start_scheduler()
    cluster.start_worker()
    assert publishing.ended() is None
    assert published(prepared) == expected


def test_a_scheduler_that_is_gone_ends_the_publish(cluster, original, prepared, expected, tmp_path):
    hook = Hook(tmp_path / "hook", "run_evaluate", "hold")
    cluster.start_worker(hook=hook)
    publishing = Publishing(prepared, machines(cluster, patience=4.0))
    wait_for(hook.begun, "a job")
    cluster.kill(cluster.scheduler)
    error = publishing.ended()
    # Whichever notices first: the client that cannot connect again, or who looks for workers.
    with pytest.raises(
        OurError, match=r"^evaluating people: the (scheduler has gone|cluster has had no worker)"
    ):
        raise error
    assert is_as_before(prepared, original)
    prepared.publish()
    assert published(prepared) == expected


def test_workers_that_do_not_come_back_end_the_publish(cluster, original, prepared, tmp_path):
    hook = Hook(tmp_path / "hook", "run_build", "hold")
    worker = cluster.start_worker(hook=hook)
    publishing = Publishing(prepared, machines(cluster, patience=4.0))
    wait_for(hook.begun, "a job")
    cluster.kill(worker)
    with pytest.raises(OurError, match=r"^building people \d+: the cluster has had no worker for 4 seconds"):
        raise publishing.ended()
    assert is_as_before(prepared, original)
    assert prepared.registry.count_unevaluated("people", 1) == 0, "what was evaluated is kept"


def other_version(folder):
    """A copy of the package that differs in a comment."""
    package = Path(contactsync.__file__).parent
    folder.mkdir()
    for path in package.iterdir():
        if path.name not in {"web", "__pycache__", "foundation"}:
            target = folder / "contactsync" / path.name
            target.parent.mkdir(exist_ok=True)
            target.symlink_to(path)
    copied = folder / "contactsync" / "foundation"
    copied.mkdir()
    for path in (package / "foundation").glob("*.py"):
        (copied / path.name).write_text(path.read_text() + ("# another\n" if path.stem == "errors" else ""))
    return folder


def other_key(folder):
    folder.mkdir()
    WorkerKey.create(folder / "other.key")
    return folder / "other.key"


@pytest.mark.parametrize(
    "case",
    [
        (lambda _: {"key_file": None}, "has no worker key"),
        (lambda path: {"key_file": path / "missing"}, "has no worker key"),
        (lambda path: {"key_file": other_key(path / "key")}, "has another worker key"),
        (lambda path: {"path": other_version(path / "other")}, "has another version of contactsync"),
    ],
    ids=["no-key", "key-file-missing", "other-key", "other-version"],
)
def test_a_worker_that_cannot_read_jobs(cluster, original, expected, tmp_path, case):
    """It stops a publish that begins; one that runs goes on without it."""
    options, reason = case
    prepared = copy_of(original, tmp_path / "prepared")
    good = cluster.start_worker()
    unfit = cluster.start_worker(**options(tmp_path))
    with pytest.raises(OurError, match=rf"^the worker tcp://\S+ on \S+ {reason}$") as raised:
        prepared.publish(machines=machines(cluster))
    assert "restart the worker" in raised.value.hint
    assert is_as_before(prepared, original)
    assert MUSTER not in prepared.data_files()
    refused = []
    handed = ClusterExecutor._refused
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            ClusterExecutor, "_refused", lambda self, *what: (refused.append(what[1]), handed(self, *what))
        )
        patch.setattr(clusters, "_muster", lambda *_: None)  # it joined after that
        prepared.publish(machines=machines(cluster))
        assert published(prepared) == expected
        assert refused, "the other worker was tried"
        # Where there is no other, the publish ends.
        cluster.kill(good)
        prepared.add(GERMAN + 77_777)
        with pytest.raises(OurError, match=rf"^evaluating people: the worker on \S+ {reason}$"):
            prepared.publish(machines=machines(cluster))
    assert unfit.poll() is None
    prepared.close()


@pytest.mark.parametrize(
    "case",
    [
        ("empty", r"does not see the data folder \(No such file or directory\)"),
        ("another", r"does not see the data folder \(another one is there\)"),
        ("copy", "writes to another folder"),
    ],
)
def test_a_worker_with_another_folder_is_refused(cluster, original, prepared, tmp_path, case):
    what, reason = case
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    if what == "another":
        (mounted / "nonce").write_bytes(b"another nonce")
    with pytest.MonkeyPatch.context() as patch:
        if what == "copy":
            patch.setattr(clusters.secrets, "token_bytes", lambda _: b"n" * 32)
            (mounted / "nonce").write_bytes(b"n" * 32)
        cluster.start_worker(hook=Hook(tmp_path / "hook", "run_muster", str(mounted)))
        with pytest.raises(OurError, match=rf"^the worker tcp://\S+ on \S+ {reason}$") as raised:
            prepared.publish(machines=machines(cluster))
    assert str(prepared.folder.data) in raised.value.hint
    assert is_as_before(prepared, original)
