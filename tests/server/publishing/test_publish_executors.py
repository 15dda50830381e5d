"""One publish on every kind of executor: the same bytes, and nothing half-published when a job fails."""

import dataclasses
import multiprocessing
import os
import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
from publishing_tools import InLine, copy_of, published, read_all_tokens
from server_tools import AMERICAN, GERMAN, Operator

from contactsync.foundation.errors import BadInput, OurError
from contactsync.server.publishing import job as jobs
from contactsync.server.publishing.amending import AmendJob
from contactsync.server.publishing.job import BuildJob, EvaluateJob, run_build
from contactsync.server.publishing.publisher import WORK

BRITISH = 447700900000


class Twice(InLine):
    """Runs every job twice, each time as it arrives elsewhere; what comes of both has to be the same."""

    def submit(self, function, /, job):
        first = super().submit(function, pickle.loads(pickle.dumps(job)))
        second = super().submit(function, job)
        assert pickle.loads(pickle.dumps(first.result())) == second.result()
        return first


class Sabotage(InLine):
    """Cuts the file of tokens of one partition of people; hands everything on to another executor."""

    def __init__(self, executor, partition):
        super().__init__()
        self.executor = executor
        self.partition = partition

    def submit(self, function, /, job):
        self.jobs.append(job)
        # A slow executor is still at it when the same partition of business, without members, is submitted.
        if not isinstance(job, EvaluateJob) and (job.audience, job.partition) == ("people", self.partition):
            os.truncate(job.spool, Path(job.spool).stat().st_size - 1)
        return self.executor.submit(function, job)


def threads():
    return ThreadPoolExecutor(3)


