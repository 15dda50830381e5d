"""Jobs on an executor: how many at once, in which order, and what becomes of the others when one fails."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from publishing_tools import Held, InLine

from contactsync.server.publishing.running import Task, run_all


def tasks(*costs):
    return [Task(f"job {i}", cost, i) for i, cost in enumerate(costs)]


def test_results_come_with_their_tasks():
    with ThreadPoolExecutor(3) as executor:
        found = {
            task.kept: result for task, result in run_all(executor, str.upper, tasks(*[1] * 50), limit=4)
        }
    assert found == {i: f"JOB {i}" for i in range(50)}


@pytest.mark.slow
def test_what_runs_at_once_stays_within_the_limit_or_is_alone():
    executor, begun, ended = Held(), [], []
    costs = [3, 3, 5, 1, 20, 2, 2]

    def tasks_taken():
        for task in tasks(*costs):
            begun.append(task.kept)
            yield task

    def run():
        ended.extend(task.kept for task, _ in run_all(executor, str.upper, tasks_taken(), limit=10))

    thread = threading.Thread(target=run)
    thread.start()
    seen = []
    for _ in costs:
        settle(lambda: any(not future.done() for future in executor.futures))
        open_now = [i for i, future in enumerate(executor.futures) if not future.done()]
        used = sum(costs[i] for i in open_now)
        assert used <= 10 or len(open_now) == 1
        assert len(begun) <= len(executor.futures) + 1, "one is taken ahead"
        seen.append(len(open_now))
        executor.futures[open_now[0]].set_result("")
        settle(lambda done=open_now[0]: done in ended)
    thread.join(10)
    assert ended == list(range(7))
    assert max(seen) > 1


def settle(condition):
    """Wait until something is so, and then for as long as the other thread may still be moving."""
    for _ in range(500):
        if condition():
            break
        threading.Event().wait(0.01)
    threading.Event().wait(0.05)


@pytest.mark.slow
def test_a_failure_cancels_what_waits_and_ends_what_runs(tmp_path):
    work, running = tmp_path / "work", threading.Event()
    work.mkdir()
    ended = []

    def run(job):
        if job == "job 0":
            running.set()
            while work.exists():
                threading.Event().wait(0.01)
            ended.append(job)
        elif job == "job 1":
            running.wait()
            raise ValueError(job)
        else:
            ended.append(job)

    with ThreadPoolExecutor(2) as executor:
        results = run_all(executor, run, tasks(1, 1, 1, 1), limit=1000, work=work)
        begun = threading.Event()
        blocker = executor.submit(begun.wait)  # until all are handed in: else job 2 may be done before job 1
        threading.Timer(0.2, begun.set).start()
        with pytest.raises(ValueError, match="job 1"):
            list(results)
        blocker.result()
    assert not work.exists()
    assert "job 0" in ended


def test_who_stops_listening_leaves_nothing_running(tmp_path):
    executor, work = Held(), tmp_path / "work"
    work.mkdir()
    results = run_all(executor, str.upper, tasks(1, 1, 1), limit=1000, work=work)
    with contextlib.closing(results):
        threading.Timer(0.1, lambda: executor.futures[0].set_result("x")).start()
        assert next(results)[1] == "x"
    assert all(future.done() for future in executor.futures)
    assert executor.futures[1].cancelled()
    assert not work.exists()


def test_all_done_leaves_the_folder_to_its_owner(tmp_path):
    assert len(list(run_all(InLine(), str.upper, tasks(1, 1), limit=1, work=tmp_path))) == 2
    assert tmp_path.exists()


@pytest.mark.slow
def test_what_a_job_reports_is_told_while_it_runs(tmp_path):
    report, told, executor = tmp_path / "report", [], Held()
    report.write_text("sorting people 49\n5\n70\n".ljust(96))
    task = Task("job", 1, None, str(report))

    def progress(*what):
        told.append(what)
        executor.futures[0].set_result("done")

    assert [result for _, result in run_all(executor, str.upper, [task], limit=1, progress=progress)] == [
        "done"
    ]
    assert told == [("sorting people 49", 5, 70)]
