"""The table of refusals is docs/http-api.md: nothing that it refuses is missing, nothing is made up."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from contactsync.audit.probe.probed import Caller
from contactsync.audit.probe.refusals import (
    ELSEWHERE,
    INVALID,
    NOT_PROVOKED,
    POINT,
    RAW_CASES,
    REFUSALS,
    STATUS,
)
from contactsync.audit.probe.refusing import figures, request_of
from contactsync.audit.probe.wire import MALFORMED_AGENT, Wire
from contactsync.publication.manifest import DataFile
from contactsync.voprf.suite import deserialize_each

DOCUMENT = (Path(__file__).parents[3] / "docs" / "http-api.md").read_text()
ROWS = re.findall(r"^\| `([a-z-]+)` \| (\d{3}) \| (.*) \|(.*)\|$", DOCUMENT, re.MULTILINE)
SPECIAL = {"body-too-large"}  # sent by a function: its body is long


def test_every_refusal_that_the_document_names_is_sent_or_said_not_to_be():
    assert len(ROWS) > 20
    assert {slug: int(status) for slug, status, *_ in ROWS} == STATUS
    provoked = {case.slug for case in REFUSALS} | set(ELSEWHERE) | SPECIAL
    assert provoked | set(NOT_PROVOKED) == set(STATUS)
    assert provoked.isdisjoint(NOT_PROVOKED)
    assert all(STATUS[slug] >= 500 for slug in NOT_PROVOKED if slug != "bad-request"), (
        "a caller can cause them"
    )


def test_what_the_text_says_beside_the_table_is_covered():
    said = re.findall(r"\b(4\d\d|503) `([a-z-]+)`", DOCUMENT)
    assert len(said) >= 6
    assert all(STATUS[slug] == int(status) for status, slug in said)


def test_the_members_of_each_problem_are_asked_for():
    special = {"limit"}  # of body-too-large
    for slug, _, _, members in ROWS:
        named = set(re.findall(r"`(\w+)`", members))
        cases = [case for case in REFUSALS if case.slug == slug]
        if cases and named:
            assert all(
                set(case.members or {}) == named
                for case in cases
                if case.section != "Problems" or case.members
            ), slug
            assert any(case.members for case in cases), slug
        elif slug in SPECIAL:
            assert named == special


def test_each_case_names_a_section_of_the_document():
    headings = set(re.findall(r"^#+ (.*)$", DOCUMENT, re.MULTILINE))
    assert {case.section for case in (*REFUSALS, *RAW_CASES)} <= headings


def test_the_order_of_the_checks_is_that_of_the_document():
    order = "route, credential, audience, epoch, media type, size, elements, quota"
    assert order in DOCUMENT
    words = order.split(", ")
    names = [case.name for case in REFUSALS]
    for before, after in itertools.pairwise(words[:-1]):
        assert any(name.startswith(f"{before} before ") for name in names), (before, after)


def test_the_points_of_the_table_are_counted():
    for case in REFUSALS:
        body = case.body or b""
        rows = np.frombuffer(body[: len(body) // 32 * 32], np.uint8).reshape(-1, 32)
        assert int(deserialize_each(rows)[1].sum()) == case.points, case.name
    invalid = np.frombuffer(b"".join(INVALID.values()), np.uint8).reshape(-1, 32)
    assert not deserialize_each(invalid)[1].any()
    assert deserialize_each(np.frombuffer(POINT, np.uint8).reshape(1, 32))[1].all()


class Stage:
    """As much of a `Probed` as the table needs."""

    wire = Wire("http://127.0.0.1:1")
    first = Caller("an account", "cs_x", "people", 100, 10)
    callers = (first,)

    class manifest:
        epoch, next, rows = 3, None, None


def test_what_is_malformed_says_so():
    known = figures(Stage, DataFile("a" * 64, 100, "0" * 16))
    for case in REFUSALS:
        octets = request_of(Stage, case, known)
        assert (MALFORMED_AGENT.encode() in octets) == case.is_malformed, case.name
        assert b"{" not in octets.partition(b"\r\n\r\n")[0], case.name
    assert (known["limit"], known["over"], known["never"]) == ("100", str(101 * 32), "4")


@pytest.mark.parametrize("case", RAW_CASES, ids=lambda case: case.name)
def test_no_raw_case_can_be_taken_for_a_batch(case):
    assert 200 not in case.statuses
    assert POINT not in case.octets