def processes():
    return ProcessPoolExecutor(2, multiprocessing.get_context("spawn"))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder that has published once and has changes in some of its partitions, and who made it."""
    operator = Operator(tmp_path_factory.mktemp("publishing") / "original")
    operator.add(*range(GERMAN, GERMAN + 9000), *range(AMERICAN, AMERICAN + 50), BRITISH, BRITISH + 1)
    operator.add(*range(GERMAN + 500, GERMAN + 600), audience="business")
    operator.folder.switch_private_lookup(on=True)
    operator.publish(executor=InLine())
    operator.add(*range(GERMAN + 10_000, GERMAN + 19_000), AMERICAN + 60, 33612345678)
    operator.registry.remove(operator.registry.unevaluated("people", 9, "44", None, 9))
    operator.close()
    return operator


@pytest.mark.parametrize(
    "kinds",
    [
        pytest.param((threads, Twice, lambda: None), id="here"),
        pytest.param((processes,), id="processes", marks=pytest.mark.slow),
    ],
)
def test_every_executor_gives_the_same_files_and_manifests(prepared, tmp_path, kinds):
    results = {}
    for kind in (InLine, *kinds):
        operator = copy_of(prepared, tmp_path / f"copy-{len(results)}")
        executor = kind()
        outcomes = operator.publish(executor=executor)
        if executor is not None:
            assert executor.submit(len, [1]).result() == 1, "left open"
            executor.shutdown()
        results[kind] = (published(operator), outcomes)
        operator.close()
    first = results[InLine]
    assert [outcome.changed for outcome in first[1]] == [("1", "33", "44", "49"), None]
    assert [outcome.evaluated for outcome in first[1]] == [9002, 0]
    assert len(first[0]) == 14, (
        "manifests, bases, deltas and levels: no partition is so large that it has a screen"
    )
    for other in results.values():
        assert other == first


@pytest.mark.parametrize("kind", [InLine, threads, pytest.param(processes, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["1", "33"])  # made of what is published, and of all tokens
def test_a_job_that_fails_leaves_the_old_edition(prepared, kind, name):
    before, files = published(prepared), prepared.data_files()
    with kind() as executor, pytest.raises(OurError, match=rf"^building people {name}: .*shorter") as raised:
        prepared.publish(executor=Sabotage(executor, name))
    assert raised.value.hint
    after = published(prepared)
    assert {name: after[name] for name in before} == before
    assert WORK not in prepared.data_files()
    # What other jobs had done has its hash for a name, is led to by nothing, and goes with the next publish.
    prepared.publish(executor=InLine())
    assert prepared.data_files() == {*files, *prepared.manifest().files()} - {WORK}
    assert list(prepared.manifest().partitions) == ["1", "33", "49"]


def test_when_a_job_fails_those_behind_it_are_never_begun(prepared):
    read_all_tokens(prepared)
    executor = Sabotage(InLine(), "1")
    with pytest.raises(OurError, match="building people 1:"):
        prepared.publish(executor=executor)
    assert [job.partition for job in executor.jobs if isinstance(job, BuildJob)] == ["1"]


@pytest.mark.slow
def test_a_process_that_dies_is_an_error_of_ours(prepared):
    class Deadly(InLine):
        def submit(self, function, /, job):
            return pool.submit(os._exit, 3) if isinstance(job, BuildJob) else pool.submit(function, job)

    before = prepared.manifest()
    # Which job notices first depends on how soon the executor does.
    stopped = r"^building (people|business) \d+: a worker process .* has stopped"
    with processes() as pool, pytest.raises(OurError, match=stopped):
        prepared.publish(executor=Deadly())
    assert prepared.manifest() == before
    assert WORK not in prepared.data_files()


def test_too_little_memory_stays_the_caller_s_error_and_names_the_partition(prepared, monkeypatch):
    def build(*_arguments, **_options):
        raise BadInput("16 MiB of memory is too little", hint="Allow 17 MiB.")

    read_all_tokens(prepared)
    monkeypatch.setattr(jobs, "build", build)
    with pytest.raises(BadInput, match=r"^building people 1: 16 MiB") as raised:
        prepared.publish(executor=InLine())  # of threads, another may be first
    assert raised.value.hint == "Allow 17 MiB."


@pytest.mark.slow
def test_a_registry_that_fails_stops_the_jobs(prepared, monkeypatch):
    def full(*_arguments):
        raise OurError("the registry cannot be used: disk is full")

    monkeypatch.setattr(prepared.registry, "store_tokens", full)
    with pytest.raises(OurError, match="the registry cannot"):
        prepared.publish()
    monkeypatch.undo()
    prepared.publish()
    assert prepared.manifest().edition == 2


@pytest.mark.slow
def test_no_job_shows_a_key_or_a_number_and_no_file_ever_holds_the_key(prepared):
    secret = prepared.keyring.key_pair("people", 1).secret

    class Searching(InLine):
        def submit(self, function, /, job):
            files = [path for path in prepared.folder.path.rglob("*") if path.is_file()]
            assert not any(secret in path.read_bytes() for path in files)
            return super().submit(function, job)

    executor = Searching()
    prepared.publish(executor=executor)
    shown = "".join(f"{job} {job!r}" for job in executor.jobs)
    assert {type(job) for job in executor.jobs} == {EvaluateJob, AmendJob, BuildJob}
    assert secret.hex() not in shown
    assert repr(secret)[2:-1] not in shown
    assert str(GERMAN)[:8] not in shown
    for job in executor.jobs:
        assert (secret in pickle.dumps(job)) is isinstance(job, EvaluateJob)


@pytest.mark.slow
def test_a_job_needs_nothing_but_what_it_names(prepared, tmp_path, monkeypatch):
    class Keeping(InLine):
        def submit(self, function, /, job):
            if isinstance(job, BuildJob):
                shutil.copy(job.spool, tmp_path / Path(job.spool).name)
            return super().submit(function, job)

    executor = Keeping()
    prepared.publish(executor=executor)
    manifest = prepared.manifest()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    for made in executor.jobs:
        if isinstance(made, BuildJob) and made.partition == "49":
            data = elsewhere / "data"
            data.mkdir()
            shutil.copy(prepared.folder.data / made.old.base.sha256, data)
            places = {
                "spool": str(tmp_path / Path(made.spool).name),
                "report": str(elsewhere / "report"),
                "work": str(elsewhere),
                "data": str(data),
            }
            shutil.rmtree(prepared.folder.path)
            built = run_build(dataclasses.replace(made, **places))
            assert built.content == manifest.partitions["49"]
            assert {path.name for path in data.iterdir()} == {
                made.old.base.sha256,
                *(file.sha256 for file in built.content.files()),
            }
            assert {path.name for path in elsewhere.iterdir()} == {"data", "report"}, "no scratch is left"
            return
    pytest.fail("no job for 49")


def test_what_a_killed_publish_left_is_removed(prepared):
    left = prepared.folder.data / WORK / "build.x"
    left.mkdir(parents=True)
    (left / "directory").write_bytes(b"half")
    (left.parent / "people-0.tokens").write_bytes(bytes(1000))
    prepared.publish()
    assert WORK not in prepared.data_files()
    assert prepared.manifest().partitions["1"].count == 51
