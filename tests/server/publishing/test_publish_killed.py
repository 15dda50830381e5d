"""kill -9 at every step of a publish: the edition before is served whole, and the next publish works."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("kill_driver.py")
PATHS = os.pathsep.join(
    [str(DRIVER.parent), str(DRIVER.parents[1]), os.environ["PYTHONPATH"]]
)  # with the tools of its tests


@pytest.mark.slow
@pytest.mark.parametrize(
    ("action", "executor"),
    [
        ("plain", "threads"),
        ("plain", "in-line"),
        ("plain", "logged"),
        ("plain", "rows"),
        ("plain", "patched"),
        ("plain", "labelled"),
        ("promote", "rows"),
        ("new-epoch", "threads"),
        ("rotate", "in-line"),
        ("promote", "threads"),
        ("take-back", "threads"),
        ("emergency", "in-line"),
    ],
)
def test_killed_at_every_step(in_memory, action, executor):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(DRIVER), str(in_memory), action, executor],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": PATHS, "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    deaths = json.loads(done.stdout)
    # An epoch that was announced begins with what is there already, in the first steps.
    share = 7 if executor == "logged" else 1
    assert deaths["old"] > (5 if action == "promote" else 20), "before the switch"
    assert deaths["spooled"] > 10 // share, "while tokens waited for their jobs"
    assert deaths["new"] > 2 // share, "while cleaning up"
