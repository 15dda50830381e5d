"""Hostile address books keep the JavaScript reader neither busy nor silent."""

import json
from pathlib import Path

import pytest
from javascript import needs_node, node

HOSTILE = Path(__file__).parent / "hostile.mjs"


@needs_node
@pytest.mark.slow
def test_hostile_books_are_read_in_time_and_what_is_not_read_is_reported():
    for line in node(HOSTILE).stdout.splitlines():
        found = json.loads(line)
        assert found["milliseconds"] < 8_000, found
        if found["name"] == "script":
            assert (found["contacts"], found["unreadable"]) == (1, 0)
        elif found["name"] not in {"commas", "backslashes", "unclosed"}:
            assert found["unreadable"] > 0, found
