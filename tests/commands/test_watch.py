"""`sync --watch`: again and again, as far apart as was asked, or as a server says; SIGTERM ends it."""

import json
import signal
import subprocess
import time

import pytest
from configured_desk import ANNA, BODO

from contactsync.client.state import State
from contactsync.commands import _watching


@pytest.fixture
def rounds(monkeypatch):
    """The pauses between rounds; a function at each of them, and the end after the last."""
    slept, between = [], []

    def sleep(seconds):
        slept.append(seconds)
        if not between:
            raise _watching._Stopped
        between.pop(0)()

    monkeypatch.setattr(
        "contactsync.commands._watching.time", type("Time", (), {"sleep": staticmethod(sleep)})
    )
    return slept, between


@pytest.mark.slow
def test_what_is_new_is_said_and_nothing_else(configured, rounds):
    slept, between = rounds
    between += [
        lambda: None,
        lambda: configured.club.publish(ANNA, BODO),
        lambda: configured.club.publish(BODO),
    ]
    result = configured.run("sync", "--watch", "1h")
    assert result.exit_code == 0
    first, _, rest = result.stdout.partition("club: the server could learn")
    assert first.startswith("NAME")
    lines = [line[17:] for line in rest.splitlines()[1:]]
    assert lines == [f"new: Bodo {BODO} (club)", f"gone: Anna {ANNA} (club)"]
    assert len(slept) == 4
    assert all(3600 * 0.9 <= one <= 3600 * 1.1 for one in slept)
    assert len(set(slept)) == 4, "not at the same time as everybody else"


@pytest.mark.slow
def test_one_json_object_for_each_round(configured, rounds):
    rounds[1].extend([lambda: None, lambda: setattr(configured.club, "tamper", cut)])
    result = configured.run("sync", "--watch", "1h", "--json", "--server", "club")
    values = [json.loads(line) for line in result.stdout.splitlines()]
    assert [one.get("error", {}).get("kind") for one in values] == [None, None, "network"]
    assert (result.exit_code, "error: " in result.stderr) == (0, True)


def cut(_, reply):
    reply.cut = 0


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_says_when_is_left_alone_until_then(configured, rounds, status):
    def busy(_, reply):
        reply.status, reply.headers, reply.body = status, {"Retry-After": "90000"}, b""

    configured.club.tamper = busy
    result = configured.run("sync", "--watch", "1h")
    assert result.exit_code == 0
    assert rounds[0] == [90000]


@pytest.mark.slow
def test_an_account_out_of_quota_waits_as_long_as_it_takes(configured, rounds):
    configured.club.quota = {"left": 0, "burst": 100, "per_day": 8}
    configured.run("sync", "--watch", "1h")
    assert rounds[0][0] >= 86_400


@pytest.mark.slow
def test_a_fault_that_does_not_pass_ends_the_first_round_and_no_later_one(configured, rounds):
    configured.configure()
    configured.book.rename(configured.folder / "elsewhere.csv")
    assert configured.run("sync", "--watch").exit_code == 3
    assert rounds[0] == []
    (configured.folder / "elsewhere.csv").rename(configured.book)
    for service in (configured.work, configured.club):
        State(configured.state).forget(State(configured.state).server(service.url).folder)
    assert configured.run("sync", "--watch").exit_code == 3
    configured.trust()
    rounds[1].extend([configured.book.unlink, lambda: None])
    result = configured.run("sync", "--watch")
    assert (result.exit_code, result.stderr.count("error: cannot read")) == (0, 2)


@pytest.mark.slow
def test_a_network_that_is_down_at_first_is_waited_for(configured, rounds):
    configured.work.tamper = configured.club.tamper = cut
    rounds[1].append(
        lambda: [setattr(one, "tamper", lambda *_: None) for one in (configured.work, configured.club)]
    )
    result = configured.run("sync", "--watch", "1h")
    assert (result.exit_code, len(rounds[0])) == (0, 2)
    assert f"new: Anna {ANNA} (work)" in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [
        (["--watch"], 21_600),
        (["--watch", "BOOK"], 21_600),
        (["--watch", "2h", "BOOK"], 7200),
        (["--watch=90s"], 90),
    ],
)
def test_the_time_may_be_left_out(configured, rounds, arguments, seconds):
    given = [str(configured.book) if one == "BOOK" else one for one in arguments]
    assert configured.run("sync", *given).exit_code == 0
    assert abs(rounds[0][0] / seconds - 1) <= 0.1001


def test_less_than_a_minute_is_no_interval(configured):
    for text in ("59s", "0", "often"):
        result = configured.run("sync", f"--watch={text}")
        assert (result.exit_code, "--watch" in result.stderr) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["between", "within"])
def test_sigterm_ends_it_with_success_and_leaves_nothing_locked(configured, when):
    if when == "within":
        configured.club.tamper = lambda *_: time.sleep(30)
    command, environment = configured.command("sync", "--watch", "1h", "--server", "club")
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        if when == "between":
            assert process.stdout.readline().startswith("NAME")
            for line in process.stdout:
                if line.startswith("the server could learn"):
                    break
            time.sleep(0.2)
        else:
            while not configured.club.requests:
                time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
    configured.club.tamper = lambda *_: None
    assert configured.run("sync", "--server", "club").exit_code == 0
