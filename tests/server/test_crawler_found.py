"""As an operator: a crawler and a farm among 1,000 accounts, found and stopped by what the commands print.

The server is real, on a socket, with its stores in SQLite; forty days pass on its clock in seconds. Only one
batch in many is evaluated (bench/crawl.py). The commands are processes of their own.
"""

import functools
import json
import random
import re
import secrets
import subprocess

import numpy as np
import pytest
from populations import Population, padded
from server_tools import command

from bench.crawl import Sampled
from bench.service import Clock, Service
from contactsync.foundation.limits import MAX_BATCH
from contactsync.server.company import SMALL
from contactsync.server.quota import BURST, DAY_MS, STEP, system_clock
from contactsync.voprf.client import blind, finalize
from contactsync.voprf.suite import NE

DAYS = 40
HONEST = 949
FARM = 50
MINUTE_MS = 60_000


@functools.cache
def elements():
    """Points to send."""
    return blind([b"%d" % number for number in range(1000)]).blinded


def body_of(points):
    """A batch that nobody has sent before. Of a large one, nothing is decoded (bench.crawl.Sampled)."""
    if points > SMALL:
        return secrets.token_bytes(points * NE)
    return elements()[np.random.default_rng().choice(1000, points, replace=False)].tobytes()


def run(*words, data):
    """A command of the operator's: what it printed on stdout and on stderr."""
    done = subprocess.run(command(*words, data=data), capture_output=True, text=True, check=True)
    return done.stdout, done.stderr


def lookup(service, name, points):
    """New contacts, in batches; whether the server answered all of them."""
    while points:
        batch = min(points, MAX_BATCH)
        if service.ask(name, body_of(batch)).status != 200:
            return False
        points -= batch
    return True


def live(service, clock, now):
    """Forty days of honest users; thirty days ago, a farm of accounts joined them."""
    chance, books = random.Random(1), Population(1)
    events = []
    for number in range(HONEST):
        age = chance.uniform(0.2, DAYS)
        events.append((age, f"user-{number:03}", padded(books.book())))
        events += [(age * chance.random(), f"user-{number:03}", STEP) for _ in range(2)]
    for number in range(FARM):
        events.append((30 - number / 33, f"helper-{number:02}", 6000 + 8 * number))
    known = set()
    for ago, name, points in sorted(events, reverse=True):
        clock.now = now - round(ago * DAY_MS)
        if name not in known:
            known.add(name)
            service.add([name])
        assert lookup(service, name, points)


@pytest.mark.slow
def test_a_crawler_and_a_farm_are_found_and_stopped(tmp_path):
    now, data = system_clock(), tmp_path / "server"
    clock, evaluator = Clock(now), Sampled()
    # A few times what the busiest hour of this service had, as docs/operations.md advises.
    with Service(data, clock, evaluator, settings={"new_points_per_hour": 25_000}) as service:
        live(service, clock, now)
        out, err = run("status", data=data)
        assert re.search(r"^accounts: 999$", out, re.MULTILINE)
        assert "alarm" not in err

        # Ten minutes ago somebody came who takes all there is: for real, with a proof for the first batch.
        clock.now = now - 10 * MINUTE_MS
        service.add(["mallory"])
        blinding = blind([b"tel:+4366%07d" % number for number in range(MAX_BATCH)])
        evaluator.real = {blinding.blinded.tobytes()}
        answer = service.ask("mallory", blinding.blinded.tobytes())
        evaluated = np.frombuffer(answer.body[: MAX_BATCH * NE], np.uint8).reshape(-1, NE)
        finalize(blinding, evaluated, answer.body[MAX_BATCH * NE :], service.manifest.public_key)
        assert lookup(service, "mallory", BURST - MAX_BATCH)
        assert service.ask("mallory", body_of(1)).status == 429
        clock.now = now

        # The operator looks, is warned, and is told where to look.
        out, err = run("status", data=data)
        assert re.search(r"^accounts: 1000$", out, re.MULTILINE)
        assert re.search(r"points in the last hour, new accounts: 1[67],\d{3} of 25,000", out)
        warning = next(line for line in err.splitlines() if "alarm" in line)
        assert "new accounts together had" in warning
        assert "`server accounts suspicious`" in warning

        out, err = run("accounts", "suspicious", data=data)
        first, reason, *_ = out.splitlines()
        assert first.startswith("mallory: added ")
        assert re.search(r"16,384 points, (16,384|0) of them today, 1 refused", first)  # 0: after midnight
        assert reason.startswith("  at least 16,352 numbers in one epoch")
        found = json.loads(run("accounts", "suspicious", "--json", data=data)[0])
        assert found["suspects"][0]["name"] == "mallory"
        assert len(found["suspects"]) <= 10, "honest ones: one in a hundred at most"
        (group,) = found["groups"]
        helpers = {name for name in group["accounts"] if name.startswith("helper-")}
        assert len(helpers) == FARM
        assert len(group["accounts"]) <= FARM + 3

        # And stops them. Whoever else asks is answered.
        run("accounts", "revoke", "mallory", *helpers, data=data)
        for name in ("mallory", "helper-07"):
            assert service.ask(name, body_of(STEP)).status == 401
        assert service.ask("user-001", body_of(STEP)).status == 200
        after = json.loads(run("accounts", "suspicious", "--json", data=data)[0])
        assert "mallory" not in {one["name"] for one in after["suspects"]}
        assert after["groups"] == []
