"""Breakers over a real socket: what callers, the operator, the log and the metrics are told."""

import json
import os
import re
import subprocess
import sys
import time
from contextlib import closing

import pytest
import urllib3
from prometheus_client.parser import text_string_to_metric_families
from server_tools import GERMAN, Operator, Process

from contactsync.foundation.errors import CallerError
from contactsync.server.breakers import Breakers, BreakerState, Flow
from contactsync.server.http.alarms import Alarms
from contactsync.server.http.metrics import Metrics
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.publishing.rotation import Aim, Order
from contactsync.voprf.client import blind

LIMITS = "points_per_hour = 100\nnew_points_per_hour = 50\nalarm_percent = 60\n"


class Site:
    def __init__(self, folder):
        self.operator = Operator(folder / "server")
        self.operator.add(GERMAN)
        self.operator.publish()
        for name in ("a", "b"):
            self.operator.accounts.add(name, "people", f"cs_{name}")
        settings = self.operator.folder.settings_file
        settings.write_text(LIMITS + "[quota.default]\nburst = 90\nper_day = 1\n")
        self.process = Process(self.operator.folder.path, "--metrics-port", "0")
        self.http = urllib3.PoolManager(retries=False)

    @property
    def log(self):
        return self.process.log.read_text()

    def ask(self, name, points):
        head = {"Authorization": f"Bearer cs_{name}", "Content-Type": "application/octet-stream"}
        body = blind([os.urandom(8) for _ in range(points)]).blinded.tobytes()
        return self.http.request("POST", f"{self.process.url}/v1/evaluate/people/1", headers=head, body=body)

    def metrics(self):
        url = re.search(r"metrics are at (\S+)", self.log)[1]
        text = self.http.request("GET", url).data.decode()
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def status(self, *options):
        command = [sys.executable, "-m", "contactsync", "server", "status", *options]
        done = subprocess.run(
            [*command, "--data", str(self.operator.folder.path)], capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout) if options else (done.stdout, done.stderr)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("breakers"))
    with site.process, closing(site.operator):
        yield site


@pytest.mark.slow
def test_the_breaker_stops_whoever_asks_and_everybody_is_told(site):
    assert site.ask("a", 40).status == 200
    stopped = site.ask("b", 11)
    problem = json.loads(stopped.data)
    assert (stopped.status, problem["type"]) == (503, "urn:contactsync:problem:paused")
    assert int(stopped.headers["retry-after"]) == problem["retry_after"]
    assert 3540 < problem["retry_after"] <= 3600
    assert site.ask("b", 10).status == 200, "what is left of the hour may be had"
    assert site.ask("b", 1).status == 503
    for name, points in (("a", 40), ("b", 10)):
        (use,) = site.operator.accounts.uses(name)
        assert (use.points_total, use.refused) == (points, 0), "it is no fault of an account"

    said = "new accounts together had 50 points evaluated in the last hour; the limit is 50"
    assert f"evaluations are paused: {said}" in site.log
    assert site.log.count("evaluations are paused") == 1, "said once, however many are stopped"
    metrics = site.metrics()
    assert metrics["contactsync_points_last_hour", "all"] == 50
    assert metrics["contactsync_breaker_limit", "all"] == 100
    assert metrics["contactsync_breaker_state", "all"] == 0
    assert metrics["contactsync_breaker_state", "new"] == 2
    assert metrics["contactsync_points_total", "people", "1"] == 50
    assert metrics["contactsync_replies_total", "503"] == 2
    out, err = site.status()
    assert "points in the last hour, new accounts: 50 of 50 (most in a day: 50)\n" in out
    assert f"warning: evaluations are paused: {said}; see `server accounts suspicious`\n" in err
    assert site.status("--json")["breakers"] == {
        "all": {"last_hour": 50, "most": 50, "limit": 100, "state": "quiet"},
        "new": {"last_hour": 50, "most": 50, "limit": 50, "state": "stopped"},
    }


def test_the_log_says_each_change_once(caplog):
    alarms = Alarms(Breakers(all=100, alarm_percent=50))
    said = []
    for points in (0, 49, 50, 90, 99, 100, 93, 60, 10, 10, 100):
        caplog.clear()
        alarms.look(Flow(0, {0: (points, 0)}))
        said.append([(record.levelname, record.getMessage().split(":")[0]) for record in caplog.records])
    alarm, paused = [("WARNING", "alarm")], [("ERROR", "evaluations are paused")]
    over = [("WARNING", "the alarm is over")]
    assert said == [[], [], alarm, [], paused, [], [], [], over, [], paused]


@pytest.mark.slow
def test_a_port_for_metrics_that_is_in_use(site):
    port = int(re.search(r"metrics are at http://127\.0\.0\.1:(\d+)/", site.log)[1])
    with pytest.raises(CallerError, match=f"port {port} of 127.0.0.1 cannot be used") as raised:
        Metrics(site.operator.folder, site.operator.accounts, Breakers()).serve(port)
    assert "--metrics-port" in raised.value.hint


@pytest.mark.slow
def test_the_metrics_tell_when_a_rotation_is_due_and_until_when_two_epochs_overlap(site):
    metrics = site.metrics()
    began = metrics["contactsync_epoch_began_seconds", "people", "1"]
    assert 0 < time.time() - began < 600
    assert metrics["contactsync_rotation_due_seconds", "people"] == began + 180 * 86_400
    assert metrics["contactsync_rotation_is_due", "people"] == 0
    assert ("contactsync_overlap_until_seconds", "people") not in metrics
    before = time.time()
    operator = site.operator
    Publisher(operator.folder, operator.registry, operator.keyring).publish(order=Order(Aim.ROTATE, 3600))
    assert 3600 <= site.metrics()["contactsync_overlap_until_seconds", "people"] - int(before) <= 3660


def test_states_of_the_metrics_are_figures():
    assert [int(state) for state in BreakerState] == [0, 1, 2]
