"""A real `serve` process to be probed, and what a report of a probe comes to."""

import itertools
import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parent / "server"))

from server_tools import GERMAN, Operator, Process

from contactsync.audit.report import Severity
from contactsync.phones.mobile import MobileNumbers
from contactsync.server.quota import Terms
from contactsync.server.storage.ports import NewAccount
from contactsync.voprf.suite import deserialize_each

MEMBERS = [b"tel:+%d" % number for number in range(GERMAN, GERMAN + 120)]


class Site:
    """An operator with a running server, and new accounts for each test."""

    def __init__(self, folder):
        self.operator = Operator(folder / "server")
        # Every mobile number of Tokelau is a member: whoever guesses there finds some.
        tokelau = MobileNumbers("TK")
        self.operator.add(*(int(one) for one in tokelau.numbers(0, len(tokelau))))
        self.operator.add(*(int(one[5:]) for one in MEMBERS))
        self.operator.add(GERMAN, audience="business")
        self.operator.folder.switch_private_lookup(on=True)
        self.operator.publish()
        self.process = Process(self.operator.folder.path, "--private-lookup")
        self._numbers = itertools.count()

    def account(self, audience="people", **terms):
        """A new account, as `audit_server` takes it."""
        name = f"account-{next(self._numbers)}"
        self.operator.accounts.add_all([NewAccount(name, audience, f"cs_{name}", Terms(**terms))])
        return name, f"cs_{name}"

    def charged(self, name):
        """Points that the server itself has counted."""
        return self.operator.accounts.uses(name)[0].points_total


def points_sent(requests):
    """Valid elements in all evaluations with a credential: what a server could have to evaluate."""
    total = 0
    for one in requests:
        if "/v1/evaluate/" in one.path and one.header("authorization"):
            rows = one.body[: len(one.body) // 32 * 32]
            if rows:
                total += int(deserialize_each(np.frombuffer(rows, np.uint8).reshape(-1, 32))[1].sum())
    return total


def wrong(report):
    return {one.rule for one in report.findings if one.severity is Severity.ERROR}


def unchecked(report):
    return {one.rule for one in report.findings if one.severity is Severity.WARNING}
