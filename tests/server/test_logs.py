"""The log: one object a line with the members that are documented, and nothing that came with a request."""

import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from contactsync.server.logs import DiscreetText, JsonLines

SECRET = "+491511234567 cs_secret"
DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture(params=[JsonLines, DiscreetText])
def said(request):
    """Lets a logger say something; gives the line."""
    lines, formatter = [], request.param()

    class Collecting(logging.Handler):
        def emit(self, record):
            lines.append(formatter.format(record))

    handler = Collecting()

    def say(name, *arguments, level=logging.ERROR, **more):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        try:
            logger.log(level, *arguments, **more)
        finally:
            logger.removeHandler(handler)
        (line,) = lines
        assert "\n" not in line
        return line

    return say


def fails():
    raise ValueError(SECRET)


def test_our_own_words_are_said(said):
    assert "serving people: epoch 1" in said("contactsync.server", "serving %s: epoch %d", "people", 1)


def test_an_exception_is_its_class_and_its_place(said):
    try:
        fails()
    except ValueError:
        line = said("contactsync.server", "it failed", exc_info=True)
    assert SECRET not in line
    assert "ValueError" in line
    assert re.search(r"test_logs\.py, line \d+", line)


@pytest.mark.parametrize(
    ("template", "stays"),
    [
        (f"Exception in callback Protocol.data_received(b'{SECRET}')", "Exception in callback Protocol.data"),
        (f"Task exception was never retrieved\nfuture: <ValueError('{SECRET}')>", "Task exception was never"),
        (f"{SECRET}", "a message that may quote a request"),
        ("%s", "a message that may quote a request"),
    ],
)
def test_of_a_library_only_the_first_words_stay(said, template, stays):
    line = said("asyncio", template, *([SECRET] if template == "%s" else []))
    assert "4915" not in line
    assert "cs_secret" not in line
    assert stays in line


def test_the_members_are_those_that_are_documented():
    record = logging.LogRecord("contactsync.server", logging.WARNING, "x", 1, "a\nb", (), None)
    value = json.loads(JsonLines().format(record))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", value["time"])
    assert (value["level"], value["logger"], value["message"]) == ("warning", "contactsync.server", "a b")
    try:
        fails()
    except ValueError:
        record.exc_info = sys.exc_info()
    section = DOCUMENT.read_text("utf-8").partition("## What is logged")[2]
    documented = re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)))
    assert set(json.loads(JsonLines().format(record))) == set(documented)


CRASHES = f"""
import asyncio, logging, sys, threading, warnings
from contactsync.server.logs import set_up_logging
set_up_logging("json")
secret = {SECRET!r}
def crash(): raise ValueError(secret)
thread = threading.Thread(target=crash); thread.start(); thread.join()
async def main():
    asyncio.get_running_loop().call_soon(lambda *given: crash(), secret)
    task = asyncio.create_task(failing()); await asyncio.sleep(0.01); del task
async def failing(): raise ValueError(secret)
asyncio.run(main())
warnings.warn(secret)
logging.getLogger("uvicorn.error").warning("Invalid request %s", secret)
crash()
"""


def test_what_crashes_discloses_nothing():
    done = subprocess.run([sys.executable, "-c", CRASHES], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert SECRET not in done.stderr
    values = [json.loads(line) for line in done.stderr.splitlines()]
    assert [value.get("error") for value in values if value["level"] == "critical"] == ["ValueError"] * 2
    assert {value["logger"] for value in values} == {
        "contactsync.crash", "asyncio", "py.warnings", "uvicorn.error"
    }  # fmt: skip
