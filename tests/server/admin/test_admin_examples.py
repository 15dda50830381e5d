"""The two programs of docs/admin-api.md, run as they stand there."""

import json
import os
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from admin_tools import AdminProcess
from server_tools import Operator

PAGE = (Path(__file__).parents[3] / "docs" / "admin-api.md").read_text()


def example(name):
    return re.search(rf"<!-- example: {name} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)[1]


def run(command, process, number="+4915112345678"):
    environment = os.environ | {"ADMIN_SOCKET": process.path}
    streams = {"input": f"{number}\n", "capture_output": True, "text": True}
    return subprocess.run(command, check=False, **streams, env=environment, timeout=120)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    operator = Operator(folder / "server")
    with (
        closing(operator),
        AdminProcess(operator.folder.path, "--socket", str(folder / "private" / "admin.sock")) as process,
    ):
        yield operator, process


@pytest.mark.slow
def test_the_script_with_curl(site):
    operator, process = site
    done = run(["sh", "-c", example("curl")], process)
    assert done.returncode == 0, done.stderr
    batch, published, status = map(json.loads, done.stdout.split("\n")[:3])
    assert (batch["added"], published["state"], status["pending"]) == (1, "done", False)
    assert operator.manifest().count == 1


@pytest.mark.slow
def test_the_program_in_python(site):
    operator, process = site
    program = example("python")
    assert len(program.splitlines()) <= 36
    done = run([sys.executable, "-c", program], process)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done True {'epoch': 1, 'edition': 1}\n"
    assert operator.manifest("business").count == 1
    refused = run([sys.executable, "-c", program], process, "+49")
    assert (refused.returncode, refused.stderr) == (
        1,
        "An identifier cannot be used: too short for its country\n",
    )
