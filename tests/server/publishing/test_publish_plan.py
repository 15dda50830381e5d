"""What a publish is going to do, by what the registry and the public folder hold."""

from concurrent.futures import Executor

import pytest
from server_tools import AMERICAN, GERMAN

from contactsync.publication.manifest import AUDIENCES
from contactsync.server.publishing import reading
from contactsync.server.publishing.plan import plan_editions
from contactsync.server.publishing.pools import JobPool
from contactsync.server.publishing.reading import build_tasks
from contactsync.server.storage.sqlite.members import SqliteMembers


def plans_of(operator, *, new_epoch=False):
    published = {audience: operator.repository.current(audience) for audience in AUDIENCES}
    return plan_editions(operator.registry, operator.folder, published, new_epoch=new_epoch)


def test_the_first_edition_is_of_everybody(operator):
    operator.add(GERMAN, AMERICAN, AMERICAN + 1)
    serial, (plan,) = plans_of(operator)
    assert serial == operator.registry.serial()
    assert (plan.audience, plan.epoch, plan.edition) == ("people", 1, 1)
    assert (plan.partitions, plan.old, plan.previous) == (("1", "49"), None, None)


def test_the_next_one_is_of_what_was_touched_or_damaged(operator):
    operator.add(GERMAN, AMERICAN, 447700900000)
    operator.publish()
    manifest = operator.manifest()
    _, (plan,) = plans_of(operator)
    assert (plan.edition, plan.partitions, plan.old) == (2, (), manifest)
    assert plan.previous == manifest.sha256()
    operator.add(GERMAN + 1)
    (operator.folder.data / manifest.partitions["1"].base.sha256).unlink()
    _, (plan,) = plans_of(operator)
    assert plan.partitions == ("1", "49")


def test_a_new_epoch_begins_anew(operator):
    operator.add(GERMAN, AMERICAN)
    operator.publish()
    _, (plan,) = plans_of(operator, new_epoch=True)
    assert (plan.epoch, plan.edition, plan.partitions, plan.old) == (2, 1, ("1", "49"), None)
    assert plan.previous == operator.manifest().sha256()


def test_a_plan_is_of_one_moment(operator):
    operator.add(GERMAN)

    class Racing(SqliteMembers):
        def serial(self):
            found = super().serial()
            operator.add(AMERICAN)
            return found

    operator_too = Racing(operator.folder.registry)
    published = dict.fromkeys(AUDIENCES)
    serial, (plan,) = plan_editions(operator_too, operator.folder, published, new_epoch=False)
    operator_too.close()
    assert serial == operator.registry.serial() - 1
    assert plan.partitions == ("49",)


@pytest.mark.parametrize(("at_once", "shares"), [(1, 1), (2, 2), (64, 3)])
def test_jobs_share_the_memory(operator, tmp_path, at_once, shares):
    operator.add(GERMAN, AMERICAN, 447700900000)
    _, plans = plans_of(operator)
    memory = 512 << 20
    pool = JobPool(Executor(), at_once, memory, memory)
    tasks = list(build_tasks(operator.registry, plans, tmp_path, tmp_path, pool))
    assert [task.job.memory for task in tasks] == [memory // shares] * 3
    assert sum(task.cost for task in tasks) < memory, "small ones run beside each other"


def test_a_large_partition_gets_what_it_needs(operator, tmp_path, monkeypatch):
    operator.add(GERMAN, AMERICAN)
    operator.publish()
    operator.add(GERMAN + 1, AMERICAN + 1)
    _, plans = plans_of(operator)
    monkeypatch.setattr(reading, "_spooled", lambda *_: 200_000_000)
    pool = JobPool(Executor(), 64, 16 << 20, 16 << 20)
    tasks = list(build_tasks(operator.registry, plans, tmp_path, tmp_path, pool))
    assert [task.job.memory for task in tasks] == [16 << 20] * 2
    assert all(task.cost > 16 << 20 for task in tasks), "so that nothing runs beside it"
